//! Follows the chronicle and the audit trail, and writes what is to be told into the outbox.
//!
//! What was read and told is kept in etcd and moved on by the same transaction that queues the deliveries: a replica that
//! dies leaves both or neither, and the next leader goes on from there.

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
use super::sender::FiringAlert;
use super::target_cache::{CachedTarget, enabled_rules};

/// Between attempts when etcd did not answer.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest wait for news: maintenance ends without any.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How many changes are read at once.
const BATCH_SIZE: usize = 100;
/// How far back the verdict of a cluster is looked for that was never followed before.
const LOOKBACK_EVENTS: u64 = 500;
/// How far a cursor may be ahead of what is kept of it, when there was nothing to tell.
const UNSAVED_MAX: u64 = 200;

/// What each Alertmanager is to be told again.
pub(super) type FiringAlerts = Arc<BTreeMap<String, Vec<FiringAlert>>>;

/// Why the crier starts over.
#[derive(Debug, thiserror::Error)]
enum DispatchError {
    #[error(transparent)]
    Trail(#[from] AuditError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("somebody else wrote it, or another replica leads")]
    Conflict,
}

impl From<registry::Error> for DispatchError {
    fn from(error: registry::Error) -> Self {
        Self::Trail(error.into())
    }
}

/// Something kept in etcd, as of a revision (0 when it was never written), and how far it is kept.
#[derive(Debug, Default)]
struct StoredCursor<T> {
    value: T,
    revision: i64,
    /// The cursor that etcd holds.
    stored_sequence: u64,
}

/// What was read and told.
struct DispatchState {
    verdict_trackers: BTreeMap<ClusterName, StoredCursor<VerdictTracker>>,
    audit_cursor: StoredCursor<AuditCursor>,
}

/// Whom to tell.
struct DispatchTargets {
    /// Every target there is.
    targets: Arc<BTreeMap<String, CachedTarget>>,
    /// The rules of those that are told anything.
    rules: BTreeMap<String, TargetRules>,
}

/// The crier of one term.
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
        let (fires, receiver) = watch::channel(FiringAlerts::default());
        let crier = Self {
            inner,
            term,
            firing_alerts: fires,
        };
        (crier, receiver)
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.dispatch().await {
                tracing::debug!(%error, "Following what is to be told starts over: {error}");
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    async fn dispatch(&self) -> Result<(), DispatchError> {
        let mut news = self.inner.sources.history.latest_sequences();
        let mut targets = self.inner.targets.subscribe();
        let mut entries = self.inner.sources.trail.watch_head();
        let mut desk = self.load_state().await?;
        loop {
            // Both are marked as seen before they are read, so that no change is missed between.
            let (latest, table) = (
                news.borrow_and_update().clone(),
                targets.borrow_and_update().clone(),
            );
            // Nobody is told before it is known who there is: a cursor that moved on would not come back.
            if let Some(known) = table {
                let listeners = DispatchTargets {
                    rules: enabled_rules(&known),
                    targets: known,
                };
                self.dispatch_trail(&mut desk, &listeners).await?;
                for (cluster, sequence) in latest.iter() {
                    self.dispatch_cluster(&mut desk, cluster, *sequence, &listeners)
                        .await?;
                }
                self.publish_firing_alerts(&desk);
                let wait = self.next_wait(&desk, &listeners);
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return Ok(()) },
                    changed = targets.changed() => if changed.is_err() { return Ok(()) },
                    event = entries.next() => if event.is_none() { return Ok(()) },
                    () = tokio::time::sleep(wait) => {}
                }
            } else if targets.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn load_state(&self) -> Result<DispatchState, DispatchError> {
        let (registry, keys) = (&self.inner.registry, &self.inner.keys);
        let prefix = keys.verdict_trackers();
        let mut courses = BTreeMap::new();
        for entry in registry.list(prefix.clone()).await?.entries {
            let name = std::str::from_utf8(&entry.key).ok();
            let name = name.and_then(|key| key.strip_prefix(&prefix)?.parse::<ClusterName>().ok());
            if let (Some(name), Some(course)) = (name, decode::<VerdictTracker>(&entry)) {
                let sequence = course.sequence;
                courses.insert(
                    name,
                    StoredCursor {
                        value: course,
                        revision: entry.mod_revision,
                        stored_sequence: sequence,
                    },
                );
            }
        }
        let entry = registry.get(keys.audit_cursor()).await?;
        let reading = match entry
            .as_ref()
            .and_then(|entry| Some((entry, decode::<AuditCursor>(entry)?)))
        {
            Some((entry, reading)) => {
                let sequence = reading.sequence;
                StoredCursor {
                    value: reading,
                    revision: entry.mod_revision,
                    stored_sequence: sequence,
                }
            }
            // What happened before anybody listened is not told.
            None => {
                let newest = self.inner.sources.trail.newest_sequence().await?;
                let mut kept = StoredCursor {
                    value: AuditCursor::starting_after(newest),
                    revision: entry.map_or(0, |entry| entry.mod_revision),
                    stored_sequence: 0,
                };
                self.commit(&keys.audit_cursor(), &mut kept, newest, Vec::new())
                    .await?;
                kept
            }
        };
        Ok(DispatchState {
            verdict_trackers: courses,
            audit_cursor: reading,
        })
    }

    async fn dispatch_trail(
        &self,
        desk: &mut DispatchState,
        listeners: &DispatchTargets,
    ) -> Result<(), DispatchError> {
        let key = self.inner.keys.audit_cursor();
        let reading = &mut desk.audit_cursor;
        while let Some(entry) = self
            .inner
            .sources
            .trail
            .entry(reading.value.sequence + 1)
            .await?
        {
            let Some(notice) = reading.value.apply(&entry) else {
                continue;
            };
            let wanted = |rules: &&TargetRules| rules.accepts(notice.kind, notice.cluster.as_ref());
            let told: Vec<AddressedNotification> = listeners
                .rules
                .iter()
                .filter(|(_, rules)| wanted(rules))
                .map(|(target, _)| (target.clone(), notice.clone()))
                .collect();
            let sequence = reading.value.sequence;
            self.commit(&key, reading, sequence, told).await?;
        }
        let sequence = reading.value.sequence;
        if sequence - reading.stored_sequence.min(sequence) >= UNSAVED_MAX {
            self.commit(&key, reading, sequence, Vec::new()).await?;
        }
        Ok(())
    }

    async fn dispatch_cluster(
        &self,
        desk: &mut DispatchState,
        cluster: &ClusterName,
        latest: u64,
        listeners: &DispatchTargets,
    ) -> Result<(), DispatchError> {
        let key = self.inner.keys.verdict_tracker(cluster);
        let quiet = |at: Timestamp| (self.inner.sources.in_maintenance)(cluster, at);
        let around = NotificationContext {
            cluster,
            targets: &listeners.rules,
            in_maintenance: &quiet,
        };
        let kept = match desk.verdict_trackers.entry(cluster.clone()) {
            std::collections::btree_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let course = self.replay_recent(cluster, latest).await?;
                place.insert(StoredCursor {
                    value: course,
                    ..StoredCursor::default()
                })
            }
        };
        while kept.value.sequence < latest {
            let events = self
                .events_after(cluster, kept.value.sequence, BATCH_SIZE)
                .await?;
            if events.is_empty() {
                break;
            }
            for event in events {
                let sequence = event.sequence;
                let Some(change) = verdict_change(event) else {
                    kept.value.sequence = sequence;
                    continue;
                };
                let told = kept.value.apply(change, &around);
                if !told.is_empty() {
                    self.commit(&key, kept, sequence, told).await?;
                }
            }
        }
        let told = kept.value.advance(now(), &around);
        let forgot = kept
            .value
            .retain_targets(|target| listeners.targets.contains_key(target));
        let sequence = kept.value.sequence;
        if !told.is_empty()
            || forgot
            || kept.revision == 0
            || sequence - kept.stored_sequence >= UNSAVED_MAX
        {
            self.commit(&key, kept, sequence, told).await?;
        }
        Ok(())
    }

    /// How a cluster came to where it is that was never followed before.
    async fn replay_recent(
        &self,
        cluster: &ClusterName,
        latest: u64,
    ) -> Result<VerdictTracker, DispatchError> {
        let mut course = VerdictTracker::starting_after(latest.saturating_sub(LOOKBACK_EVENTS));
        let limit = usize::try_from(LOOKBACK_EVENTS).unwrap_or(usize::MAX);
        for event in self.events_after(cluster, course.sequence, limit).await? {
            let sequence = event.sequence;
            match verdict_change(event) {
                Some(change) => course.replay(change),
                None => course.sequence = sequence,
            }
        }
        Ok(course)
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

    /// Writes the deliveries of `told` and what was read in one transaction of this term.
    async fn commit<T: Serialize>(
        &self,
        key: &str,
        kept: &mut StoredCursor<T>,
        sequence: u64,
        told: Vec<AddressedNotification>,
    ) -> Result<(), DispatchError> {
        let value = serde_json::to_vec(&kept.value)
            .map_err(|error| registry::Error::Invalid(error.to_string()))?;
        let guard = match kept.revision {
            0 => Precondition::Absent(key.into()),
            seen => Precondition::Unchanged(key.into(), seen),
        };
        let at = now();
        let queued: Vec<WriteOp> = told
            .into_iter()
            .map(|(target, notice)| {
                outbox::enqueue_write(&self.inner.keys, &outbox::new_delivery(&target, notice, at))
            })
            .collect();
        let transaction = Transaction::new()
            .when(self.term.fence())
            .when(guard)
            .then([WriteOp::put(key, value, None)])
            .then(queued);
        match self.inner.registry.transact(&transaction).await? {
            TransactionOutcome::Committed { revision } => {
                kept.revision = revision;
                kept.stored_sequence = sequence;
                Ok(())
            }
            TransactionOutcome::Refused { .. } => Err(DispatchError::Conflict),
        }
    }

    fn publish_firing_alerts(&self, desk: &DispatchState) {
        let mut fires: BTreeMap<String, Vec<FiringAlert>> = BTreeMap::new();
        for (cluster, kept) in &desk.verdict_trackers {
            for (target, notice) in kept.value.open_notifications(cluster) {
                fires.entry(target).or_default().push(FiringAlert {
                    notification: notice,
                });
            }
        }
        self.firing_alerts.send_if_modified(|known| {
            let differs = **known != fires;
            if differs {
                *known = Arc::new(fires);
            }
            differs
        });
    }

    /// How long until something is due.
    fn next_wait(&self, desk: &DispatchState, listeners: &DispatchTargets) -> Duration {
        let at = now();
        let due = desk
            .verdict_trackers
            .iter()
            .filter_map(|(cluster, kept)| kept.value.next_due(cluster, &listeners.rules))
            // What lies in the past is held back by maintenance.
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
            tracing::warn!(key, %error, "What was told before cannot be read from {key}: {error}");
        })
        .ok()
}
