//! One run: a fleet of one size, its console, and the figures.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use acceptance::eventually;
use acceptance::lab::console::{ConsoleSettings, ConsoleUser, LabConsole};
use acceptance::lab::directory::LabDirectory;
use acceptance::lab::etcd::LabEtcd;
use acceptance::lab::ports::ReservedPort;
use anyhow::{Context, Result, ensure};
use galera::Timestamp;
use galera::publish::api::Overview;
use galera::view::VerdictState;
use registry::Registry;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::meters::{self, EtcdReading, ProcessReading};
use crate::overview_viewer::ViewerKind;
use crate::scripted_agents::ScriptedAgents;
use crate::scripted_fleet::ScriptedFleet;
use crate::{
    FleetSettings, change_latency, dead_registrations, faults, overview_viewer, sql_server,
};

/// Longest wait for the console to show the whole fleet.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(180);
/// Between the first complete view and the measurement: leases are looked up, records written.
const SETTLE: Duration = Duration::from_secs(5);
/// How long the cost of many viewers is measured, and as long without them.
const VIEWERS_DURATION: Duration = Duration::from_secs(10);

/// The figures of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetFigures {
    pub(crate) clusters: usize,
    pub(crate) nodes: usize,
    /// Clusters on the overview, dead ones included.
    pub(crate) shown: usize,
    /// From the console's start until it shows every cluster as healthy.
    pub(crate) complete_after: Duration,
    pub(crate) cpu_ms_per_second: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) transactions_per_second: f64,
    pub(crate) puts_per_second: f64,
    pub(crate) etcd_megabytes_per_hour: f64,
    /// From a node's change to the frame that shows it.
    pub(crate) changes: Vec<Duration>,
    pub(crate) overview_frames_per_second: f64,
    pub(crate) overview_bytes_per_second: f64,
    /// Version 2 of the protocol, as text and compressed.
    pub(crate) patch_bytes_per_second: f64,
    pub(crate) compressed_bytes_per_second: f64,
    /// Processor time of the console for 100 viewers of the overview, in milliseconds a second.
    pub(crate) viewers_cpu_ms_per_second: f64,
    pub(crate) patch_viewers_cpu_ms_per_second: f64,
    pub(crate) compressed_viewers_cpu_ms_per_second: f64,
    pub(crate) metrics_bytes: usize,
    pub(crate) metrics_cpu_ms: f64,
}

/// Starts a fleet of `clusters` clusters and measures its console.
///
/// # Errors
/// If a program is not built or does not start, or the console does not show the fleet.
pub(crate) async fn measure(settings: &FleetSettings, clusters: usize) -> Result<FleetFigures> {
    println!("==> {clusters} clusters of {} nodes", settings.nodes);
    let directory = LabDirectory::create()?;
    let etcd = LabEtcd::start(&directory, 1).await?;
    let registry = Registry::connect(etcd.settings())?;
    let port = ReservedPort::reserve(std::net::Ipv4Addr::UNSPECIFIED)?;
    let fleet = Arc::new(ScriptedFleet::new(
        clusters,
        usize::from(settings.nodes),
        port.number(),
        settings.commits,
    )?);
    let listener = sql_server::listen(port.number())?;
    let servers = TaskTracker::new().spawn(sql_server::serve(listener, Arc::clone(&fleet)));
    let _servers = AbortOnDropHandle::new(servers);
    dead_registrations::write(&registry, settings.dead).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now = Timestamp::from_unix_millis(i64::try_from(now.as_millis())?);
    let agents = (!settings.no_agents).then(|| ScriptedAgents::start(&fleet, &registry, now));
    let dead = settings.dead.div_ceil(dead_registrations::PER_CLUSTER);
    let console_settings = console_settings(settings, &directory, &etcd, port.number());
    let began = Instant::now();
    let console = LabConsole::start(console_settings).await?;
    let api = console.sign_in("viewer").await?;
    let shown = eventually("every cluster to be healthy", SHOWN_TIMEOUT, async || {
        let overview: Overview = api.get("/api/v1/clusters").await?;
        let healthy = |name: &str| name.starts_with("fleet-");
        let ready = overview.clusters.iter().filter(|cluster| {
            healthy(cluster.name.as_str()) && cluster.verdict.state == VerdictState::Healthy
        });
        let ready = ready.count();
        ensure!(ready == clusters, "{ready} of {clusters} are healthy");
        let shown = overview.clusters.len();
        ensure!(shown >= clusters + dead, "{shown} are shown");
        Ok(shown)
    })
    .await?;
    let complete_after = began.elapsed();
    tokio::time::sleep(SETTLE).await;

    let faults = faults::inject(Arc::clone(&fleet), agents.clone(), settings.faults);
    let _faults = AbortOnDropHandle::new(TaskTracker::new().spawn(faults));
    let mut cluster_view = api.live().await?;
    let topic = format!("cluster/{}", fleet.clusters[0].name);
    cluster_view.subscribe(&[&topic]).await?;
    let mut overview = overview_viewer::connect(&api, ViewerKind::Version1).await?;
    let mut patches = overview_viewer::connect(&api, ViewerKind::Version2).await?;
    let mut compressed = overview_viewer::connect(&api, ViewerKind::Compressed).await?;
    let pid = console.pid().context("the console does not run")?;
    let client = reqwest::Client::new();
    let endpoint = etcd.endpoints().remove(0);
    let before = (
        ProcessReading::take(pid)?,
        EtcdReading::take(&client, &endpoint).await?,
    );
    let duration = settings.duration();
    let (changes, traffic, patched, deflated) = tokio::try_join!(
        change_latency::measure(&fleet, agents.as_deref(), &mut cluster_view, duration),
        overview_viewer::read(&mut overview, duration),
        overview_viewer::read(&mut patches, duration),
        overview_viewer::read(&mut compressed, duration),
    )?;
    let process = ProcessReading::take(pid)?;
    let load = EtcdReading::take(&client, &endpoint)
        .await?
        .since(&before.1);
    drop((cluster_view, overview, patches, compressed));
    let cpu_ms_per_second = process.cpu_rate_since(&before.0);
    let mut costs = [0.0; 3];
    let kinds = [
        ViewerKind::Version1,
        ViewerKind::Version2,
        ViewerKind::Compressed,
    ];
    for (cost, kind) in costs.iter_mut().zip(kinds) {
        // What the console needs without viewers drifts: measured right before.
        let idle = ProcessReading::take(pid)?;
        tokio::time::sleep(VIEWERS_DURATION).await;
        let idle = ProcessReading::take(pid)?.cpu_rate_since(&idle);
        *cost = overview_viewer::cost(&api, kind, pid, idle, VIEWERS_DURATION).await?;
    }
    let (metrics_bytes, metrics_cpu_ms) =
        meters::scrape(&client, &console.url(), pid, cpu_ms_per_second).await?;
    if let Some(agents) = agents {
        agents.stop();
    }
    let seconds = duration.as_secs_f64();
    Ok(FleetFigures {
        clusters,
        nodes: fleet.node_count(),
        shown,
        complete_after,
        cpu_ms_per_second,
        resident_bytes: process.resident_bytes,
        transactions_per_second: load.transactions_per_second,
        puts_per_second: load.puts_per_second,
        etcd_megabytes_per_hour: load.megabytes_per_hour,
        changes,
        overview_frames_per_second: traffic.frames as f64 / seconds,
        overview_bytes_per_second: traffic.bytes as f64 / seconds,
        patch_bytes_per_second: patched.bytes as f64 / seconds,
        compressed_bytes_per_second: deflated.bytes as f64 / seconds,
        viewers_cpu_ms_per_second: costs[0],
        patch_viewers_cpu_ms_per_second: costs[1],
        compressed_viewers_cpu_ms_per_second: costs[2],
        metrics_bytes,
        metrics_cpu_ms,
    })
}

fn console_settings(
    settings: &FleetSettings,
    directory: &LabDirectory,
    etcd: &LabEtcd,
    port: u16,
) -> ConsoleSettings {
    let further = settings.console_arguments.split_whitespace();
    let limits = [
        "--max-live-per-account",
        "1000",
        "--max-live-per-address",
        "1000",
    ];
    let extra_arguments = ["--probe-allow", "127.0.0.0/8"]
        .into_iter()
        .chain(limits)
        .chain(further)
        .map(ToOwned::to_owned)
        .collect();
    ConsoleSettings {
        listen: None,
        etcd_endpoints: etcd.endpoints(),
        etcd_security: None,
        clusters: Vec::new(),
        mysql_port: port,
        mysql_password: String::new(),
        recovery: None,
        recovery_transport: "any".to_owned(),
        order_key: None,
        state_prefix: "/console".to_owned(),
        state_secret: directory.path().join("state-secret"),
        extra_arguments,
        users: vec![ConsoleUser::new("viewer", "viewer")],
        clock: None,
        directory: directory.path().join("console"),
    }
}
