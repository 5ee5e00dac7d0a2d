//! What another client of etcd removed or altered: named, and written again from memory where that is possible.

use std::collections::BTreeSet;
use std::sync::Arc;

use galera::ClusterName;
use registry::{Error, Precondition, RegistryEntry, Transaction, TransactionOutcome};

use super::HistoryError;
use super::block;
use super::cluster_log::LogHead;
use super::recorder::Recorder;
use super::writes::{guarded_transaction, put_json};

impl Recorder {
    /// The record at `key`; `None` also if it was changed outside the console.
    pub(super) async fn genuine(&self, key: String) -> Result<Option<RegistryEntry>, HistoryError> {
        match self.registry.get(key).await {
            Err(Error::Tampered { .. }) => Ok(None),
            read => Ok(read?),
        }
    }

    /// Writes heads and days again that another client removed or altered.
    pub(super) async fn restore_damaged(
        &mut self,
        term: &Precondition,
    ) -> Result<(), HistoryError> {
        let damaged: Vec<ClusterName> = self
            .cache
            .logs
            .iter()
            .filter(|(_, log)| {
                let has_events = log.head.sequence > 0 || !log.tail.is_empty();
                let lacks_days = log.days_revision == 0 && !log.days.is_empty();
                (log.head_revision == 0 && has_events) || lacks_days
            })
            .map(|(cluster, _)| cluster.clone())
            .collect();
        for cluster in damaged {
            self.restore_log(term, &cluster).await?;
        }
        Ok(())
    }

    async fn restore_log(
        &mut self,
        term: &Precondition,
        cluster: &ClusterName,
    ) -> Result<(), HistoryError> {
        let head_key = self.keys.head(cluster);
        // It may have been written since.
        self.reload_cluster(cluster).await?;
        let Some(log) = self.cache.cluster_log(cluster).cloned() else {
            return Ok(());
        };
        let head = match (log.head_revision, log.head.sequence) {
            (0, 0) => {
                self.registry.note_missing(head_key.as_bytes());
                log.rebuilt_head()
            }
            _ => Some(log.head.clone()),
        };
        let Some(head) = head else {
            return Ok(());
        };
        let mut writes = vec![put_json(head_key, &head)?];
        if !log.days.is_empty() {
            writes.push(put_json(self.keys.days(cluster), &*log.days)?);
        }
        let transaction: Transaction =
            guarded_transaction(&self.keys, term.clone(), cluster, &log).then(writes);
        if let TransactionOutcome::Committed { revision } =
            self.registry.transact(&transaction).await?
        {
            tracing::warn!(cluster.id = %cluster, "Wrote the head of the history of cluster {cluster} again: another client of etcd had removed or altered it");
            self.last_written_revision = self.last_written_revision.max(revision);
            self.apply_restored(cluster, head, revision);
        }
        Ok(())
    }

    fn apply_restored(&mut self, cluster: &ClusterName, head: LogHead, revision: i64) {
        let log = self.cache.cluster_log_mut(cluster);
        let (tail, days) = (log.tail.clone(), Vec::clone(&log.days));
        log.set_head(head, revision);
        for event in tail.into_values() {
            log.add_event(Arc::unwrap_or_clone(event));
        }
        if !days.is_empty() {
            log.set_days(days, revision);
        }
        self.sync_tracker(cluster);
    }

    /// Names the events and blocks that are missing according to their heads.
    pub(super) async fn name_missing(&mut self) -> Result<(), HistoryError> {
        if !self.registry.seals_records() || self.registry.holds_writes() {
            return Ok(());
        }
        for (cluster, number) in self.absent_blocks.take() {
            let key = self.keys.block(&cluster, number);
            let is_absent = matches!(self.registry.get(key.as_str()).await, Ok(None));
            // Read after the block, so that a block that expired is not taken for a missing one.
            let head = self.genuine(self.keys.head(&cluster)).await?;
            let head: Option<LogHead> =
                head.and_then(|head| serde_json::from_slice(&head.value).ok());
            let is_kept = head.is_some_and(|head| holds_block(&head, number));
            if is_absent && is_kept {
                self.registry.note_missing(key.as_bytes());
            }
        }
        if std::mem::take(&mut self.has_new_listing) {
            for (cluster, log) in self.cache.logs.iter() {
                for sequence in log.missing_events() {
                    self.registry
                        .note_missing(self.keys.event(cluster, sequence).as_bytes());
                }
            }
        }
        if self.registry.tampered().count() > 0 {
            self.end_missing();
        }
        Ok(())
    }

    /// Ends the reports about events and blocks that their logs no longer have.
    fn end_missing(&self) {
        for (cluster, log) in self.cache.logs.iter() {
            let missing: BTreeSet<Vec<u8>> = log
                .missing_events()
                .map(|sequence| self.keys.event(cluster, sequence).into_bytes())
                .collect();
            self.registry
                .retain_missing(&self.keys.tail(cluster), |key| missing.contains(key));
            let oldest = self
                .keys
                .block(cluster, block::containing(log.head.first.max(1)));
            self.registry
                .retain_missing(&self.keys.blocks(cluster), |key| key >= oldest.as_bytes());
        }
    }
}

fn holds_block(head: &LogHead, number: u64) -> bool {
    let numbers = block::containing(head.first.max(1))..head.sealed / block::EVENTS_PER_BLOCK;
    numbers.contains(&number)
}
