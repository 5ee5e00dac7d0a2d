//! In-memory mirror of the history in etcd: fed by a watch, and by this replica's own writes ahead of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::keyspace::{HistoryKeys, LiveKey};
use galera::{ClusterName, ReplicaId, Timestamp};
use registry::{KeyChange, RegistryEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cluster_log::{ClusterLog, LogHead};

/// The logs of all clusters.
pub(super) type ClusterLogs = Arc<BTreeMap<ClusterName, Arc<ClusterLog>>>;

/// Until when some replica was observing. Everything that it observed until then is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObservedUntilRecord {
    pub(super) until: Timestamp,
    /// The replica.
    pub(super) by: ReplicaId,
}

/// Mirror of everything below [`HistoryKeys::live`].
pub(super) struct HistoryCache {
    keys: HistoryKeys,
    pub(super) logs: ClusterLogs,
    /// Whether a listing from etcd ever arrived.
    pub(super) loaded: bool,
    pub(super) observed_until: Option<ObservedUntilRecord>,
    /// Revision of a new leader's gap request, while there is one.
    pub(super) gap_request_revision: Option<i64>,
    /// Whether heads and days are sealed, so that no console removes them: what is gone was removed or altered by another client
    /// of etcd, and what is known stays, until the leader writes it again.
    keeps_damaged: bool,
}

impl HistoryCache {
    pub(super) fn new(keys: HistoryKeys, keeps_damaged: bool) -> Self {
        Self {
            keys,
            keeps_damaged,
            logs: ClusterLogs::default(),
            loaded: false,
            observed_until: None,
            gap_request_revision: None,
        }
    }

    pub(super) fn cluster_log(&self, cluster: &ClusterName) -> Option<&Arc<ClusterLog>> {
        self.logs.get(cluster)
    }

    pub(super) fn cluster_log_mut(&mut self, cluster: &ClusterName) -> &mut ClusterLog {
        let logs = Arc::make_mut(&mut self.logs);
        Arc::make_mut(logs.entry(cluster.clone()).or_default())
    }

    /// Replaces everything; returns every cluster known before or after.
    pub(super) fn reset(&mut self, entries: Vec<RegistryEntry>) -> Vec<ClusterName> {
        let before = std::mem::take(&mut self.logs);
        self.loaded = true;
        self.observed_until = None;
        self.gap_request_revision = None;
        for entry in entries {
            self.put(&entry);
        }
        if self.keeps_damaged {
            self.keep_damaged(&before);
        }
        let mut clusters: Vec<ClusterName> =
            before.keys().chain(self.logs.keys()).cloned().collect();
        clusters.sort();
        clusters.dedup();
        clusters
    }

    /// Keeps the logs whose heads no longer verify.
    fn keep_damaged(&mut self, before: &BTreeMap<ClusterName, Arc<ClusterLog>>) {
        for (cluster, known) in before {
            let is_lost = self
                .cluster_log(cluster)
                .is_none_or(|log| log.head_revision == 0);
            if is_lost && known.head.sequence > 0 {
                let kept = self.cluster_log_mut(cluster);
                *kept = ClusterLog::clone(known);
                (kept.head_revision, kept.days_revision) = (0, 0);
            }
        }
    }

    /// Applies a change; returns the cluster that it concerns.
    pub(super) fn apply(&mut self, change: KeyChange) -> Option<ClusterName> {
        match change {
            KeyChange::Put(entry) => self.put(&entry),
            KeyChange::Delete { key, revision } => self.delete(&key, revision),
        }
    }

    /// Applies an entry; returns the cluster that it concerns.
    pub(super) fn put(&mut self, entry: &RegistryEntry) -> Option<ClusterName> {
        match self.keys.parse_live(&entry.key)? {
            LiveKey::ObservedUntil => {
                let observed: Option<ObservedUntilRecord> = decode(entry);
                let known = self.observed_until.as_ref().map(|known| known.until);
                // What was observed stays observed: an earlier time was put back by another client of etcd.
                let is_earlier = |observed: &ObservedUntilRecord| {
                    self.keeps_damaged && known.is_some_and(|known| known > observed.until)
                };
                if !observed.as_ref().is_some_and(is_earlier) {
                    self.observed_until = observed;
                }
                None
            }
            LiveKey::GapRequest => {
                self.gap_request_revision = Some(entry.mod_revision);
                None
            }
            LiveKey::Head(cluster) => {
                let head: LogHead = decode(entry)?;
                self.cluster_log_mut(&cluster)
                    .set_head(head, entry.mod_revision);
                Some(cluster)
            }
            LiveKey::Days(cluster) => {
                let days = decode(entry)?;
                self.cluster_log_mut(&cluster)
                    .set_days(days, entry.mod_revision);
                Some(cluster)
            }
            LiveKey::Tail(cluster, _) => {
                let event = decode(entry)?;
                self.cluster_log_mut(&cluster).add_read_event(event);
                Some(cluster)
            }
        }
    }

    fn delete(&mut self, key: &[u8], revision: i64) -> Option<ClusterName> {
        match self.keys.parse_live(key)? {
            LiveKey::ObservedUntil => {
                self.observed_until = None;
                None
            }
            LiveKey::GapRequest => {
                self.gap_request_revision = self
                    .gap_request_revision
                    .filter(|request| *request > revision);
                None
            }
            LiveKey::Head(cluster) => {
                let gone = self
                    .cluster_log(&cluster)
                    .is_some_and(|log| log.head_revision < revision);
                if gone && self.keeps_damaged {
                    self.cluster_log_mut(&cluster).head_revision = 0;
                } else if gone {
                    Arc::make_mut(&mut self.logs).remove(&cluster);
                }
                Some(cluster)
            }
            LiveKey::Days(cluster) => {
                if self
                    .cluster_log(&cluster)
                    .is_some_and(|log| log.days_revision < revision)
                {
                    let keeps_damaged = self.keeps_damaged;
                    let log = self.cluster_log_mut(&cluster);
                    if keeps_damaged {
                        log.days_revision = 0;
                    } else {
                        log.set_days(Vec::new(), revision);
                    }
                }
                Some(cluster)
            }
            // Dropped when the head reports them as compacted or expired.
            LiveKey::Tail(..) => None,
        }
    }
}

fn decode<T: DeserializeOwned>(entry: &RegistryEntry) -> Option<T> {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Some(value),
        Err(error) => {
            let key = String::from_utf8_lossy(&entry.key);
            tracing::warn!(%error, %key, "Ignoring an unreadable history record: {key}: {error}");
            None
        }
    }
}
