//! The etcd keys of actions, locks and recovery switches.

use galera::{ActionId, ClusterName};

/// Builds the keys of actions, locks and recovery switches.
#[derive(Clone, Debug)]
pub struct ActionKeys {
    prefix: String,
}

impl ActionKeys {
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            prefix: state_prefix.trim_end_matches('/').to_owned(),
        }
    }

    /// The prefix of every action.
    #[must_use]
    pub fn actions_prefix(&self) -> String {
        format!("{}/actions/", self.prefix)
    }

    /// An action's record.
    #[must_use]
    pub fn action(&self, id: &ActionId) -> String {
        format!("{}{id}", self.actions_prefix())
    }

    /// The undo of a clean-up.
    #[must_use]
    pub fn undone(&self, id: &ActionId) -> String {
        format!("{}/undone", self.action(id))
    }

    /// The open action of a cluster; exists exactly as long as that action is not final.
    #[must_use]
    pub fn open_action(&self, cluster: &ClusterName) -> String {
        format!("{}{cluster}", self.open_actions_prefix())
    }

    /// The prefix of the open actions of all clusters.
    #[must_use]
    pub fn open_actions_prefix(&self) -> String {
        format!("{}/open/", self.prefix)
    }

    /// The lock of a cluster; its revision is the holder's fence.
    #[must_use]
    pub fn lock(&self, cluster: &ClusterName) -> String {
        format!("{}/locks/{cluster}", self.prefix)
    }

    /// The approval settings of the running replicas.
    #[must_use]
    pub fn approvals_prefix(&self) -> String {
        format!("{}/approvals/", self.prefix)
    }

    /// The prefix of every switch.
    #[must_use]
    pub fn switches_prefix(&self) -> String {
        format!("{}/switches/", self.prefix)
    }

    /// The switch for all clusters; it exists while recovery is off.
    #[must_use]
    pub fn global_switch(&self) -> String {
        format!("{}global", self.switches_prefix())
    }

    /// The switch of one cluster.
    #[must_use]
    pub fn cluster_switch(&self, cluster: &ClusterName) -> String {
        format!("{}cluster/{cluster}", self.switches_prefix())
    }
}
