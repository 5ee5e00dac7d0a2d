//! The chronicle: every change of every cluster's verdict and of its nodes' states, kept in etcd.
//!
//! Every replica watches its own hub and knows what is recorded; the leader writes the difference. Each write is one
//! transaction that compares the leader's term and the chronicle's head, so that nothing is written twice.
//!
//! Layout under the console's prefix: `chronicle/live/…` is what every replica holds in memory (heads, the newest events
//! one by one, a summary of each day), `chronicle/blocks/…` holds everything older, compressed.

mod block;
mod cache;
mod cluster_log;
mod csv;
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
use galera::{ClusterName, Timestamp};
use monitor::Monitor;
use registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use block::{EVENTS_PER_BLOCK, decode, encode};
pub use cluster_log::LogHead;
pub use csv::events_csv;
pub use page::{HistoryQuery, PAGE_MAX};

use cache::ClusterLogs;
use cluster_log::ClusterLog;
use metrics::HistoryMetrics;
use page::BlockCache;
use recorder::Recorder;

/// The newest recorded sequence of every cluster.
pub type LatestSequences = Arc<BTreeMap<ClusterName, u64>>;

/// What is kept, and for how long.
#[derive(Clone, Debug)]
pub struct HistorySettings {
    /// Where the console keeps its state.
    pub state_prefix: String,
    /// This process, for people.
    pub replica: String,
    /// How long changes are kept.
    pub retention: Duration,
    /// Most changes kept of one cluster; the oldest go first.
    pub changes_max: u64,
}

/// Why the chronicle could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// etcd.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Asked before it was read for the first time.
    #[error("the chronicle has not been read from etcd yet")]
    NotLoaded,
    /// Something in a block's place is none.
    #[error("the chronicle in etcd is damaged at {key}: {reason}")]
    Damaged {
        /// The key.
        key: String,
        /// Why it cannot be read.
        reason: String,
    },
}

/// The reading side; clones share it.
#[derive(Clone)]
pub struct EventHistory {
    /// `None` until the chronicle was read.
    logs: watch::Receiver<Option<ClusterLogs>>,
    latest: watch::Receiver<LatestSequences>,
    blocks: Arc<BlockCache>,
    metrics: Arc<HistoryMetrics>,
}

impl std::fmt::Debug for EventHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chronicle").finish_non_exhaustive()
    }
}

impl EventHistory {
    /// Starts to watch `hub` and what is recorded; records while this replica leads. The returned task runs until
    /// `shutdown`.
    #[must_use = "nothing is recorded or read unless the task runs"]
    pub fn start(
        settings: HistorySettings,
        registry: Registry,
        hub: Monitor,
        leadership: Leadership,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let keys = HistoryKeys::new(&settings.state_prefix);
        let (tell_books, books) = watch::channel(None);
        let (tell_news, news) = watch::channel(LatestSequences::default());
        let shelf = Arc::new(BlockCache::new(registry.clone(), keys.clone()));
        let metrics = Arc::<HistoryMetrics>::default();
        let counted = Arc::clone(&metrics);
        let recorder = Recorder::new(settings, registry, keys, hub, leadership, counted);
        let chronicle = Self {
            logs: books,
            latest: news,
            blocks: shelf,
            metrics,
        };
        (chronicle, recorder.run(tell_books, tell_news, shutdown))
    }

    /// The newest recorded sequence of every cluster, and the news of newer ones.
    #[must_use]
    pub fn latest_sequences(&self) -> watch::Receiver<LatestSequences> {
        self.latest.clone()
    }

    /// How `cluster` spent the `count` days up to the day of `now`, oldest first. From memory.
    #[must_use]
    pub fn days(&self, cluster: &ClusterName, now: Timestamp, count: usize) -> Vec<UptimeDay> {
        match self.cluster_log(cluster) {
            Some(book) => uptime::days(&book.days, book.head.tally, now, count),
            None => uptime::days(&[], None, now, count),
        }
    }

    /// The recorded verdict of `cluster` and since when it is that; `None` before the first one. From memory.
    #[must_use]
    pub fn verdict_since(&self, cluster: &ClusterName) -> Option<(VerdictState, Timestamp)> {
        let book = self.cluster_log(cluster)?;
        Some((book.head.states.verdict?, book.head.since?))
    }

    /// Whether anything is recorded of `cluster`. From memory.
    #[must_use]
    pub fn has_cluster(&self, cluster: &ClusterName) -> bool {
        self.cluster_log(cluster).is_some()
    }

    /// Whether the chronicle was read since this process started: before that, nothing known is not nothing recorded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.logs.borrow().is_some()
    }

    /// Registers the counters of what was recorded.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.metrics.register(registry);
    }

    /// What is held in memory of `cluster`.
    fn cluster_log(&self, cluster: &ClusterName) -> Option<Arc<ClusterLog>> {
        self.logs.borrow().as_ref()?.get(cluster).cloned()
    }
}
