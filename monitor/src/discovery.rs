//! Which clusters are monitored: configured ones, those with keys in the registry, and those with recorded expected
//! members.
//!
//! One task reads three watches (registrations, expected members, known positions) and forwards each change to its
//! cluster's monitor. A cluster that loses its last key stays as long as it is configured or has recorded members:
//! registrations vanish exactly when everything has crashed, and the cluster must not vanish from the page with them.
//! Only a cluster that was never seen Primary is removed with its last key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use console_core::clock::now;
use console_core::keyspace;
use galera::ClusterName;
use galera::judge::confirmation::MembershipRecord;
use galera::judge::history_alarms::HistoryAlarmRecord;
use galera::observe::registration::RegistryKeys;
use galera::view::RegistryHealth;
use registry::{KeyChange, Registry, RegistryEntry, WatchEvent};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::MonitorSettings;
use super::cluster_monitor::{self, ClusterMonitor, InputChannels, MonitorContext};
use super::expected_members::{self, MembershipSender};
use super::history_alarms::{self, HistoryAlarmSender};
use super::input::MonitorInput;
use super::key_index::KeyIndex;
use super::known_positions::{self, KnownPositionsSender};
use super::lease_lookup::{self, LeaseLookupSender};
use super::metrics::MonitorMetrics;
use super::publisher::ViewPublisher;
use super::readiness::Readiness;
use super::sql_prober::SqlProber;
use crate::probe::ProbeSettings;
use crate::v2_source::V2Source;

mod v2;

/// Clusters beyond the limit that the notice names.
const NAMED_MAX: usize = 5;

/// A cluster with a running monitor; dropping it stops the monitor.
struct MonitoredCluster {
    inputs: mpsc::Sender<MonitorInput>,
    _stop: DropGuard,
}

/// The discovery task's state.
pub(super) struct ClusterDiscovery {
    settings: Arc<MonitorSettings>,
    registry: Registry,
    publisher: Arc<ViewPublisher>,
    metrics: Arc<MonitorMetrics>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    probes: Arc<ProbeSettings>,
    leases: LeaseLookupSender,
    expected_members: MembershipSender,
    positions: KnownPositionsSender,
    history_alarms: HistoryAlarmSender,
    monitored: BTreeMap<ClusterName, MonitoredCluster>,
    /// Clusters that are not monitored because of the limit.
    beyond_limit: BTreeSet<ClusterName>,
    /// Whether `beyond_limit` changed since the notices were last published.
    beyond_changed: bool,
    key_index: KeyIndex,
    /// The registry in etcd v2.
    v2: V2Source,
    /// Clusters with recorded expected members.
    with_expected_members: BTreeSet<ClusterName>,
    /// The recorded alarms about data, for monitors that start later; `None` until they were read.
    alarm_records: Option<BTreeMap<ClusterName, HistoryAlarmRecord>>,
    /// Whether the recorded members were read.
    members_known: bool,
    /// Registrations read before the recorded members: without those, every registered node would count as a member.
    early_registrations: Option<WatchEvent>,
}

impl ClusterDiscovery {
    pub(super) fn new(
        settings: Arc<MonitorSettings>,
        registry: Registry,
        publisher: Arc<ViewPublisher>,
        metrics: Arc<MonitorMetrics>,
        tracker: TaskTracker,
        shutdown: CancellationToken,
        probes: Arc<ProbeSettings>,
    ) -> Self {
        let (leases, lease_worker) = lease_lookup::worker(registry.clone());
        let (expected_members, members_worker) =
            expected_members::worker(registry.clone(), &settings.state_prefix);
        let (positions, positions_worker) =
            known_positions::worker(registry.clone(), &settings.state_prefix);
        let (history_alarms, alarms_worker) = history_alarms::worker(
            registry.clone(),
            &settings.state_prefix,
            &settings.registry_prefix,
        );
        for task in [
            Box::pin(lease_worker) as futures::future::BoxFuture<'static, ()>,
            Box::pin(members_worker),
            Box::pin(positions_worker),
            Box::pin(alarms_worker),
        ] {
            let stop = shutdown.clone();
            tracker.spawn(async move { stop.run_until_cancelled_owned(task).await });
        }
        Self {
            key_index: KeyIndex::new(&settings.registry_prefix),
            v2: V2Source::new(settings.v2.clone(), &settings.registry_prefix),
            settings,
            registry,
            publisher,
            metrics,
            tracker,
            shutdown,
            probes,
            leases,
            expected_members,
            positions,
            history_alarms,
            monitored: BTreeMap::new(),
            beyond_limit: BTreeSet::new(),
            beyond_changed: false,
            with_expected_members: BTreeSet::new(),
            alarm_records: None,
            members_known: false,
            early_registrations: None,
        }
    }

    /// Runs until shutdown; marks `readiness` after the first event of the registry's watch.
    pub(super) async fn run(mut self, readiness: Arc<Readiness>) {
        for name in self.settings.clusters.keys().cloned().collect::<Vec<_>>() {
            self.start_monitoring(&name);
        }
        let mut registrations = self
            .registry
            .watch(RegistryKeys::new(&self.settings.registry_prefix).root_prefix());
        let mut expected_members = self
            .registry
            .watch(expected_members::prefix(&self.settings.state_prefix));
        let mut known_positions = self
            .registry
            .watch(known_positions::prefix(&self.settings.state_prefix));
        let mut corrections = self
            .registry
            .watch(keyspace::position_corrections(&self.settings.state_prefix));
        let mut alarms = self
            .registry
            .watch(history_alarms::prefix(&self.settings.state_prefix));
        let mut of_v2 = self.v2.subscribe();
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(event) = registrations.next(), if self.early_registrations.is_none() => {
                    if self.members_known || !matches!(event, WatchEvent::Reset { .. }) {
                        self.on_registrations(event).await;
                        readiness.mark_registry_known();
                    } else {
                        self.early_registrations = Some(event);
                    }
                }
                Some(event) = expected_members.next() => {
                    self.on_expected_members(event).await;
                    if self.members_known
                        && let Some(event) = self.early_registrations.take()
                    {
                        self.on_registrations(event).await;
                        readiness.mark_registry_known();
                    }
                }
                Some(event) = v2::next_event(&mut of_v2), if self.members_known => self.on_v2(event).await,
                // What is recorded of a cluster is forwarded to its monitor, which exists once the members were read.
                Some(event) = known_positions.next(), if self.members_known => {
                    self.on_known_positions(event).await;
                }
                Some(event) = corrections.next(), if self.members_known => {
                    self.on_corrections(event).await;
                }
                Some(event) = alarms.next() => self.on_history_alarms(event).await,
                else => return,
            }
        }
    }

    async fn on_registrations(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Reset { entries, .. } => {
                self.mark_reachable();
                self.reset_keys(entries).await;
            }
            WatchEvent::Changes { changes, .. } => self.apply_changes(changes).await,
            WatchEvent::Reachable => self.mark_reachable(),
            WatchEvent::Unreachable { since, error } => {
                self.metrics.registry_restarted();
                tracing::warn!(%error, %since, "etcd is unreachable; continuing with SQL probes only");
                self.publisher.set_health(RegistryHealth {
                    reachable: false,
                    since,
                    error: Some(error.to_string()),
                });
            }
        }
    }

    fn mark_reachable(&self) {
        if !self.publisher.health().borrow().reachable {
            tracing::info!("etcd is reachable");
            self.publisher.set_health(RegistryHealth {
                reachable: true,
                since: now(),
                error: None,
            });
        }
    }

    async fn reset_keys(&mut self, entries: Vec<RegistryEntry>) {
        self.key_index.clear();
        let mut by_cluster: BTreeMap<ClusterName, Vec<RegistryEntry>> = BTreeMap::new();
        for entry in entries {
            match self.key_index.add(&entry.key) {
                Some(cluster) => by_cluster.entry(cluster).or_default().push(entry),
                None => continue,
            }
        }
        self.stop_monitoring_removed();
        for name in by_cluster.keys() {
            self.start_monitoring(name);
        }
        // Every monitor: one whose cluster has no keys left has to drop its old ones.
        for (name, cluster) in &self.monitored {
            let entries = by_cluster.remove(name).unwrap_or_default();
            let _ = cluster.inputs.send(MonitorInput::Reset(entries)).await;
        }
        self.start_waiting().await;
        self.update_notices();
    }

    async fn apply_changes(&mut self, changes: Vec<KeyChange>) {
        let mut by_cluster: BTreeMap<ClusterName, Vec<KeyChange>> = BTreeMap::new();
        let mut without_keys = Vec::new();
        for change in changes {
            let cluster = match &change {
                KeyChange::Put(entry) => self.key_index.add(&entry.key),
                KeyChange::Delete { key, .. } => self.key_index.remove(key),
            };
            if let Some(cluster) = cluster {
                if matches!(change, KeyChange::Delete { .. }) && !self.key_index.contains(&cluster)
                {
                    without_keys.push(cluster.clone());
                }
                by_cluster.entry(cluster).or_default().push(change);
            }
        }
        for (name, changes) in by_cluster {
            self.start_monitoring(&name);
            self.send_input(&name, MonitorInput::Changes(changes)).await;
        }
        for name in without_keys {
            self.stop_if_removed(&name);
        }
        self.start_waiting().await;
        self.update_notices();
    }

    async fn on_expected_members(&mut self, event: WatchEvent) {
        let prefix = self.settings.state_prefix.clone();
        let cluster_of = |key: &[u8]| expected_members::cluster_of(&prefix, key);
        match event {
            WatchEvent::Reset { entries, .. } => {
                self.members_known = true;
                let before = std::mem::take(&mut self.with_expected_members);
                for entry in entries {
                    if let Some(name) = cluster_of(&entry.key) {
                        self.set_expected_members(name, expected_members::decode(&entry.value))
                            .await;
                    }
                }
                for name in before.difference(&self.with_expected_members) {
                    self.send_input(name, MonitorInput::Membership(None)).await;
                }
                self.stop_monitoring_removed();
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        KeyChange::Put(entry) => {
                            if let Some(name) = cluster_of(&entry.key) {
                                self.set_expected_members(
                                    name,
                                    expected_members::decode(&entry.value),
                                )
                                .await;
                            }
                        }
                        KeyChange::Delete { key, .. } => {
                            if let Some(name) = cluster_of(&key) {
                                self.with_expected_members.remove(&name);
                                self.send_input(&name, MonitorInput::Membership(None)).await;
                                self.stop_if_removed(&name);
                            }
                        }
                    }
                }
            }
            // Reported by the registrations' watch.
            WatchEvent::Reachable | WatchEvent::Unreachable { .. } => {}
        }
        self.start_waiting().await;
        self.update_notices();
    }

    /// Forwards positions recorded by any replica. Only corrections lower them, so what was deleted is written again.
    async fn on_known_positions(&mut self, event: WatchEvent) {
        if let WatchEvent::Changes { changes, .. } = &event {
            for change in changes {
                if let KeyChange::Delete { key, .. } = change
                    && let Some(name) =
                        known_positions::cluster_of(&self.settings.state_prefix, key)
                {
                    self.send_input(&name, MonitorInput::KnownPositionsLost)
                        .await;
                }
            }
        }
        for entry in put_entries(event) {
            if let Some(name) = known_positions::cluster_of(&self.settings.state_prefix, &entry.key)
            {
                let positions = Box::new(known_positions::decode(&entry.value));
                self.send_input(&name, MonitorInput::KnownPositions(positions))
                    .await;
            }
        }
    }

    /// Forwards corrections of positions. A correction is never withdrawn, so deletions are ignored.
    async fn on_corrections(&mut self, event: WatchEvent) {
        for entry in put_entries(event) {
            let prefix = &self.settings.state_prefix;
            if let Some(name) = known_positions::corrected_cluster(prefix, &entry.key) {
                let corrections = Box::new(known_positions::decode_corrections(&entry.value));
                self.send_input(&name, MonitorInput::PositionCorrections(corrections))
                    .await;
            }
        }
    }

    /// Forwards alarms about the data; a record that is gone is written again by its monitor.
    async fn on_history_alarms(&mut self, event: WatchEvent) {
        let prefix = self.settings.state_prefix.clone();
        let mut records: BTreeMap<ClusterName, Option<HistoryAlarmRecord>> = BTreeMap::new();
        match event {
            WatchEvent::Reset { entries, .. } => {
                self.alarm_records = Some(BTreeMap::new());
                records.extend(self.monitored.keys().map(|name| (name.clone(), None)));
                for entry in entries {
                    if let Some(name) = history_alarms::cluster_of(&prefix, &entry.key) {
                        records.insert(name, history_alarms::decode(&entry.value));
                    }
                }
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    let (key, record) = match change {
                        KeyChange::Put(entry) => {
                            let record = history_alarms::decode(&entry.value);
                            (entry.key, record)
                        }
                        KeyChange::Delete { key, .. } => (key, None),
                    };
                    if let Some(name) = history_alarms::cluster_of(&prefix, &key) {
                        records.insert(name, record);
                    }
                }
            }
            WatchEvent::Reachable | WatchEvent::Unreachable { .. } => {}
        }
        for (name, record) in records {
            if let Some(known) = &mut self.alarm_records {
                match &record {
                    Some(record) => known.insert(name.clone(), record.clone()),
                    None => known.remove(&name),
                };
            }
            let input = MonitorInput::HistoryAlarms(record.map(Box::new));
            self.send_input(&name, input).await;
        }
    }

    async fn set_expected_members(&mut self, name: ClusterName, record: MembershipRecord) {
        self.with_expected_members.insert(name.clone());
        self.start_monitoring(&name);
        self.send_input(&name, MonitorInput::Membership(Some(Box::new(record))))
            .await;
    }

    async fn send_input(&self, name: &ClusterName, input: MonitorInput) {
        if let Some(cluster) = self.monitored.get(name) {
            // A monitor reads until it is cancelled, and only this task cancels it.
            let _ = cluster.inputs.send(input).await;
        }
    }

    /// Starts the monitor of a cluster that has none, unless there are too many: configured clusters always have one, and
    /// of the others those that were known first.
    fn start_monitoring(&mut self, name: &ClusterName) {
        if self.monitored.contains_key(name) {
            return;
        }
        let configured = self.settings.clusters.contains_key(name);
        if !configured && self.monitored.len() >= self.settings.max_clusters {
            self.beyond_changed |= self.beyond_limit.insert(name.clone());
            return;
        }
        tracing::info!(cluster.id = %name, "Started monitoring cluster {name}");
        let stop = self.shutdown.child_token();
        let (inputs, receiver) = mpsc::channel(cluster_monitor::QUEUE);
        if let Some(known) = &self.alarm_records {
            let record = known.get(name).cloned().map(Box::new);
            // The queue is empty.
            let _ = inputs.try_send(MonitorInput::HistoryAlarms(record));
        }
        let v2 = self.v2.keys(name).cloned().map(MonitorInput::V2Keys);
        for input in [MonitorInput::V2Access(self.v2.access().clone())]
            .into_iter()
            .chain(v2)
        {
            let _ = inputs.try_send(input);
        }
        let (reports, reported) = mpsc::channel(cluster_monitor::QUEUE);
        let health = self.publisher.health();
        let prober = Box::new(SqlProber {
            cluster: name.clone(),
            settings: Arc::clone(&self.probes),
            reports,
            metrics: Arc::clone(&self.metrics),
            tracker: self.tracker.clone(),
            stop: stop.clone(),
        });
        let context = MonitorContext {
            labels: self.settings.labels.subscribe(),
            registry_prefix: self.settings.registry_prefix.clone(),
            fold_settings: self.settings.fold_settings(),
            poll_interval: self.settings.poll_interval,
            leases: self.leases.clone(),
            expected_members: self.expected_members.clone(),
            known_positions: self.positions.clone(),
            history_alarms: self.history_alarms.clone(),
            publisher: Arc::clone(&self.publisher),
            metrics: Arc::clone(&self.metrics),
        };
        let configured = self
            .settings
            .clusters
            .get(name)
            .cloned()
            .unwrap_or_default();
        let current = health.borrow().clone();
        let monitor = ClusterMonitor::new(name.clone(), configured, current, prober, context);
        let channels = InputChannels {
            inputs: receiver,
            own_inputs: inputs.clone(),
            reports: reported,
            health,
        };
        self.tracker.spawn(monitor.run(channels, stop.clone()));
        let cluster = MonitoredCluster {
            inputs,
            _stop: stop.drop_guard(),
        };
        self.monitored.insert(name.clone(), cluster);
    }

    /// Whether the cluster is configured, registered or recorded.
    fn is_known(&self, name: &ClusterName) -> bool {
        self.settings.clusters.contains_key(name)
            || self.key_index.contains(name)
            || self.v2.contains(name)
            || self.with_expected_members.contains(name)
    }

    /// Stops monitoring every cluster that is neither configured, registered nor recorded.
    fn stop_monitoring_removed(&mut self) {
        let known = self.monitored.keys().chain(&self.beyond_limit);
        let removed: Vec<ClusterName> =
            known.filter(|name| !self.is_known(name)).cloned().collect();
        for name in removed {
            self.stop_if_removed(&name);
        }
    }

    /// Stops monitoring the cluster if it is neither configured, registered nor recorded.
    fn stop_if_removed(&mut self, name: &ClusterName) {
        if self.is_known(name) {
            return;
        }
        self.beyond_changed |= self.beyond_limit.remove(name);
        if self.monitored.remove(name).is_some() {
            tracing::info!(cluster.id = %name, "Stopped monitoring cluster {name}: no keys, not configured, never seen Primary");
        }
    }

    /// Starts monitoring clusters beyond the limit for which there is room now, recorded ones first.
    async fn start_waiting(&mut self) {
        while self.monitored.len() < self.settings.max_clusters {
            let recorded = |name: &&ClusterName| self.with_expected_members.contains(*name);
            let next = self.beyond_limit.iter().find(recorded);
            let Some(name) = next.or_else(|| self.beyond_limit.first()).cloned() else {
                return;
            };
            // The changes of its keys so far went to no monitor.
            let prefix = RegistryKeys::new(&self.settings.registry_prefix).cluster_prefix(&name);
            let Ok(listing) = self.registry.list(prefix).await else {
                return;
            };
            self.beyond_limit.remove(&name);
            self.beyond_changed = true;
            self.start_monitoring(&name);
            self.send_input(&name, MonitorInput::Reset(listing.entries))
                .await;
        }
    }

    /// Replaces the notices about keys and clusters that cannot be used, if they changed.
    fn update_notices(&mut self) {
        let keys_changed = self.key_index.take_notices_changed();
        if !std::mem::take(&mut self.beyond_changed) && !keys_changed {
            return;
        }
        let mut notices = self.key_index.notices();
        notices.extend(self.limit_notice());
        self.publisher.set_notices("registry", notices);
    }

    /// Names the clusters beyond the limit, and the remedies.
    fn limit_notice(&self) -> Option<String> {
        let beyond = self.beyond_limit.len();
        if beyond == 0 {
            return None;
        }
        let named = self.beyond_limit.iter().take(NAMED_MAX);
        let named: Vec<&str> = named.map(ClusterName::as_str).collect();
        let more = match beyond - named.len() {
            0 => String::new(),
            further => format!(" and {further} more"),
        };
        Some(format!(
            "Not monitored, state unknown: {beyond} cluster{}: {}{more}. At most {} are monitored (--max-clusters). Raise that limit, pin clusters with --cluster, or remove stale keys from the registry.",
            if beyond == 1 { "" } else { "s" },
            named.join(", "),
            self.settings.max_clusters,
        ))
    }
}

/// The entries that `event` lists or puts.
fn put_entries(event: WatchEvent) -> Vec<RegistryEntry> {
    match event {
        WatchEvent::Reset { entries, .. } => entries,
        WatchEvent::Changes { changes, .. } => changes
            .into_iter()
            .filter_map(|change| match change {
                KeyChange::Put(entry) => Some(entry),
                KeyChange::Delete { .. } => None,
            })
            .collect(),
        WatchEvent::Reachable | WatchEvent::Unreachable { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
