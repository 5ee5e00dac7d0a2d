//! Prometheus metrics of the monitoring.
//!
//! The counters live here; everything about clusters is derived from the current views at scrape time, so that it
//! cannot disagree with the page.

mod clusters;
pub(crate) mod findings;
mod nodes;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::{ClusterName, NodeId};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub(crate) use clusters::ClusterCollector;

/// In seconds. SQL readings take about a millisecond and are bounded by a deadline of a few seconds.
const PROBE_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 3.0, 10.0];

type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabels {
    cluster: String,
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailureLabels {
    cluster: String,
    node: String,
    kind: String,
}

/// Counters of the monitor's own work; cheap to update from anywhere.
#[derive(Debug)]
pub(crate) struct MonitorMetrics {
    probe_seconds: Family<NodeLabels, Histogram>,
    probe_failures: Family<FailureLabels, Counter>,
    registry_restarts: Counter,
    folds: Counter,
}

impl Default for MonitorMetrics {
    fn default() -> Self {
        Self {
            probe_seconds: Family::new_with_constructor(|| Histogram::new(PROBE_BUCKETS)),
            probe_failures: Family::default(),
            registry_restarts: Counter::default(),
            folds: Counter::default(),
        }
    }
}

impl MonitorMetrics {
    /// Counts one reading of a node.
    pub(crate) fn probe(
        &self,
        cluster: &ClusterName,
        node: &NodeId,
        took: Duration,
        error: Option<&ProbeError>,
    ) {
        let labels = NodeLabels {
            cluster: cluster.to_string(),
            node: node.to_string(),
        };
        if let Some(error) = error {
            let labels = FailureLabels {
                cluster: labels.cluster.clone(),
                node: labels.node.clone(),
                kind: error.kind.as_str().to_owned(),
            };
            self.probe_failures.get_or_create(&labels).inc();
        }
        self.probe_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Removes the series of a node that is no longer probed, to bound their number.
    pub(crate) fn forget_node(&self, cluster: &ClusterName, node: &NodeId) {
        self.probe_seconds.remove(&NodeLabels {
            cluster: cluster.to_string(),
            node: node.to_string(),
        });
        for kind in ProbeErrorKind::ALL {
            self.probe_failures.remove(&FailureLabels {
                cluster: cluster.to_string(),
                node: node.to_string(),
                kind: kind.as_str().to_owned(),
            });
        }
    }

    /// Counts a loss of the registry's watch.
    pub(crate) fn registry_restarted(&self) {
        self.registry_restarts.inc();
    }

    /// Counts one computation of a cluster's view.
    pub(crate) fn folded(&self) {
        self.folds.inc();
    }

    /// Registers every metric family of the monitor.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "probe_duration_seconds",
            "Time that one SQL reading of a node took, connecting included",
            self.probe_seconds.clone(),
        );
        registry.register(
            "probe_failures",
            "SQL readings of a node that failed, by kind",
            self.probe_failures.clone(),
        );
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
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(metrics: &MonitorMetrics) -> String {
        let mut registry = Registry::with_prefix("galera_console");
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_removed_node_leaves_no_series() {
        let metrics = MonitorMetrics::default();
        let (cluster, node) = ("lab".parse().unwrap(), "db1".parse().unwrap());
        let error = ProbeError {
            kind: ProbeErrorKind::Refused,
            message: String::new(),
        };
        metrics.probe(&cluster, &node, Duration::from_millis(1), Some(&error));
        assert!(text(&metrics).contains("kind=\"refused\""));
        metrics.forget_node(&cluster, &node);
        assert!(!text(&metrics).contains("db1"));
    }
}
