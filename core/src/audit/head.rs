//! The end of the trail: whether the stored head is genuine, and how the trail continues where it is not.
//!
//! A head is genuine if its seals are valid and it is not older than the last one that this process has seen. Otherwise the
//! trail continues after its last authentic entry, with an entry that records what was found: the console goes on working,
//! and the change is never unrecorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use galera::Timestamp;
use galera::record::audit::{
    AuditAnchor, AuditEntry, AuditEvent, AuditRecord, EntrySeal, append, is_consistent,
};
use registry::{Error, Precondition, RegistryEntry, Transaction, TransactionOutcome, WriteOp};
use tokio::sync::watch;

use super::{AuditError, AuditTrail, decode_entry, encode_entry};
use crate::clock::now;
use crate::keyspace;

/// The highest number of an entry, by the format of its key.
const SEQUENCE_MAX: u64 = 999_999_999_999;
/// Entries that one transaction deletes; etcd permits 128 operations.
pub(super) const DELETIONS_MAX: usize = 50;
/// Ranges of missing entries that an entry about them names.
const GAPS_NAMED_MAX: usize = 10;

/// The genuine end of the trail.
#[derive(Clone, Debug)]
pub(super) struct TrailHead {
    pub(super) end: Option<AuditAnchor>,
    /// The revision of the head's key; 0 if it does not exist.
    pub(super) revision: i64,
}

/// A head that is not genuine.
struct HeadFault {
    /// Why, as part of a sentence.
    reason: String,
    /// The revision of the head's key; 0 if it does not exist or its seal is not valid.
    revision: i64,
}

/// A change of the trail outside the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailAlarm {
    /// When it was found.
    pub at: Timestamp,
    /// What was found, as part of a sentence.
    pub reason: String,
}

/// The changes outside the console that this process has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailAlarms {
    pub count: u64,
    pub latest: Option<TrailAlarm>,
}

/// What this process knows about the trail.
#[derive(Debug, Default)]
pub(super) struct TrailMemory {
    state: Mutex<KnownTrail>,
    alarms: watch::Sender<Arc<TrailAlarms>>,
    /// Held while the trail is repaired.
    repair: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct KnownTrail {
    /// The last known head; another replica may have advanced it.
    cached: Option<TrailHead>,
    /// The latest place that the trail is known to have reached.
    seen: Option<AuditAnchor>,
    /// The last known entry about a change outside the console.
    repair: Option<AuditAnchor>,
}

impl TrailMemory {
    fn lock(&self) -> MutexGuard<'_, KnownTrail> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns a genuine head; of two writers in this process the later revision wins.
    pub(super) fn advance(&self, head: TrailHead) {
        let mut known = self.lock();
        if let Some(end) = &head.end {
            known.see(end);
        }
        let is_later = known
            .cached
            .as_ref()
            .is_none_or(|cached| head.revision > cached.revision);
        if is_later {
            known.cached = Some(head);
        }
    }

    pub(super) fn forget_cached(&self) {
        self.lock().cached = None;
    }

    pub(super) fn seen(&self) -> Option<AuditAnchor> {
        self.lock().seen.clone()
    }

    pub(super) fn remember(&self, anchor: &AuditAnchor) {
        self.lock().see(anchor);
    }

    /// Learns an entry about a change outside the console; returns whether it is new.
    pub(super) fn note_repair(&self, anchor: &AuditAnchor) -> bool {
        self.lock().repair.replace(anchor.clone()).as_ref() != Some(anchor)
    }

    pub(super) fn raise(&self, reason: String) {
        tracing::error!(
            reason,
            "The audit trail in etcd was changed outside the console: {reason}"
        );
        self.alarms.send_modify(|alarms| {
            *alarms = Arc::new(TrailAlarms {
                count: alarms.count + 1,
                latest: Some(TrailAlarm { at: now(), reason }),
            });
        });
    }
}

impl KnownTrail {
    fn see(&mut self, anchor: &AuditAnchor) {
        if self
            .seen
            .as_ref()
            .is_none_or(|seen| seen.sequence < anchor.sequence)
        {
            self.seen = Some(anchor.clone());
        }
    }
}

/// The stored entries, judged.
#[derive(Default)]
struct StoredEnd {
    /// The last authentic entry.
    end: Option<AuditAnchor>,
    /// What follows it.
    strays: Vec<RegistryEntry>,
    /// The first and last numbers of the entries that are missing before it.
    gaps: Vec<(u64, u64)>,
}

impl AuditTrail {
    /// Notifies of changes outside the console that this process finds.
    #[must_use]
    pub fn watch_alarms(&self) -> watch::Receiver<Arc<TrailAlarms>> {
        self.memory.alarms.subscribe()
    }

    /// The latest place that the trail is known to have reached.
    #[must_use]
    pub fn last_seen(&self) -> Option<AuditAnchor> {
        self.memory.seen()
    }

    /// Learns that the trail has reached `anchor`: a head before it was put back.
    pub fn remember(&self, anchor: &AuditAnchor) {
        self.memory.remember(anchor);
    }

    /// The genuine head; `None` after the trail was repaired, which may have moved it.
    pub(super) async fn head(&self) -> Result<Option<TrailHead>, AuditError> {
        let cached = self.memory.lock().cached.clone();
        if cached.is_some() {
            return Ok(cached);
        }
        match self.read_head().await? {
            Ok(head) => {
                self.memory.advance(head.clone());
                Ok(Some(head))
            }
            Err(_) => {
                self.repair().await?;
                Ok(None)
            }
        }
    }

    /// Reads and judges the head.
    async fn read_head(&self) -> Result<Result<TrailHead, HeadFault>, AuditError> {
        if self.registry.holds_writes() {
            return Err(self.registry.held_error().into());
        }
        // Taken before the read, which then cannot return an earlier state.
        let seen = self.memory.seen();
        let fault = |revision, reason: String| Ok(Err(HeadFault { reason, revision }));
        let stored = match self.registry.get(self.head_key()).await {
            Err(Error::Tampered { reason, .. }) => {
                return fault(0, format!("the head of the trail is not genuine: {reason}"));
            }
            stored => stored?,
        };
        let Some(stored) = stored else {
            let prefix = keyspace::audit_entries(&self.state_prefix);
            if seen.is_none() && self.registry.list(prefix).await?.entries.is_empty() {
                return Ok(Ok(TrailHead {
                    end: None,
                    revision: 0,
                }));
            }
            return fault(0, "the head of the trail was deleted".to_owned());
        };
        let revision = stored.mod_revision;
        let Ok(entry) = decode_entry(&stored) else {
            return fault(
                revision,
                "the head of the trail cannot be decoded".to_owned(),
            );
        };
        if !is_consistent(&entry) || self.is_forged(&entry) {
            let reason = format!("the head of the trail, entry {}, is forged", entry.sequence);
            return fault(revision, reason);
        }
        match seen {
            Some(seen) if entry.sequence < seen.sequence => fault(
                revision,
                format!(
                    "the head of the trail is entry {}, although entry {} was seen",
                    entry.sequence, seen.sequence
                ),
            ),
            Some(seen) if entry.sequence == seen.sequence && entry.hash != seen.hash => fault(
                revision,
                format!(
                    "the head of the trail, entry {}, was replaced",
                    seen.sequence
                ),
            ),
            _ => Ok(Ok(TrailHead {
                end: Some(entry.anchor()),
                revision,
            })),
        }
    }

    /// Whether the entry has a seal that is not valid. One of a secret before the last rotation cannot be checked.
    fn is_forged(&self, entry: &AuditEntry) -> bool {
        match (&entry.seal, &self.keys) {
            (Some(EntrySeal { kid, .. }), Some(keys)) if keys.contains(kid) => {
                !entry.is_authentic(&**keys)
            }
            _ => false,
        }
    }

    /// Checks the stored head; if it is not genuine, raises an alarm and lets the trail continue after its last authentic
    /// entry. Returns whether it was genuine.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn check_head(&self) -> Result<bool, AuditError> {
        match self.read_head().await? {
            Ok(head) => {
                self.memory.advance(head);
                Ok(true)
            }
            Err(_) => self.repair().await.map(|()| false),
        }
    }

    async fn repair(&self) -> Result<(), AuditError> {
        let _one = self.memory.repair.lock().await;
        // Another task, or another replica, may have been faster.
        match self.read_head().await? {
            Ok(head) => {
                self.memory.advance(head);
                Ok(())
            }
            Err(fault) => self.continue_after(fault).await,
        }
    }

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

    /// Appends an entry about `fault` after the last authentic entry, and replaces the head by it.
    async fn continue_after(&self, fault: HeadFault) -> Result<(), AuditError> {
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
        let end = seen.or(stored.end);
        self.delete_strays(&stored.strays).await?;
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
                .map(AuditEntry::anchor)
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
