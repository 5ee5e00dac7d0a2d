//! What recording tells Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// The counters of what was recorded; cheap to update from anywhere.
#[derive(Debug, Default)]
pub(crate) struct HistoryMetrics {
    recorded: Counter,
    lost: Counter,
    expired: Counter,
}

impl HistoryMetrics {
    /// Counts changes that this replica recorded.
    pub(crate) fn recorded(&self, changes: u64) {
        self.recorded.inc_by(changes);
    }

    /// Counts changes that could not be recorded.
    pub(crate) fn lost(&self, changes: u64) {
        self.lost.inc_by(changes);
    }

    /// Counts changes that are kept no longer.
    pub(crate) fn expired(&self, changes: u64) {
        self.expired.inc_by(changes);
    }

    /// Registers every family of the history.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "chronicle_recorded",
            "Changes of verdicts and states that this replica recorded",
            self.recorded.clone(),
        );
        registry.register(
            "chronicle_lost",
            "Changes that could not be recorded, because too many waited for etcd",
            self.lost.clone(),
        );
        registry.register(
            "chronicle_expired",
            "Changes that are kept no longer",
            self.expired.clone(),
        );
    }
}
