//! Metrics of single nodes.

use std::fmt;

use galera::Timestamp;
use galera::view::{ClusterView, NodeView, SourceKind};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::family::Family;

use super::clusters::{bool_to_f64, encode_metric, u64_to_f64};
use super::{FloatGauge, NodeLabels};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeStateLabels {
    cluster: String,
    node: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabels {
    cluster: String,
    node: String,
    source: &'static str,
}

/// A node with its cluster's view.
pub(super) type ClusterNode<'a> = (&'a ClusterView, &'a NodeView);

/// Encodes everything about single nodes as of `now`.
pub(super) fn encode(
    nodes: &[ClusterNode<'_>],
    now: Timestamp,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    states(nodes, encoder)?;
    sources(nodes, now, encoder)?;
    for (name, help, value) in GAUGES {
        let family = Family::<NodeLabels, FloatGauge>::default();
        for (view, node) in nodes {
            if let Some(value) = value(node) {
                let labels = NodeLabels {
                    cluster: view.name.to_string(),
                    node: node.id.to_string(),
                };
                family.get_or_create(&labels).set(value);
            }
        }
        encode_metric(encoder, name, help, &family)?;
    }
    Ok(())
}

/// One series per node, with its state as a label: ten series per node would be nine too many.
fn states(nodes: &[ClusterNode<'_>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let states = Family::<NodeStateLabels, FloatGauge>::default();
    for (view, node) in nodes {
        let labels = NodeStateLabels {
            cluster: view.name.to_string(),
            node: node.id.to_string(),
            state: node.state.as_str(),
        };
        states.get_or_create(&labels).set(1.0);
    }
    encode_metric(
        encoder,
        "node_state",
        "1 for the node's current state, given as a label",
        &states,
    )
}

fn sources(
    nodes: &[ClusterNode<'_>],
    now: Timestamp,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let fresh = Family::<SourceLabels, FloatGauge>::default();
    let age = Family::<SourceLabels, FloatGauge>::default();
    for (view, node) in nodes {
        for source in &node.sources {
            let labels = SourceLabels {
                cluster: view.name.to_string(),
                node: node.id.to_string(),
                source: match source.kind {
                    SourceKind::Sql => "sql",
                    SourceKind::Registry => "registry",
                },
            };
            let fresh_source =
                source.observed_at.is_some() && !source.stale && source.error.is_none();
            fresh.get_or_create(&labels).set(bool_to_f64(fresh_source));
            if let Some(at) = source.observed_at {
                age.get_or_create(&labels).set(at.age(now).as_secs_f64());
            }
        }
    }
    encode_metric(
        encoder,
        "node_source_fresh",
        "Whether a source (sql, registry) currently reports the node (1) or not (0)",
        &fresh,
    )?;
    encode_metric(
        encoder,
        "node_source_age_seconds",
        "Time since the last report of a source about the node",
        &age,
    )
}

type NodeGauge = (&'static str, &'static str, fn(&NodeView) -> Option<f64>);

const GAUGES: [NodeGauge; 9] = [
    (
        "node_last_committed",
        "Last committed sequence number, from fresh evidence",
        |node| {
            let position = node.position.as_ref().filter(|_| node.position_fresh)?;
            Some(u64_to_f64(position.seqno))
        },
    ),
    (
        "node_behind_transactions",
        "Transactions behind the most advanced member",
        |node| node.behind.map(u64_to_f64),
    ),
    (
        "node_recv_queue",
        "Write-sets received but not applied",
        |node| node.recv_queue.map(u64_to_f64),
    ),
    ("node_send_queue", "Write-sets waiting to be sent", |node| {
        node.send_queue.map(u64_to_f64)
    }),
    (
        "node_flow_control_paused_ratio",
        "Fraction of the last poll interval during which flow control paused replication",
        |node| node.flow_control_paused,
    ),
    ("node_commit_rate", "Commits per second", |node| {
        node.commit_rate
    }),
    (
        "node_ready",
        "Whether the node accepts queries (wsrep_ready): 1 or 0",
        |node| node.ready.map(bool_to_f64),
    ),
    (
        "node_connected",
        "Whether the node is connected to a group (wsrep_connected): 1 or 0",
        |node| node.connected.map(bool_to_f64),
    ),
    (
        "node_expected",
        "Whether the node is an expected member: 1 or 0",
        |node| Some(bool_to_f64(node.expected)),
    ),
];
