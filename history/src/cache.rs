//! What etcd holds of the chronicle, in memory: kept by a watch, and by this replica's own writes ahead of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::keyspace::{HistoryKeys, LiveKey};
use galera::{ClusterName, Timestamp};
use registry::{KeyChange, RegistryEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cluster_log::{ClusterLog, LogHead};

/// The books of all clusters.
pub(super) type ClusterLogs = Arc<BTreeMap<ClusterName, Arc<ClusterLog>>>;

/// Until when some console was observing: everything that it saw until then is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObservedUntilRecord {
    pub(super) until: Timestamp,
    pub(super) by: String,
}

/// The mirror.
pub(super) struct HistoryCache {
    keys: HistoryKeys,
    pub(super) logs: ClusterLogs,
    /// Whether `logs` was read from etcd, ever.
    pub(super) loaded: bool,
    pub(super) observed_until: Option<ObservedUntilRecord>,
    /// The revision of the call for what a new leader missed, while there is one.
    pub(super) gap_request_revision: Option<i64>,
}

impl HistoryCache {
    pub(super) fn new(keys: HistoryKeys) -> Self {
        Self {
            keys,
            logs: ClusterLogs::default(),
            loaded: false,
            observed_until: None,
            gap_request_revision: None,
        }
    }

    pub(super) fn cluster_log(&self, cluster: &ClusterName) -> Option<&Arc<ClusterLog>> {
        self.logs.get(cluster)
    }

    /// The book of `cluster`, to be changed.
    pub(super) fn cluster_log_mut(&mut self, cluster: &ClusterName) -> &mut ClusterLog {
        let books = Arc::make_mut(&mut self.logs);
        Arc::make_mut(books.entry(cluster.clone()).or_default())
    }

    /// Replaces everything; returns every cluster that there is or was.
    pub(super) fn reset(&mut self, entries: Vec<RegistryEntry>) -> Vec<ClusterName> {
        let before = std::mem::take(&mut self.logs);
        self.loaded = true;
        self.observed_until = None;
        self.gap_request_revision = None;
        for entry in entries {
            self.put(&entry);
        }
        let mut clusters: Vec<ClusterName> =
            before.keys().chain(self.logs.keys()).cloned().collect();
        clusters.sort();
        clusters.dedup();
        clusters
    }

    /// Takes in a change; returns the cluster that it is about.
    pub(super) fn apply(&mut self, change: KeyChange) -> Option<ClusterName> {
        match change {
            KeyChange::Put(entry) => self.put(&entry),
            KeyChange::Delete { key, revision } => self.delete(&key, revision),
        }
    }

    /// Takes in an entry; returns the cluster that it is about.
    pub(super) fn put(&mut self, entry: &RegistryEntry) -> Option<ClusterName> {
        match self.keys.parse_live(&entry.key)? {
            LiveKey::ObservedUntil => {
                self.observed_until = decode(entry);
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
                self.cluster_log_mut(&cluster).add_event(event);
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
                self.gap_request_revision =
                    self.gap_request_revision.filter(|call| *call > revision);
                None
            }
            LiveKey::Head(cluster) => {
                let gone = self
                    .cluster_log(&cluster)
                    .is_some_and(|book| book.head_revision < revision);
                if gone {
                    Arc::make_mut(&mut self.logs).remove(&cluster);
                }
                Some(cluster)
            }
            LiveKey::Days(cluster) => {
                if self
                    .cluster_log(&cluster)
                    .is_some_and(|book| book.days_revision < revision)
                {
                    let book = self.cluster_log_mut(&cluster);
                    book.set_days(Vec::new(), revision);
                }
                Some(cluster)
            }
            // They go with the head's word of what is sealed or expired.
            LiveKey::Tail(..) => None,
        }
    }
}

fn decode<T: DeserializeOwned>(entry: &RegistryEntry) -> Option<T> {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Some(value),
        Err(error) => {
            let key = String::from_utf8_lossy(&entry.key);
            tracing::warn!(%error, %key, "A part of the chronicle cannot be read and does not count: {key}: {error}");
            None
        }
    }
}
