//! How the trail continues when its end was changed outside the console: after its last authentic entry, with an entry that
//! records what was found. The console continues to work, and the change is never unrecorded.

use std::collections::BTreeMap;
use std::time::Instant;

use galera::record::audit::{AuditEntry, AuditEvent, AuditRecord, append, is_consistent};
use registry::{Error, Precondition, RegistryEntry, Transaction, TransactionOutcome, WriteOp};

use super::head::{HeadFault, TrailHead};
use super::{AuditError, AuditTrail, decode_entry, encode_entry};
use crate::clock::now;
use crate::keyspace;

/// The highest number of an entry, by the format of its key.
const SEQUENCE_MAX: u64 = 999_999_999_999;
/// Entries that one transaction deletes; etcd permits 128 operations.
pub(super) const DELETIONS_MAX: usize = 50;
/// Ranges of missing entries that an entry about them names.
const GAPS_NAMED_MAX: usize = 10;

/// The stored entries, judged.
#[derive(Default)]
struct StoredEnd {
    /// The last authentic entry.
    end: Option<AuditEntry>,
    /// What follows it.
    strays: Vec<RegistryEntry>,
    /// The first and last numbers of the entries that are missing before it.
    gaps: Vec<(u64, u64)>,
}

impl AuditTrail {
    /// Removes an entry that no console wrote from the place of the next one; returns whether there was one.
    pub(super) async fn remove_stray(
        &self,
        head: &TrailHead,
        records: &[AuditRecord],
        current: &[RegistryEntry],
    ) -> Result<bool, AuditError> {
        let next = head.end.as_ref().map_or(1, |end| end.sequence + 1);
        let places = (next..).take(records.len());
        let Some(place) = places
            .into_iter()
            .find(|place| has_key(current, &self.entry_key(*place)))
        else {
            return Ok(false);
        };
        let _one = self.memory.repair.lock().await;
        if let Ok(current) = self.read_head().await?
            && current.revision == head.revision
        {
            let reason = format!("entry {place} was written by another program");
            let revision = head.revision;
            self.continue_after(HeadFault { reason, revision }).await?;
        }
        Ok(true)
    }

    /// Appends an entry about `fault` after the last authentic entry, and replaces the head by it. After many such entries in
    /// an hour only the head is restored, unless entries are missing at the end.
    pub(super) async fn continue_after(&self, fault: HeadFault) -> Result<(), AuditError> {
        // What a newer secret has sealed is neither a change nor to be replaced.
        self.registry.check_secret().await?;
        let stored = self.stored_end().await?;
        let reached = stored.end.as_ref().map_or(0, |end| end.sequence);
        let seen = self.memory.seen().filter(|seen| seen.sequence > reached);
        let mut detail = BTreeMap::from([("reason".to_owned(), fault.reason.clone())]);
        let mut missing = stored.gaps;
        missing.extend(seen.as_ref().map(|seen| (reached + 1, seen.sequence)));
        if !missing.is_empty() {
            detail.insert("missing".to_owned(), describe_gaps(&missing));
        }
        if !stored.strays.is_empty() {
            detail.insert("removed".to_owned(), stored.strays.len().to_string());
        }
        self.delete_strays(&stored.strays).await?;
        if let (None, Some(last)) = (&seen, &stored.end)
            && !self.memory.permits_repair_entry(Instant::now())
        {
            return self.restore_head(fault, last).await;
        }
        let end = seen.or(stored.end.as_ref().map(AuditEntry::anchor));
        let record = AuditRecord {
            at: now(),
            actor: self.actor.to_string(),
            event: AuditEvent::AUDIT_TRAIL_TAMPERED,
            cluster: None,
            subject: None,
            detail,
        };
        let entry = append(end.as_ref(), record, self.keys());
        let key = self.entry_key(entry.sequence);
        let transaction = Transaction::new()
            .when(self.head_guard(fault.revision))
            .when(Precondition::Absent(key.clone().into_bytes()))
            .then([
                WriteOp::put(key, encode_entry(&entry)?, None),
                WriteOp::put(self.head_key(), encode_entry(&entry)?, None),
            ]);
        if let TransactionOutcome::Committed { revision } =
            self.registry.transact(&transaction).await?
        {
            self.memory.note_repair(&entry.anchor());
            self.memory.forget_cached();
            self.memory.advance(TrailHead {
                end: Some(entry.anchor()),
                revision,
            });
            self.memory.raise(fault.reason);
        }
        Ok(())
    }

    /// Replaces the head by the last authentic entry.
    async fn restore_head(&self, fault: HeadFault, last: &AuditEntry) -> Result<(), AuditError> {
        let transaction = Transaction::new()
            .when(self.head_guard(fault.revision))
            .then([WriteOp::put(self.head_key(), encode_entry(last)?, None)]);
        let outcome = self.registry.transact(&transaction).await?;
        if matches!(outcome, TransactionOutcome::Committed { .. }) {
            self.memory.raise(fault.reason);
        }
        Ok(())
    }

    /// The last authentic entry that is stored, and what follows it.
    async fn stored_end(&self) -> Result<StoredEnd, AuditError> {
        let prefix = keyspace::audit_entries(&self.state_prefix);
        let stored = self.registry.list(prefix).await?.entries;
        let decoded: Vec<Option<AuditEntry>> = stored
            .iter()
            .map(|entry| self.entry_in_place(entry))
            .collect();
        let last = |is_good: &dyn Fn(&AuditEntry) -> bool| {
            decoded
                .iter()
                .flatten()
                .filter(|entry| is_good(entry))
                .max_by_key(|entry| entry.sequence)
                .cloned()
        };
        let authentic = self
            .keys
            .as_ref()
            .and_then(|keys| last(&|entry| entry.is_authentic(&**keys)));
        // Without a secret, or in a trail that has no seal yet, entries can only be consistent.
        let end =
            authentic.or_else(|| last(&|entry| is_consistent(entry) && !self.is_forged(entry)));
        let reached = end.as_ref().map_or(0, |end| end.sequence);
        let mut gaps = Vec::new();
        // A cut that is not genuine is reported as tampered; here it only makes more entries missing.
        let mut next = match self.cut().await {
            Ok(cut) => cut.map_or(1, |cut| cut.first),
            Err(AuditError::Registry(error @ Error::Unavailable { .. })) => {
                return Err(error.into());
            }
            Err(_) => 1,
        };
        for entry in decoded.iter().flatten() {
            if entry.sequence > reached {
                break;
            }
            if entry.sequence > next {
                gaps.push((next, entry.sequence - 1));
            }
            next = next.max(entry.sequence + 1);
        }
        let strays = stored
            .into_iter()
            .zip(decoded)
            .filter(|(_, entry)| entry.as_ref().is_none_or(|entry| entry.sequence > reached))
            .map(|(stored, _)| stored)
            .collect();
        Ok(StoredEnd { end, strays, gaps })
    }

    /// The entry, if it is one and lies at its key.
    fn entry_in_place(&self, stored: &RegistryEntry) -> Option<AuditEntry> {
        let entry = decode_entry(stored).ok()?;
        let in_place = (1..=SEQUENCE_MAX).contains(&entry.sequence)
            && self.entry_key(entry.sequence).as_bytes() == stored.key;
        in_place.then_some(entry)
    }

    /// Deletes `strays`, unless they changed since they were read.
    async fn delete_strays(&self, strays: &[RegistryEntry]) -> Result<(), AuditError> {
        for strays in strays.chunks(DELETIONS_MAX) {
            let mut transaction = Transaction::new();
            for stray in strays {
                let key = String::from_utf8_lossy(&stray.key);
                tracing::error!(
                    key = &*key,
                    value = &*String::from_utf8_lossy(&stray.value[..stray.value.len().min(1024)]),
                    "Removing {key} from the audit trail, which no console wrote"
                );
                transaction = transaction
                    .when(Precondition::Unchanged(
                        stray.key.clone(),
                        stray.mod_revision,
                    ))
                    .then([WriteOp::delete(stray.key.clone())]);
            }
            self.registry.transact(&transaction).await?;
        }
        Ok(())
    }
}

/// Such as `4 to 6, 9`.
fn describe_gaps(gaps: &[(u64, u64)]) -> String {
    let ranges = gaps.iter().take(GAPS_NAMED_MAX).map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first} to {last}")
        }
    });
    let named: Vec<String> = ranges.collect();
    let more = if gaps.len() > GAPS_NAMED_MAX {
        " and more"
    } else {
        ""
    };
    format!("{}{more}", named.join(", "))
}

fn has_key(entries: &[RegistryEntry], key: &str) -> bool {
    entries.iter().any(|entry| entry.key == key.as_bytes())
}
