//! Compaction of older events into blocks, and deletion of expired ones.

use std::time::Duration;

use console_core::clock::now;
use galera::record::history::HistoryEvent;
use galera::{ClusterName, Timestamp};
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};
use tokio::time::Instant;

use super::HistoryError;
use super::block::{self, EVENTS_PER_BLOCK};
use super::cluster_log::{ClusterLog, LogHead};
use super::recorder::{Recorder, RecordingTerm};
use super::writes::{conflict_error, guarded_transaction, put_json};

/// Minimum number of events that stay uncompacted.
const TAIL_MIN: u64 = 100;
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

impl Recorder {
    /// Compacts the oldest events of each cluster that has enough of them for a block.
    pub(super) async fn compact(&mut self, term: &Precondition) -> Result<(), HistoryError> {
        let has_full_block =
            |log: &ClusterLog| log.head.sealed + EVENTS_PER_BLOCK + TAIL_MIN <= log.head.sequence;
        let due: Vec<ClusterName> = self
            .cache
            .logs
            .iter()
            .filter(|(_, log)| has_full_block(log))
            .map(|(cluster, _)| cluster.clone())
            .collect();
        for cluster in due {
            self.compact_events(term, &cluster, false).await?;
        }
        Ok(())
    }

    /// `reloaded`: whether missing events were looked for in etcd.
    async fn compact_events(
        &mut self,
        term: &Precondition,
        cluster: &ClusterName,
        reloaded: bool,
    ) -> Result<(), HistoryError> {
        let Some(log) = self.cache.cluster_log(cluster).cloned() else {
            return Ok(());
        };
        let sequences = log.head.sealed + 1..=log.head.sealed + EVENTS_PER_BLOCK;
        let mut head = log.head.clone();
        head.sealed += EVENTS_PER_BLOCK;
        if *sequences.end() < log.head.first {
            // All of its events expired before the block was full.
            let transaction = guarded_transaction(&self.keys, term.clone(), cluster, &log)
                .then([put_json(self.keys.head(cluster), &head)?]);
            return self.commit_head(cluster, head, &transaction).await;
        }
        let events: Vec<HistoryEvent> = log
            .tail
            .range(sequences.clone())
            .map(|(_, event)| HistoryEvent::clone(event))
            .collect();
        let key = self.keys.block(cluster, log.head.sealed / EVENTS_PER_BLOCK);
        // Only events that expired before the block was full may be missing, at its beginning.
        let oldest = log.head.first.max(*sequences.start());
        let expected = sequences.end() + 1 - oldest;
        let missing = expected - u64::try_from(events.len()).unwrap_or(0).min(expected);
        if missing > 0 {
            if reloaded {
                // Another client of etcd removed or altered them. The others must not wait for them forever.
                tracing::error!(cluster.id = %cluster, missing, "{missing} changes of cluster {cluster} are missing in etcd; the history continues without them");
            } else {
                self.reload_cluster(cluster).await?;
                return Box::pin(self.compact_events(term, cluster, true)).await;
            }
        }
        let mut writes = vec![put_json(self.keys.head(cluster), &head)?];
        if !events.is_empty() {
            let value = block::encode(&events).map_err(|reason| HistoryError::Damaged {
                key: key.clone(),
                reason,
            })?;
            writes.push(WriteOp::put(key, value, None));
        }
        writes.push(WriteOp::delete_numbered(
            &self.keys.tail(cluster),
            sequences,
        ));
        let transaction = guarded_transaction(&self.keys, term.clone(), cluster, &log).then(writes);
        self.commit_head(cluster, head, &transaction).await
    }

    /// Executes a transaction that changes the head without adding an event.
    async fn commit_head(
        &mut self,
        cluster: &ClusterName,
        head: LogHead,
        transaction: &Transaction,
    ) -> Result<(), HistoryError> {
        match self.registry.transact(transaction).await? {
            TransactionOutcome::Committed { revision } => {
                self.last_written_revision = self.last_written_revision.max(revision);
                self.cache.cluster_log_mut(cluster).set_head(head, revision);
                Ok(())
            }
            TransactionOutcome::Refused { .. } => {
                self.reload_cluster(cluster).await?;
                Err(conflict_error(cluster))
            }
        }
    }

    /// Deletes events beyond the retention and beyond the maximum number.
    pub(super) async fn expire(&mut self, term: &Precondition) -> Result<(), HistoryError> {
        let due = |recording: &RecordingTerm| {
            recording
                .last_expiry
                .is_none_or(|last| last.elapsed() >= EXPIRY_INTERVAL)
        };
        if !self.recording.as_ref().is_some_and(due) {
            return Ok(());
        }
        let oldest = now().minus(self.settings.retention);
        let clusters: Vec<ClusterName> = self.cache.logs.keys().cloned().collect();
        for cluster in clusters {
            while self.expire_next(term, &cluster, oldest).await? {}
        }
        if let Some(recording) = &mut self.recording {
            recording.last_expiry = Some(Instant::now());
        }
        Ok(())
    }

    /// Deletes one block of `cluster`, or its expired uncompacted events. Returns whether there may be more.
    async fn expire_next(
        &mut self,
        term: &Precondition,
        cluster: &ClusterName,
        oldest: Timestamp,
    ) -> Result<bool, HistoryError> {
        let Some(log) = self.cache.cluster_log(cluster).cloned() else {
            return Ok(false);
        };
        let first = log.head.first.max(1);
        let mut head = log.head.clone();
        let (write, why) = if first <= log.head.sealed {
            let number = block::containing(first);
            let too_many = log.head.sequence + 1 - first > self.settings.changes_max;
            let key = self.keys.block(cluster, number);
            if !too_many && !self.is_block_expired(cluster, &log, number, oldest).await? {
                return Ok(false);
            }
            head.first = block::first_sequence(number + 1);
            let why = if too_many { "too many" } else { "too old" };
            (WriteOp::delete(key), why)
        } else {
            // The newest event stays: it is the current state.
            let expired = log
                .events()
                .map(|(_, event)| event)
                .take_while(|event| event.at < oldest && event.sequence < log.head.sequence);
            let Some(last) = expired.last().map(|event| event.sequence) else {
                return Ok(false);
            };
            head.first = last + 1;
            let numbers = first..=last;
            (
                WriteOp::delete_numbered(&self.keys.tail(cluster), numbers),
                "too old",
            )
        };
        let deleted = head.first - first;
        let transaction = guarded_transaction(&self.keys, term.clone(), cluster, &log)
            .then([put_json(self.keys.head(cluster), &head)?, write]);
        self.commit_head(cluster, head, &transaction).await?;
        self.metrics.expired(deleted);
        tracing::info!(cluster.id = %cluster, changes = deleted, why, "Deleted {deleted} changes from the history of cluster {cluster}: {why}");
        Ok(true)
    }

    async fn is_block_expired(
        &self,
        cluster: &ClusterName,
        log: &ClusterLog,
        number: u64,
        oldest: Timestamp,
    ) -> Result<bool, HistoryError> {
        let key = self.keys.block(cluster, number);
        let Some(entry) = self.genuine(key.clone()).await? else {
            if !self.registry.seals_records() {
                return Ok(true);
            }
            // Another client removed or altered it. Its events are not newer than the next one.
            self.registry.note_missing(key.as_bytes());
            let next = self.time_after_block(cluster, log, number).await?;
            return Ok(next.is_some_and(|at| at < oldest));
        };
        match block::decode(&entry.value) {
            Ok(events) => Ok(events.last().is_none_or(|event| event.at < oldest)),
            Err(reason) => {
                // Its age is unknown. It is deleted once the cluster has too many events.
                tracing::error!(
                    key,
                    reason,
                    "Keeping a damaged history block: {key}: {reason}"
                );
                Ok(false)
            }
        }
    }

    /// The time of the first event after block `number` that is found.
    async fn time_after_block(
        &self,
        cluster: &ClusterName,
        log: &ClusterLog,
        number: u64,
    ) -> Result<Option<Timestamp>, HistoryError> {
        for number in number + 1..log.head.sealed / EVENTS_PER_BLOCK {
            let entry = self.genuine(self.keys.block(cluster, number)).await?;
            let events = entry.and_then(|entry| block::decode(&entry.value).ok());
            if let Some(event) = events.as_ref().and_then(|events| events.first()) {
                return Ok(Some(event.at));
            }
        }
        Ok(log.events().next().map(|(_, event)| event.at))
    }
}
