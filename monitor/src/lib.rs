//! The hub: one owner task per cluster folds what probes and the registry say, and publishes immutable views.
//!
//! Invariants: a cluster's state has one owner and no lock; readers see last values only and never wait for a database
//! or for etcd; whatever is slow or gone delays nobody else.

mod cluster_monitor;
mod converge;
mod debounce;
mod discovery;
mod expected_members;
mod input;
mod key_index;
mod known_positions;
mod lease_lookup;
mod metrics;
pub mod mysql;
mod overview;
mod probe;
mod probe_set;
mod publisher;
mod readiness;
mod readings;
mod registrations;
mod registry_views;
mod settings;
mod snapshot;

use std::fmt;
use std::sync::Arc;

use console_core::clock::now;
use console_core::published::Published;
use console_core::tasks::Tasks;
use galera::ClusterName;
use galera::observe::registration::RegistryKeys;
use galera::publish::api::Overview;
use galera::recover::cleanup::RegistryReading;
use galera::view::{ClusterView, RegistryHealth, RegistryView};
use registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use publisher::{ClusterDirectory, ClusterFeed, ClusterPublisher, ViewEvent, ViewPublisher};
pub use readiness::was_probed;
pub use registry_views::RegistryUnavailable;
pub use settings::MonitorSettings;
pub use snapshot::{ClusterSnapshot, registry_reading};

use discovery::ClusterDiscovery;
use metrics::{ClusterCollector, MonitorMetrics};
use probe::{ProbeReport, ProbeSettings};
use readiness::Readiness;
use registry_views::RegistryViewReader;

/// The reading side, shared by every page, request and viewer. Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    inner: Arc<MonitorInner>,
}

struct MonitorInner {
    publisher: Arc<ViewPublisher>,
    metrics: Arc<MonitorMetrics>,
    tracker: TaskTracker,
    registry_views: Option<RegistryViewReader>,
    live_sources: Option<LiveSources>,
    readiness: Arc<Readiness>,
}

/// What it takes to ask the sources at once.
struct LiveSources {
    registry: Registry,
    keys: RegistryKeys,
    state_prefix: String,
    probes: Arc<ProbeSettings>,
    readings: readings::ReadingStore,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Starts watching the registry and probing the databases, as `tasks`. Returns at once;
    /// neither etcd nor any database needs to answer.
    #[must_use]
    pub fn start(settings: MonitorSettings, registry: Registry, tasks: &Tasks) -> Self {
        let Tasks { tracker, shutdown } = tasks.clone();
        let settings = Arc::new(settings);
        let board = Arc::new(ViewPublisher::new());
        let metrics = Arc::new(MonitorMetrics::default());
        let readiness = Arc::new(Readiness::new());
        tracker.spawn(overview::run(Arc::clone(&board), shutdown.clone()));
        let probes = Arc::new(ProbeSettings {
            mysql: settings.mysql.clone(),
            poll_interval: settings.poll_interval,
            timeout: settings.probe_timeout,
            schedule_start: Instant::now(),
        });
        let (archive, reading) = readings::worker(
            registry.clone(),
            &settings.registry_prefix,
            Arc::clone(&board),
            shutdown.clone(),
        );
        tracker.spawn(reading);
        let discovery = ClusterDiscovery::new(
            Arc::clone(&settings),
            registry.clone(),
            Arc::clone(&board),
            Arc::clone(&metrics),
            tracker.clone(),
            shutdown,
            Arc::clone(&probes),
        );
        tracker.spawn(discovery.run(Arc::clone(&readiness)));
        let listings = RegistryViewReader::new(registry.clone(), &settings);
        let asking = LiveSources {
            registry,
            keys: RegistryKeys::new(&settings.registry_prefix),
            state_prefix: settings.state_prefix.clone(),
            probes,
            readings: archive,
        };
        Self {
            inner: Arc::new(MonitorInner {
                publisher: board,
                metrics,
                tracker,
                registry_views: Some(listings),
                live_sources: Some(asking),
                readiness,
            }),
        }
    }

    /// The reading side of a board that somebody else publishes on (benchmarks, tests).
    #[must_use]
    pub fn for_publisher(board: Arc<ViewPublisher>, tracker: TaskTracker) -> Self {
        let readiness = Readiness::new();
        readiness.mark_registry_known();
        Self {
            inner: Arc::new(MonitorInner {
                publisher: board,
                metrics: Arc::default(),
                tracker,
                registry_views: None,
                live_sources: None,
                readiness: Arc::new(readiness),
            }),
        }
    }

    /// All clusters, worst verdict first, and the news of changes.
    #[must_use]
    pub fn overview(&self) -> watch::Receiver<Arc<Published<Overview>>> {
        self.inner.publisher.overview()
    }

    /// One cluster and the news of its changes; `None` when it is neither configured nor found.
    #[must_use]
    pub fn cluster_feed(&self, name: &ClusterName) -> Option<ClusterFeed> {
        self.inner.publisher.directory().borrow().get(name).cloned()
    }

    /// Every known cluster, and the news when one comes or goes.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Arc<ClusterDirectory>> {
        self.inner.publisher.directory()
    }

    /// The newest views of all clusters.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<Published<ClusterView>>> {
        self.inner.publisher.views()
    }

    /// Every change of a state from now on, after the present views; for one reader only (see [`ViewPublisher::view_events`]).
    #[must_use]
    pub fn view_events(&self) -> mpsc::UnboundedReceiver<ViewEvent> {
        self.inner.publisher.view_events()
    }

    /// The registry's keys of a cluster, read now and linearizably; `None` for an unknown cluster.
    ///
    /// # Errors
    /// [`RegistryUnavailable`] when etcd does not answer; its text is for people.
    pub async fn registry_view(
        &self,
        name: &ClusterName,
    ) -> Result<Option<RegistryView>, RegistryUnavailable> {
        let Some(feed) = self.cluster_feed(name) else {
            return Ok(None);
        };
        let view = Arc::clone(&feed.borrow());
        match &self.inner.registry_views {
            Some(listings) => listings.view(name, &view.value).await.map(Some),
            None => Err(RegistryUnavailable::not_connected()),
        }
    }

    /// What is known of `cluster_feed`, with its keys and remembered positions read linearizably just now and, when `fresh`,
    /// every node asked just now; and the readings of its keys so far, the present one last. `None` for an unknown
    /// cluster. A registry that cannot be read is part of what is known.
    pub async fn read_snapshot(
        &self,
        cluster: &ClusterName,
        fresh: bool,
    ) -> Option<(ClusterSnapshot, Vec<RegistryReading>)> {
        let known = self.inner.publisher.snapshot(cluster)?;
        let Some(asking) = &self.inner.live_sources else {
            return Some((ClusterSnapshot::clone(&known), Vec::new()));
        };
        let reports = if fresh {
            futures::future::join_all(asking.probe_all(cluster, &known)).await
        } else {
            Vec::new()
        };
        // Read when the nodes have been asked: one that is silent takes its whole deadline, after which what was
        // registered before may not be believed any more.
        let prefix = asking.keys.cluster_prefix(cluster);
        let (listing, history) = tokio::join!(
            asking.registry.list(prefix),
            known_positions::load(&asking.registry, &asking.state_prefix, cluster),
        );
        let at = now();
        let newest = self.inner.publisher.snapshot(cluster).unwrap_or(known);
        let mut known = ClusterSnapshot::clone(&newest);
        let mut readings: Vec<RegistryReading> = asking
            .readings
            .get(cluster)
            .iter()
            .map(|reading| RegistryReading::clone(reading))
            .collect();
        match (listing, history) {
            (Ok(listing), Ok(history)) => {
                known.apply_listing(at, &listing);
                known.known_positions.merge(&history);
                readings.push(registry_reading(at, &listing));
            }
            (Err(error), _) | (_, Err(error)) => known.apply_registry_error(at, &error),
        }
        for report in reports {
            known.apply_probe(report);
        }
        Some((known, readings))
    }

    /// What is known of `cluster_feed`, without asking anybody; `None` for an unknown one.
    #[must_use]
    pub fn snapshot(&self, cluster: &ClusterName) -> Option<Arc<ClusterSnapshot>> {
        self.inner.publisher.snapshot(cluster)
    }

    /// Replaces what `source` has to say to everybody.
    pub fn set_notices(&self, source: &str, notices: Vec<String>) {
        self.inner.publisher.set_notices(source, notices);
    }

    /// Whether the registry can be read, and since when that is so.
    #[must_use]
    pub fn registry_health(&self) -> RegistryHealth {
        self.inner.publisher.health().borrow().clone()
    }

    /// Whether views can be shown to people: the registry was read once or is known to be unreachable, and every known
    /// node was asked once or had its time. Stays true.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let views = self.views();
        self.inner
            .readiness
            .check(views.iter().map(|view| &view.value))
    }

    /// Registers the monitor's counters, and what the present views say of clusters and nodes.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.inner.metrics.register(registry);
        let views = ClusterCollector::new(self.views(), self.registry_health());
        registry.register_collector(Box::new(views));
    }

    /// What stopping waits for.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }
}

impl LiveSources {
    fn probe_all(
        &self,
        cluster: &ClusterName,
        known: &ClusterSnapshot,
    ) -> Vec<impl Future<Output = ProbeReport> + Send + use<>> {
        let nodes = known.probed_nodes().into_iter();
        nodes
            .map(|node| probe::probe_once(cluster.clone(), node, Arc::clone(&self.probes)))
            .collect()
    }
}
