//! The one task that watches, follows what is recorded, and records while this replica leads.

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

use super::cache::{ClusterLogs, HistoryCache};
use super::cluster_log::ClusterLog;
use super::metrics::HistoryMetrics;
use super::{HistoryError, HistorySettings, LatestSequences};

/// How often it is looked for what nobody tells.
const TICK_INTERVAL: Duration = Duration::from_millis(500);
/// A cluster of which some node hangs is taken as it is after this time.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// A recorded cluster that this replica does not know for so long is gone.
const MISSING_AFTER: Duration = Duration::from_secs(30);
/// After a write that failed.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// How long the last words at the end may take.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// One cluster as this replica follows it.
pub(super) struct TrackedCluster {
    pub(super) tracker: ChangeTracker,
    /// The newest view; `None` while the hub does not know the cluster.
    view: Option<Arc<Published<ClusterView>>>,
    /// Since when it is as it is with the view.
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

/// This replica's time as the one that records.
pub(super) struct RecordingTerm {
    pub(super) term: Arc<Term>,
    /// Whether it was found out what happened before.
    pub(super) gap_resolved: bool,
    /// Since when others are called for what this replica missed, and the call's revision.
    pub(super) gap_request: Option<(Instant, i64)>,
    /// When it last said until when it observed.
    pub(super) last_heartbeat: Option<Instant>,
    /// When it last looked for what is kept no longer.
    pub(super) last_expiry: Option<Instant>,
}

/// The task's state.
pub(super) struct Recorder {
    pub(super) settings: HistorySettings,
    pub(super) registry: Registry,
    pub(super) keys: HistoryKeys,
    pub(super) hub: Monitor,
    leadership: Leadership,
    pub(super) metrics: Arc<HistoryMetrics>,
    pub(super) cache: HistoryCache,
    pub(super) clusters: BTreeMap<ClusterName, TrackedCluster>,
    /// Everything that this replica saw before is with the witnesses.
    pub(super) tracked_until: Timestamp,
    /// Whether the mirror shows what etcd holds.
    loaded: bool,
    /// The last revision that this replica wrote.
    pub(super) last_written_revision: i64,
    /// Whether a listing came that is older than what this replica wrote, so that another one is needed.
    needs_relist: bool,
    /// Since when this replica observes.
    pub(super) observing_since: Option<Timestamp>,
    pub(super) recording: Option<RecordingTerm>,
    /// Under it this replica says that it observes.
    pub(super) observer_lease: Option<Lease>,
    /// Not to be tried before.
    retry_at: Option<Instant>,
}

impl Recorder {
    pub(super) fn new(
        settings: HistorySettings,
        registry: Registry,
        keys: HistoryKeys,
        hub: Monitor,
        leadership: Leadership,
        metrics: Arc<HistoryMetrics>,
    ) -> Self {
        Self {
            settings,
            registry,
            cache: HistoryCache::new(keys.clone()),
            keys,
            hub,
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
        }
    }

    /// Works until `shutdown`.
    pub(super) async fn run(
        mut self,
        books: watch::Sender<Option<ClusterLogs>>,
        news: watch::Sender<LatestSequences>,
        shutdown: CancellationToken,
    ) {
        let mut sightings = self.hub.view_events();
        let mut events = self.registry.watch(self.keys.live());
        let mut tick = interval(TICK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // First: a hub that ends takes its clusters down, and that is no news of them.
                biased;
                () = shutdown.cancelled() => break,
                Some(sighting) = sightings.recv() => self.on_view_event(sighting),
                Some(event) = events.next() => self.on_watch_event(event),
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                _ = tick.tick() => self.on_tick(),
            }
            self.drain_view_events(&mut sightings, &shutdown);
            self.update_leadership();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.run_cycle() => {}
            }
            self.publish(&books, &news);
        }
        // Whoever comes next shall know until when this was observed.
        let _ = timeout(FINAL_WRITE_TIMEOUT, self.final_write()).await;
    }

    /// Takes in what came while something was written.
    fn drain_view_events(
        &mut self,
        sightings: &mut mpsc::UnboundedReceiver<ViewEvent>,
        shutdown: &CancellationToken,
    ) {
        let at = now();
        while !shutdown.is_cancelled()
            && let Ok(sighting) = sightings.try_recv()
        {
            self.on_view_event(sighting);
        }
        self.tracked_until = at;
    }

    fn on_view_event(&mut self, sighting: ViewEvent) {
        match sighting {
            ViewEvent::Updated(view) => {
                let name = view.value.name.clone();
                let observing = self.observing_since.is_some();
                let followed = self
                    .clusters
                    .entry(name)
                    .or_insert_with(TrackedCluster::new);
                if followed.view.is_none() {
                    followed.view_changed_at = Instant::now();
                }
                followed.view = Some(view);
                if observing {
                    track_view(followed);
                }
            }
            ViewEvent::Removed(name) => {
                if let Some(followed) = self.clusters.get_mut(&name) {
                    followed.view = None;
                    followed.view_changed_at = Instant::now();
                    followed.tracker.stop_observing(now());
                }
            }
        }
        self.start_observing();
    }

    /// The first views are of a console that has asked nobody yet: they say nothing about the clusters.
    fn start_observing(&mut self) {
        if self.observing_since.is_none() && self.hub.is_ready() {
            self.observing_since = Some(now());
            self.clusters.values_mut().for_each(track_view);
        }
    }

    fn on_tick(&mut self) {
        self.start_observing();
        let at = now();
        let (observing, recording) = (self.observing_since.is_some(), self.recording.is_some());
        for followed in self.clusters.values_mut() {
            if observing && !followed.tracker.has_observed() {
                track_view(followed);
            }
            if !observing || !recording {
                continue;
            }
            match &followed.view {
                Some(view) => followed.tracker.reconcile(&view.value, at),
                None if followed.view_changed_at.elapsed() >= MISSING_AFTER => {
                    followed.tracker.stop_observing(at)
                }
                None => {}
            }
        }
    }

    fn on_watch_event(&mut self, event: WatchEvent) {
        match event {
            // Taken for the truth, it would take back what was written since.
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

    /// Everything as etcd holds it. What is missing of what was known went with a restored or emptied etcd.
    fn reset(&mut self, entries: Vec<RegistryEntry>) {
        for cluster in self.cache.reset(entries) {
            let followed = self
                .clusters
                .entry(cluster.clone())
                .or_insert_with(TrackedCluster::new);
            let book = self.cache.cluster_log(&cluster).map(Arc::as_ref);
            let head = book.map(|book| book.head.clone()).unwrap_or_default();
            if head.sequence < followed.tracker.sequence() {
                followed.tracker.reset_to(head.sequence, &head.states);
            }
            sync_tracker(followed, book);
        }
        self.loaded = true;
        self.apply_observed_until();
    }

    /// Lists again, where the listing of the watch was outdated.
    async fn relist_if_needed(&mut self) -> Result<(), HistoryError> {
        if self.needs_relist {
            let listing = self.registry.list(self.keys.live()).await?;
            self.needs_relist = false;
            self.last_written_revision = 0;
            self.reset(listing.entries);
        }
        Ok(())
    }

    /// Lets the witness of `cluster` know what is recorded.
    pub(super) fn sync_tracker(&mut self, cluster: &ClusterName) {
        let followed = self
            .clusters
            .entry(cluster.clone())
            .or_insert_with(TrackedCluster::new);
        sync_tracker(followed, self.cache.cluster_log(cluster).map(Arc::as_ref));
    }

    fn apply_observed_until(&mut self) {
        if let Some(observed) = &self.cache.observed_until {
            for followed in self.clusters.values_mut() {
                followed.tracker.mark_recorded_until(observed.until);
            }
        }
    }

    fn update_leadership(&mut self) {
        let term = self.leadership.borrow_and_update().clone();
        let present = self.recording.as_ref().map(|recording| &recording.term);
        if present != term.as_ref() {
            self.recording = term.map(|term| RecordingTerm {
                term,
                gap_resolved: false,
                gap_request: None,
                last_heartbeat: None,
                last_expiry: None,
            });
        }
    }

    /// Records what is to be recorded, if it is up to this replica.
    async fn run_cycle(&mut self) {
        if !self.loaded || self.observing_since.is_none() {
            return;
        }
        if self.retry_at.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.retry_at = None;
        if let Err(error) = self.try_run_cycle().await {
            tracing::debug!(%error, "The chronicle waits: {error}");
            self.retry_at = Some(Instant::now() + RETRY_DELAY);
        }
    }

    async fn try_run_cycle(&mut self) -> Result<(), HistoryError> {
        self.relist_if_needed().await?;
        self.register_observer().await?;
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
        books: &watch::Sender<Option<ClusterLogs>>,
        news: &watch::Sender<LatestSequences>,
    ) {
        let changed = books.send_if_modified(|published| {
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
        news.send_if_modified(|published| {
            let newest: BTreeMap<ClusterName, u64> = self
                .cache
                .logs
                .iter()
                .map(|(cluster, book)| (cluster.clone(), book.head.sequence))
                .collect();
            let changed = **published != newest;
            if changed {
                *published = Arc::new(newest);
            }
            changed
        });
    }
}

/// Lets the witness see the newest view, once it says something about the cluster.
fn track_view(followed: &mut TrackedCluster) {
    let Some(view) = &followed.view else {
        return;
    };
    let settled = followed.tracker.has_observed()
        || view.value.nodes.iter().all(was_probed)
        || followed.view_changed_at.elapsed() >= SETTLE_TIMEOUT;
    if settled {
        followed.tracker.observe(&view.value);
    }
}

fn sync_tracker(followed: &mut TrackedCluster, book: Option<&ClusterLog>) {
    let Some(book) = book else {
        return;
    };
    let witness = &mut followed.tracker;
    let next = witness.sequence() + 1;
    // One by one where every event from the last known one on is there, else all at once.
    let tail = book.tail.range(next..).map(|(_, event)| event);
    let known = (next..).zip(tail);
    for (_, event) in known.take_while(|(number, event)| event.sequence == *number) {
        witness.apply_recorded(event);
    }
    witness.fast_forward(book.head.sequence, &book.head.states, book.head.at);
}
