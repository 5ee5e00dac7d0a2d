//! Keys of targets, cursors and deliveries in etcd.

use galera::ClusterName;

/// Builds the keys of notifications.
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

    /// Prefix of all targets.
    pub(super) fn targets(&self) -> String {
        format!("{}/targets/", self.prefix)
    }

    pub(super) fn target(&self, id: &str) -> String {
        format!("{}{id}", self.targets())
    }

    /// Prefix of the verdict trackers: what was read and notified of, per cluster.
    pub(super) fn verdict_trackers(&self) -> String {
        format!("{}/courses/", self.prefix)
    }

    pub(super) fn verdict_tracker(&self, cluster: &ClusterName) -> String {
        format!("{}{cluster}", self.verdict_trackers())
    }

    /// Position up to which the audit trail was read.
    pub(super) fn audit_cursor(&self) -> String {
        format!("{}/reading", self.prefix)
    }

    /// Prefix of all waiting deliveries.
    pub(super) fn outbox(&self) -> String {
        format!("{}/outbox/", self.prefix)
    }

    pub(super) fn outbox_of(&self, target: &str) -> String {
        format!("{}{target}/", self.outbox())
    }

    pub(super) fn outbox_entry(&self, target: &str, notification: &str) -> String {
        format!("{}{notification}", self.outbox_of(target))
    }

    /// Prefix of all finished deliveries.
    pub(super) fn log(&self) -> String {
        format!("{}/log/", self.prefix)
    }

    pub(super) fn log_of(&self, target: &str) -> String {
        format!("{}{target}/", self.log())
    }

    pub(super) fn log_entry(&self, target: &str, notification: &str) -> String {
        format!("{}{notification}", self.log_of(target))
    }
}
