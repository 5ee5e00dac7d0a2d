//! The end of the trail: whether the stored head is genuine, and how the trail continues where it is not.
//!
//! A head is genuine if its seals are valid and it is not older than the last one that this process has seen. Otherwise the
//! trail is repaired: see [`super::repair`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use galera::Timestamp;
use galera::record::audit::{AuditAnchor, AuditEntry, EntrySeal, is_consistent};
use registry::Error;
use tokio::sync::watch;

use super::{AuditError, AuditTrail, decode_entry};
use crate::clock::now;
use crate::keyspace;

/// Entries about changes outside the console that a process writes in an hour.
const REPAIR_ENTRIES_PER_HOUR: usize = 60;

/// The genuine end of the trail.
#[derive(Clone, Debug)]
pub(super) struct TrailHead {
    pub(super) end: Option<AuditAnchor>,
    /// The revision of the head's key; 0 if it does not exist.
    pub(super) revision: i64,
}

/// A head that is not genuine.
pub(super) struct HeadFault {
    /// Why, as part of a sentence.
    pub(super) reason: String,
    /// The revision of the head's key; 0 if it does not exist or its seal is not valid.
    pub(super) revision: i64,
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
    /// The latest one, until it is acknowledged.
    pub latest: Option<TrailAlarm>,
}

/// What this process knows about the trail.
#[derive(Debug, Default)]
pub(super) struct TrailMemory {
    state: Mutex<KnownTrail>,
    alarms: watch::Sender<Arc<TrailAlarms>>,
    /// Held while the trail is repaired.
    pub(super) repair: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct KnownTrail {
    /// The last known head; another replica may have advanced it.
    cached: Option<TrailHead>,
    /// The latest place that the trail is known to have reached.
    seen: Option<AuditAnchor>,
    /// The last known entry about a change outside the console.
    repair: Option<AuditAnchor>,
    /// When this process wrote such entries, in the last hour.
    repairs: VecDeque<Instant>,
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

    /// Whether another entry about a change may be written: they must not fill the trail.
    pub(super) fn permits_repair_entry(&self, now: Instant) -> bool {
        let mut known = self.lock();
        let hour = Duration::from_secs(3600);
        while known
            .repairs
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= hour)
        {
            known.repairs.pop_front();
        }
        let permitted = known.repairs.len() < REPAIR_ENTRIES_PER_HOUR;
        if permitted {
            known.repairs.push_back(now);
        }
        permitted
    }

    /// Ends the alarm; how many there were stays.
    pub(super) fn end_alarm(&self) {
        self.alarms.send_if_modified(|alarms| {
            let ended = alarms.latest.is_some();
            if ended {
                *alarms = Arc::new(TrailAlarms {
                    count: alarms.count,
                    latest: None,
                });
            }
            ended
        });
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

impl AuditTrail {
    /// Notifies of changes outside the console that this process finds.
    #[must_use]
    pub fn watch_alarms(&self) -> watch::Receiver<Arc<TrailAlarms>> {
        self.memory.alarms.subscribe()
    }

    /// Ends the alarm, because an administrator acknowledged it.
    pub fn end_alarm(&self) {
        self.memory.end_alarm();
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
    pub(super) async fn read_head(&self) -> Result<Result<TrailHead, HeadFault>, AuditError> {
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
    pub(super) fn is_forged(&self, entry: &AuditEntry) -> bool {
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
}
