//! Prometheus metrics of the monitoring.
//!
//! The counters live here; everything about clusters is derived from the current views at scrape time, so that it
//! cannot disagree with the page.

mod clusters;
pub(crate) mod findings;
mod nodes;
mod probes;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use galera::observe::observation::ProbeError;
use galera::observe::wsrep::WsrepStatus;
use galera::{ClusterName, NodeId};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use clusters::ClusterCollector;
pub use nodes::{MetricsNodes, NodeSeries};
use probes::ProbeMeters;

type FloatGauge = Gauge<f64, AtomicU64>;

/// Counters of the monitor's own work; cheap to update from anywhere.
#[derive(Debug, Default)]
pub(crate) struct MonitorMetrics {
    pub(crate) probes: ProbeMeters,
    registry_restarts: Counter,
    folds: Counter,
}

impl MonitorMetrics {
    /// Counts one reading of a node.
    pub(crate) fn probe(
        &self,
        cluster: &ClusterName,
        node: &NodeId,
        took: Duration,
        outcome: Result<&WsrepStatus, &ProbeError>,
    ) {
        self.probes.record(cluster, node, took, outcome);
    }

    /// Removes the series of a node that is no longer probed, to bound their number.
    pub(crate) fn forget_node(&self, cluster: &ClusterName, node: &NodeId) {
        self.probes.forget(cluster, node);
    }

    /// Counts a loss of the registry's watch.
    pub(crate) fn registry_restarted(&self) {
        self.registry_restarts.inc();
    }

    /// Counts one computation of a cluster's view.
    pub(crate) fn folded(&self) {
        self.folds.inc();
    }

    /// Registers what is not about single nodes.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "registry_watch_restarts",
            "Times that the registry became unreachable and the watch had to start again",
            self.registry_restarts.clone(),
        );
        registry.register(
            "folds",
            "Computations of a cluster's view",
            self.folds.clone(),
        );
    }
}

#[cfg(test)]
mod tests;
