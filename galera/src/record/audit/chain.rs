//! Appends to the hash chain of the audit trail and verifies it.

use sha2::{Digest as _, Sha256};

use super::{AuditEntry, AuditRecord};
use crate::recover::plan::digest::hex;

/// The `previous` hash of the first entry.
const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The entry that follows `last`; `None` starts a trail.
///
/// Two replicas that append to the same `last` create the same sequence number; a compare-and-swap on writing lets only
/// one of them succeed.
#[must_use]
pub fn append(last: Option<&AuditEntry>, record: AuditRecord) -> AuditEntry {
    let sequence = last.map_or(1, |last| last.sequence.saturating_add(1));
    let previous = last.map_or_else(|| GENESIS_HASH.to_owned(), |last| last.hash.clone());
    let hash = hash(sequence, &previous, &record);
    AuditEntry {
        sequence,
        record,
        previous,
        hash,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTrail {
    /// Number of entries.
    pub entries: u64,
    /// The hash of the last entry. Kept elsewhere, it also reveals a trail that was truncated at its end.
    pub head: Option<String>,
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
}

/// Checks a whole trail, oldest entry first.
///
/// # Errors
/// [`AuditChainError`] for the first entry that is not as it was written.
pub fn verify<'a>(
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<VerifiedTrail, AuditChainError> {
    let mut count = 0;
    let mut head: Option<&str> = None;
    for entry in entries {
        count += 1;
        if entry.sequence != count {
            return Err(AuditChainError::Gap {
                expected: count,
                found: entry.sequence,
            });
        }
        if entry.previous != head.unwrap_or(GENESIS_HASH) {
            return Err(AuditChainError::PreviousHashMismatch(entry.sequence));
        }
        if entry.hash != hash(entry.sequence, &entry.previous, &entry.record) {
            return Err(AuditChainError::Altered(entry.sequence));
        }
        head = Some(&entry.hash);
    }
    Ok(VerifiedTrail {
        entries: count,
        head: head.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::record::audit::AuditEvent;

    fn trail(length: u64) -> Vec<AuditEntry> {
        let mut trail: Vec<AuditEntry> = Vec::new();
        for number in 0..length {
            let record = AuditRecord {
                at: Timestamp::from_unix_millis(i64::try_from(number).unwrap()),
                actor: "ann".to_owned(),
                event: AuditEvent::ACTION_REQUESTED,
                cluster: "lab".parse().ok(),
                subject: Some(format!("a{number}")),
                detail: [("statement".to_owned(), "SET".to_owned())].into(),
            };
            trail.push(append(trail.last(), record));
        }
        trail
    }

    #[test]
    fn i31_an_untouched_trail_verifies() {
        let trail = trail(5);
        let verified = verify(&trail).unwrap();
        assert_eq!(verified.entries, 5);
        assert_eq!(verified.head.as_ref(), Some(&trail[4].hash));
        assert_eq!(verify(&[]).unwrap().entries, 0);
    }

    #[test]
    fn i31_every_alteration_is_found() {
        let good = trail(4);
        let alterations: [fn(&mut AuditEntry); 7] = [
            |entry| entry.record.actor.push('x'),
            |entry| entry.record.event = AuditEvent::SIGNED_IN,
            |entry| entry.record.at = Timestamp::from_unix_millis(99),
            |entry| entry.record.cluster = None,
            |entry| entry.record.subject = None,
            |entry| _ = entry.record.detail.insert("a".to_owned(), String::new()),
            |entry| _ = entry.record.detail.remove("statement"),
        ];
        for alter in alterations {
            let mut bad = good.clone();
            alter(&mut bad[1]);
            assert_eq!(verify(&bad), Err(AuditChainError::Altered(2)));
            // Fixing the entry's own hash breaks the link of the next entry.
            let fitting = append(Some(&bad[0]), bad[1].record.clone());
            bad[1] = fitting;
            assert_eq!(verify(&bad), Err(AuditChainError::PreviousHashMismatch(3)));
        }
    }

    #[test]
    fn i31_missing_and_moved_entries_are_found() {
        let good = trail(4);
        let without = [good[0].clone(), good[2].clone(), good[3].clone()];
        assert_eq!(
            verify(&without),
            Err(AuditChainError::Gap {
                expected: 2,
                found: 3
            })
        );
        assert_eq!(
            verify(&good[1..]),
            Err(AuditChainError::Gap {
                expected: 1,
                found: 2
            })
        );
        let mut moved = good.clone();
        moved.swap(1, 2);
        assert!(verify(&moved).is_err());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let record = |actor: &str, event: &str| AuditRecord {
            at: Timestamp::from_unix_millis(0),
            actor: actor.to_owned(),
            event: serde_json::from_value(event.into()).unwrap(),
            cluster: None,
            subject: None,
            detail: std::collections::BTreeMap::new(),
        };
        assert_ne!(
            append(None, record("ab", "c")).hash,
            append(None, record("a", "bc")).hash
        );
    }

    #[test]
    fn entries_survive_json() {
        let trail = trail(3);
        let text = serde_json::to_string(&trail).unwrap();
        let back: Vec<AuditEntry> = serde_json::from_str(&text).unwrap();
        assert!(verify(&back).is_ok());
    }
}
