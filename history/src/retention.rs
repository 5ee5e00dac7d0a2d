//! What becomes of older events: blocks of them, until they are let go.

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

/// Events that stay beside the blocks when one is made.
const TAIL_MIN: u64 = 100;
/// How often it is looked for what is kept no longer.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

impl Recorder {
    /// Makes a block of the oldest events where there are enough for one.
    pub(super) async fn compact(&mut self, term: &Precondition) -> Result<(), HistoryError> {
        let full = |book: &ClusterLog| {
            book.head.sealed + EVENTS_PER_BLOCK + TAIL_MIN <= book.head.sequence
        };
        let due: Vec<ClusterName> = self
            .cache
            .logs
            .iter()
            .filter(|(_, book)| full(book))
            .map(|(cluster, _)| cluster.clone())
            .collect();
        for cluster in due {
            self.compact_cluster(term, &cluster).await?;
        }
        Ok(())
    }

    async fn compact_cluster(
        &mut self,
        term: &Precondition,
        cluster: &ClusterName,
    ) -> Result<(), HistoryError> {
        let Some(book) = self.cache.cluster_log(cluster).cloned() else {
            return Ok(());
        };
        let numbers = book.head.sealed + 1..=book.head.sealed + EVENTS_PER_BLOCK;
        let mut head = book.head.clone();
        head.sealed += EVENTS_PER_BLOCK;
        if *numbers.end() < book.head.first {
            // All of it expired before its block was full.
            let transaction = guarded_transaction(&self.keys, term.clone(), cluster, &book)
                .then([put_json(self.keys.head(cluster), &head)?]);
            return self.commit_head(cluster, head, &transaction).await;
        }
        let events: Vec<HistoryEvent> = book
            .tail
            .range(numbers.clone())
            .map(|(_, event)| HistoryEvent::clone(event))
            .collect();
        let key = self
            .keys
            .block(cluster, book.head.sealed / EVENTS_PER_BLOCK);
        // Events that expired before their block was full are missing at its beginning, and no others.
        let oldest = book.head.first.max(*numbers.start());
        if events.first().map(|event| event.sequence) != Some(oldest)
            || u64::try_from(events.len()).unwrap_or(0) != numbers.end() + 1 - oldest
        {
            return self.reload_cluster(cluster).await;
        }
        let value = block::encode(&events).map_err(|reason| HistoryError::Damaged {
            key: key.clone(),
            reason,
        })?;
        let transaction = guarded_transaction(&self.keys, term.clone(), cluster, &book).then([
            put_json(self.keys.head(cluster), &head)?,
            WriteOp::put(key, value, None),
            WriteOp::delete_numbered(&self.keys.tail(cluster), numbers),
        ]);
        self.commit_head(cluster, head, &transaction).await
    }

    /// Carries out a transaction that changes the head, but adds no event.
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

    /// Lets go what is older than the retention and what is too much.
    pub(super) async fn expire(&mut self, term: &Precondition) -> Result<(), HistoryError> {
        let due = |recording: &RecordingTerm| {
            recording
                .last_expiry
                .is_none_or(|swept| swept.elapsed() >= EXPIRY_INTERVAL)
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

    /// Lets go one block of `cluster`, or what expired of its newest events; whether there may be more.
    async fn expire_next(
        &mut self,
        term: &Precondition,
        cluster: &ClusterName,
        oldest: Timestamp,
    ) -> Result<bool, HistoryError> {
        let Some(book) = self.cache.cluster_log(cluster).cloned() else {
            return Ok(false);
        };
        let first = book.head.first.max(1);
        let mut head = book.head.clone();
        let (write, why) = if first <= book.head.sealed {
            let number = block::containing(first);
            let too_many = book.head.sequence + 1 - first > self.settings.changes_max;
            let key = self.keys.block(cluster, number);
            if !too_many && !self.is_block_expired(&key, oldest).await? {
                return Ok(false);
            }
            head.first = block::first_sequence(number + 1);
            let why = if too_many { "too many" } else { "too old" };
            (WriteOp::delete(key), why)
        } else {
            // The newest one stays: what is, is not history yet.
            let expired = book
                .tail
                .values()
                .take_while(|event| event.at < oldest && event.sequence < book.head.sequence);
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
        let gone = head.first - first;
        let transaction = guarded_transaction(&self.keys, term.clone(), cluster, &book)
            .then([put_json(self.keys.head(cluster), &head)?, write]);
        self.commit_head(cluster, head, &transaction).await?;
        self.metrics.expired(gone);
        tracing::info!(cluster.id = %cluster, changes = gone, why, "{gone} changes of cluster {cluster} are kept no longer: {why}");
        Ok(true)
    }

    async fn is_block_expired(&self, key: &str, oldest: Timestamp) -> Result<bool, HistoryError> {
        let Some(entry) = self.registry.get(key).await? else {
            return Ok(true);
        };
        match block::decode(&entry.value) {
            Ok(events) => Ok(events.last().is_none_or(|event| event.at < oldest)),
            Err(reason) => {
                // It must not keep everything after it for ever, and it cannot tell its age.
                tracing::error!(
                    key,
                    reason,
                    "A block of the chronicle is damaged and kept: {key}: {reason}"
                );
                Ok(false)
            }
        }
    }
}
