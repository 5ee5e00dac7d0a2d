//! Which clusters there are: the configured ones, those with keys in the registry, and those that are remembered.
//!
//! One task reads two supervised watches and tells each cluster's owner what concerns it. A cluster that loses its last
//! key stays as long as it is configured or remembered: registrations vanish exactly when everything has crashed, and
//! then the cluster must not vanish from the page with them. Only a cluster that was never seen Primary goes with its
//! last key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use console_core::clock::now;
use galera::observe::registration::Keys;
use galera::view::RegistryHealth;
use galera::{ClusterName, NodeId};
use registry::{Change, Entry, Registry, WatchEvent};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::HubSettings;
use super::board::Board;
use super::index::Index;
use super::leases::{self, Leases};
use super::memory::{self, Memory};
use super::metrics::MonitorMetrics;
use super::owner::{self, Inbox, Input, Owner, Surroundings};
use super::positions::{self, Positions};
use super::probed::Prober;
use super::readiness::Readiness;
use crate::probe::{self, ProbeReport, ProbeSettings};

/// Clusters that are followed; the keys of more are named in a notice.
const CLUSTERS_MAX: usize = 256;
/// A followed cluster.
struct Followed {
    inputs: mpsc::Sender<Input>,
    _stop: DropGuard,
}

/// The task's state.
pub(super) struct Discovery {
    settings: Arc<HubSettings>,
    registry: Registry,
    board: Arc<Board>,
    metrics: Arc<MonitorMetrics>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    probes: Arc<ProbeSettings>,
    leases: Leases,
    memory: Memory,
    positions: Positions,
    followed: BTreeMap<ClusterName, Followed>,
    index: Index,
    /// Clusters whose members are remembered.
    remembered: BTreeSet<ClusterName>,
}

impl Discovery {
    pub(super) fn new(
        settings: Arc<HubSettings>,
        registry: Registry,
        board: Arc<Board>,
        metrics: Arc<MonitorMetrics>,
        tracker: TaskTracker,
        shutdown: CancellationToken,
        probes: Arc<ProbeSettings>,
    ) -> Self {
        let (leases, answering) = leases::open(registry.clone());
        let (memory, writing) = memory::open(registry.clone(), &settings.state_prefix);
        let (positions, keeping) = positions::open(registry.clone(), &settings.state_prefix);
        for task in [
            Box::pin(answering) as futures::future::BoxFuture<'static, ()>,
            Box::pin(writing),
            Box::pin(keeping),
        ] {
            let stop = shutdown.clone();
            tracker.spawn(async move { stop.run_until_cancelled_owned(task).await });
        }
        Self {
            index: Index::new(&settings.registry_prefix),
            settings,
            registry,
            board,
            metrics,
            tracker,
            shutdown,
            probes,
            leases,
            memory,
            positions,
            followed: BTreeMap::new(),
            remembered: BTreeSet::new(),
        }
    }

    /// Works until the hub is shut down; `readiness` hears of the first word from or about the registry.
    pub(super) async fn run(mut self, readiness: Arc<Readiness>) {
        for name in self.settings.clusters.keys().cloned().collect::<Vec<_>>() {
            self.follow(&name);
        }
        let mut registrations = self
            .registry
            .watch(Keys::new(&self.settings.registry_prefix).root());
        let mut memories = self
            .registry
            .watch(memory::prefix(&self.settings.state_prefix));
        let mut histories = self
            .registry
            .watch(positions::prefix(&self.settings.state_prefix));
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(event) = registrations.next() => {
                    self.registered(event).await;
                    readiness.registry_spoke();
                }
                Some(event) = memories.next() => self.remembered(event).await,
                Some(event) = histories.next() => self.positioned(event).await,
                else => return,
            }
        }
    }

    async fn registered(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Reset { entries, .. } => {
                self.reachable();
                self.reset(entries).await;
            }
            WatchEvent::Changes { changes, .. } => self.changed(changes).await,
            WatchEvent::Reachable => self.reachable(),
            WatchEvent::Unreachable { since, error } => {
                self.metrics.registry_restarted();
                tracing::warn!(%error, %since, "The registry is unreachable; SQL facts go on");
                self.board.set_health(RegistryHealth {
                    reachable: false,
                    since,
                    error: Some(error.to_string()),
                });
            }
        }
    }

    fn reachable(&self) {
        if !self.board.health().borrow().reachable {
            tracing::info!("The registry can be read");
            self.board.set_health(RegistryHealth {
                reachable: true,
                since: now(),
                error: None,
            });
        }
    }

    async fn reset(&mut self, entries: Vec<Entry>) {
        self.index.clear();
        let mut by_cluster: BTreeMap<ClusterName, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            match self.index.add(&entry.key) {
                Some(cluster) => by_cluster.entry(cluster).or_default().push(entry),
                None => continue,
            }
        }
        for name in by_cluster.keys() {
            self.follow(name);
        }
        self.unfollow_gone();
        // Every owner: one without keys has to forget those that it had.
        for (name, followed) in &self.followed {
            let entries = by_cluster.remove(name).unwrap_or_default();
            let _ = followed.inputs.send(Input::Reset(entries)).await;
        }
        self.notice();
    }

    async fn changed(&mut self, changes: Vec<Change>) {
        let mut by_cluster: BTreeMap<ClusterName, Vec<Change>> = BTreeMap::new();
        for change in changes {
            let cluster = match &change {
                Change::Put(entry) => self.index.add(&entry.key),
                Change::Delete { key, .. } => self.index.remove(key),
            };
            if let Some(cluster) = cluster {
                by_cluster.entry(cluster).or_default().push(change);
            }
        }
        for (name, changes) in by_cluster {
            self.follow(&name);
            self.tell(&name, Input::Changes(changes)).await;
        }
        self.unfollow_gone();
        self.notice();
    }

    async fn remembered(&mut self, event: WatchEvent) {
        let prefix = self.settings.state_prefix.clone();
        let cluster_of = |key: &[u8]| memory::cluster_of(&prefix, key);
        match event {
            WatchEvent::Reset { entries, .. } => {
                let before = std::mem::take(&mut self.remembered);
                for entry in entries {
                    if let Some(name) = cluster_of(&entry.key) {
                        self.recall(name, memory::read(&entry.value)).await;
                    }
                }
                for name in before.difference(&self.remembered.clone()) {
                    self.tell(name, Input::Remembered(BTreeSet::new())).await;
                }
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => {
                            if let Some(name) = cluster_of(&entry.key) {
                                self.recall(name, memory::read(&entry.value)).await;
                            }
                        }
                        Change::Delete { key, .. } => {
                            if let Some(name) = cluster_of(&key) {
                                self.remembered.remove(&name);
                                self.tell(&name, Input::Remembered(BTreeSet::new())).await;
                            }
                        }
                    }
                }
            }
            // The other watch speaks for both.
            WatchEvent::Reachable | WatchEvent::Unreachable { .. } => {}
        }
        self.unfollow_gone();
    }

    /// Tells the owners of positions that any replica remembered. Nothing is ever taken back.
    async fn positioned(&mut self, event: WatchEvent) {
        let entries = match event {
            WatchEvent::Reset { entries, .. } => entries,
            WatchEvent::Changes { changes, .. } => changes
                .into_iter()
                .filter_map(|change| match change {
                    Change::Put(entry) => Some(entry),
                    Change::Delete { .. } => None,
                })
                .collect(),
            WatchEvent::Reachable | WatchEvent::Unreachable { .. } => return,
        };
        for entry in entries {
            if let Some(name) = positions::cluster_of(&self.settings.state_prefix, &entry.key) {
                let history = Box::new(positions::read(&entry.value));
                self.tell(&name, Input::Positions(history)).await;
            }
        }
    }

    async fn recall(&mut self, name: ClusterName, members: BTreeSet<NodeId>) {
        self.remembered.insert(name.clone());
        self.follow(&name);
        self.tell(&name, Input::Remembered(members)).await;
    }

    async fn tell(&self, name: &ClusterName, input: Input) {
        if let Some(followed) = self.followed.get(name) {
            // An owner reads until it is cancelled, and only this task cancels it.
            let _ = followed.inputs.send(input).await;
        }
    }

    fn follow(&mut self, name: &ClusterName) {
        if self.followed.contains_key(name) || self.followed.len() >= CLUSTERS_MAX {
            return;
        }
        tracing::info!(cluster.id = %name, "Cluster {name} is followed");
        let stop = self.shutdown.child_token();
        let (inputs, inbox) = mpsc::channel(owner::QUEUE);
        let (reports, reported) = mpsc::channel(owner::QUEUE);
        let health = self.board.health();
        let prober = Box::new(SqlProber {
            cluster: name.clone(),
            settings: Arc::clone(&self.probes),
            reports,
            metrics: Arc::clone(&self.metrics),
            tracker: self.tracker.clone(),
            stop: stop.clone(),
        });
        let surroundings = Surroundings {
            registry_prefix: self.settings.registry_prefix.clone(),
            fold: self.settings.fold_settings(),
            poll_interval: self.settings.poll_interval,
            leases: self.leases.clone(),
            memory: self.memory.clone(),
            positions: self.positions.clone(),
            board: Arc::clone(&self.board),
            metrics: Arc::clone(&self.metrics),
        };
        let configured = self
            .settings
            .clusters
            .get(name)
            .cloned()
            .unwrap_or_default();
        let present = health.borrow().clone();
        let owner = Owner::new(name.clone(), configured, present, prober, surroundings);
        let inbox = Inbox {
            inputs: inbox,
            myself: inputs.clone(),
            reports: reported,
            health,
        };
        self.tracker.spawn(owner.run(inbox, stop.clone()));
        let followed = Followed {
            inputs,
            _stop: stop.drop_guard(),
        };
        self.followed.insert(name.clone(), followed);
    }

    /// Lets go of clusters that nothing speaks of any more.
    fn unfollow_gone(&mut self) {
        let (settings, index, remembered) = (&self.settings, &self.index, &self.remembered);
        self.followed.retain(|name, _| {
            let stays = settings.clusters.contains_key(name) || index.contains(name) || remembered.contains(name);
            if !stays {
                tracing::info!(cluster.id = %name, "Cluster {name} is gone: no key, no configuration, never seen Primary");
            }
            stays
        });
    }

    /// Tells everybody about keys and clusters that cannot be used.
    fn notice(&self) {
        let mut notices = self.index.notices();
        let followed = |name: &&ClusterName| self.followed.contains_key(*name);
        let beyond = self.index.clusters().filter(|name| !followed(name)).count();
        if beyond > 0 {
            notices.push(format!(
                "{beyond} clusters of the registry are not shown: at most {CLUSTERS_MAX} are followed. Clean up the registry."
            ));
        }
        self.board.set_notices("registry", notices);
    }
}

/// Probes by SQL.
struct SqlProber {
    cluster: ClusterName,
    settings: Arc<ProbeSettings>,
    reports: mpsc::Sender<ProbeReport>,
    metrics: Arc<MonitorMetrics>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Prober for SqlProber {
    fn start(&self, node: &NodeId, asked: Arc<Notify>, cancel: CancellationToken) {
        let probe = probe::run(
            self.cluster.clone(),
            node.clone(),
            Arc::clone(&self.settings),
            self.reports.clone(),
            Arc::clone(&self.metrics),
            asked,
            cancel,
        );
        let stop = self.stop.clone();
        self.tracker
            .spawn(async move { stop.run_until_cancelled_owned(probe).await });
    }

    fn forget(&self, node: &NodeId) {
        self.metrics.forget_node(&self.cluster, node);
    }
}

#[cfg(test)]
mod tests;
