//! Where targets, what was told, and deliveries lie in etcd.

use galera::ClusterName;

/// The keys under a state prefix.
#[derive(Clone, Debug)]
pub(super) struct NotifyKeys {
    prefix: String,
}

impl NotifyKeys {
    pub(super) fn new(state_prefix: &str) -> Self {
        Self {
            prefix: format!("{}/notify", state_prefix.trim_end_matches('/')),
        }
    }

    /// The prefix of every target.
    pub(super) fn targets(&self) -> String {
        format!("{}/targets/", self.prefix)
    }

    pub(super) fn target(&self, id: &str) -> String {
        format!("{}{id}", self.targets())
    }

    /// The prefix of what was read and told of clusters.
    pub(super) fn verdict_trackers(&self) -> String {
        format!("{}/courses/", self.prefix)
    }

    pub(super) fn verdict_tracker(&self, cluster: &ClusterName) -> String {
        format!("{}{cluster}", self.verdict_trackers())
    }

    /// How far the audit trail was read.
    pub(super) fn audit_cursor(&self) -> String {
        format!("{}/reading", self.prefix)
    }

    /// The prefix of everything that waits to be sent.
    pub(super) fn outbox(&self) -> String {
        format!("{}/outbox/", self.prefix)
    }

    pub(super) fn outbox_of(&self, target: &str) -> String {
        format!("{}{target}/", self.outbox())
    }

    pub(super) fn outbox_entry(&self, target: &str, notice: &str) -> String {
        format!("{}{notice}", self.outbox_of(target))
    }

    /// The prefix of everything that was delivered or given up.
    pub(super) fn log(&self) -> String {
        format!("{}/log/", self.prefix)
    }

    pub(super) fn log_of(&self, target: &str) -> String {
        format!("{}{target}/", self.log())
    }

    pub(super) fn log_entry(&self, target: &str, notice: &str) -> String {
        format!("{}{notice}", self.log_of(target))
    }
}
