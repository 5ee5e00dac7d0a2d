//! Metrics of single nodes, by far the most series of a scrape: written in pieces, from views that no lock protects.

use std::fmt::{self, Write};
use std::sync::Arc;

use console_core::published::Published;
use galera::Timestamp;
use galera::record::series::SeriesMetric;
use galera::view::{ClusterView, NodeState, NodeView, SourceKind, SourceView};

use super::clusters::{bool_to_f64, u64_to_f64};
use super::probes::{ProbeCounters, ProbeMeters};

/// Nodes of one piece.
const PIECE_NODES: usize = 200;
/// Queued write-sets above which a node is unhealthy, as in the shipped alerts.
const QUEUE_MAX: u64 = 100;
/// Fraction of paused replication above which a node is unhealthy, as in the shipped alerts.
const PAUSED_MAX: f64 = 0.25;

/// Which nodes have series of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsNodes {
    #[default]
    All,
    /// Those that an operator may have to look at: not Synced, not ready, without a fresh report of a source, with a
    /// finding, a long queue or much flow control.
    Unhealthy,
    None,
}

impl MetricsNodes {
    /// Whether `node` has series of its own.
    pub(super) fn includes(self, node: &NodeView) -> bool {
        match self {
            Self::All => true,
            Self::Unhealthy => is_unhealthy(node),
            Self::None => false,
        }
    }
}

fn is_unhealthy(node: &NodeView) -> bool {
    let long = |queue: Option<u64>| queue.is_some_and(|queue| queue > QUEUE_MAX);
    node.state != NodeState::Synced
        || node.ready != Some(true)
        || node.connected != Some(true)
        || !node.findings.is_empty()
        || long(node.recv_queue)
        || long(node.send_queue)
        || node
            .flow_control_paused
            .is_some_and(|paused| paused > PAUSED_MAX)
        // Without an agent there is nothing to report.
        || node.sources.iter().any(|source| {
            !is_fresh(source) && (node.registered || source.kind == SourceKind::Sql)
        })
}

fn is_fresh(source: &SourceView) -> bool {
    source.observed_at.is_some() && !source.stale && source.error.is_none()
}

/// Whether the last answer of its SQL probe is fresh.
fn answers(node: &NodeView) -> bool {
    let mut sources = node.sources.iter();
    sources.any(|source| source.kind == SourceKind::Sql && is_fresh(source))
}

/// The series of all selected nodes, as pieces of OpenMetrics text in the order of the scrape. Each piece is written when
/// it is taken.
pub struct NodeSeries {
    prefix: &'static str,
    now: Timestamp,
    nodes: Vec<SeriesNode>,
    family: usize,
    /// The first node of the next piece.
    next: usize,
}

struct SeriesNode {
    view: Arc<Published<ClusterView>>,
    index: usize,
    /// `cluster="…",node="…"`.
    labels: String,
    probes: Option<Arc<ProbeCounters>>,
}

impl SeriesNode {
    fn node(&self) -> &NodeView {
        &self.view.value.nodes[self.index]
    }
}

impl NodeSeries {
    pub(crate) fn new(
        prefix: &'static str,
        selection: MetricsNodes,
        views: &[Arc<Published<ClusterView>>],
        meters: &ProbeMeters,
        now: Timestamp,
    ) -> Self {
        let meters = match selection {
            MetricsNodes::None => Default::default(),
            _ => meters.current(),
        };
        let nodes = views.iter().flat_map(|view| {
            let meters = meters.get(&view.value.name);
            let cluster = escape(view.value.name.as_str());
            let nodes = view.value.nodes.iter().enumerate();
            nodes
                .filter(|(_, node)| selection.includes(node))
                .map(move |(index, node)| SeriesNode {
                    view: Arc::clone(view),
                    index,
                    labels: format!(
                        "cluster=\"{cluster}\",node=\"{}\"",
                        escape(&node.id.to_string())
                    ),
                    probes: meters.and_then(|nodes| nodes.get(&node.id).cloned()),
                })
        });
        Self {
            prefix,
            now,
            nodes: nodes.collect(),
            family: 0,
            next: 0,
        }
    }

    fn write_piece(&self, family: &NodeFamily, nodes: &[SeriesNode]) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let name = [self.prefix, "_", family.name].concat();
        if self.next == 0 {
            writeln!(text, "# HELP {name} {}.", family.help)?;
            writeln!(text, "# TYPE {name} {}", family.kind)?;
        }
        for node in nodes {
            match family.value {
                FamilyValue::Probes(write) => {
                    if let Some(probes) = &node.probes {
                        write(probes, &mut text, &name, &node.labels)?;
                    }
                }
                // Nodes that are not confirmed are probed, but count for nothing.
                _ if node.node().unconfirmed => {}
                FamilyValue::Gauge(value) => {
                    if let Some(value) = value(node.node()) {
                        writeln!(text, "{name}{{{}}} {value:?}", node.labels)?;
                    }
                }
                FamilyValue::Figure(metric) => {
                    let probes = node.probes.as_ref().filter(|_| answers(node.node()));
                    if let Some(value) = probes.and_then(|probes| probes.latest_value(metric)) {
                        writeln!(text, "{name}{{{}}} {value:?}", node.labels)?;
                    }
                }
                FamilyValue::State => {
                    let state = node.node().state.as_str();
                    writeln!(text, "{name}{{{},state=\"{state}\"}} 1.0", node.labels)?;
                }
                FamilyValue::Sources(value) => {
                    for source in &node.node().sources {
                        let kind = match source.kind {
                            SourceKind::Sql => "sql",
                            SourceKind::Registry => "registry",
                        };
                        if let Some(value) = value(source, self.now) {
                            writeln!(
                                text,
                                "{name}{{{},source=\"{kind}\"}} {value:?}",
                                node.labels
                            )?;
                        }
                    }
                }
            }
        }
        Ok(text)
    }
}

impl Iterator for NodeSeries {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let family = FAMILIES.get(self.family)?;
        let end = self.nodes.len().min(self.next + PIECE_NODES);
        // Writing to a string cannot fail.
        let piece = self
            .write_piece(family, &self.nodes[self.next..end])
            .unwrap_or_default();
        self.next = end;
        if end == self.nodes.len() {
            self.family += 1;
            self.next = 0;
        }
        Some(piece)
    }
}

/// A label's value as OpenMetrics quotes it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

struct NodeFamily {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: FamilyValue,
}

enum FamilyValue {
    /// One series per node, with its state as a label: ten series per node would be nine too many.
    State,
    Gauge(fn(&NodeView) -> Option<f64>),
    Sources(fn(&SourceView, Timestamp) -> Option<f64>),
    /// Of the last reading, while it is fresh.
    Figure(SeriesMetric),
    Probes(fn(&ProbeCounters, &mut String, &str, &str) -> fmt::Result),
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    value: fn(&NodeView) -> Option<f64>,
) -> NodeFamily {
    NodeFamily {
        name,
        kind: "gauge",
        help,
        value: FamilyValue::Gauge(value),
    }
}

const fn figure(name: &'static str, help: &'static str, metric: SeriesMetric) -> NodeFamily {
    NodeFamily {
        name,
        kind: "gauge",
        help,
        value: FamilyValue::Figure(metric),
    }
}

const FAMILIES: [NodeFamily; 19] = [
    NodeFamily {
        name: "node_state",
        kind: "gauge",
        help: "1 for the node's current state, given as a label",
        value: FamilyValue::State,
    },
    NodeFamily {
        name: "node_source_fresh",
        kind: "gauge",
        help: "Whether a source (sql, registry) currently reports the node (1) or not (0)",
        value: FamilyValue::Sources(|source, _| Some(bool_to_f64(is_fresh(source)))),
    },
    NodeFamily {
        name: "node_source_age_seconds",
        kind: "gauge",
        help: "Time since the last report of a source about the node",
        value: FamilyValue::Sources(|source, now| {
            source.observed_at.map(|at| at.age(now).as_secs_f64())
        }),
    },
    gauge(
        "node_last_committed",
        "Last committed sequence number, from fresh evidence",
        |node| {
            let position = node.position.as_ref().filter(|_| node.position_fresh)?;
            Some(u64_to_f64(position.seqno))
        },
    ),
    gauge(
        "node_behind_transactions",
        "Transactions behind the most advanced member",
        |node| node.behind.map(u64_to_f64),
    ),
    gauge(
        "node_recv_queue",
        "Write-sets received but not applied",
        |node| node.recv_queue.map(u64_to_f64),
    ),
    gauge("node_send_queue", "Write-sets waiting to be sent", |node| {
        node.send_queue.map(u64_to_f64)
    }),
    gauge(
        "node_flow_control_paused_ratio",
        "Fraction of the last poll interval during which flow control paused replication",
        |node| node.flow_control_paused,
    ),
    gauge("node_commit_rate", "Commits per second", |node| {
        node.commit_rate
    }),
    figure(
        "node_certification_failure_rate",
        "Transactions of this node's clients that failed certification, per second",
        SeriesMetric::CertFailures,
    ),
    figure(
        "node_abort_rate",
        "Transactions of this node's clients that an applied write-set aborted, per second",
        SeriesMetric::BfAborts,
    ),
    figure(
        "node_connections",
        "Connections of clients (Threads_connected), up to 15 s old",
        SeriesMetric::Connections,
    ),
    figure(
        "node_probe_latency_seconds",
        "Time that the last SQL reading of the node took, connecting included",
        SeriesMetric::ProbeLatency,
    ),
    figure(
        "node_write_bytes_rate",
        "Bytes of write-sets of all nodes that passed through this node, per second",
        SeriesMetric::WriteRate,
    ),
    gauge(
        "node_ready",
        "Whether the node accepts queries (wsrep_ready): 1 or 0",
        |node| node.ready.map(bool_to_f64),
    ),
    gauge(
        "node_connected",
        "Whether the node is connected to a group (wsrep_connected): 1 or 0",
        |node| node.connected.map(bool_to_f64),
    ),
    gauge(
        "node_expected",
        "Whether the node is an expected member: 1 or 0",
        |node| Some(bool_to_f64(node.expected)),
    ),
    NodeFamily {
        name: "probe_duration_seconds",
        kind: "histogram",
        help: "Time that one SQL reading of a node took, connecting included",
        value: FamilyValue::Probes(ProbeCounters::write_seconds),
    },
    NodeFamily {
        name: "probe_failures",
        kind: "counter",
        help: "SQL readings of a node that failed, by kind",
        value: FamilyValue::Probes(ProbeCounters::write_failures),
    },
];
