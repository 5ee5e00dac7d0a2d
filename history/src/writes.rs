//! Writes of the recording replica: pending events, and until when it observed.

use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::keyspace::HistoryKeys;
use futures::future::join_all;
use galera::record::history::HistoryEvent;
use galera::record::uptime::{Date, UptimeDay};
use galera::{ClusterName, Timestamp};
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};
use serde::Serialize;
use tokio::time::Instant;

use super::HistoryError;
use super::cache::ObservedUntilRecord;
use super::cluster_log::{ClusterLog, LogHead};
use super::recorder::{Recorder, RecordingTerm};

/// How often the recording replica writes until when it observed.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Events per transaction: etcd allows 128 operations in one.
const BATCH_SIZE: usize = 50;
const CONCURRENT_WRITES_MAX: usize = 16;
/// Days are kept at least this long, even when the retention of events is shorter.
const DAYS_RETENTION_MIN: Duration = Duration::from_secs(91 * 86_400);

/// A write to one cluster's history, and the resulting state of its log.
struct PreparedWrite {
    cluster: ClusterName,
    transaction: Transaction,
    head: LogHead,
    events: Vec<HistoryEvent>,
    days: Option<Vec<UptimeDay>>,
}

impl Recorder {
    /// Resolves the gap before this term, writes pending events, then compacts and expires older ones.
    pub(super) async fn record_as_leader(&mut self) -> Result<(), HistoryError> {
        let Some(term) = self.term_guard() else {
            return Ok(());
        };
        if !self.resolve_gap(&term).await? {
            return Ok(());
        }
        let until = self.tracked_until;
        self.restore_damaged(&term).await?;
        self.write_pending(&term).await?;
        self.heartbeat(&term, until).await?;
        self.compact(&term).await?;
        self.expire(&term).await
    }

    /// Precondition of every write in this replica's term.
    fn term_guard(&self) -> Option<Precondition> {
        let recording = self.recording.as_ref();
        recording.map(|recording| recording.term.fence())
    }

    /// Writes all pending events, as long as `authority` holds.
    pub(super) async fn write_pending(
        &mut self,
        authority: &Precondition,
    ) -> Result<(), HistoryError> {
        loop {
            let prepared = self.prepare_writes(authority)?;
            if prepared.is_empty() {
                return Ok(());
            }
            self.commit_writes(prepared).await?;
        }
    }

    /// The next write of each cluster that has pending events.
    fn prepare_writes(
        &mut self,
        authority: &Precondition,
    ) -> Result<Vec<PreparedWrite>, HistoryError> {
        let oldest = Date::of(now().minus(self.settings.retention.max(DAYS_RETENTION_MIN)));
        let mut prepared = Vec::new();
        for (cluster, tracked) in &mut self.clusters {
            let lost = tracked.tracker.take_dropped();
            if lost > 0 {
                self.metrics.lost(lost);
                tracing::warn!(cluster.id = %cluster, lost, "Dropped {lost} changes of cluster {cluster}: too many were waiting for etcd");
            }
            let empty = ClusterLog::default();
            let log = self.cache.cluster_log(cluster).map_or(&empty, Arc::as_ref);
            let events = tracked
                .tracker
                .next_events(BATCH_SIZE, log.head.last_event_at());
            if events.is_empty() {
                continue;
            }
            let mut head = log.head.clone();
            let completed: Vec<UptimeDay> =
                events.iter().flat_map(|event| head.append(event)).collect();
            let mut writes = vec![put_json(self.keys.head(cluster), &head)?];
            for event in &events {
                writes.push(put_json(self.keys.event(cluster, event.sequence), event)?);
            }
            let days = (!completed.is_empty()).then(|| log.merged_days(completed, oldest));
            if let Some(days) = &days {
                writes.push(put_json(self.keys.days(cluster), days)?);
            }
            prepared.push(PreparedWrite {
                transaction: guarded_transaction(&self.keys, authority.clone(), cluster, log)
                    .then(writes),
                cluster: cluster.clone(),
                head,
                events,
                days,
            });
            if prepared.len() == CONCURRENT_WRITES_MAX {
                break;
            }
        }
        Ok(prepared)
    }

    async fn commit_writes(&mut self, prepared: Vec<PreparedWrite>) -> Result<(), HistoryError> {
        let attempts = prepared.into_iter().map(|prepared| {
            let registry = self.registry.clone();
            async move { (registry.transact(&prepared.transaction).await, prepared) }
        });
        let mut failed = None;
        for (outcome, prepared) in join_all(attempts).await {
            match outcome {
                Ok(TransactionOutcome::Committed { revision }) => {
                    self.apply_committed(prepared, revision)
                }
                // Another replica wrote, or a reply of ours was lost, or this term is over: reload what is recorded.
                Ok(TransactionOutcome::Refused { .. }) => {
                    failed = Some(conflict_error(&prepared.cluster));
                    self.reload_cluster(&prepared.cluster).await?;
                }
                // Retrying is safe: if the write was applied, the head has changed and the next attempt is refused.
                Err(error) => failed = Some(error.into()),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn apply_committed(&mut self, prepared: PreparedWrite, revision: i64) {
        let cluster = prepared.cluster;
        let count = u64::try_from(prepared.events.len()).unwrap_or(u64::MAX);
        self.metrics.recorded(count);
        self.last_written_revision = self.last_written_revision.max(revision);
        let log = self.cache.cluster_log_mut(&cluster);
        log.set_head(prepared.head, revision);
        for event in prepared.events {
            log.add_event(event);
        }
        if let Some(days) = prepared.days {
            log.set_days(days, revision);
        }
        self.sync_tracker(&cluster);
    }

    /// Reads the head and the newest events of `cluster` from etcd.
    pub(super) async fn reload_cluster(
        &mut self,
        cluster: &ClusterName,
    ) -> Result<(), HistoryError> {
        // The head first, so that the listing holds every event up to it.
        let head = self.genuine(self.keys.head(cluster)).await?;
        let tail = self.registry.list(self.keys.tail(cluster)).await?;
        for entry in head.into_iter().chain(tail.entries) {
            self.cache.put(&entry);
        }
        self.sync_tracker(cluster);
        Ok(())
    }

    /// Writes at intervals that everything up to `until` is recorded.
    async fn heartbeat(
        &mut self,
        term: &Precondition,
        until: Timestamp,
    ) -> Result<(), HistoryError> {
        let due = |recording: &RecordingTerm| {
            recording
                .last_heartbeat
                .is_none_or(|last| last.elapsed() >= HEARTBEAT_INTERVAL)
        };
        if !self.recording.as_ref().is_some_and(due) {
            return Ok(());
        }
        let transaction = Transaction::new()
            .when(term.clone())
            .then([self.observed_until_write(until)?]);
        let outcome = self.registry.transact(&transaction).await?;
        if let (TransactionOutcome::Committed { .. }, Some(recording)) =
            (outcome, &mut self.recording)
        {
            recording.last_heartbeat = Some(Instant::now());
        }
        Ok(())
    }

    /// The write that marks everything up to `until` as recorded.
    pub(super) fn observed_until_write(&self, until: Timestamp) -> Result<WriteOp, HistoryError> {
        let observed = ObservedUntilRecord {
            until,
            by: self.settings.replica.clone(),
        };
        put_json(self.keys.observed_until(), &observed)
    }
}

/// A transaction that requires `authority` and the history of `cluster` to be as `log` shows it.
pub(super) fn guarded_transaction(
    keys: &HistoryKeys,
    authority: Precondition,
    cluster: &ClusterName,
    log: &ClusterLog,
) -> Transaction {
    let key = keys.head(cluster).into_bytes();
    let head = match log.head_revision {
        0 => Precondition::Absent(key),
        revision => Precondition::Unchanged(key, revision),
    };
    Transaction::new().when(authority).when(head)
}

pub(super) fn conflict_error(cluster: &ClusterName) -> HistoryError {
    registry::Error::Conflict {
        key: format!("the history of {cluster}"),
        current: None,
    }
    .into()
}

pub(super) fn put_json(key: String, value: &impl Serialize) -> Result<WriteOp, HistoryError> {
    let value =
        serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()))?;
    Ok(WriteOp::put(key, value, None))
}
