//! Monitors Galera clusters: probes every node by SQL, watches the registry, and publishes one immutable view per
//! cluster.
//!
//! An event passes these types: `probe` sends a `ProbeReport`, `discovery` (the registry's watch) sends
//! `MonitorInput`s; both reach the cluster's `ClusterMonitor`, which folds the evidence and hands view and
//! [`ClusterSnapshot`] to its [`ClusterPublisher`]. [`Monitor`] is the reading side of the shared [`ViewPublisher`].
//!
//! Invariants: each cluster's state has one owner and no lock; readers see last values only and never wait for a
//! database or etcd; a slow or unreachable source delays no other.

mod cluster_monitor;
mod converge;
mod debounce;
mod discovery;
mod expected_members;
mod history_alarms;
mod input;
mod key_index;
mod known_positions;
mod lease_lookup;
mod manual;
mod metrics;
pub mod mysql;
mod overview;
mod probe;
mod probe_set;
mod publisher;
mod readiness;
mod readings;
mod registration_limits;
mod registrations;
mod registry_views;
mod settings;
mod snapshot;
mod sql_prober;
mod v2_registrations;
mod v2_source;

use std::fmt;
use std::sync::Arc;

use console_core::clock::now;
use console_core::published::Published;
use console_core::tasks::Tasks;
use galera::insight::findings::{FindingsReport, findings};
use galera::insight::rolling_restart::{RollingRestart, rolling_restart};
use galera::observe::registration::{RegistryKeys, V2Access, V2KeyValue};
use galera::publish::api::Overview;
use galera::recover::cleanup::RegistryReading;
use galera::view::{ClusterView, RegistryHealth, RegistryView};
use galera::{ClusterName, Timestamp};
use registry::Registry;
use registry::v2::{V2Read, V2Registry};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use manual::ManualMonitor;
pub use publisher::{
    ClusterDirectory, ClusterFeed, ClusterPublisher, NodeReading, StartedBootstraps, ViewEvent,
    ViewPublisher,
};
pub use readiness::was_probed;
pub use registry_views::RegistryUnavailable;
pub use settings::MonitorSettings;
pub use snapshot::{ClusterSnapshot, registry_reading};
pub use v2_source::V2Settings;

use discovery::ClusterDiscovery;
pub use metrics::findings::register_findings;
use metrics::{ClusterCollector, MonitorMetrics};
pub use metrics::{MetricsNodes, NodeSeries};
use probe::{ProbeReport, ProbeSettings};
use readiness::{Readiness, is_probed};
use registry_views::RegistryViewReader;

/// MySQL's port.
const DEFAULT_PORT: u16 = 3306;

/// The reading side, shared by every page, request and live connection. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    inner: Arc<MonitorInner>,
}

struct MonitorInner {
    publisher: Arc<ViewPublisher>,
    metrics: Arc<MonitorMetrics>,
    tracker: TaskTracker,
    registry_views: Option<RegistryViewReader>,
    on_demand: Option<OnDemandSources>,
    readiness: Arc<Readiness>,
    /// The port of node ids without one.
    default_port: u16,
}

/// What on-demand reads of the sources need.
struct OnDemandSources {
    registry: Registry,
    keys: RegistryKeys,
    state_prefix: String,
    probes: Arc<ProbeSettings>,
    readings: readings::ReadingStore,
    v2: Option<V2Registry>,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Starts watching the registry and probing the databases, as `tasks`. Returns immediately; neither etcd nor any
    /// database needs to answer.
    #[must_use]
    pub fn start(settings: MonitorSettings, registry: Registry, tasks: &Tasks) -> Self {
        let Tasks { tracker, shutdown } = tasks.clone();
        let settings = Arc::new(settings);
        let publisher = Arc::new(ViewPublisher::new());
        let metrics = Arc::new(MonitorMetrics::default());
        let readiness = Arc::new(Readiness::new());
        tracker.spawn(overview::run(Arc::clone(&publisher), shutdown.clone()));
        let probes = Arc::new(ProbeSettings {
            pinned: settings.pinned_members(),
            mysql: settings.mysql.clone(),
            reserve: settings.reserve.clone(),
            poll_interval: settings.poll_interval,
            timeout: settings.probe_timeout,
            schedule_start: Instant::now(),
        });
        let (readings, collector) = readings::worker(
            registry.clone(),
            &settings.registry_prefix,
            Arc::clone(&publisher),
            shutdown.clone(),
        );
        tracker.spawn(collector);
        let discovery = ClusterDiscovery::new(
            Arc::clone(&settings),
            registry.clone(),
            Arc::clone(&publisher),
            Arc::clone(&metrics),
            tracker.clone(),
            shutdown,
            Arc::clone(&probes),
        );
        tracker.spawn(discovery.run(Arc::clone(&readiness)));
        let registry_views = RegistryViewReader::new(registry.clone(), &settings);
        let v2 = settings.v2.clone().map(|v2| v2.registry);
        let on_demand = OnDemandSources {
            registry,
            keys: RegistryKeys::new(&settings.registry_prefix),
            state_prefix: settings.state_prefix.clone(),
            probes,
            readings,
            v2,
        };
        Self {
            inner: Arc::new(MonitorInner {
                publisher,
                metrics,
                tracker,
                registry_views: Some(registry_views),
                on_demand: Some(on_demand),
                readiness,
                default_port: settings.mysql.port,
            }),
        }
    }

    /// A monitor that only reads what others publish on `publisher` (benchmarks, tests).
    #[must_use]
    pub fn for_publisher(publisher: Arc<ViewPublisher>, tracker: TaskTracker) -> Self {
        let readiness = Readiness::new();
        readiness.mark_registry_known();
        Self {
            inner: Arc::new(MonitorInner {
                publisher,
                metrics: Arc::default(),
                tracker,
                registry_views: None,
                on_demand: None,
                readiness: Arc::new(readiness),
                default_port: DEFAULT_PORT,
            }),
        }
    }

    /// All clusters, worst verdict first; notifies of changes.
    #[must_use]
    pub fn overview(&self) -> watch::Receiver<Arc<Published<Overview>>> {
        self.inner.publisher.overview()
    }

    /// The view of one cluster; notifies of changes. `None` when it is neither configured nor discovered.
    #[must_use]
    pub fn cluster_feed(&self, name: &ClusterName) -> Option<ClusterFeed> {
        self.inner.publisher.directory().borrow().get(name).cloned()
    }

    /// All known clusters; notifies when one is added or removed.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Arc<ClusterDirectory>> {
        self.inner.publisher.directory()
    }

    /// The latest view of each cluster.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<Published<ClusterView>>> {
        self.inner.publisher.views()
    }

    /// Every state change from now on, after the current views; for one reader only (see
    /// [`ViewPublisher::view_events`]).
    #[must_use]
    pub fn view_events(&self) -> mpsc::UnboundedReceiver<ViewEvent> {
        self.inner.publisher.view_events()
    }

    /// Every answer of every node from now on; for one reader only (see [`ViewPublisher::readings`]).
    #[must_use]
    pub fn readings(&self, capacity: usize) -> mpsc::Receiver<NodeReading> {
        self.inner.publisher.readings(capacity)
    }

    /// The registry's keys of a cluster, read now and linearizably; `None` for an unknown cluster.
    ///
    /// # Errors
    /// [`RegistryUnavailable`] when etcd does not answer; its text is shown to users.
    pub async fn registry_view(
        &self,
        name: &ClusterName,
    ) -> Result<Option<RegistryView>, RegistryUnavailable> {
        let Some(feed) = self.cluster_feed(name) else {
            return Ok(None);
        };
        let view = Arc::clone(&feed.borrow());
        match &self.inner.registry_views {
            Some(registry_views) => {
                let snapshot = self.snapshot(name);
                let evidence = snapshot.as_ref().map(|snapshot| &snapshot.evidence);
                let read = registry_views.view(name, &view.value, evidence);
                read.await.map(Some)
            }
            None => Err(RegistryUnavailable::not_connected()),
        }
    }

    /// The snapshot of `cluster` with its keys and known positions read linearizably now and, when `fresh`, every
    /// node probed now; and the readings of its keys so far, the current one last. `None` for an unknown cluster. A
    /// registry that cannot be read is recorded in the evidence, not returned as an error.
    pub async fn read_snapshot(
        &self,
        cluster: &ClusterName,
        fresh: bool,
    ) -> Option<(ClusterSnapshot, Vec<RegistryReading>)> {
        let before = self.inner.publisher.snapshot(cluster)?;
        let Some(on_demand) = &self.inner.on_demand else {
            return Some((ClusterSnapshot::clone(&before), Vec::new()));
        };
        let reports = if fresh {
            futures::future::join_all(on_demand.probe_all(cluster, &before)).await
        } else {
            Vec::new()
        };
        // Read after the nodes were probed: an unresponsive one takes its whole deadline, after which an earlier
        // listing might already be stale.
        let prefix = on_demand.keys.cluster_prefix(cluster);
        let v2 = on_demand.read_v2(&prefix, &before).await;
        let (registry, state_prefix) = (&on_demand.registry, &on_demand.state_prefix);
        let read = tokio::try_join!(
            registry.list(prefix),
            known_positions::load(registry, state_prefix, cluster),
            expected_members::load(registry, state_prefix, cluster),
        );
        let at = now();
        let latest = self.inner.publisher.snapshot(cluster).unwrap_or(before);
        let mut snapshot = ClusterSnapshot::clone(&latest);
        let mut readings: Vec<RegistryReading> = on_demand
            .readings
            .get(cluster)
            .iter()
            .map(|reading| RegistryReading::clone(reading))
            .collect();
        match read {
            Ok((listing, positions, membership)) => {
                snapshot.apply_listing(at, &listing);
                snapshot.known_positions.merge(&positions);
                snapshot.apply_membership(membership);
                readings.push(registry_reading(at, &listing));
            }
            Err(error) => snapshot.apply_registry_error(at, &error),
        }
        if let Some(read) = v2 {
            snapshot.apply_v2(at, read);
        }
        for report in reports {
            snapshot.apply_probe(report);
        }
        Some((snapshot, readings))
    }

    /// Replaces the bootstraps by actions whose outcome is not proven: their components may be Primary out of sight (I43).
    pub fn set_started_bootstraps(&self, started: StartedBootstraps) {
        self.inner.publisher.set_started_bootstraps(started);
    }

    /// The latest snapshot of `cluster`, without reading any source; `None` for an unknown cluster.
    #[must_use]
    pub fn snapshot(&self, cluster: &ClusterName) -> Option<Arc<ClusterSnapshot>> {
        self.inner.publisher.snapshot(cluster)
    }

    /// The findings about `cluster`, from the latest view and what it rests on; `None` for an unknown cluster.
    #[must_use]
    pub fn findings(&self, cluster: &ClusterName) -> Option<FindingsReport> {
        let view = self.cluster_feed(cluster)?.borrow().clone();
        let snapshot = self.snapshot(cluster)?;
        let port = self.inner.default_port;
        Some(findings(&view.value, &snapshot.evidence, port))
    }

    /// Where a rolling restart of `cluster` is that began at `since`; `None` for an unknown cluster.
    #[must_use]
    pub fn rolling_restart(
        &self,
        cluster: &ClusterName,
        since: Timestamp,
    ) -> Option<RollingRestart> {
        let view = self.cluster_feed(cluster)?.borrow().clone();
        let snapshot = self.snapshot(cluster)?;
        let port = self.inner.default_port;
        Some(rolling_restart(
            &view.value,
            &snapshot.evidence,
            port,
            since,
        ))
    }

    /// Replaces the notices of `source` shown on every page; an empty list clears them.
    pub fn set_notices(&self, source: &str, notices: Vec<String>) {
        self.inner.publisher.set_notices(source, notices);
    }

    /// Whether the registry is readable, and since when.
    #[must_use]
    pub fn registry_health(&self) -> RegistryHealth {
        self.inner.publisher.health().borrow().clone()
    }

    /// [`Self::registry_health`], and its changes.
    #[must_use]
    pub fn registry_health_changes(&self) -> watch::Receiver<RegistryHealth> {
        self.inner.publisher.health()
    }

    /// Whether views may be shown to users: the registry was read once or is known to be unreachable, and every known
    /// node was probed once or had time to answer. Once `true`, stays `true`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let all_probed = || self.views().iter().all(|view| is_probed(&view.value));
        self.inner.readiness.check(all_probed)
    }

    /// Registers the monitor's counters and the gauges derived from the current views.
    pub fn register_metrics(
        &self,
        registry: &mut prometheus_client::registry::Registry,
        nodes: MetricsNodes,
    ) {
        self.inner.metrics.register(registry);
        let views = ClusterCollector::new(self.views(), self.registry_health(), nodes);
        registry.register_collector(Box::new(views));
    }

    /// The series of single nodes with names that begin with `prefix`, as pieces of OpenMetrics text.
    #[must_use]
    pub fn node_series(&self, prefix: &'static str, nodes: MetricsNodes) -> NodeSeries {
        let now = console_core::clock::now();
        NodeSeries::new(
            prefix,
            nodes,
            &self.views(),
            &self.inner.metrics.probes,
            now,
        )
    }

    /// Tracks every task that shutdown has to wait for.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }
}

impl OnDemandSources {
    /// The keys of a cluster in etcd v2, read now; `None` if that registry is not used.
    async fn read_v2(
        &self,
        prefix: &str,
        known: &ClusterSnapshot,
    ) -> Option<Result<Vec<V2KeyValue>, String>> {
        let v2 = self.v2.as_ref()?;
        if known.evidence.v2_access == V2Access::Absent {
            return None;
        }
        Some(match v2.list(prefix).await {
            Ok(V2Read::Listing(listing)) => Ok(v2_source::cluster_keys(listing).keys),
            Ok(V2Read::Disabled) => Err(format!("The v2 API of etcd at {} is off", v2.endpoints())),
            Err(error) => Err(error.to_string()),
        })
    }

    fn probe_all(
        &self,
        cluster: &ClusterName,
        snapshot: &ClusterSnapshot,
    ) -> Vec<impl Future<Output = ProbeReport> + Send + use<>> {
        snapshot
            .probed_nodes()
            .into_iter()
            .map(|node| {
                let known = snapshot.evidence.probes.get(&node);
                let status = known.and_then(|probe| probe.status.as_ref());
                let extra_port = status.and_then(|(_, status)| status.extra_port);
                probe::probe_once(cluster.clone(), node, extra_port, Arc::clone(&self.probes))
            })
            .collect()
    }
}
