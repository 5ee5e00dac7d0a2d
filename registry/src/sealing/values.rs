//! What is sealed and opened, and by what.

use std::any::Any;
use std::fmt;

use super::OutdatedSecret;
use crate::Result;
use crate::entry::RegistryEntry;

/// What identifies one sealed value among those of the same version.
pub type SealTag = [u8; 16];

/// A value to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct RecordToSeal<'a> {
    /// The key that the record is bound to.
    pub key: &'a [u8],
    /// Higher than every earlier version of this key.
    pub version: u64,
    /// Whether it is put under a lease, so that its absence proves nothing.
    pub leased: bool,
    /// The record; `None` for a note that it was removed.
    pub content: Option<&'a [u8]>,
}

/// A sealed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// What is stored in etcd.
    pub value: Vec<u8>,
    pub tag: SealTag,
}

/// A verified value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRecord {
    pub version: u64,
    pub leased: bool,
    /// The record; `None` for a note that it was removed.
    pub content: Option<Vec<u8>>,
    pub tag: SealTag,
    /// Whether it was sealed with the newest secret.
    pub current: bool,
}

/// Seals and opens the values of protected keys.
pub trait RecordSealer: fmt::Debug + Send + Sync + Any {
    /// Whether records at `key` are sealed.
    fn protects(&self, key: &[u8]) -> bool;

    /// Whether the record at `key`, which is sealed, is an entry of a log: written once, removed without a note, and bounded by
    /// a sealed record that its readers compare it with. Its version is not followed, and its absence proves nothing.
    fn is_log_entry(&self, _key: &[u8]) -> bool {
        false
    }

    /// Seals a record with the newest secret.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for content that cannot be represented.
    fn seal(&self, record: &RecordToSeal<'_>) -> Result<SealedRecord>;

    /// Verifies and opens the value at `key`.
    ///
    /// # Errors
    /// Why it is not genuine, as part of a sentence.
    fn open(&self, key: &[u8], value: &[u8]) -> Result<OpenedRecord, String>;

    /// Whether `value`, which does not open, is sealed with a secret that this sealer does not have.
    fn lacks_secret_of(&self, _value: &[u8]) -> bool {
        false
    }

    /// The keys of the notes which prove that a secret of this sealer was followed by another one.
    fn succession_keys(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The secret that this sealer lacks, if `notes`, the entries at [`Self::succession_keys`] as they are stored, prove that it
    /// followed the newest one.
    fn outdated_by(&self, _notes: &[RegistryEntry]) -> Option<OutdatedSecret> {
        None
    }
}
