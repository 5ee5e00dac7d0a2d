//! Appends to the hash chain of the audit trail and verifies it.

use sha2::{Digest as _, Sha256};

use super::{AuditAnchor, AuditEntry, AuditEvent, AuditRecord, EntrySeal};
use crate::recover::plan::digest::hex;

/// The `previous` hash of the first entry.
const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Part of what is authenticated: the format of sealed entries.
const SEAL_FORMAT: &[u8] = b"galera-console audit entry 1";

/// Seals entries and verifies their seals.
pub trait EntryAuthenticator: Sync {
    /// Authenticates `message` with the newest secret.
    fn seal(&self, message: &[u8]) -> EntrySeal;

    /// Checks the seal of `message`.
    fn verify(&self, message: &[u8], seal: &EntrySeal) -> SealVerdict;
}

/// The result of checking a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealVerdict {
    Valid,
    Invalid,
    /// It was made with a secret that is not known, such as one before the last rotation.
    UnknownSecret,
}

/// The entry that follows `last`, sealed by `keys` if there are any; `None` starts a trail.
///
/// Two replicas that append to the same `last` create the same sequence number; a compare-and-swap on writing lets only
/// one of them succeed.
#[must_use]
pub fn append(
    last: Option<&AuditAnchor>,
    record: AuditRecord,
    keys: Option<&dyn EntryAuthenticator>,
) -> AuditEntry {
    let sequence = last.map_or(1, |last| last.sequence.saturating_add(1));
    let previous = last.map_or_else(|| GENESIS_HASH.to_owned(), |last| last.hash.clone());
    let hash = hash(sequence, &previous, &record);
    let seal = keys.map(|keys| keys.seal(&sealed_message(sequence, &hash)));
    AuditEntry {
        sequence,
        record,
        previous,
        hash,
        seal,
    }
}

/// What a seal authenticates: the hash covers the content and the entries before.
fn sealed_message(sequence: u64, hash: &str) -> Vec<u8> {
    let mut message = SEAL_FORMAT.to_vec();
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(hash.as_bytes());
    message
}

/// Whether the hash of `entry` is that of its content.
#[must_use]
pub fn is_consistent(entry: &AuditEntry) -> bool {
    entry.hash == hash(entry.sequence, &entry.previous, &entry.record)
}

/// Whether the seal of `entry` is genuine; `None` if it has none.
pub(super) fn seal_verdict(
    entry: &AuditEntry,
    keys: &dyn EntryAuthenticator,
) -> Option<SealVerdict> {
    let seal = entry.seal.as_ref()?;
    Some(keys.verify(&sealed_message(entry.sequence, &entry.hash), seal))
}

impl AuditEntry {
    /// Whether this entry was written by a console with one of the secrets, and not changed since.
    #[must_use]
    pub fn is_authentic(&self, keys: &dyn EntryAuthenticator) -> bool {
        is_consistent(self) && seal_verdict(self, keys) == Some(SealVerdict::Valid)
    }
}

/// Every part is prefixed with its length, so that no two entries hash the same bytes.
fn hash(sequence: u64, previous: &str, record: &AuditRecord) -> String {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(&sequence.to_be_bytes());
    part(previous.as_bytes());
    part(&record.at.unix_millis().to_be_bytes());
    part(record.actor.as_bytes());
    part(record.event.as_str().as_bytes());
    for optional in [
        record.cluster.as_ref().map(crate::ClusterName::as_str),
        record.subject.as_deref(),
    ] {
        part(&[u8::from(optional.is_some())]);
        part(optional.unwrap_or_default().as_bytes());
    }
    for (name, value) in &record.detail {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    hex(&hasher.finalize())
}

/// An intact trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedTrail {
    /// Number of entries.
    pub entries: u64,
    /// The last entry. Kept elsewhere, it also reveals a trail that was truncated at its end.
    pub head: Option<AuditAnchor>,
    /// The first entry with a seal.
    pub sealed_from: Option<u64>,
    /// The last entry whose seal is valid: all up to it are authentic.
    pub authentic_up_to: Option<u64>,
    /// The newest secret, unknown here, with which entries are sealed.
    pub unknown_secret: Option<String>,
    /// The entries that record that the trail was changed outside the console.
    pub tampering: Vec<u64>,
}

/// The first fault of a trail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditChainError {
    /// An entry is missing or moved.
    #[error("entry {expected} is missing: found entry {found} in its place")]
    Gap { expected: u64, found: u64 },
    /// The previous entry was altered or replaced.
    #[error(
        "entry {0} does not match the hash of the previous entry, which was altered or replaced"
    )]
    PreviousHashMismatch(u64),
    #[error("entry {0} was altered after it was written")]
    Altered(u64),
    /// The seal is not valid.
    #[error("entry {0} was written by another program: its seal is not valid")]
    Forged(u64),
    /// There is no seal, after entries with one.
    #[error(
        "entry {entry} was written by another program: it has no seal, unlike the entries since {sealed_from}"
    )]
    Unsealed { entry: u64, sealed_from: u64 },
}

/// Verifies a trail entry by entry, oldest first.
pub struct TrailVerifier<'a> {
    keys: Option<&'a dyn EntryAuthenticator>,
    verified: VerifiedTrail,
}

impl<'a> TrailVerifier<'a> {
    /// Verifies the entries after `start`, or a whole trail. Without `keys` seals are not checked.
    #[must_use]
    pub fn new(start: Option<AuditAnchor>, keys: Option<&'a dyn EntryAuthenticator>) -> Self {
        let verified = VerifiedTrail {
            head: start,
            ..VerifiedTrail::default()
        };
        Self { keys, verified }
    }

    /// Verifies the next entry.
    ///
    /// # Errors
    /// [`AuditChainError`] if it is not as it was written.
    pub fn push(&mut self, entry: &AuditEntry) -> Result<(), AuditChainError> {
        let trail = &mut self.verified;
        let expected = trail
            .head
            .as_ref()
            .map_or(1, |head| head.sequence.saturating_add(1));
        let found = entry.sequence;
        if found != expected {
            return Err(AuditChainError::Gap { expected, found });
        }
        let previous = trail.head.as_ref().map_or(GENESIS_HASH, |head| &head.hash);
        if entry.previous != previous {
            return Err(AuditChainError::PreviousHashMismatch(found));
        }
        if !is_consistent(entry) {
            return Err(AuditChainError::Altered(found));
        }
        match (&entry.seal, trail.sealed_from, self.keys) {
            (None, Some(sealed_from), _) => {
                let entry = found;
                return Err(AuditChainError::Unsealed { entry, sealed_from });
            }
            (Some(seal), _, Some(keys)) => match seal_verdict(entry, keys) {
                Some(SealVerdict::Valid) => {
                    trail.authentic_up_to = Some(found);
                    trail.unknown_secret = None;
                }
                Some(SealVerdict::UnknownSecret) => trail.unknown_secret = Some(seal.kid.clone()),
                _ => return Err(AuditChainError::Forged(found)),
            },
            _ => {}
        }
        if entry.seal.is_some() && trail.sealed_from.is_none() {
            trail.sealed_from = Some(found);
        }
        if entry.record.event == AuditEvent::AUDIT_TRAIL_TAMPERED {
            trail.tampering.push(found);
        }
        trail.entries += 1;
        trail.head = Some(entry.anchor());
        Ok(())
    }

    /// What was verified.
    #[must_use]
    pub fn finish(self) -> VerifiedTrail {
        self.verified
    }
}

/// Checks the chain of a whole trail, oldest entry first, without checking seals.
///
/// # Errors
/// [`AuditChainError`] for the first entry that is not as it was written.
pub fn verify<'a>(
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<VerifiedTrail, AuditChainError> {
    let mut verifier = TrailVerifier::new(None, None);
    for entry in entries {
        verifier.push(entry)?;
    }
    Ok(verifier.finish())
}

#[cfg(test)]
mod tests;
