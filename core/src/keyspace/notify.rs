//! Where targets, what was told, and deliveries lie in etcd.

use galera::ClusterName;

/// The keys under a state prefix.
#[derive(Clone, Debug)]
pub struct NotifyKeys {
    prefix: String,
}

impl NotifyKeys {
    /// The keys under `state_prefix`.
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            prefix: format!("{}/notify", state_prefix.trim_end_matches('/')),
        }
    }

    /// The prefix of every target.
    #[must_use]
    pub fn targets(&self) -> String {
        format!("{}/targets/", self.prefix)
    }

    #[must_use]
    pub fn target(&self, id: &str) -> String {
        format!("{}{id}", self.targets())
    }

    /// The prefix of what was read and told of clusters.
    #[must_use]
    pub fn verdict_trackers(&self) -> String {
        format!("{}/courses/", self.prefix)
    }

    #[must_use]
    pub fn verdict_tracker(&self, cluster: &ClusterName) -> String {
        format!("{}{cluster}", self.verdict_trackers())
    }

    /// How far the audit trail was read.
    #[must_use]
    pub fn audit_cursor(&self) -> String {
        format!("{}/reading", self.prefix)
    }

    /// The prefix of everything that waits to be sent.
    #[must_use]
    pub fn outbox(&self) -> String {
        format!("{}/outbox/", self.prefix)
    }

    #[must_use]
    pub fn outbox_of(&self, target: &str) -> String {
        format!("{}{target}/", self.outbox())
    }

    #[must_use]
    pub fn outbox_entry(&self, target: &str, notice: &str) -> String {
        format!("{}{notice}", self.outbox_of(target))
    }

    /// The prefix of everything that was delivered or given up.
    #[must_use]
    pub fn log(&self) -> String {
        format!("{}/log/", self.prefix)
    }

    #[must_use]
    pub fn log_of(&self, target: &str) -> String {
        format!("{}{target}/", self.log())
    }

    #[must_use]
    pub fn log_entry(&self, target: &str, notice: &str) -> String {
        format!("{}{notice}", self.log_of(target))
    }
}
