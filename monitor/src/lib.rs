//! The hub: one owner task per cluster folds what probes and the registry say, and publishes immutable views.
//!
//! Invariants: a cluster's state has one owner and no lock; readers see last values only and never wait for a database
//! or for etcd; whatever is slow or gone delays nobody else.

mod board;
mod converge;
mod discovery;
mod index;
mod known;
mod leases;
mod listing;
mod memory;
mod metrics;
pub mod mysql;
mod overview;
mod owner;
mod pace;
mod positions;
mod probe;
mod probed;
mod readiness;
mod readings;
mod registrations;
mod settings;

use std::fmt;
use std::sync::Arc;

use console_core::clock::now;
use console_core::published::Published;
use galera::ClusterName;
use galera::observe::registration::Keys;
use galera::publish::api::Overview;
use galera::recover::cleanup::Reading;
use galera::view::{ClusterView, RegistryHealth, RegistryView};
use registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use board::{Board, ClusterFeed, Directory, Publisher, Sighting};
pub use known::{Known, reading};
pub use listing::RegistryUnavailable;
pub use readiness::was_asked;
pub use settings::HubSettings;

use discovery::Discovery;
use listing::Listings;
use metrics::{MonitorMetrics, Views};
use probe::{ProbeReport, ProbeSettings};
use readiness::Readiness;

/// The reading side, shared by every page, request and viewer. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    board: Arc<Board>,
    metrics: Arc<MonitorMetrics>,
    tracker: TaskTracker,
    listings: Option<Listings>,
    asking: Option<Asking>,
    readiness: Arc<Readiness>,
}

/// What it takes to ask the sources at once.
struct Asking {
    registry: Registry,
    keys: Keys,
    state_prefix: String,
    probes: Arc<ProbeSettings>,
    archive: readings::Archive,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts watching the registry and probing the databases, on `tracker` and until `shutdown`. Returns at once;
    /// neither etcd nor any database needs to answer.
    #[must_use]
    pub fn start(
        settings: HubSettings,
        registry: Registry,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let settings = Arc::new(settings);
        let board = Arc::new(Board::new());
        let metrics = Arc::new(MonitorMetrics::default());
        let readiness = Arc::new(Readiness::new());
        tracker.spawn(overview::run(Arc::clone(&board), shutdown.clone()));
        let probes = Arc::new(ProbeSettings {
            mysql: settings.mysql.clone(),
            poll_interval: settings.poll_interval,
            timeout: settings.probe_timeout,
            grid: Instant::now(),
        });
        let (archive, reading) = readings::open(
            registry.clone(),
            &settings.registry_prefix,
            Arc::clone(&board),
            shutdown.clone(),
        );
        tracker.spawn(reading);
        let discovery = Discovery::new(
            Arc::clone(&settings),
            registry.clone(),
            Arc::clone(&board),
            Arc::clone(&metrics),
            tracker.clone(),
            shutdown,
            Arc::clone(&probes),
        );
        tracker.spawn(discovery.run(Arc::clone(&readiness)));
        let listings = Listings::new(registry.clone(), &settings);
        let asking = Asking {
            registry,
            keys: Keys::new(&settings.registry_prefix),
            state_prefix: settings.state_prefix.clone(),
            probes,
            archive,
        };
        Self {
            inner: Arc::new(Inner {
                board,
                metrics,
                tracker,
                listings: Some(listings),
                asking: Some(asking),
                readiness,
            }),
        }
    }

    /// The reading side of a board that somebody else publishes on (benchmarks, tests).
    #[must_use]
    pub fn reading(board: Arc<Board>, tracker: TaskTracker) -> Self {
        let readiness = Readiness::new();
        readiness.registry_spoke();
        Self {
            inner: Arc::new(Inner {
                board,
                metrics: Arc::default(),
                tracker,
                listings: None,
                asking: None,
                readiness: Arc::new(readiness),
            }),
        }
    }

    /// All clusters, worst verdict first, and the news of changes.
    #[must_use]
    pub fn overview(&self) -> watch::Receiver<Arc<Published<Overview>>> {
        self.inner.board.overview()
    }

    /// One cluster and the news of its changes; `None` when it is neither configured nor found.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> Option<ClusterFeed> {
        self.inner.board.directory().borrow().get(name).cloned()
    }

    /// Every known cluster, and the news when one comes or goes.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.inner.board.directory()
    }

    /// The newest views of all clusters.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<Published<ClusterView>>> {
        self.inner.board.views()
    }

    /// Every change of a state from now on, after the present views; for one reader only (see [`Board::sightings`]).
    #[must_use]
    pub fn sightings(&self) -> mpsc::UnboundedReceiver<Sighting> {
        self.inner.board.sightings()
    }

    /// The registry's keys of a cluster, read now and linearizably; `None` for an unknown cluster.
    ///
    /// # Errors
    /// [`RegistryUnavailable`] when etcd does not answer; its text is for people.
    pub async fn registry_view(
        &self,
        name: &ClusterName,
    ) -> Result<Option<RegistryView>, RegistryUnavailable> {
        let Some(feed) = self.cluster(name) else {
            return Ok(None);
        };
        let view = Arc::clone(&feed.borrow());
        match &self.inner.listings {
            Some(listings) => listings.view(name, &view.value).await.map(Some),
            None => Err(RegistryUnavailable::none()),
        }
    }

    /// What is known of `cluster`, with its keys and remembered positions read linearizably just now and, when `fresh`,
    /// every node asked just now; and the readings of its keys so far, the present one last. `None` for an unknown
    /// cluster. A registry that cannot be read is part of what is known.
    pub async fn look(&self, cluster: &ClusterName, fresh: bool) -> Option<(Known, Vec<Reading>)> {
        let known = self.inner.board.known(cluster)?;
        let Some(asking) = &self.inner.asking else {
            return Some((Known::clone(&known), Vec::new()));
        };
        let reports = if fresh {
            futures::future::join_all(asking.probes_of(cluster, &known)).await
        } else {
            Vec::new()
        };
        // Read when the nodes have been asked: one that is silent takes its whole deadline, after which what was
        // registered before may not be believed any more.
        let prefix = asking.keys.cluster_prefix(cluster);
        let (listing, history) = tokio::join!(
            asking.registry.list(prefix),
            positions::recall(&asking.registry, &asking.state_prefix, cluster),
        );
        let at = now();
        let newest = self.inner.board.known(cluster).unwrap_or(known);
        let mut known = Known::clone(&newest);
        let mut readings: Vec<Reading> = asking
            .archive
            .of(cluster)
            .iter()
            .map(|reading| Reading::clone(reading))
            .collect();
        match (listing, history) {
            (Ok(listing), Ok(history)) => {
                known.listed(at, &listing);
                known.history.merge(&history);
                readings.push(reading(at, &listing));
            }
            (Err(error), _) | (_, Err(error)) => known.unlisted(at, &error),
        }
        for report in reports {
            known.probed(report);
        }
        Some((known, readings))
    }

    /// What is known of `cluster`, without asking anybody; `None` for an unknown one.
    #[must_use]
    pub fn known(&self, cluster: &ClusterName) -> Option<Arc<Known>> {
        self.inner.board.known(cluster)
    }

    /// Replaces what `source` has to say to everybody.
    pub fn set_notices(&self, source: &str, notices: Vec<String>) {
        self.inner.board.set_notices(source, notices);
    }

    /// Whether the registry can be read, and since when that is so.
    #[must_use]
    pub fn registry_health(&self) -> RegistryHealth {
        self.inner.board.health().borrow().clone()
    }

    /// Whether views can be shown to people: the registry was read once or is known to be unreachable, and every known
    /// node was asked once or had its time. Stays true.
    #[must_use]
    pub fn ready(&self) -> bool {
        let views = self.views();
        self.inner
            .readiness
            .reached(views.iter().map(|view| &view.value))
    }

    /// Registers the monitor's counters, and what the present views say of clusters and nodes.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.inner.metrics.register(registry);
        let views = Views::new(self.views(), self.registry_health());
        registry.register_collector(Box::new(views));
    }

    /// What stopping waits for.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }
}

impl Asking {
    fn probes_of(
        &self,
        cluster: &ClusterName,
        known: &Known,
    ) -> Vec<impl Future<Output = ProbeReport> + Send + use<>> {
        let nodes = known.nodes().into_iter();
        nodes
            .map(|node| probe::once(cluster.clone(), node, Arc::clone(&self.probes)))
            .collect()
    }
}
