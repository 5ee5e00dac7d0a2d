//! Metrics of clusters, derived from the current views.

use std::fmt;
use std::sync::Arc;

use console_core::published::Published;
use galera::view::{
    ClusterStatus, ClusterView, NodeState, ReasonCode, RegistryHealth, VerdictState,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::Family;

use super::{FloatGauge, MetricsNodes};

/// The views at the time of a scrape.
pub(crate) struct ClusterCollector {
    clusters: Vec<Arc<Published<ClusterView>>>,
    registry: RegistryHealth,
    selection: MetricsNodes,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    cluster: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
}

impl ClusterCollector {
    pub(crate) fn new(
        clusters: Vec<Arc<Published<ClusterView>>>,
        registry: RegistryHealth,
        selection: MetricsNodes,
    ) -> Self {
        Self {
            clusters,
            registry,
            selection,
        }
    }
}

impl fmt::Debug for ClusterCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

impl Collector for ClusterCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reachable = FloatGauge::default();
        reachable.set(bool_to_f64(self.registry.reachable));
        encode_metric(
            &mut encoder,
            "registry_reachable",
            "Whether etcd is readable (1) or not (0)",
            &reachable,
        )?;
        self.verdicts(&mut encoder)?;
        self.states(&mut encoder)?;
        self.components(&mut encoder)?;
        self.without_series(&mut encoder)
    }
}

impl ClusterCollector {
    /// What a limit of the series of nodes leaves out.
    fn without_series(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let left_out = Family::<ClusterLabels, FloatGauge>::default();
        for published in &self.clusters {
            let view = &published.value;
            let labels = ClusterLabels {
                cluster: view.name.to_string(),
            };
            let nodes = view.members().filter(|node| !self.selection.includes(node));
            left_out
                .get_or_create(&labels)
                .set(count_to_f64(nodes.count()));
        }
        encode_metric(
            encoder,
            "cluster_nodes_without_series",
            "Nodes of the cluster that have no series of their own because of --metrics-nodes",
            &left_out,
        )
    }

    fn verdicts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let verdicts = Family::<StateLabels, FloatGauge>::default();
        let expected = Family::<ClusterLabels, FloatGauge>::default();
        for published in &self.clusters {
            let view = &published.value;
            for state in VerdictState::ALL {
                let labels = StateLabels {
                    cluster: view.name.to_string(),
                    state: state.as_str(),
                };
                let value = bool_to_f64(view.verdict.state == state);
                verdicts.get_or_create(&labels).set(value);
            }
            let labels = ClusterLabels {
                cluster: view.name.to_string(),
            };
            expected
                .get_or_create(&labels)
                .set(count_to_f64(view.expected_members.len()));
        }
        encode_metric(
            encoder,
            "cluster_verdict",
            "1 for the cluster's current verdict, 0 for the others",
            &verdicts,
        )?;
        encode_metric(
            encoder,
            "cluster_expected_members",
            "Expected members of the cluster",
            &expected,
        )
    }

    fn components(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let primaries = Family::<ClusterLabels, FloatGauge>::default();
        let members = Family::<ClusterLabels, FloatGauge>::default();
        let unconfirmed = Family::<ClusterLabels, FloatGauge>::default();
        let alarms = Family::<ClusterLabels, FloatGauge>::default();
        for published in &self.clusters {
            let view = &published.value;
            let labels = ClusterLabels {
                cluster: view.name.to_string(),
            };
            let primary = view.components.iter();
            let primary = primary.filter(|seen| seen.status == ClusterStatus::Primary);
            let sizes = primary.clone().map(|seen| seen.members.len());
            primaries
                .get_or_create(&labels)
                .set(count_to_f64(primary.count()));
            let largest = sizes.max().unwrap_or(0);
            members.get_or_create(&labels).set(count_to_f64(largest));
            let reasons = view.verdict.reasons.iter();
            let raised = reasons.filter(|reason| {
                matches!(
                    reason.code,
                    ReasonCode::HistoryAlarm | ReasonCode::MemberDiverged
                )
            });
            alarms
                .get_or_create(&labels)
                .set(count_to_f64(raised.count()));
            let count = view.unconfirmed_nodes().count();
            unconfirmed.get_or_create(&labels).set(count_to_f64(count));
        }
        encode_metric(
            encoder,
            "cluster_primary_components",
            "Primary components; more than one is a split brain",
            &primaries,
        )?;
        encode_metric(
            encoder,
            "cluster_primary_members",
            "Members of the Primary component, or of the largest if there are several",
            &members,
        )?;
        encode_metric(
            encoder,
            "cluster_data_alarms",
            "Alarms about the data of the cluster that are not acknowledged",
            &alarms,
        )?;
        encode_metric(
            encoder,
            "cluster_unconfirmed_nodes",
            "Registered nodes that are not confirmed as members and do not count",
            &unconfirmed,
        )
    }

    fn states(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let states = Family::<StateLabels, FloatGauge>::default();
        for published in &self.clusters {
            let view = &published.value;
            for state in NodeState::ALL {
                let labels = StateLabels {
                    cluster: view.name.to_string(),
                    state: state.as_str(),
                };
                let nodes = view.members().filter(|node| node.state == state).count();
                states.get_or_create(&labels).set(count_to_f64(nodes));
            }
        }
        encode_metric(
            encoder,
            "cluster_nodes",
            "Nodes of a cluster by state",
            &states,
        )
    }
}

fn count_to_f64(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

pub(super) fn bool_to_f64(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Prometheus has only floats: exact up to 2^53, which no sequence number reaches.
pub(super) fn u64_to_f64(number: u64) -> f64 {
    number as f64
}

pub(super) fn encode_metric<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &M,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
