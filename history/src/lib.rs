//! The event history: every change of every cluster's verdict and of its nodes' states, kept in etcd.
//!
//! Every replica watches its own [`Monitor`] and the recorded history; the leader writes the difference. An event passes
//! them in this order: a view from the monitor, the cluster's `ChangeTracker` in the `Recorder`, a `PreparedWrite`, etcd,
//! the watch into the `HistoryCache`, and the published `ClusterLog`s that [`EventHistory`] reads. Each write is one
//! transaction that compares the leader's term and the cluster's [`LogHead`], so that no event is written twice. `retention`
//! compacts older events into blocks and deletes expired ones; `gap_filling` recovers what a new leader did not observe.
//!
//! With a state secret everything is sealed: heads and days as records whose versions only increase, events and blocks as entries
//! of a log, which count only within the bounds of their head. `damage` names and mends what another client of etcd removed.
//!
//! Layout under the state prefix: `chronicle/live/…` is mirrored in memory by every replica (heads, the newest events one
//! by one, a summary of each day), `chronicle/blocks/…` holds older events, compressed.

mod absent_blocks;
mod block;
mod cache;
mod cluster_log;
mod csv;
mod damage;
mod gap_filling;
mod metrics;
mod page;
mod recorder;
mod retention;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::keyspace::HistoryKeys;
use console_core::leader::Leadership;
use galera::record::uptime::{self, UptimeDay};
use galera::view::VerdictState;
use galera::{ClusterName, ReplicaId, Timestamp};
use monitor::Monitor;
use registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use block::{EVENTS_PER_BLOCK, decode, encode};
pub use cluster_log::LogHead;
pub use csv::events_csv;
pub use page::{HistoryQuery, PAGE_MAX};

use absent_blocks::AbsentBlocks;
use cache::{ClusterLogs, HistoryCache};
use cluster_log::ClusterLog;
use metrics::HistoryMetrics;
use page::BlockCache;
use recorder::Recorder;

/// The newest recorded sequence of every cluster.
pub type LatestSequences = Arc<BTreeMap<ClusterName, u64>>;

/// Where the history is kept, and for how long.
#[derive(Clone, Debug)]
pub struct HistorySettings {
    /// Prefix of the console's keys in etcd.
    pub state_prefix: String,
    /// This replica.
    pub replica: ReplicaId,
    /// Events older than this are deleted.
    pub retention: Duration,
    /// Maximum number of events per cluster; the oldest are deleted first.
    pub changes_max: u64,
}

/// Why the history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Read before the first listing from etcd arrived.
    #[error("the event history has not been loaded from etcd yet")]
    NotLoaded,
    /// A block cannot be decoded.
    #[error("the event history in etcd is damaged at {key}: {reason}")]
    Damaged { key: String, reason: String },
}

/// Read access to the event history; clones share it.
#[derive(Clone)]
pub struct EventHistory {
    /// `None` until the first listing from etcd arrived.
    logs: watch::Receiver<Option<ClusterLogs>>,
    latest: watch::Receiver<LatestSequences>,
    blocks: Arc<BlockCache>,
    metrics: Arc<HistoryMetrics>,
}

impl std::fmt::Debug for EventHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventHistory").finish_non_exhaustive()
    }
}

impl EventHistory {
    /// Follows `monitor` and the recorded history, and records while this replica leads. The returned task runs until
    /// `shutdown`.
    #[must_use = "nothing is recorded or read unless the task runs"]
    pub fn start(
        settings: HistorySettings,
        registry: Registry,
        monitor: Monitor,
        leadership: Leadership,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let keys = HistoryKeys::new(&settings.state_prefix);
        let (logs_sender, logs) = watch::channel(None);
        let (latest_sender, latest) = watch::channel(LatestSequences::default());
        let absent_blocks = AbsentBlocks::default();
        let blocks = BlockCache::new(registry.clone(), keys.clone(), absent_blocks.clone());
        let blocks = Arc::new(blocks);
        let metrics = Arc::<HistoryMetrics>::default();
        let recorder_metrics = Arc::clone(&metrics);
        let recorder = Recorder::new(
            settings,
            registry,
            keys,
            monitor,
            leadership,
            recorder_metrics,
            absent_blocks,
        );
        let history = Self {
            logs,
            latest,
            blocks,
            metrics,
        };
        (history, recorder.run(logs_sender, latest_sender, shutdown))
    }

    /// The history as it is in etcd now, without following it.
    ///
    /// # Errors
    /// [`HistoryError::Registry`].
    pub async fn read(registry: Registry, state_prefix: &str) -> Result<Self, HistoryError> {
        let keys = HistoryKeys::new(state_prefix);
        let mut cache = HistoryCache::new(keys.clone(), registry.seals_records());
        cache.reset(registry.list(keys.live()).await?.entries);
        Ok(Self {
            logs: watch::channel(Some(cache.logs)).1,
            latest: watch::channel(LatestSequences::default()).1,
            blocks: Arc::new(BlockCache::new(registry, keys, AbsentBlocks::default())),
            metrics: Arc::default(),
        })
    }

    /// The newest recorded sequence of every cluster; the receiver is notified of newer ones.
    #[must_use]
    pub fn latest_sequences(&self) -> watch::Receiver<LatestSequences> {
        self.latest.clone()
    }

    /// Availability of `cluster` on the `count` days up to the day of `now`, oldest first. Read from memory.
    #[must_use]
    pub fn days(&self, cluster: &ClusterName, now: Timestamp, count: usize) -> Vec<UptimeDay> {
        match self.cluster_log(cluster) {
            Some(log) => uptime::days(&log.days, log.head.tally, now, count),
            None => uptime::days(&[], None, now, count),
        }
    }

    /// The recorded verdict of `cluster` and when it became that; `None` before the first one. Read from memory.
    #[must_use]
    pub fn verdict_since(&self, cluster: &ClusterName) -> Option<(VerdictState, Timestamp)> {
        let log = self.cluster_log(cluster)?;
        Some((log.head.states.verdict?, log.head.since?))
    }

    /// Whether any event of `cluster` is recorded. Read from memory.
    #[must_use]
    pub fn has_cluster(&self, cluster: &ClusterName) -> bool {
        self.cluster_log(cluster).is_some()
    }

    /// Whether the history was loaded since this process started. Until then, an empty answer does not mean that nothing
    /// is recorded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.logs.borrow().is_some()
    }

    /// Registers the history's counters.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.metrics.register(registry);
    }

    fn cluster_log(&self, cluster: &ClusterName) -> Option<Arc<ClusterLog>> {
        self.logs.borrow().as_ref()?.get(cluster).cloned()
    }
}
