//! What the hub is told: clusters, prefixes, and how to ask the databases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use galera::{ClusterName, NodeId};

use crate::mysql::MysqlSettings;

/// Everything that the hub needs to know.
#[derive(Clone, Debug)]
pub struct MonitorSettings {
    /// Configured clusters with the members that they should have.
    pub clusters: BTreeMap<ClusterName, BTreeSet<NodeId>>,
    /// Where nodes register.
    pub registry_prefix: String,
    /// Where the console keeps its own state.
    pub state_prefix: String,
    /// How the databases are asked.
    pub mysql: MysqlSettings,
    /// Time between the starts of two readings of a node.
    pub poll_interval: Duration,
    /// Deadline of one reading, connecting included.
    pub probe_timeout: Duration,
}

impl MonitorSettings {
    /// How long evidence counts under these settings.
    #[must_use]
    pub fn fold_settings(&self) -> galera::judge::cluster::FoldSettings {
        galera::judge::cluster::FoldSettings {
            stale_after: self.poll_interval * 3 + self.probe_timeout,
            default_port: self.mysql.port,
            ..galera::judge::cluster::FoldSettings::default()
        }
    }
}
