//! Follows the event history and the audit trail, and writes notifications into the outbox.
//!
//! The read cursors and the notifications sent are stored in etcd and advanced in the transaction that enqueues the
//! deliveries, so a crash leaves both or neither, and the next leader continues from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::audit::AuditError;
use console_core::clock::now;
use console_core::leader::Term;
use galera::publish::notification::TargetRules;
use galera::publish::notification::audit_trail::AuditCursor;
use galera::publish::notification::verdicts::{
    AddressedNotification, NotificationContext, VerdictChange, VerdictTracker,
};
use galera::record::history::{HistoryEvent, StateChange as HistoryChange};
use galera::{ClusterName, Timestamp};
use history::HistoryError;
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::NotifyInner;
use super::outbox;
use super::queue_numbers::NextNumbers;
use super::sender::FiringAlert;
use super::target_cache::{CachedTarget, enabled_rules};

/// Pause after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest wait for an event: maintenance ends without one.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Events read from the history together.
const BATCH_SIZE: usize = 100;
/// How many events are replayed to find the verdict of a cluster that was never followed before.
const LOOKBACK_EVENTS: u64 = 500;
/// Persist a cursor after this many entries even if none produced a notification.
const UNSAVED_MAX: u64 = 200;

/// The alerts to repeat, by target.
pub(super) type FiringAlerts = Arc<BTreeMap<String, Vec<FiringAlert>>>;

#[derive(Debug, thiserror::Error)]
enum DispatchError {
    #[error(transparent)]
    Trail(#[from] AuditError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("changed by another write, or another replica leads")]
    Conflict,
}

impl From<registry::Error> for DispatchError {
    fn from(error: registry::Error) -> Self {
        Self::Trail(error.into())
    }
}

/// A value stored in etcd that holds a cursor.
#[derive(Debug, Default)]
struct StoredCursor<T> {
    value: T,
    /// 0 when it was never written.
    revision: i64,
    /// The cursor as stored in etcd; `value` may be ahead of it.
    stored_sequence: u64,
}

/// What was read and notified of so far.
struct DispatchState {
    verdict_trackers: BTreeMap<ClusterName, StoredCursor<VerdictTracker>>,
    audit_cursor: StoredCursor<AuditCursor>,
}

struct DispatchTargets {
    by_id: Arc<BTreeMap<String, CachedTarget>>,
    /// Rules of the enabled targets.
    rules: BTreeMap<String, TargetRules>,
}

/// The dispatcher of one leader term.
pub(super) struct Dispatcher {
    inner: Arc<NotifyInner>,
    term: Arc<Term>,
    firing_alerts: watch::Sender<FiringAlerts>,
}

impl Dispatcher {
    pub(super) fn new(
        inner: Arc<NotifyInner>,
        term: Arc<Term>,
    ) -> (Self, watch::Receiver<FiringAlerts>) {
        let (firing_alerts, receiver) = watch::channel(FiringAlerts::default());
        let dispatcher = Self {
            inner,
            term,
            firing_alerts,
        };
        (dispatcher, receiver)
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.dispatch().await {
                tracing::debug!(%error, "Could not dispatch notifications; will retry: {error}");
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    async fn dispatch(&self) -> Result<(), DispatchError> {
        let mut latest = self.inner.sources.history.latest_sequences();
        let mut snapshots = self.inner.targets.subscribe();
        let mut entries = self.inner.sources.trail.watch_head();
        let mut state = self.load_state().await?;
        loop {
            // Both are marked as seen before they are read, so that no change in between is missed.
            let (sequences, snapshot) = (
                latest.borrow_and_update().clone(),
                snapshots.borrow_and_update().clone(),
            );
            // Not before the targets are loaded: the cursors would pass events that no target got.
            if let Some(all) = snapshot {
                let targets = DispatchTargets {
                    rules: enabled_rules(&all),
                    by_id: all,
                };
                self.dispatch_trail(&mut state, &targets).await?;
                for (cluster, sequence) in sequences.iter() {
                    self.dispatch_cluster(&mut state, cluster, *sequence, &targets)
                        .await?;
                }
                self.publish_firing_alerts(&state);
                let wait = self.next_wait(&state, &targets);
                tokio::select! {
                    changed = latest.changed() => if changed.is_err() { return Ok(()) },
                    changed = snapshots.changed() => if changed.is_err() { return Ok(()) },
                    event = entries.next() => if event.is_none() { return Ok(()) },
                    () = tokio::time::sleep(wait) => {}
                }
            } else if snapshots.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn load_state(&self) -> Result<DispatchState, DispatchError> {
        let (registry, keys) = (&self.inner.registry, &self.inner.keys);
        let prefix = keys.verdict_trackers();
        let mut trackers = BTreeMap::new();
        for entry in registry.list(prefix.clone()).await?.entries {
            let name = std::str::from_utf8(&entry.key).ok();
            let name = name.and_then(|key| key.strip_prefix(&prefix)?.parse::<ClusterName>().ok());
            if let (Some(name), Some(tracker)) = (name, decode::<VerdictTracker>(&entry)) {
                let sequence = tracker.sequence;
                trackers.insert(
                    name,
                    StoredCursor {
                        value: tracker,
                        revision: entry.mod_revision,
                        stored_sequence: sequence,
                    },
                );
            }
        }
        let entry = match registry.get(keys.audit_cursor()).await {
            // Named like every record that was changed outside the console; what it was is not known.
            Err(registry::Error::Tampered { .. }) => None,
            read => read?,
        };
        let cursor = match entry
            .as_ref()
            .and_then(|entry| Some((entry, decode::<AuditCursor>(entry)?)))
        {
            Some((entry, cursor)) => {
                let sequence = cursor.sequence;
                StoredCursor {
                    value: cursor,
                    revision: entry.mod_revision,
                    stored_sequence: sequence,
                }
            }
            // Events from before the first start are not notified of.
            None => {
                let newest = self.inner.sources.trail.newest_sequence().await?;
                let mut stored = StoredCursor {
                    value: AuditCursor::starting_after(newest),
                    revision: entry.map_or(0, |entry| entry.mod_revision),
                    stored_sequence: 0,
                };
                self.commit(&keys.audit_cursor(), &mut stored, newest, Vec::new())
                    .await?;
                stored
            }
        };
        Ok(DispatchState {
            verdict_trackers: trackers,
            audit_cursor: cursor,
        })
    }

    async fn dispatch_trail(
        &self,
        state: &mut DispatchState,
        targets: &DispatchTargets,
    ) -> Result<(), DispatchError> {
        let key = self.inner.keys.audit_cursor();
        let cursor = &mut state.audit_cursor;
        while let Some(entry) = self
            .inner
            .sources
            .trail
            .entry_after(cursor.value.sequence)
            .await?
        {
            let expected = cursor.value.sequence + 1;
            if entry.sequence > expected {
                tracing::error!(
                    from = expected,
                    to = entry.sequence - 1,
                    "No notifications of audit entries {expected} to {}, which are missing",
                    entry.sequence - 1
                );
            }
            let Some(notification) = cursor.value.apply(&entry) else {
                continue;
            };
            let matching = |rules: &&TargetRules| {
                rules.accepts(notification.kind, notification.cluster.as_ref())
            };
            let notifications: Vec<AddressedNotification> = targets
                .rules
                .iter()
                .filter(|(_, rules)| matching(rules))
                .map(|(target, _)| (target.clone(), notification.clone()))
                .collect();
            let sequence = cursor.value.sequence;
            self.commit(&key, cursor, sequence, notifications).await?;
        }
        let sequence = cursor.value.sequence;
        if sequence - cursor.stored_sequence.min(sequence) >= UNSAVED_MAX {
            self.commit(&key, cursor, sequence, Vec::new()).await?;
        }
        Ok(())
    }

    async fn dispatch_cluster(
        &self,
        state: &mut DispatchState,
        cluster: &ClusterName,
        latest: u64,
        targets: &DispatchTargets,
    ) -> Result<(), DispatchError> {
        let key = self.inner.keys.verdict_tracker(cluster);
        let in_maintenance = |at: Timestamp| (self.inner.sources.in_maintenance)(cluster, at);
        let context = NotificationContext {
            cluster,
            targets: &targets.rules,
            in_maintenance: &in_maintenance,
        };
        let stored = match state.verdict_trackers.entry(cluster.clone()) {
            std::collections::btree_map::Entry::Occupied(stored) => stored.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                let tracker = self.replay_recent(cluster, latest).await?;
                vacant.insert(StoredCursor {
                    value: tracker,
                    ..StoredCursor::default()
                })
            }
        };
        while stored.value.sequence < latest {
            let events = self
                .events_after(cluster, stored.value.sequence, BATCH_SIZE)
                .await?;
            if events.is_empty() {
                break;
            }
            for event in events {
                let sequence = event.sequence;
                let Some(change) = verdict_change(event) else {
                    stored.value.sequence = sequence;
                    continue;
                };
                let notifications = stored.value.apply(change, &context);
                if !notifications.is_empty() {
                    self.commit(&key, stored, sequence, notifications).await?;
                }
            }
        }
        let notifications = stored.value.advance(now(), &context);
        let removed_any = stored
            .value
            .retain_targets(|target| targets.by_id.contains_key(target));
        let sequence = stored.value.sequence;
        if !notifications.is_empty()
            || removed_any
            || stored.revision == 0
            || sequence - stored.stored_sequence >= UNSAVED_MAX
        {
            self.commit(&key, stored, sequence, notifications).await?;
        }
        Ok(())
    }

    /// Replays the recent events of a cluster that was never followed before.
    async fn replay_recent(
        &self,
        cluster: &ClusterName,
        latest: u64,
    ) -> Result<VerdictTracker, DispatchError> {
        let mut tracker = VerdictTracker::starting_after(latest.saturating_sub(LOOKBACK_EVENTS));
        let limit = usize::try_from(LOOKBACK_EVENTS).unwrap_or(usize::MAX);
        for event in self.events_after(cluster, tracker.sequence, limit).await? {
            let sequence = event.sequence;
            match verdict_change(event) {
                Some(change) => tracker.replay(change),
                None => tracker.sequence = sequence,
            }
        }
        Ok(tracker)
    }

    async fn events_after(
        &self,
        cluster: &ClusterName,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<HistoryEvent>, DispatchError> {
        Ok(self
            .inner
            .sources
            .history
            .events_after(cluster, sequence, limit)
            .await?)
    }

    /// Writes the deliveries of `notifications` and the cursor in one transaction of this term.
    async fn commit<T: Serialize>(
        &self,
        key: &str,
        stored: &mut StoredCursor<T>,
        sequence: u64,
        notifications: Vec<AddressedNotification>,
    ) -> Result<(), DispatchError> {
        let mut changed_outside = false;
        loop {
            match self.try_commit(key, stored, sequence, &notifications).await {
                // What this replica has in memory is newer than what another client of etcd put there.
                Err(DispatchError::Trail(AuditError::Registry(registry::Error::Tampered {
                    key: tampered,
                    ..
                }))) if tampered == key && !changed_outside => {
                    changed_outside = true;
                    stored.revision = 0;
                }
                result => return result,
            }
        }
    }

    async fn try_commit<T: Serialize>(
        &self,
        key: &str,
        stored: &mut StoredCursor<T>,
        sequence: u64,
        notifications: &[AddressedNotification],
    ) -> Result<(), DispatchError> {
        let inner = &self.inner;
        let value = serde_json::to_vec(&stored.value)
            .map_err(|error| registry::Error::Invalid(error.to_string()))?;
        let unchanged = match stored.revision {
            0 => Precondition::Absent(key.into()),
            revision => Precondition::Unchanged(key.into(), revision),
        };
        let at = now();
        let targets = notifications.iter().map(|(target, _)| target.as_str());
        let mut numbers = NextNumbers::read(&inner.registry, &inner.keys, targets).await?;
        let queued: Vec<WriteOp> = notifications
            .iter()
            .map(|(target, notification)| {
                let number = numbers.take(target);
                let delivery =
                    outbox::new_delivery(&inner.seals, target, number, notification.clone(), at);
                outbox::enqueue_write(&inner.keys, &delivery)
            })
            .collect();
        let transaction = Transaction::new()
            .when(self.term.fence())
            .when(unchanged)
            .then([WriteOp::put(key, value, None)])
            .then(queued);
        let transaction = numbers.record_in(transaction);
        match inner.registry.transact(&transaction).await? {
            TransactionOutcome::Committed { revision } => {
                stored.revision = revision;
                stored.stored_sequence = sequence;
                Ok(())
            }
            TransactionOutcome::Refused { .. } => Err(DispatchError::Conflict),
        }
    }

    fn publish_firing_alerts(&self, state: &DispatchState) {
        let mut firing: BTreeMap<String, Vec<FiringAlert>> = BTreeMap::new();
        for (cluster, stored) in &state.verdict_trackers {
            for (target, notification) in stored.value.open_notifications(cluster) {
                firing
                    .entry(target)
                    .or_default()
                    .push(FiringAlert { notification });
            }
        }
        self.firing_alerts.send_if_modified(|published| {
            let differs = **published != firing;
            if differs {
                *published = Arc::new(firing);
            }
            differs
        });
    }

    /// How long to wait for the next due notification, at most.
    fn next_wait(&self, state: &DispatchState, targets: &DispatchTargets) -> Duration {
        let at = now();
        let due = state
            .verdict_trackers
            .iter()
            .filter_map(|(cluster, stored)| stored.value.next_due(cluster, &targets.rules))
            // Those in the past are held back by maintenance.
            .filter(|due| *due > at)
            .min();
        due.map_or(WAIT_MAX, |due| at.age(due).min(WAIT_MAX))
    }
}

fn verdict_change(event: HistoryEvent) -> Option<VerdictChange> {
    match event.change {
        HistoryChange::Verdict { to, reasons, .. } => Some(VerdictChange {
            sequence: event.sequence,
            at: event.at,
            to,
            reasons: reasons.into_iter().map(|reason| reason.message).collect(),
        }),
        HistoryChange::Node { .. } => None,
    }
}

fn decode<T: DeserializeOwned>(entry: &registry::RegistryEntry) -> Option<T> {
    serde_json::from_slice(&entry.value)
        .map_err(|error| {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            tracing::warn!(key, %error, "Ignoring unreadable notification state at {key}: {error}");
        })
        .ok()
}
