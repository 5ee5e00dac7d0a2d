//! Records that were changed outside the console.

use galera::Timestamp;

use crate::revisions::EtcdRestore;

/// How a record was changed outside the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TamperCause {
    /// No console wrote it.
    Forged,
    /// It names a secret that this process does not have: a forgery, unless that secret is proven to be in use.
    UnknownSecret,
    /// A console wrote it, but it was replaced or ended since.
    Older,
    /// It was deleted.
    Missing,
}

/// A record that was changed outside the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TamperedRecord {
    pub key: String,
    pub cause: TamperCause,
    /// Why it is ignored, as part of a sentence.
    pub reason: String,
    /// Since when it is known.
    pub since: Timestamp,
}

/// Every record that is ignored at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TamperedRecords {
    /// In the order of their keys.
    pub records: Vec<TamperedRecord>,
    /// Further ones that are not listed.
    pub unlisted: usize,
    /// The restoration of an earlier state of etcd, until it is accepted.
    pub restored: Option<EtcdRestore>,
}

impl TamperedRecords {
    /// How many records are ignored.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.len() + self.unlisted
    }

    /// The records below `prefix`.
    pub fn below(&self, prefix: &str) -> impl Iterator<Item = &TamperedRecord> {
        self.records
            .iter()
            .filter(move |record| record.key.starts_with(prefix))
    }
}
