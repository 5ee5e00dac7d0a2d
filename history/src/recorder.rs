//! The task that follows the monitor and the recorded history, and records while this replica leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::keyspace::HistoryKeys;
use console_core::leader::{Leadership, Term};
use console_core::published::Published;
use galera::record::history::change_tracker::ChangeTracker;
use galera::view::ClusterView;
use galera::{ClusterName, Timestamp};
use monitor::{Monitor, ViewEvent, was_probed};
use registry::{Lease, Registry, RegistryEntry, WatchEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::absent_blocks::AbsentBlocks;
use super::cache::{ClusterLogs, HistoryCache};
use super::cluster_log::ClusterLog;
use super::metrics::HistoryMetrics;
use super::{HistoryError, HistorySettings, LatestSequences};

/// Interval of checks that no event triggers.
const TICK_INTERVAL: Duration = Duration::from_millis(500);
/// A new cluster's view is used after this time even if some node was not probed yet.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// A recorded cluster that the monitor has not known for this long is considered removed.
const MISSING_AFTER: Duration = Duration::from_secs(30);
/// Pause after a failed write.
const RETRY_DELAY: Duration = Duration::from_millis(500);
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct TrackedCluster {
    pub(super) tracker: ChangeTracker,
    /// The newest view; `None` while the monitor does not know the cluster.
    view: Option<Arc<Published<ClusterView>>>,
    /// When the view appeared or disappeared.
    view_changed_at: Instant,
}

impl TrackedCluster {
    fn new() -> Self {
        Self {
            tracker: ChangeTracker::default(),
            view: None,
            view_changed_at: Instant::now(),
        }
    }

    pub(super) fn view(&self) -> Option<&ClusterView> {
        self.view.as_ref().map(|view| &view.value)
    }
}

/// State held while this replica is the recording leader.
pub(super) struct RecordingTerm {
    pub(super) term: Arc<Term>,
    /// Whether the gap before this term has been resolved.
    pub(super) gap_resolved: bool,
    /// When other replicas were asked to fill the gap, and the revision of that request.
    pub(super) gap_request: Option<(Instant, i64)>,
    /// When the observation time was last written.
    pub(super) last_heartbeat: Option<Instant>,
    pub(super) last_expiry: Option<Instant>,
}

pub(super) struct Recorder {
    pub(super) settings: HistorySettings,
    pub(super) registry: Registry,
    pub(super) keys: HistoryKeys,
    pub(super) monitor: Monitor,
    leadership: Leadership,
    pub(super) metrics: Arc<HistoryMetrics>,
    pub(super) cache: HistoryCache,
    pub(super) clusters: BTreeMap<ClusterName, TrackedCluster>,
    /// Every view published before this time has been passed to the trackers.
    pub(super) tracked_until: Timestamp,
    /// Whether the cache reflects etcd.
    loaded: bool,
    pub(super) last_written_revision: i64,
    /// Whether the watch delivered a listing older than this replica's own writes.
    needs_relist: bool,
    pub(super) observing_since: Option<Timestamp>,
    pub(super) recording: Option<RecordingTerm>,
    /// Lease of this replica's observer registration.
    pub(super) observer_lease: Option<Lease>,
    retry_at: Option<Instant>,
    pub(super) absent_blocks: AbsentBlocks,
    /// Whether a listing was not yet searched for missing events.
    pub(super) has_new_listing: bool,
}

impl Recorder {
    pub(super) fn new(
        settings: HistorySettings,
        registry: Registry,
        keys: HistoryKeys,
        monitor: Monitor,
        leadership: Leadership,
        metrics: Arc<HistoryMetrics>,
        absent_blocks: AbsentBlocks,
    ) -> Self {
        Self {
            settings,
            cache: HistoryCache::new(keys.clone(), registry.seals_records()),
            keys,
            registry,
            monitor,
            leadership,
            metrics,
            clusters: BTreeMap::new(),
            tracked_until: now(),
            loaded: false,
            last_written_revision: 0,
            needs_relist: false,
            observing_since: None,
            recording: None,
            observer_lease: None,
            retry_at: None,
            absent_blocks,
            has_new_listing: false,
        }
    }

    /// Runs until `shutdown`.
    pub(super) async fn run(
        mut self,
        logs: watch::Sender<Option<ClusterLogs>>,
        latest: watch::Sender<LatestSequences>,
        shutdown: CancellationToken,
    ) {
        let mut view_events = self.monitor.view_events();
        let mut events = self.registry.watch(self.keys.live());
        let mut tick = interval(TICK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Not biased: under load there is always a view event, and the watch would never be read.
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(view_event) = view_events.recv() => {
                    // A monitor that shuts down removes its clusters, which is not a change of theirs.
                    if shutdown.is_cancelled() {
                        break;
                    }
                    self.on_view_event(view_event);
                }
                Some(event) = events.next() => self.on_watch_event(event),
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                _ = tick.tick() => self.on_tick(),
            }
            self.drain_view_events(&mut view_events, &shutdown);
            self.update_leadership();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.run_cycle() => {}
            }
            self.publish(&logs, &latest);
        }
        // Tell the next leader how far our observations reach.
        let _ = timeout(FINAL_WRITE_TIMEOUT, self.final_write()).await;
    }

    /// Applies the view events that arrived during a write.
    fn drain_view_events(
        &mut self,
        view_events: &mut mpsc::UnboundedReceiver<ViewEvent>,
        shutdown: &CancellationToken,
    ) {
        let at = now();
        while !shutdown.is_cancelled()
            && let Ok(view_event) = view_events.try_recv()
        {
            self.on_view_event(view_event);
        }
        self.tracked_until = at;
    }

    fn on_view_event(&mut self, view_event: ViewEvent) {
        match view_event {
            ViewEvent::Updated(view) => {
                let name = view.value.name.clone();
                let observing = self.observing_since.is_some();
                let tracked = self
                    .clusters
                    .entry(name)
                    .or_insert_with(TrackedCluster::new);
                if tracked.view.is_none() {
                    tracked.view_changed_at = Instant::now();
                }
                tracked.view = Some(view);
                if observing {
                    track_view(tracked);
                }
            }
            ViewEvent::Removed(name) => {
                if let Some(tracked) = self.clusters.get_mut(&name) {
                    tracked.view = None;
                    tracked.view_changed_at = Instant::now();
                    tracked.tracker.stop_observing(now());
                }
            }
        }
        self.start_observing();
    }

    /// Starts once the monitor is ready: earlier views come before the first probes and do not describe the clusters.
    fn start_observing(&mut self) {
        if self.observing_since.is_none() && self.monitor.is_ready() {
            self.observing_since = Some(now());
            self.clusters.values_mut().for_each(track_view);
        }
    }

    fn on_tick(&mut self) {
        self.start_observing();
        let at = now();
        let (observing, recording) = (self.observing_since.is_some(), self.recording.is_some());
        for tracked in self.clusters.values_mut() {
            if observing && !tracked.tracker.has_observed() {
                track_view(tracked);
            }
            if !observing || !recording {
                continue;
            }
            match &tracked.view {
                Some(view) => tracked.tracker.reconcile(&view.value, at),
                None if tracked.view_changed_at.elapsed() >= MISSING_AFTER => {
                    tracked.tracker.stop_observing(at)
                }
                None => {}
            }
        }
    }

    fn on_watch_event(&mut self, event: WatchEvent) {
        match event {
            // Applying it would undo what was written since.
            WatchEvent::Reset { revision, .. } if revision < self.last_written_revision => {
                self.needs_relist = true
            }
            WatchEvent::Reset { entries, .. } => self.reset(entries),
            WatchEvent::Changes { changes, .. } => {
                let before = self.cache.observed_until.clone();
                let clusters: BTreeSet<ClusterName> = changes
                    .into_iter()
                    .filter_map(|change| self.cache.apply(change))
                    .collect();
                for cluster in clusters {
                    self.sync_tracker(&cluster);
                }
                if self.cache.observed_until != before {
                    self.apply_observed_until();
                }
            }
            WatchEvent::Unreachable { .. } | WatchEvent::Reachable => {}
        }
    }

    /// Replaces the cache by a full listing. Missing events were lost when etcd was restored or emptied.
    fn reset(&mut self, entries: Vec<RegistryEntry>) {
        for cluster in self.cache.reset(entries) {
            let tracked = self
                .clusters
                .entry(cluster.clone())
                .or_insert_with(TrackedCluster::new);
            let log = self.cache.cluster_log(&cluster).map(Arc::as_ref);
            let head = log.map(|log| log.head.clone()).unwrap_or_default();
            if head.sequence < tracked.tracker.sequence() {
                tracked.tracker.reset_to(head.sequence, &head.states);
            }
            sync_tracker(tracked, log);
        }
        self.loaded = true;
        self.has_new_listing = true;
        self.apply_observed_until();
    }

    async fn relist_if_needed(&mut self) -> Result<(), HistoryError> {
        if self.needs_relist {
            let listing = self.registry.list(self.keys.live()).await?;
            self.needs_relist = false;
            self.last_written_revision = 0;
            self.reset(listing.entries);
        }
        Ok(())
    }

    /// Passes the recorded events of `cluster` to its tracker.
    pub(super) fn sync_tracker(&mut self, cluster: &ClusterName) {
        let tracked = self
            .clusters
            .entry(cluster.clone())
            .or_insert_with(TrackedCluster::new);
        sync_tracker(tracked, self.cache.cluster_log(cluster).map(Arc::as_ref));
    }

    fn apply_observed_until(&mut self) {
        if let Some(observed) = &self.cache.observed_until {
            for tracked in self.clusters.values_mut() {
                tracked.tracker.mark_recorded_until(observed.until);
            }
        }
    }

    fn update_leadership(&mut self) {
        let term = self.leadership.borrow_and_update().clone();
        let current = self.recording.as_ref().map(|recording| &recording.term);
        if current != term.as_ref() {
            self.recording = term.map(|term| RecordingTerm {
                term,
                gap_resolved: false,
                gap_request: None,
                last_heartbeat: None,
                last_expiry: None,
            });
        }
    }

    /// Records pending events if this replica leads, or fills the leader's gap.
    async fn run_cycle(&mut self) {
        if !self.loaded || self.observing_since.is_none() {
            return;
        }
        if self.retry_at.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.retry_at = None;
        if let Err(error) = self.try_run_cycle().await {
            tracing::debug!(%error, "Could not write the event history; will retry: {error}");
            self.retry_at = Some(Instant::now() + RETRY_DELAY);
        }
    }

    async fn try_run_cycle(&mut self) -> Result<(), HistoryError> {
        self.relist_if_needed().await?;
        self.register_observer().await?;
        self.name_missing().await?;
        match self.recording {
            Some(_) => self.record_as_leader().await,
            None => self.fill_gap().await,
        }
    }

    async fn final_write(&mut self) {
        if self
            .recording
            .as_ref()
            .is_some_and(|recording| recording.gap_resolved)
        {
            if let Some(recording) = &mut self.recording {
                recording.last_heartbeat = None;
            }
            let _ = self.record_as_leader().await;
        }
        if let Some(lease) = self.observer_lease.take() {
            let _ = lease.revoke().await;
        }
    }

    fn publish(
        &mut self,
        logs: &watch::Sender<Option<ClusterLogs>>,
        latest: &watch::Sender<LatestSequences>,
    ) {
        let changed = logs.send_if_modified(|published| {
            let changed = self.cache.loaded
                && !published
                    .as_ref()
                    .is_some_and(|published| Arc::ptr_eq(published, &self.cache.logs));
            if changed {
                *published = Some(Arc::clone(&self.cache.logs));
            }
            changed
        });
        if !changed {
            return;
        }
        latest.send_if_modified(|published| {
            let sequences: BTreeMap<ClusterName, u64> = self
                .cache
                .logs
                .iter()
                .map(|(cluster, log)| (cluster.clone(), log.head.sequence))
                .collect();
            let changed = **published != sequences;
            if changed {
                *published = Arc::new(sequences);
            }
            changed
        });
    }
}

/// Passes the newest view to the tracker, once every node was probed or the settle timeout has passed.
fn track_view(tracked: &mut TrackedCluster) {
    let Some(view) = &tracked.view else {
        return;
    };
    let settled = tracked.tracker.has_observed()
        || view.value.nodes.iter().all(was_probed)
        || tracked.view_changed_at.elapsed() >= SETTLE_TIMEOUT;
    if settled {
        tracked.tracker.observe(&view.value);
    }
}

fn sync_tracker(tracked: &mut TrackedCluster, log: Option<&ClusterLog>) {
    let Some(log) = log else {
        return;
    };
    let tracker = &mut tracked.tracker;
    let next = tracker.sequence() + 1;
    // One by one as far as the events are contiguous, then jump to the head.
    let tail = log.events().filter(|(sequence, _)| *sequence >= next);
    let tail = tail.map(|(_, event)| event);
    let contiguous = (next..).zip(tail);
    for (_, event) in contiguous.take_while(|(number, event)| event.sequence == *number) {
        tracker.apply_recorded(event);
    }
    tracker.fast_forward(log.head.sequence, &log.head.states, log.head.at);
}
