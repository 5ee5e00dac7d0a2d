//! Connects the cluster monitors, which publish, with all readers.
//!
//! Last values only: a reader sees the latest view of each cluster, and no publisher waits for a reader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use console_core::clock::now;
use console_core::published::Published;
use galera::observe::started_bootstrap::StartedBootstrap;
use galera::publish::api::Overview;
use galera::record::series::NodeFigures;
use galera::view::{ClusterView, RegistryHealth};
use galera::{ClusterName, NodeId, Timestamp};
use tokio::sync::{Notify, mpsc, watch};

use super::snapshot::ClusterSnapshot;

/// The latest view of a cluster; notifies of newer ones.
pub type ClusterFeed = watch::Receiver<Arc<Published<ClusterView>>>;
/// All known clusters.
pub type ClusterDirectory = BTreeMap<ClusterName, ClusterFeed>;

/// Bootstraps that may have taken effect, by cluster.
pub type StartedBootstraps = BTreeMap<ClusterName, Vec<StartedBootstrap>>;

/// The latest snapshot of each cluster.
type ClusterSnapshots = BTreeMap<ClusterName, watch::Receiver<Arc<ClusterSnapshot>>>;

/// A change that the history recorder must not miss.
#[derive(Clone, Debug)]
pub enum ViewEvent {
    /// A new view. Views without a state change may be coalesced.
    Updated(Arc<Published<ClusterView>>),
    /// The cluster is no longer known.
    Removed(ClusterName),
}

/// One answer of a node.
#[derive(Clone, Debug)]
pub struct NodeReading {
    pub cluster: ClusterName,
    /// With its port, unless that is the console's default port.
    pub node: NodeId,
    /// When it was read, by the console's clock.
    pub at: Timestamp,
    pub figures: NodeFigures,
}

/// Where views are published.
#[derive(Debug)]
pub struct ViewPublisher {
    directory: watch::Sender<Arc<ClusterDirectory>>,
    snapshots: watch::Sender<Arc<ClusterSnapshots>>,
    overview: watch::Sender<Arc<Published<Overview>>>,
    health: watch::Sender<RegistryHealth>,
    notices: watch::Sender<BTreeMap<String, Vec<String>>>,
    /// Bootstraps by actions whose outcome is not proven.
    started_bootstraps: watch::Sender<StartedBootstraps>,
    /// Notified when a state that the overview shows has changed, or a notice.
    states_changed: Notify,
    /// Notified when only numbers have changed.
    numbers_changed: Notify,
    /// The subscribers that receive every state change, not only the latest view.
    event_senders: Mutex<Vec<mpsc::UnboundedSender<ViewEvent>>>,
    /// The one subscriber that receives every reading.
    reading_sender: OnceLock<mpsc::Sender<NodeReading>>,
}

impl Default for ViewPublisher {
    fn default() -> Self {
        Self::new()
    }
}

impl ViewPublisher {
    /// Empty: no clusters, and a registry that has not been read yet.
    #[must_use]
    pub fn new() -> Self {
        let overview = Overview {
            clusters: Vec::new(),
            notices: Vec::new(),
        };
        let health = RegistryHealth {
            reachable: false,
            since: now(),
            error: Some(NOT_READ_YET.to_owned()),
        };
        Self {
            directory: watch::Sender::default(),
            snapshots: watch::Sender::default(),
            overview: watch::Sender::new(Arc::new(Published::new(0, overview))),
            health: watch::Sender::new(health),
            notices: watch::Sender::default(),
            started_bootstraps: watch::Sender::default(),
            states_changed: Notify::new(),
            numbers_changed: Notify::new(),
            reading_sender: OnceLock::new(),
            event_senders: Mutex::default(),
        }
    }

    /// The publisher of the cluster `name`. The cluster becomes known with its first view and unknown when the
    /// publisher is dropped.
    #[must_use]
    pub fn cluster_publisher(self: &Arc<Self>, name: ClusterName) -> ClusterPublisher {
        ClusterPublisher {
            publisher: Arc::clone(self),
            notice_source: format!("cluster/{name}"),
            name,
            revision: 0,
            view_sender: None,
            snapshot_sender: None,
        }
    }

    /// Sets the registry's health; an unchanged value notifies no one.
    pub(crate) fn set_health(&self, health: RegistryHealth) {
        self.health.send_if_modified(|current| {
            let changed = *current != health;
            *current = health;
            changed
        });
    }

    /// Replaces the notices of `source` shown on every page; an empty list clears them.
    pub fn set_notices(&self, source: &str, notices: Vec<String>) {
        let changed = self.notices.send_if_modified(|all| {
            let before = all.get(source).map_or(&[][..], Vec::as_slice);
            if before == notices {
                return false;
            }
            if notices.is_empty() {
                all.remove(source);
            } else {
                all.insert(source.to_owned(), notices);
            }
            true
        });
        if changed {
            self.states_changed.notify_one();
        }
    }

    /// Replaces the bootstraps by actions whose outcome is not proven. The next fold of each cluster uses them.
    pub fn set_started_bootstraps(&self, started: StartedBootstraps) {
        self.started_bootstraps.send_replace(started);
    }

    /// Those of `cluster`.
    pub(crate) fn started_bootstraps(&self, cluster: &ClusterName) -> Vec<StartedBootstrap> {
        let started = self.started_bootstraps.borrow();
        started.get(cluster).cloned().unwrap_or_default()
    }

    /// All known clusters; notifies when one is added or removed.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Arc<ClusterDirectory>> {
        self.directory.subscribe()
    }

    /// The latest snapshot of `cluster`; `None` for an unknown cluster.
    #[must_use]
    pub fn snapshot(&self, cluster: &ClusterName) -> Option<Arc<ClusterSnapshot>> {
        let knowledge = self.snapshots.borrow();
        knowledge
            .get(cluster)
            .map(|known| Arc::clone(&known.borrow()))
    }

    /// The overview; notifies of changes.
    #[must_use]
    pub fn overview(&self) -> watch::Receiver<Arc<Published<Overview>>> {
        self.overview.subscribe()
    }

    /// The registry's health; notifies of changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<RegistryHealth> {
        self.health.subscribe()
    }

    /// The latest view of each cluster.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<Published<ClusterView>>> {
        let directory = Arc::clone(&self.directory.borrow());
        directory
            .values()
            .map(|feed| Arc::clone(&feed.borrow()))
            .collect()
    }

    /// Every state change from now on, after the current views.
    ///
    /// The channel is unbounded and nothing is dropped, so the reader must keep up: it only records what it receives.
    #[must_use]
    pub fn view_events(&self) -> mpsc::UnboundedReceiver<ViewEvent> {
        let (sender, events) = mpsc::unbounded_channel();
        // Under the lock, so that no newer view precedes an older one.
        let mut event_senders = self
            .event_senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for view in self.views() {
            // Cannot fail: the receiver is in scope.
            let _ = sender.send(ViewEvent::Updated(view));
        }
        event_senders.push(sender);
        events
    }

    fn send_event(&self, event: &ViewEvent) {
        let mut event_senders = self
            .event_senders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        event_senders.retain(|sender| sender.send(event.clone()).is_ok());
    }

    /// Every answer of every node from now on. A reader that does not keep up loses what exceeds `capacity`. Only the first
    /// subscriber receives them.
    #[must_use]
    pub fn readings(&self, capacity: usize) -> mpsc::Receiver<NodeReading> {
        let (sender, receiver) = mpsc::channel(capacity);
        let _ = self.reading_sender.set(sender);
        receiver
    }

    /// Waits for a change of a state that the overview shows.
    pub(super) async fn states_changed(&self) {
        self.states_changed.notified().await;
    }

    /// Waits for a change of a number that the overview shows.
    pub(super) async fn numbers_changed(&self) {
        self.numbers_changed.notified().await;
    }

    /// Publishes an overview of the current views.
    pub fn publish_overview(&self) {
        let mut clusters: Vec<_> = self
            .views()
            .iter()
            .map(|view| view.value.summary())
            .collect();
        // Worst first, and by name.
        clusters.sort_by(|a, b| {
            let worst = b.verdict.state.cmp(&a.verdict.state);
            worst.then_with(|| a.name.natural_cmp(&b.name))
        });
        let notices = self.notices.borrow().values().flatten().cloned().collect();
        let revision = self.overview.borrow().revision + 1;
        let overview = Overview { clusters, notices };
        self.overview
            .send_replace(Arc::new(Published::new(revision, overview)));
    }
}

const NOT_READ_YET: &str = "the registry has not been read yet";

/// Publishes the views of one cluster.
#[derive(Debug)]
pub struct ClusterPublisher {
    publisher: Arc<ViewPublisher>,
    name: ClusterName,
    /// The source under which the publisher keeps this cluster's notices.
    notice_source: String,
    revision: u64,
    view_sender: Option<watch::Sender<Arc<Published<ClusterView>>>>,
    snapshot_sender: Option<watch::Sender<Arc<ClusterSnapshot>>>,
}

impl ClusterPublisher {
    /// Publishes `view` under the next revision.
    pub fn publish(&mut self, mut view: ClusterView) -> Arc<Published<ClusterView>> {
        self.revision += 1;
        view.revision = self.revision;
        let same_states = self
            .view_sender
            .as_ref()
            .is_some_and(|sender| sender.borrow().value.has_same_states(&view));
        let published = Arc::new(Published::new(self.revision, view));
        match &self.view_sender {
            Some(sender) => {
                sender.send_replace(Arc::clone(&published));
            }
            None => {
                let (sender, feed) = watch::channel(Arc::clone(&published));
                self.view_sender = Some(sender);
                self.publisher.directory.send_modify(|directory| {
                    Arc::make_mut(directory).insert(self.name.clone(), feed);
                });
            }
        }
        match same_states {
            true => self.publisher.numbers_changed.notify_one(),
            false => self.publisher.states_changed.notify_one(),
        }
        self.publisher
            .send_event(&ViewEvent::Updated(Arc::clone(&published)));
        published
    }
}

impl ClusterPublisher {
    /// Replaces the cluster's notices.
    pub(super) fn set_notices(&self, notices: Vec<String>) {
        self.publisher.set_notices(&self.notice_source, notices);
    }

    /// Passes a reading on; nothing waits for its reader.
    pub(super) fn send_reading(&self, reading: NodeReading) {
        if let Some(sender) = self.publisher.reading_sender.get() {
            let _ = sender.try_send(reading);
        }
    }

    /// Publishes the facts that the view rests on.
    pub(super) fn publish_snapshot(&mut self, known: ClusterSnapshot) {
        let known = Arc::new(known);
        match &self.snapshot_sender {
            Some(sender) => drop(sender.send_replace(known)),
            None => {
                let (sender, receiver) = watch::channel(known);
                self.snapshot_sender = Some(sender);
                self.publisher.snapshots.send_modify(|knowledge| {
                    Arc::make_mut(knowledge).insert(self.name.clone(), receiver);
                });
            }
        }
    }
}

impl Drop for ClusterPublisher {
    fn drop(&mut self) {
        if self.snapshot_sender.is_some() {
            self.publisher.snapshots.send_modify(|knowledge| {
                Arc::make_mut(knowledge).remove(&self.name);
            });
        }
        if self.view_sender.is_some() {
            self.publisher.directory.send_modify(|directory| {
                Arc::make_mut(directory).remove(&self.name);
            });
            self.set_notices(Vec::new());
            self.publisher.states_changed.notify_one();
            self.publisher
                .send_event(&ViewEvent::Removed(self.name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use galera::judge::cluster::{FoldSettings, fold};
    use galera::observe::observation::Evidence;
    use galera::view::VerdictState;

    use super::*;

    fn view(name: &str, state: VerdictState) -> ClusterView {
        let health = RegistryHealth {
            reachable: true,
            since: now(),
            error: None,
        };
        let evidence = Evidence::new(name.parse().unwrap(), health);
        let mut view = fold(&evidence, now(), &FoldSettings::default(), None);
        view.verdict.state = state;
        view
    }

    #[test]
    fn the_overview_lists_the_worst_first_and_then_by_name() {
        let views = Arc::new(ViewPublisher::new());
        let publishers: Vec<_> = [
            ("b", VerdictState::Healthy),
            ("a", VerdictState::Healthy),
            ("z", VerdictState::SplitBrain),
        ]
        .map(|(name, state)| {
            let mut publisher = views.cluster_publisher(name.parse().unwrap());
            publisher.publish(view(name, state));
            publisher
        })
        .into();
        views.publish_overview();
        let overview = Arc::clone(&views.overview().borrow());
        let names: Vec<_> = overview
            .value
            .clusters
            .iter()
            .map(|c| c.name.to_string())
            .collect();
        assert_eq!(names, ["z", "a", "b"]);
        drop(publishers);
        views.publish_overview();
        assert!(views.overview().borrow().value.clusters.is_empty());
        assert!(views.overview().borrow().revision > overview.revision);
    }

    #[test]
    fn revisions_grow_with_each_publication() {
        let views = Arc::new(ViewPublisher::new());
        let mut publisher = views.cluster_publisher("lab".parse().unwrap());
        let first = publisher.publish(view("lab", VerdictState::Unknown));
        let second = publisher.publish(view("lab", VerdictState::Unknown));
        assert_eq!((first.revision, second.revision), (1, 2));
        assert_eq!(second.value.revision, 2);
    }
}
