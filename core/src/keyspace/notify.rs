//! Keys of targets, cursors and deliveries in etcd.

use galera::ClusterName;

/// Builds the keys of notifications.
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

    /// Prefix of all targets.
    #[must_use]
    pub fn targets(&self) -> String {
        format!("{}/targets/", self.prefix)
    }

    #[must_use]
    pub fn target(&self, id: &str) -> String {
        format!("{}{id}", self.targets())
    }

    /// Prefix of the verdict trackers: what was read and notified of, per cluster.
    #[must_use]
    pub fn verdict_trackers(&self) -> String {
        format!("{}/courses/", self.prefix)
    }

    #[must_use]
    pub fn verdict_tracker(&self, cluster: &ClusterName) -> String {
        format!("{}{cluster}", self.verdict_trackers())
    }

    /// Position up to which the audit trail was read.
    #[must_use]
    pub fn audit_cursor(&self) -> String {
        format!("{}/reading", self.prefix)
    }

    /// The number of the delivery that was last queued for `target`.
    #[must_use]
    pub fn queued_number(&self, target: &str) -> String {
        format!("{}/queued/{target}", self.prefix)
    }

    /// The highest number of a delivery to `target` that was delivered or given up.
    #[must_use]
    pub fn settled_number(&self, target: &str) -> String {
        format!("{}/settled/{target}", self.prefix)
    }

    /// Prefix of all waiting deliveries.
    #[must_use]
    pub fn outbox(&self) -> String {
        format!("{}/outbox/", self.prefix)
    }

    #[must_use]
    pub fn outbox_of(&self, target: &str) -> String {
        format!("{}{target}/", self.outbox())
    }

    #[must_use]
    pub fn outbox_entry(&self, target: &str, notification: &str) -> String {
        format!("{}{notification}", self.outbox_of(target))
    }

    /// Prefix of all finished deliveries.
    #[must_use]
    pub fn log(&self) -> String {
        format!("{}/log/", self.prefix)
    }

    #[must_use]
    pub fn log_of(&self, target: &str) -> String {
        format!("{}{target}/", self.log())
    }

    #[must_use]
    pub fn log_entry(&self, target: &str, notification: &str) -> String {
        format!("{}{notification}", self.log_of(target))
    }
}
