//! What the recording replica writes: the events that wait, and the word until when it observed.

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

/// How often the recording replica says that it observes.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Events of one transaction: etcd allows 128 operations.
const BATCH_SIZE: usize = 50;
/// Transactions that are under way at the same time.
const CONCURRENT_WRITES_MAX: usize = 16;
/// How long the summaries of days are kept at least, whatever the retention of changes.
const DAYS_RETENTION_MIN: Duration = Duration::from_secs(91 * 86_400);

/// A write of one cluster, and what its book becomes with it.
struct PreparedWrite {
    cluster: ClusterName,
    transaction: Transaction,
    head: LogHead,
    events: Vec<HistoryEvent>,
    days: Option<Vec<UptimeDay>>,
}

impl Recorder {
    /// Writes everything that waits to be recorded, then what follows from it.
    pub(super) async fn record_as_leader(&mut self) -> Result<(), HistoryError> {
        let Some(term) = self.term_guard() else {
            return Ok(());
        };
        if !self.resolve_gap(&term).await? {
            return Ok(());
        }
        let until = self.tracked_until;
        self.write_pending(&term).await?;
        self.heartbeat(&term, until).await?;
        self.compact(&term).await?;
        self.expire(&term).await
    }

    /// What every write of this replica's term compares.
    fn term_guard(&self) -> Option<Precondition> {
        let recording = self.recording.as_ref();
        recording.map(|recording| recording.term.fence())
    }

    /// Writes everything that waits, as long as `authority` holds.
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

    /// The next write of each cluster that has anything to write.
    fn prepare_writes(
        &mut self,
        authority: &Precondition,
    ) -> Result<Vec<PreparedWrite>, HistoryError> {
        let oldest = Date::of(now().minus(self.settings.retention.max(DAYS_RETENTION_MIN)));
        let mut prepared = Vec::new();
        for (cluster, followed) in &mut self.clusters {
            let lost = followed.tracker.take_dropped();
            if lost > 0 {
                self.metrics.lost(lost);
                tracing::warn!(cluster.id = %cluster, lost, "{lost} changes of cluster {cluster} could not be recorded: too many waited for etcd");
            }
            let fresh = ClusterLog::default();
            let book = self.cache.cluster_log(cluster).map_or(&fresh, Arc::as_ref);
            let events = followed
                .tracker
                .next_events(BATCH_SIZE, book.head.last_event_at());
            if events.is_empty() {
                continue;
            }
            let mut head = book.head.clone();
            let over: Vec<UptimeDay> = events.iter().flat_map(|event| head.append(event)).collect();
            let mut writes = vec![put_json(self.keys.head(cluster), &head)?];
            for event in &events {
                writes.push(put_json(self.keys.event(cluster, event.sequence), event)?);
            }
            let days = (!over.is_empty()).then(|| book.merged_days(over, oldest));
            if let Some(days) = &days {
                writes.push(put_json(self.keys.days(cluster), days)?);
            }
            prepared.push(PreparedWrite {
                transaction: guarded_transaction(&self.keys, authority.clone(), cluster, book)
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
                // Somebody else wrote, or we did without knowing, or this term is over: what is there counts.
                Ok(TransactionOutcome::Refused { .. }) => {
                    failed = Some(conflict_error(&prepared.cluster));
                    self.reload_cluster(&prepared.cluster).await?;
                }
                // Trying again is harmless: if it happened, the head has changed, and the next attempt is refused.
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
        let book = self.cache.cluster_log_mut(&cluster);
        for event in prepared.events {
            book.add_event(event);
        }
        book.set_head(prepared.head, revision);
        if let Some(days) = prepared.days {
            book.set_days(days, revision);
        }
        self.sync_tracker(&cluster);
    }

    /// Reads the head and the newest events of `cluster` from etcd.
    pub(super) async fn reload_cluster(
        &mut self,
        cluster: &ClusterName,
    ) -> Result<(), HistoryError> {
        // The head first: then every event up to it is in what is listed, and they are told one by one.
        let head = self.registry.get(self.keys.head(cluster)).await?;
        let tail = self.registry.list(self.keys.tail(cluster)).await?;
        for entry in head.into_iter().chain(tail.entries) {
            self.cache.put(&entry);
        }
        self.sync_tracker(cluster);
        Ok(())
    }

    /// Says now and then that everything up to `until` is recorded.
    async fn heartbeat(
        &mut self,
        term: &Precondition,
        until: Timestamp,
    ) -> Result<(), HistoryError> {
        let due = |recording: &RecordingTerm| {
            recording
                .last_heartbeat
                .is_none_or(|beat| beat.elapsed() >= HEARTBEAT_INTERVAL)
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

    /// The word that everything up to `until` is recorded.
    pub(super) fn observed_until_write(&self, until: Timestamp) -> Result<WriteOp, HistoryError> {
        let observed = ObservedUntilRecord {
            until,
            by: self.settings.replica.clone(),
        };
        put_json(self.keys.observed_until(), &observed)
    }
}

/// A transaction that needs `authority` on the chronicle of `cluster` as `cluster_log` shows it.
pub(super) fn guarded_transaction(
    keys: &HistoryKeys,
    authority: Precondition,
    cluster: &ClusterName,
    book: &ClusterLog,
) -> Transaction {
    let key = keys.head(cluster).into_bytes();
    let head = match book.head_revision {
        0 => Precondition::Absent(key),
        revision => Precondition::Unchanged(key, revision),
    };
    Transaction::new().when(authority).when(head)
}

pub(super) fn conflict_error(cluster: &ClusterName) -> HistoryError {
    registry::Error::Conflict {
        key: format!("the chronicle of {cluster}"),
        current: None,
    }
    .into()
}

pub(super) fn put_json(key: String, value: &impl Serialize) -> Result<WriteOp, HistoryError> {
    let value =
        serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()))?;
    Ok(WriteOp::put(key, value, None))
}
