//! The clusters' part of a scrape, read from the hub's present views.

use std::fmt;
use std::sync::Arc;

use galera::view::{ClusterView, NodeState, NodeView, RegistryHealth, VerdictState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::Family;

use super::{FloatGauge, NodeLabels};
use crate::hub::Hub;
use crate::published::Published;

/// The views of one moment.
pub(super) struct Views {
    clusters: Vec<Arc<Published<ClusterView>>>,
    registry: RegistryHealth,
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

impl Views {
    pub(super) fn new(hub: &Hub) -> Self {
        Self {
            clusters: hub.views(),
            registry: hub.registry_health(),
        }
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

impl Collector for Views {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reachable = FloatGauge::default();
        reachable.set(f64::from(u8::from(self.registry.reachable)));
        write(
            &mut encoder,
            "registry_reachable",
            "Whether etcd can be read (1) or not (0)",
            &reachable,
        )?;
        self.verdicts(&mut encoder)?;
        self.states(&mut encoder)?;
        for (name, help, value) in NODE_GAUGES {
            let family = Family::<NodeLabels, FloatGauge>::default();
            for (view, node) in self.nodes() {
                if let Some(value) = value(node) {
                    let labels = NodeLabels {
                        cluster: view.name.to_string(),
                        node: node.id.to_string(),
                    };
                    family.get_or_create(&labels).set(value);
                }
            }
            write(&mut encoder, name, help, &family)?;
        }
        Ok(())
    }
}

impl Views {
    fn nodes(&self) -> impl Iterator<Item = (&ClusterView, &NodeView)> {
        let views = self.clusters.iter().map(|published| &published.value);
        views.flat_map(|view| view.nodes.iter().map(move |node| (view, node)))
    }

    fn verdicts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let verdicts = Family::<StateLabels, FloatGauge>::default();
        let expected = Family::<ClusterLabels, FloatGauge>::default();
        for published in &self.clusters {
            let view = &published.value;
            for state in VerdictState::ALL {
                let labels = StateLabels {
                    cluster: view.name.to_string(),
                    state: state.word(),
                };
                let value = f64::from(u8::from(view.verdict.state == state));
                verdicts.get_or_create(&labels).set(value);
            }
            let labels = ClusterLabels {
                cluster: view.name.to_string(),
            };
            expected
                .get_or_create(&labels)
                .set(count(view.expected_members.len()));
        }
        write(
            encoder,
            "cluster_verdict",
            "1 for the cluster's present verdict, 0 for the others",
            &verdicts,
        )?;
        write(
            encoder,
            "cluster_expected_members",
            "Members that the cluster should have",
            &expected,
        )
    }

    fn states(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let states = Family::<StateLabels, FloatGauge>::default();
        for published in &self.clusters {
            let view = &published.value;
            for state in NodeState::ALL {
                let labels = StateLabels {
                    cluster: view.name.to_string(),
                    state: state.word(),
                };
                let nodes = view.nodes.iter().filter(|node| node.state == state).count();
                states.get_or_create(&labels).set(count(nodes));
            }
        }
        write(
            encoder,
            "cluster_nodes",
            "Nodes of a cluster by state",
            &states,
        )
    }
}

type NodeGauge = (&'static str, &'static str, fn(&NodeView) -> Option<f64>);

const NODE_GAUGES: [NodeGauge; 6] = [
    (
        "node_last_committed",
        "Last committed sequence number, from fresh evidence",
        |node| {
            let position = node.position.as_ref().filter(|_| node.position_fresh)?;
            Some(wide(position.seqno))
        },
    ),
    (
        "node_behind_transactions",
        "Transactions behind the most advanced member",
        |node| node.behind.map(wide),
    ),
    (
        "node_recv_queue",
        "Write-sets received but not applied",
        |node| node.recv_queue.map(wide),
    ),
    ("node_send_queue", "Write-sets waiting to be sent", |node| {
        node.send_queue.map(wide)
    }),
    (
        "node_flow_control_paused_ratio",
        "Fraction of the last poll interval during which flow control paused replication",
        |node| node.flow_control_paused,
    ),
    ("node_commit_rate", "Commits per second", |node| {
        node.commit_rate
    }),
];

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

/// Prometheus knows only floats: exact up to 2^53, which no sequence number reaches.
fn wide(number: u64) -> f64 {
    number as f64
}

fn write<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &M,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
