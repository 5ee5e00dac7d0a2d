//! The text of a scrape.

use std::sync::Arc;

use console_core::clock::now;
use console_core::published::Published;
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::{Evidence, ProbeErrorKind};
use galera::view::{ClusterView, NodeState, RegistryHealth};
use prometheus_client::encoding::text::encode;
use proptest::prelude::*;

use super::*;

const PREFIX: &str = "galera_console";

/// A cluster whose nodes are named; each answers as Synced.
fn view(name: &str, nodes: &[&str]) -> ClusterView {
    let health = RegistryHealth {
        reachable: true,
        since: now(),
        error: None,
    };
    let mut evidence = Evidence::new(name.parse().unwrap(), health);
    for id in nodes {
        let rows = [
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_local_state", "4"),
            ("wsrep_ready", "ON"),
            ("wsrep_connected", "ON"),
            ("wsrep_last_committed", "41"),
        ];
        let node = evidence.probes.entry(id.parse().unwrap()).or_default();
        let status = galera::observe::wsrep::WsrepStatus::from_rows(rows);
        node.record_success(now(), status);
    }
    let mut view = fold(&evidence, now(), &FoldSettings::default(), None);
    for node in &mut view.nodes {
        node.state = NodeState::Synced;
        node.unconfirmed = false;
        node.findings.clear();
        node.sources.retain(|source| source.observed_at.is_some());
    }
    view
}

fn published(view: ClusterView) -> Arc<Published<ClusterView>> {
    Arc::new(Published::new(1, view))
}

fn series(
    metrics: &MonitorMetrics,
    selection: MetricsNodes,
    views: &[Arc<Published<ClusterView>>],
) -> Vec<String> {
    NodeSeries::new(PREFIX, selection, views, &metrics.probes, now()).collect()
}

fn of_clusters(selection: MetricsNodes, view: ClusterView) -> String {
    let health = view.registry.clone();
    let collector = ClusterCollector::new(vec![published(view)], health, selection);
    let mut registry = Registry::default();
    registry
        .sub_registry_with_prefix(PREFIX)
        .register_collector(Box::new(collector));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn failure() -> ProbeError {
    ProbeError {
        kind: ProbeErrorKind::Refused,
        message: String::new(),
    }
}

#[test]
fn a_removed_node_leaves_no_series() {
    let metrics = MonitorMetrics::default();
    let (cluster, node) = ("lab".parse().unwrap(), "db1".parse().unwrap());
    metrics.probe(&cluster, &node, Duration::from_millis(1), Err(&failure()));
    let views = [published(view("lab", &["db1"]))];
    let text = series(&metrics, MetricsNodes::All, &views).concat();
    let failed =
        r#"galera_console_probe_failures_total{cluster="lab",node="db1",kind="refused"} 1"#;
    assert!(text.contains(failed), "{text}");
    metrics.forget_node(&cluster, &node);
    let text = series(&metrics, MetricsNodes::All, &views).concat();
    assert!(!text.contains("probe_failures_total{"), "{text}");
}

#[test]
fn a_histogram_counts_each_reading_in_every_larger_bucket() {
    let metrics = MonitorMetrics::default();
    let (cluster, node) = ("lab".parse().unwrap(), "db1".parse().unwrap());
    for milliseconds in [1, 4, 60_000] {
        let took = Duration::from_millis(milliseconds);
        metrics.probe(&cluster, &node, took, Ok(&WsrepStatus::default()));
    }
    let views = [published(view("lab", &["db1"]))];
    let text = series(&metrics, MetricsNodes::All, &views).concat();
    let labels = r#"cluster="lab",node="db1""#;
    for (le, count) in [
        ("0.001", 1),
        ("0.0025", 1),
        ("0.005", 2),
        ("10.0", 2),
        ("+Inf", 3),
    ] {
        let line = format!(
            "galera_console_probe_duration_seconds_bucket{{le=\"{le}\",{labels}}} {count}\n"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
    for line in [
        format!("galera_console_probe_duration_seconds_count{{{labels}}} 3\n"),
        format!("galera_console_probe_duration_seconds_sum{{{labels}}} 60.005\n"),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
}

/// The value of each figure of `db1` that only its readings have.
fn figures_of_readings(metrics: &MonitorMetrics, view: ClusterView) -> Vec<Option<f64>> {
    let text = series(metrics, MetricsNodes::All, &[published(view)]).concat();
    let value = |name: &str| {
        let series = format!("galera_console_{name}{{cluster=\"lab\",node=\"db1\"}} ");
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(&series)?.parse().ok())
    };
    [
        "node_certification_failure_rate",
        "node_abort_rate",
        "node_connections",
        "node_probe_latency_seconds",
        "node_write_bytes_rate",
    ]
    .map(value)
    .to_vec()
}

#[test]
fn figures_of_a_reading_end_with_a_failure_or_a_stale_answer() {
    let metrics = MonitorMetrics::default();
    let (cluster, node) = ("lab".parse().unwrap(), "db1".parse().unwrap());
    let answer = |count: u64| {
        let count = count.to_string();
        let rows = [
            ("wsrep_local_cert_failures", count.as_str()),
            ("wsrep_local_bf_aborts", &count),
            ("wsrep_replicated_bytes", &count),
            ("wsrep_received_bytes", &count),
        ];
        let mut status = WsrepStatus::from_rows(rows);
        let details = [("Threads_connected", "7")];
        status.details = Some(std::sync::Arc::new(
            galera::observe::server_details::ServerDetails::from_rows(details),
        ));
        metrics.probe(&cluster, &node, Duration::from_millis(250), Ok(&status));
    };
    let read = || figures_of_readings(&metrics, view("lab", &["db1"]));
    answer(5);
    assert_eq!(read(), [None, None, Some(7.0), Some(0.25), None]);
    answer(9);
    let both = read();
    assert!(
        both.iter()
            .all(|value| value.is_some_and(|value| value > 0.0)),
        "{both:?}"
    );
    answer(2);
    assert_eq!(read()[0], None, "the server was restarted");
    let mut stale = view("lab", &["db1"]);
    stale.nodes[0].sources[0].stale = true;
    assert_eq!(figures_of_readings(&metrics, stale), vec![None; 5]);
    metrics.probe(&cluster, &node, Duration::from_millis(1), Err(&failure()));
    assert_eq!(read(), vec![None; 5]);
    answer(9);
    assert_eq!(read()[0], None, "no rate spans a failure");
}

#[test]
fn only_selected_nodes_have_series_and_the_others_are_counted() {
    let metrics = MonitorMetrics::default();
    let mut view = view("lab", &["db1", "db2", "db3"]);
    view.nodes[1].state = NodeState::Donor;
    let count = |selection| {
        let pieces = series(&metrics, selection, &[published(view.clone())]);
        pieces.concat().matches("_node_state{").count()
    };
    for (selection, with, without) in [
        (MetricsNodes::All, 3, 0),
        (MetricsNodes::Unhealthy, 1, 2),
        (MetricsNodes::None, 0, 3),
    ] {
        assert_eq!(count(selection), with, "{selection:?}");
        let line =
            format!("galera_console_cluster_nodes_without_series{{cluster=\"lab\"}} {without}.0\n");
        let text = of_clusters(selection, view.clone());
        assert!(text.contains(&line), "{line} in {text}");
        assert!(text.contains(r#"cluster_nodes{cluster="lab",state="synced"} 2.0"#));
    }
}

#[test]
fn a_node_that_an_alert_is_about_is_never_left_out() {
    let healthy = view("lab", &["db1"]).nodes.remove(0);
    assert!(!MetricsNodes::Unhealthy.includes(&healthy));
    type Change = fn(&mut galera::view::NodeView);
    let changes: [Change; 8] = [
        |node| node.state = NodeState::Unknown,
        |node| node.ready = None,
        |node| node.connected = Some(false),
        |node| node.recv_queue = Some(101),
        |node| node.send_queue = Some(101),
        |node| node.flow_control_paused = Some(0.26),
        |node| node.sources[0].stale = true,
        |node| node.sources[0].error = Some("refused".to_owned()),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut node = healthy.clone();
        change(&mut node);
        assert!(MetricsNodes::Unhealthy.includes(&node), "change {number}");
    }
}

proptest! {
    /// Prometheus refuses a scrape in which a family is not contiguous.
    #[test]
    fn each_family_is_described_once_and_contiguous(nodes in 0_usize..450) {
        let ids: Vec<_> = (0..nodes).map(|number| format!("10.1.{}.{}", number / 250, number % 250)).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let views = [published(view("lab", &ids))];
        let pieces = series(&MonitorMetrics::default(), MetricsNodes::All, &views);
        let text = pieces.concat();
        let mut family = "";
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                family = described.split(' ').next().unwrap();
                prop_assert!(seen.insert(family), "{family} is described twice");
            } else if !line.starts_with('#') {
                prop_assert!(line.starts_with(family), "{line} in {family}");
            }
        }
        prop_assert_eq!(text.matches("galera_console_node_state{").count(), nodes);
        prop_assert!(pieces.iter().all(|piece| piece.len() < 256 * 1024));
    }
}
