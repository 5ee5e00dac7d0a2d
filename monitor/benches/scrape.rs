//! The monitor's part of a scrape of 1,000 nodes in 200 clusters, for each choice of `--metrics-nodes`.

#![expect(
    clippy::expect_used,
    reason = "a measurement that cannot be made has to stop"
)]

use std::sync::Arc;

use console_core::clock::now;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use galera::insight::finding_record::FindingRecord;
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::Evidence;
use galera::observe::wsrep::WsrepStatus;
use galera::view::RegistryHealth;
use monitor::{MetricsNodes, Monitor, ViewPublisher};
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;
use tokio_util::task::TaskTracker;

const CLUSTERS: usize = 200;
const NODES: usize = 5;

/// The text of a scrape, piece by piece. Returns its size in bytes.
fn scrape(monitor: &Monitor, selection: MetricsNodes) -> usize {
    let mut root = Registry::default();
    let views = monitor.views();
    let reports = views
        .iter()
        .filter_map(|view| monitor.findings(&view.value.name));
    let record = FindingRecord::default();
    let views = reports.map(|report| record.annotate(report, now()));
    monitor::register_findings(views, &mut root);
    let registry = root.sub_registry_with_prefix("galera_console");
    monitor.register_metrics(registry, selection);
    let mut text = String::new();
    encode_registry(&mut text, &root).expect("a string accepts everything");
    let pieces = monitor.node_series("galera_console", selection);
    text.len() + pieces.map(|piece| piece.len()).sum::<usize>()
}

fn benchmark(criterion: &mut Criterion) {
    let publisher = Arc::new(ViewPublisher::new());
    let monitor = Monitor::for_publisher(Arc::clone(&publisher), TaskTracker::new());
    let health = RegistryHealth {
        reachable: true,
        since: now(),
        error: None,
    };
    let clusters: Vec<_> = (0..CLUSTERS)
        .map(|cluster| {
            let name: galera::ClusterName = format!("fleet-{cluster}").parse().expect("a name");
            let mut evidence = Evidence::new(name.clone(), health.clone());
            for node in 0..NODES {
                let id = format!("10.0.{cluster}.{node}").parse().expect("an id");
                let rows = [
                    ("wsrep_cluster_status", "Primary"),
                    ("wsrep_local_state", "4"),
                    ("wsrep_ready", "ON"),
                    ("wsrep_connected", "ON"),
                    ("wsrep_last_committed", "123456789"),
                    ("wsrep_local_recv_queue", "0"),
                    ("wsrep_local_send_queue", "0"),
                ];
                let probe = evidence.probes.entry(id).or_default();
                probe.record_success(now(), WsrepStatus::from_rows(rows));
            }
            let mut publisher = publisher.cluster_publisher(name);
            publisher.publish(fold(&evidence, now(), &FoldSettings::default(), None));
            publisher
        })
        .collect();
    let mut group = criterion.benchmark_group("scrape of 1,000 nodes");
    for selection in [
        MetricsNodes::All,
        MetricsNodes::Unhealthy,
        MetricsNodes::None,
    ] {
        println!("{selection:?}: {} bytes", scrape(&monitor, selection));
        let id = BenchmarkId::from_parameter(format!("{selection:?}"));
        group.bench_function(id, |bencher| bencher.iter(|| scrape(&monitor, selection)));
    }
    group.finish();
    drop(clusters);
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
