//! A cluster monitor without tasks, probes and a registry, for benchmarks.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use console_core::current_labels::CurrentLabels;
use galera::judge::cluster::FoldSettings;
use galera::observe::wsrep::WsrepStatus;
use galera::view::RegistryHealth;
use galera::{ClusterName, NodeId, Timestamp};
use registry::KeyChange;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::cluster_monitor::{ClusterMonitor, MonitorContext, QUEUE};
use super::input::MonitorInput;
use super::known_positions::KnownPositionsUpdate;
use super::probe::ProbeReport;
use super::probe_set::Prober;
use super::publisher::ViewPublisher;

/// A cluster monitor that ingests and folds when it is called. It publishes like one that runs; what it would write to
/// etcd or look up there is dropped.
pub struct ManualMonitor {
    monitor: ClusterMonitor,
    own_inputs: mpsc::Sender<MonitorInput>,
    written_positions: mpsc::Receiver<KnownPositionsUpdate>,
}

impl fmt::Debug for ManualMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualMonitor").finish_non_exhaustive()
    }
}

/// Probes nothing: answers are recorded by the caller.
struct NoProber;

impl Prober for NoProber {
    fn start(&self, _: &NodeId, _: Arc<Notify>, _: CancellationToken) {}
    fn forget(&self, _: &NodeId) {}
}

impl ManualMonitor {
    /// A monitor of the cluster `name` with the members `configured`, whose registry has been readable since `since`
    /// under the prefix `registry_prefix`. Views that differ only in their times are published once per
    /// `poll_interval`.
    #[must_use]
    pub fn new(
        name: ClusterName,
        configured: BTreeSet<NodeId>,
        registry_prefix: &str,
        poll_interval: Duration,
        since: Timestamp,
        publisher: &Arc<ViewPublisher>,
    ) -> Self {
        let (known_positions, written_positions) = mpsc::channel(QUEUE);
        let context = MonitorContext {
            labels: CurrentLabels::default().subscribe(),
            registry_prefix: registry_prefix.to_owned(),
            fold_settings: FoldSettings::default(),
            poll_interval,
            leases: mpsc::channel(QUEUE).0,
            expected_members: mpsc::channel(QUEUE).0,
            known_positions,
            history_alarms: mpsc::channel(QUEUE).0,
            publisher: Arc::clone(publisher),
            metrics: Arc::default(),
        };
        let health = RegistryHealth {
            reachable: true,
            since,
            error: None,
        };
        Self {
            monitor: ClusterMonitor::new(name, configured, health, Box::new(NoProber), context),
            own_inputs: mpsc::channel(QUEUE).0,
            written_positions,
        }
    }

    /// Ingests an answer of `node`; dropped unless a fold has found that the node is to be probed.
    pub fn record_answer(&mut self, node: NodeId, at: Timestamp, status: WsrepStatus) {
        self.monitor.on_report(ProbeReport {
            node,
            at,
            took: std::time::Duration::ZERO,
            connected_to: None,
            outcome: Ok(status),
        });
    }

    /// Ingests changes of the cluster's registry keys.
    pub fn apply_changes(&mut self, at: Timestamp, changes: Vec<KeyChange>) {
        self.monitor.apply_input(MonitorInput::Changes(changes), at);
    }

    /// Folds as of `at` and publishes. Returns whether there is already something to fold next.
    pub fn fold(&mut self, at: Timestamp) -> bool {
        let more = self.monitor.fold_and_publish(at, &self.own_inputs);
        while self.written_positions.try_recv().is_ok() {}
        more
    }
}
