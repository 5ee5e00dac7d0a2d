//! Prometheus counters of the history.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of recorded, dropped and deleted changes.
#[derive(Debug, Default)]
pub(crate) struct HistoryMetrics {
    recorded: Counter,
    lost: Counter,
    expired: Counter,
}

impl HistoryMetrics {
    pub(crate) fn recorded(&self, changes: u64) {
        self.recorded.inc_by(changes);
    }

    /// Counts changes that were dropped because too many were waiting for etcd.
    pub(crate) fn lost(&self, changes: u64) {
        self.lost.inc_by(changes);
    }

    pub(crate) fn expired(&self, changes: u64) {
        self.expired.inc_by(changes);
    }

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
