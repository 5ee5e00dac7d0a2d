//! What the console says about itself and about the clusters, as OpenMetrics text for Prometheus.
//!
//! Counters of the console's own work live here; everything about clusters is read from the hub's present views at the
//! moment of a scrape, so that it cannot disagree with the page.

mod clusters;
mod nodes;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use galera::observe::observation::ProbeError;
use galera::recover::action::Action;
use galera::{ClusterName, NodeId, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::actions::Shelf;
use crate::hub::{Hub, now};

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PREFIX: &str = "galera_console";
/// Seconds. SQL readings take about a millisecond and end with the deadline of a few seconds.
const PROBE_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 3.0, 10.0];
/// Seconds. Answers come from memory; sign-in takes as long as its password hash.
const HTTP_BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// How long an action that ended is spoken of: long enough for an alert to be seen.
const RECENT: Duration = Duration::from_secs(3600);

pub(crate) type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct NodeLabels {
    pub(crate) cluster: String,
    pub(crate) node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailureLabels {
    cluster: String,
    node: String,
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    cluster: String,
    state: &'static str,
}

/// The counters of the console's own work; cheap to update from anywhere.
#[derive(Debug)]
pub struct Metrics {
    probe_seconds: Family<NodeLabels, Histogram>,
    probe_failures: Family<FailureLabels, Counter>,
    registry_restarts: Counter,
    folds: Counter,
    chronicle_recorded: Counter,
    chronicle_lost: Counter,
    chronicle_expired: Counter,
    live_connections: Gauge,
    live_messages: Family<DirectionLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            probe_seconds: Family::new_with_constructor(|| Histogram::new(PROBE_BUCKETS)),
            probe_failures: Family::default(),
            registry_restarts: Counter::default(),
            folds: Counter::default(),
            chronicle_recorded: Counter::default(),
            chronicle_lost: Counter::default(),
            chronicle_expired: Counter::default(),
            live_connections: Gauge::default(),
            live_messages: Family::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(HTTP_BUCKETS),
        }
    }
}

impl Metrics {
    /// Counts one reading of a node.
    pub fn probe(
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
                kind: error.kind.word().to_owned(),
            };
            self.probe_failures.get_or_create(&labels).inc();
        }
        self.probe_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Forgets a node that is no longer probed, so that the number of series stays bounded.
    pub fn forget_node(&self, cluster: &ClusterName, node: &NodeId) {
        self.probe_seconds.remove(&NodeLabels {
            cluster: cluster.to_string(),
            node: node.to_string(),
        });
        for kind in galera::observe::observation::ProbeFailure::ALL {
            self.probe_failures.remove(&FailureLabels {
                cluster: cluster.to_string(),
                node: node.to_string(),
                kind: kind.word().to_owned(),
            });
        }
    }

    /// Counts an HTTP answer; `route` is the matched pattern, never the path itself, which anybody can vary.
    pub fn http_request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let labels = RequestLabels {
            method: method.to_owned(),
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.observe(seconds);
    }

    /// Counts a WebSocket connection until the guard is dropped.
    #[must_use]
    pub fn live_connection(&self) -> impl Drop + Send + use<> {
        self.live_connections.inc();
        Connected(self.live_connections.clone())
    }

    /// Counts a WebSocket message to a viewer.
    pub fn live_sent(&self) {
        self.live_messages
            .get_or_create(&DirectionLabels { direction: "sent" })
            .inc();
    }

    /// Counts a WebSocket message from a viewer.
    pub fn live_received(&self) {
        self.live_messages
            .get_or_create(&DirectionLabels {
                direction: "received",
            })
            .inc();
    }

    /// Counts a loss of the registry's watch.
    pub fn registry_restarted(&self) {
        self.registry_restarts.inc();
    }

    /// Counts one computation of a cluster's view.
    pub fn folded(&self) {
        self.folds.inc();
    }

    /// Counts changes that this replica recorded.
    pub fn chronicle_recorded(&self, changes: u64) {
        self.chronicle_recorded.inc_by(changes);
    }

    /// Counts changes that could not be recorded.
    pub fn chronicle_lost(&self, changes: u64) {
        self.chronicle_lost.inc_by(changes);
    }

    /// Counts changes that are kept no longer.
    pub fn chronicle_expired(&self, changes: u64) {
        self.chronicle_expired.inc_by(changes);
    }

    fn register(&self, registry: &mut Registry) {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", build);
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
        registry.register(
            "chronicle_recorded",
            "Changes of verdicts and states that this replica recorded",
            self.chronicle_recorded.clone(),
        );
        registry.register(
            "chronicle_lost",
            "Changes that could not be recorded, because too many waited for etcd",
            self.chronicle_lost.clone(),
        );
        registry.register(
            "chronicle_expired",
            "Changes that are kept no longer",
            self.chronicle_expired.clone(),
        );
        registry.register(
            "live_connections",
            "Open WebSocket connections",
            self.live_connections.clone(),
        );
        registry.register(
            "live_messages",
            "WebSocket messages",
            self.live_messages.clone(),
        );
        registry.register(
            "http_requests",
            "HTTP answers by route and status",
            self.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time from a request to its answer",
            self.request_seconds.clone(),
        );
    }
}

struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Everything as OpenMetrics text ([`CONTENT_TYPE`]).
#[must_use]
pub fn render(hub: &Hub, shelf: &Shelf, leads: bool) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    hub.metrics().register(&mut registry);
    registry.register(
        "open_actions",
        "Actions that wait for somebody or are being carried out, by cluster and state",
        open_actions(shelf),
    );
    registry.register(
        "recent_actions",
        "Actions that ended within the last hour, by cluster and final state",
        recent_actions(shelf, now()),
    );
    let leader: Gauge = Gauge::default();
    leader.set(i64::from(leads));
    registry.register(
        "leader",
        "Whether this replica leads (1) or not (0); one of all replicas does",
        leader,
    );
    registry.register_collector(Box::new(clusters::Views::new(hub)));
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        // Writing to a string cannot fail; a scrape that is cut short lacks its end mark and is refused by Prometheus.
        tracing::error!(%error, "Metrics could not be written");
    }
    text
}

fn open_actions(shelf: &Shelf) -> Family<ActionLabels, Gauge> {
    let open = Family::<ActionLabels, Gauge>::default();
    for shown in shelf.open() {
        open.get_or_create(&labels_of(&shown.value.action)).inc();
    }
    open
}

fn recent_actions(shelf: &Shelf, now: Timestamp) -> Family<ActionLabels, Gauge> {
    let recent = Family::<ActionLabels, Gauge>::default();
    for shown in shelf.newest() {
        let action = &shown.value.action;
        if action.ended_at.is_some_and(|at| at.age(now) < RECENT) {
            recent.get_or_create(&labels_of(action)).inc();
        }
    }
    recent
}

fn labels_of(action: &Action) -> ActionLabels {
    ActionLabels {
        cluster: action.cluster.to_string(),
        state: action.state.word(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_closed_connection_is_counted_no_more() {
        let metrics = Metrics::default();
        let connection = metrics.live_connection();
        assert!(text(&metrics).contains("galera_console_live_connections 1\n"));
        drop(connection);
        assert!(text(&metrics).contains("galera_console_live_connections 0\n"));
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.http_request("GET", "/api/v1/clusters/{cluster}", 404, 0.001);
        let line = r#"galera_console_http_requests_total{method="GET",route="/api/v1/clusters/{cluster}",status="404"} 1"#;
        assert!(text(&metrics).contains(line), "{}", text(&metrics));
    }

    #[test]
    fn a_node_that_is_gone_leaves_no_series() {
        let metrics = Metrics::default();
        let (cluster, node) = ("lab".parse().unwrap(), "db1".parse().unwrap());
        let error = ProbeError {
            kind: galera::observe::observation::ProbeFailure::Refused,
            message: String::new(),
        };
        metrics.probe(&cluster, &node, Duration::from_millis(1), Some(&error));
        assert!(text(&metrics).contains("kind=\"refused\""));
        metrics.forget_node(&cluster, &node);
        assert!(!text(&metrics).contains("db1"));
    }
}
