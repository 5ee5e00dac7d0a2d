//! Alarms about the data of clusters, kept in etcd until a person acknowledges them (I45).
//!
//! Any replica writes. What it observed is applied to the stored record, which is compared on its revision, so that a
//! finding of several replicas becomes one alarm.

use std::collections::BTreeMap;
use std::time::Duration;

use console_core::clock::now;
use console_core::keyspace;
use galera::judge::cluster::FoldSettings;
use galera::judge::history_alarms::{
    HistoryAlarm, HistoryAlarmRecord, HistoryChange, ObservedBootstrap, QuorumLosses, detect,
};
use galera::judge::known_positions::{KnownPositions, LastPrimaryView, PositionCorrections};
use galera::observe::observation::Evidence;
use galera::view::ClusterView;
use galera::{ClusterName, NodeId, Timestamp};
use registry::{Error, Registry};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::converge::{TamperedRecords, converge, encode};

mod observed_forks;

/// Updates in the queue; a monitor repeats one that found no room.
const QUEUE: usize = 64;
/// Time after which changes that are not recorded yet are sent again.
const RETRY: Duration = Duration::from_secs(2);

/// For how long a bootstrap is reported that does not become an alarm: a record of it exists then.
const REPORTED_FOR: Duration = Duration::from_secs(30);

/// What to apply to the record of a cluster.
#[derive(Debug)]
pub(super) struct HistoryAlarmUpdate {
    cluster: ClusterName,
    /// The record that is written if there is none.
    known: HistoryAlarmRecord,
    changes: Vec<HistoryChange>,
    bootstraps: Vec<ObservedBootstrap>,
    tampered: TamperedRecords,
}

pub(super) type HistoryAlarmSender = mpsc::Sender<HistoryAlarmUpdate>;

/// Prefix under which the alarms of all clusters are stored.
pub(super) fn prefix(state_prefix: &str) -> String {
    keyspace::history_alarms(state_prefix)
}

/// The cluster of `key`; `None` when the key is not under this prefix.
pub(super) fn cluster_of(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&prefix(state_prefix))?.parse().ok()
}

/// The record in a stored value; `None` when it cannot be decoded.
pub(super) fn decode(value: &[u8]) -> Option<HistoryAlarmRecord> {
    let record = serde_json::from_slice(value);
    record
        .inspect_err(|error| {
            tracing::warn!(%error, "Ignoring unreadable alarms about the data of a cluster: {error}");
        })
        .ok()
}

/// The notice on every page while alarms are open.
pub(super) fn notice(evidence: &Evidence) -> Option<String> {
    let count = evidence.history_alarms.len();
    let name = &evidence.name;
    match count {
        0 => None,
        1 => Some(format!(
            "Cluster {name}: an alarm about its data is open; see its recovery page."
        )),
        _ => Some(format!(
            "Cluster {name}: {count} alarms about its data are open; see its recovery page."
        )),
    }
}

/// The sender for updates, and the task that writes them.
pub(super) fn worker(
    registry: Registry,
    state_prefix: &str,
    registry_prefix: &str,
) -> (HistoryAlarmSender, impl Future<Output = ()> + Send + use<>) {
    let (sender, mut updates) = mpsc::channel::<HistoryAlarmUpdate>(QUEUE);
    let (state_prefix, registry_prefix) = (state_prefix.to_owned(), registry_prefix.to_owned());
    let task = async move {
        while let Some(mut update) = updates.recv().await {
            let recorded = record_bootstraps(&registry, &registry_prefix, &mut update).await;
            let cluster = &update.cluster;
            let key = keyspace::history_alarms_of(&state_prefix, cluster);
            let written = write(&registry, &key, &update).await;
            if let Err(error) = recorded.and(written) {
                // The monitor repeats the update until the watch confirms it.
                tracing::debug!(cluster.id = %cluster, %error, "Could not persist alarms about the data of cluster {cluster}; will retry");
            }
        }
    };
    (sender, task)
}

/// Records the bootstraps of `update` as forks, and adds what is found to its changes.
async fn record_bootstraps(
    registry: &Registry,
    registry_prefix: &str,
    update: &mut HistoryAlarmUpdate,
) -> Result<(), Error> {
    for seen in &update.bootstraps {
        let found = observed_forks::record(registry, registry_prefix, &update.cluster, seen);
        update
            .changes
            .extend(found.await?.map(HistoryChange::Found));
    }
    Ok(())
}

async fn write(registry: &Registry, key: &str, update: &HistoryAlarmUpdate) -> Result<(), Error> {
    let at = now();
    converge(registry, key, update.tampered, |current| {
        let stored = current.and_then(decode);
        let mut record = stored.clone().unwrap_or_else(|| update.known.clone());
        let newest = record.newest;
        for change in &update.changes {
            record.apply(change, at);
        }
        for raised in record.open().filter(|alarm| alarm.number > newest) {
            tracing::warn!(cluster.id = %update.cluster, "{}", raised.finding.message());
        }
        if stored.as_ref() == Some(&record) {
            return Ok(None);
        }
        encode(&record).map(Some)
    })
    .await
}

/// Watches the history of one cluster's data.
pub(super) struct HistoryWatch {
    cluster: ClusterName,
    record: HistoryAlarmRecord,
    /// Whether the record was read: before, it is not known what has been acknowledged.
    record_read: bool,
    /// Whether the record is to be written again as it is known.
    lost: bool,
    /// The last Primary views that were known when the Primary component was last settled.
    before: BTreeMap<NodeId, LastPrimaryView>,
    positions_read: bool,
    losses: QuorumLosses,
    /// Bootstraps that were observed, and when.
    bootstraps: Vec<(ObservedBootstrap, Instant)>,
    sent_at: Option<Instant>,
    updates: HistoryAlarmSender,
}

impl HistoryWatch {
    pub(super) fn new(cluster: ClusterName, updates: HistoryAlarmSender) -> Self {
        Self {
            cluster,
            record: HistoryAlarmRecord::default(),
            record_read: false,
            lost: false,
            before: BTreeMap::new(),
            positions_read: false,
            losses: QuorumLosses::default(),
            bootstraps: Vec::new(),
            sent_at: None,
            updates,
        }
    }

    /// Adopts the stored record; one that was read before and is gone is written again.
    pub(super) fn follow_record(&mut self, record: Option<HistoryAlarmRecord>) {
        self.lost = record.is_none() && self.record_read;
        if let Some(record) = record {
            self.record = record;
        }
        self.record_read = true;
        self.sent_at = None;
    }

    /// Adopts the first recorded positions: what this process did not observe itself.
    pub(super) fn follow_positions(&mut self, positions: &KnownPositions) {
        if !std::mem::replace(&mut self.positions_read, true) {
            self.before.clone_from(&positions.primary);
        }
    }

    /// Forgets views that an approved action voided.
    pub(super) fn correct(&mut self, corrections: &PositionCorrections) {
        let voided = |id: &NodeId, last: &LastPrimaryView| {
            let until = corrections.nodes.get(id);
            until.is_some_and(|until| last.at <= *until)
        };
        self.before.retain(|id, last| !voided(id, last));
    }

    /// Compares `view` with what was known before, sends what is found to be recorded, and returns the open alarms.
    pub(super) fn observe(
        &mut self,
        view: &ClusterView,
        evidence: &Evidence,
        positions: &KnownPositions,
        at: Timestamp,
        settings: &FoldSettings,
    ) -> Vec<HistoryAlarm> {
        let found = detect(&self.record, &self.before, view, evidence, at, settings);
        let mut changes = found.changes;
        if !self.record_read {
            changes.retain(|change| matches!(change, HistoryChange::Began(_)));
        }
        if found.settled && changes.is_empty() && self.positions_read && self.record_read {
            self.before.clone_from(&positions.primary);
        }
        let observed = self
            .losses
            .observe(positions, view, evidence, at, settings)
            .map(|seen| (seen, Instant::now()));
        self.bootstraps.extend(observed);
        let record = &self.record;
        self.bootstraps.retain(|(seen, reported)| {
            reported.elapsed() < REPORTED_FOR && !record.knows_bootstrap(seen)
        });
        if changes.is_empty() && self.bootstraps.is_empty() && !self.lost {
            return self.record.open().cloned().collect();
        }
        // Shown at once, also while etcd cannot be reached.
        let mut shown = self.record.clone();
        for change in &changes {
            shown.apply(change, at);
        }
        self.send(changes);
        shown.open().cloned().collect()
    }

    fn send(&mut self, changes: Vec<HistoryChange>) {
        if self.sent_at.is_some_and(|sent| sent.elapsed() < RETRY) {
            return;
        }
        let update = HistoryAlarmUpdate {
            cluster: self.cluster.clone(),
            known: self.record.clone(),
            changes,
            bootstraps: self
                .bootstraps
                .iter()
                .map(|(seen, _)| seen.clone())
                .collect(),
            tampered: match self.record_read {
                true => TamperedRecords::Replace,
                false => TamperedRecords::Keep,
            },
        };
        // If the queue is full, retried later.
        if self.updates.try_send(update).is_ok() {
            self.sent_at = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
