//! Starts supervised probes by SQL.

use std::sync::Arc;

use galera::{ClusterName, NodeId};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::MonitorMetrics;
use crate::probe::supervision::SupervisedProbe;
use crate::probe::{self, ProbeReport, ProbeSettings};
use crate::probe_set::Prober;

/// Starts the probes of one cluster's nodes and stops them with the cluster.
pub(crate) struct SqlProber {
    pub(crate) cluster: ClusterName,
    pub(crate) settings: Arc<ProbeSettings>,
    pub(crate) reports: mpsc::Sender<ProbeReport>,
    pub(crate) metrics: Arc<MonitorMetrics>,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Prober for SqlProber {
    fn start(&self, node: &NodeId, probe_now: Arc<Notify>, cancel: CancellationToken) {
        let supervised = SupervisedProbe {
            cluster: self.cluster.clone(),
            node: node.clone(),
            poll_interval: self.settings.poll_interval,
            reports: self.reports.clone(),
            cancel: cancel.clone(),
        };
        let (cluster, node) = (self.cluster.clone(), node.clone());
        let settings = Arc::clone(&self.settings);
        let (reports, metrics) = (self.reports.clone(), Arc::clone(&self.metrics));
        let probe = supervised.run(move || {
            probe::run(
                cluster.clone(),
                node.clone(),
                Arc::clone(&settings),
                reports.clone(),
                Arc::clone(&metrics),
                Arc::clone(&probe_now),
                cancel.clone(),
            )
        });
        let stop = self.stop.clone();
        self.tracker
            .spawn(async move { stop.run_until_cancelled_owned(probe).await });
    }

    fn forget(&self, node: &NodeId) {
        self.metrics.forget_node(&self.cluster, node);
    }
}
