//! The monitor's settings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use console_core::current_labels::CurrentLabels;
use galera::{ClusterName, NodeId};

use crate::mysql::{MysqlSettings, ReserveAccount};
use crate::v2_source::V2Settings;

/// Clusters, etcd prefixes, and how to probe the databases.
#[derive(Clone, Debug)]
pub struct MonitorSettings {
    /// Configured clusters with their expected members.
    pub clusters: BTreeMap<ClusterName, BTreeSet<NodeId>>,
    /// Labels of the clusters.
    pub labels: CurrentLabels,
    /// etcd prefix under which nodes register.
    pub registry_prefix: String,
    /// etcd prefix of the console's own state.
    pub state_prefix: String,
    /// How to connect to the databases.
    pub mysql: MysqlSettings,
    /// Reads a server that has no connection left for the account of `mysql`.
    pub reserve: Option<ReserveAccount>,
    /// Time between the starts of two probes of a node.
    pub poll_interval: Duration,
    /// Deadline of one probe, connecting included.
    pub probe_timeout: Duration,
    /// Clusters monitored at most; configured ones always are, and count.
    pub max_clusters: usize,
    /// The registry in etcd v2; `None` if it is not read.
    pub v2: Option<V2Settings>,
}

impl MonitorSettings {
    /// The configured members of each cluster, normalized.
    pub(crate) fn pinned_members(&self) -> BTreeMap<ClusterName, BTreeSet<NodeId>> {
        let normalized = |members: &BTreeSet<NodeId>| {
            let all = members.iter().cloned();
            all.map(|id| id.normalized(self.mysql.port)).collect()
        };
        self.clusters
            .iter()
            .map(|(name, members)| (name.clone(), normalized(members)))
            .collect()
    }

    /// The fold's settings, with the age limit of evidence derived from the poll interval.
    #[must_use]
    pub fn fold_settings(&self) -> galera::judge::cluster::FoldSettings {
        galera::judge::cluster::FoldSettings {
            stale_after: self.poll_interval * 3 + self.probe_timeout,
            default_port: self.mysql.port,
            ..galera::judge::cluster::FoldSettings::default()
        }
    }
}
