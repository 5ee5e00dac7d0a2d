//! The one task that watches, follows what is recorded, and records while this replica leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::leader::{Leadership, Term};
use console_core::published::Published;
use galera::record::history::witness::Witness;
use galera::view::ClusterView;
use galera::{ClusterName, Timestamp};
use monitor::{Hub, Sighting, was_asked};
use registry::{Entry, Lease, Registry, WatchEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::book::Book;
use super::keys::Keys;
use super::metrics::HistoryMetrics;
use super::mirror::{Books, Mirror};
use super::{ChronicleError, ChronicleSettings, News};

/// How often it is looked for what nobody tells.
const TICK: Duration = Duration::from_millis(500);
/// A cluster of which some node hangs is taken as it is after this time.
const SETTLING: Duration = Duration::from_secs(5);
/// A recorded cluster that this replica does not know for so long is gone.
const MISSING: Duration = Duration::from_secs(30);
/// After a write that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the last words at the end may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One cluster as this replica follows it.
pub(super) struct Followed {
    pub(super) witness: Witness,
    /// The newest view; `None` while the hub does not know the cluster.
    view: Option<Arc<Published<ClusterView>>>,
    /// Since when it is as it is with the view.
    since: Instant,
}

impl Followed {
    fn new() -> Self {
        Self {
            witness: Witness::default(),
            view: None,
            since: Instant::now(),
        }
    }

    pub(super) fn view(&self) -> Option<&ClusterView> {
        self.view.as_ref().map(|view| &view.value)
    }
}

/// This replica's time as the one that records.
pub(super) struct Recording {
    pub(super) term: Arc<Term>,
    /// Whether it was found out what happened before.
    pub(super) begun: bool,
    /// Since when others are called for what this replica missed, and the call's revision.
    pub(super) called: Option<(Instant, i64)>,
    /// When it last said until when it observed.
    pub(super) beat: Option<Instant>,
    /// When it last looked for what is kept no longer.
    pub(super) swept: Option<Instant>,
}

/// The task's state.
pub(super) struct Recorder {
    pub(super) settings: ChronicleSettings,
    pub(super) registry: Registry,
    pub(super) keys: Keys,
    pub(super) hub: Hub,
    leadership: Leadership,
    pub(super) metrics: Arc<HistoryMetrics>,
    pub(super) mirror: Mirror,
    pub(super) followed: BTreeMap<ClusterName, Followed>,
    /// Everything that this replica saw before is with the witnesses.
    pub(super) sighted: Timestamp,
    /// Whether the mirror shows what etcd holds.
    loaded: bool,
    /// The last revision that this replica wrote.
    pub(super) written: i64,
    /// Whether a listing came that is older than what this replica wrote, so that another one is needed.
    outdated: bool,
    /// Since when this replica observes.
    pub(super) observing: Option<Timestamp>,
    pub(super) recording: Option<Recording>,
    /// Under it this replica says that it observes.
    pub(super) presence: Option<Lease>,
    /// Not to be tried before.
    paused: Option<Instant>,
}

impl Recorder {
    pub(super) fn new(
        settings: ChronicleSettings,
        registry: Registry,
        keys: Keys,
        hub: Hub,
        leadership: Leadership,
        metrics: Arc<HistoryMetrics>,
    ) -> Self {
        Self {
            settings,
            registry,
            mirror: Mirror::new(keys.clone()),
            keys,
            hub,
            leadership,
            metrics,
            followed: BTreeMap::new(),
            sighted: now(),
            loaded: false,
            written: 0,
            outdated: false,
            observing: None,
            recording: None,
            presence: None,
            paused: None,
        }
    }

    /// Works until `shutdown`.
    pub(super) async fn run(
        mut self,
        books: watch::Sender<Option<Books>>,
        news: watch::Sender<News>,
        shutdown: CancellationToken,
    ) {
        let mut sightings = self.hub.sightings();
        let mut events = self.registry.watch(self.keys.live());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // First: a hub that ends takes its clusters down, and that is no news of them.
                biased;
                () = shutdown.cancelled() => break,
                Some(sighting) = sightings.recv() => self.sighted(sighting),
                Some(event) = events.next() => self.recorded(event),
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                _ = tick.tick() => self.ticked(),
            }
            self.sight_all(&mut sightings, &shutdown);
            self.follow_leadership();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.work() => {}
            }
            self.publish(&books, &news);
        }
        // Whoever comes next shall know until when this was observed.
        let _ = timeout(LAST_WORDS, self.last_words()).await;
    }

    /// Takes in what came while something was written.
    fn sight_all(
        &mut self,
        sightings: &mut mpsc::UnboundedReceiver<Sighting>,
        shutdown: &CancellationToken,
    ) {
        let at = now();
        while !shutdown.is_cancelled()
            && let Ok(sighting) = sightings.try_recv()
        {
            self.sighted(sighting);
        }
        self.sighted = at;
    }

    fn sighted(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Seen(view) => {
                let name = view.value.name.clone();
                let observing = self.observing.is_some();
                let followed = self.followed.entry(name).or_insert_with(Followed::new);
                if followed.view.is_none() {
                    followed.since = Instant::now();
                }
                followed.view = Some(view);
                if observing {
                    see(followed);
                }
            }
            Sighting::Gone(name) => {
                if let Some(followed) = self.followed.get_mut(&name) {
                    followed.view = None;
                    followed.since = Instant::now();
                    followed.witness.lose_sight(now());
                }
            }
        }
        self.begin_to_observe();
    }

    /// The first views are of a console that has asked nobody yet: they say nothing about the clusters.
    fn begin_to_observe(&mut self) {
        if self.observing.is_none() && self.hub.ready() {
            self.observing = Some(now());
            self.followed.values_mut().for_each(see);
        }
    }

    fn ticked(&mut self) {
        self.begin_to_observe();
        let at = now();
        let (observing, recording) = (self.observing.is_some(), self.recording.is_some());
        for followed in self.followed.values_mut() {
            if observing && !followed.witness.has_seen() {
                see(followed);
            }
            if !observing || !recording {
                continue;
            }
            match &followed.view {
                Some(view) => followed.witness.reconcile(&view.value, at),
                None if followed.since.elapsed() >= MISSING => followed.witness.lose_sight(at),
                None => {}
            }
        }
    }

    fn recorded(&mut self, event: WatchEvent) {
        match event {
            // Taken for the truth, it would take back what was written since.
            WatchEvent::Reset { revision, .. } if revision < self.written => self.outdated = true,
            WatchEvent::Reset { entries, .. } => self.reset(entries),
            WatchEvent::Changes { changes, .. } => {
                let before = self.mirror.observed.clone();
                let clusters: BTreeSet<ClusterName> = changes
                    .into_iter()
                    .filter_map(|change| self.mirror.apply(change))
                    .collect();
                for cluster in clusters {
                    self.catch_up(&cluster);
                }
                if self.mirror.observed != before {
                    self.told_until();
                }
            }
            WatchEvent::Unreachable { .. } | WatchEvent::Reachable => {}
        }
    }

    /// Everything as etcd holds it. What is missing of what was known went with a restored or emptied etcd.
    fn reset(&mut self, entries: Vec<Entry>) {
        for cluster in self.mirror.reset(entries) {
            let followed = self
                .followed
                .entry(cluster.clone())
                .or_insert_with(Followed::new);
            let book = self.mirror.book(&cluster).map(Arc::as_ref);
            let head = book.map(|book| book.head.clone()).unwrap_or_default();
            if head.sequence < followed.witness.sequence() {
                followed.witness.start_over(head.sequence, &head.states);
            }
            catch_up(followed, book);
        }
        self.loaded = true;
        self.told_until();
    }

    /// Lists again, where the listing of the watch was outdated.
    async fn list_again(&mut self) -> Result<(), ChronicleError> {
        if self.outdated {
            let listing = self.registry.list(self.keys.live()).await?;
            self.outdated = false;
            self.written = 0;
            self.reset(listing.entries);
        }
        Ok(())
    }

    /// Lets the witness of `cluster` know what is recorded.
    pub(super) fn catch_up(&mut self, cluster: &ClusterName) {
        let followed = self
            .followed
            .entry(cluster.clone())
            .or_insert_with(Followed::new);
        catch_up(followed, self.mirror.book(cluster).map(Arc::as_ref));
    }

    fn told_until(&mut self) {
        if let Some(observed) = &self.mirror.observed {
            for followed in self.followed.values_mut() {
                followed.witness.recorded_until(observed.until);
            }
        }
    }

    fn follow_leadership(&mut self) {
        let term = self.leadership.borrow_and_update().clone();
        let present = self.recording.as_ref().map(|recording| &recording.term);
        if present != term.as_ref() {
            self.recording = term.map(|term| Recording {
                term,
                begun: false,
                called: None,
                beat: None,
                swept: None,
            });
        }
    }

    /// Records what is to be recorded, if it is up to this replica.
    async fn work(&mut self) {
        if !self.loaded || self.observing.is_none() {
            return;
        }
        if self.paused.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.paused = None;
        if let Err(error) = self.take_part().await {
            tracing::debug!(%error, "The chronicle waits: {error}");
            self.paused = Some(Instant::now() + PAUSE);
        }
    }

    async fn take_part(&mut self) -> Result<(), ChronicleError> {
        self.list_again().await?;
        self.be_present().await?;
        match self.recording {
            Some(_) => self.record().await,
            None => self.help().await,
        }
    }

    async fn last_words(&mut self) {
        if self
            .recording
            .as_ref()
            .is_some_and(|recording| recording.begun)
        {
            if let Some(recording) = &mut self.recording {
                recording.beat = None;
            }
            let _ = self.record().await;
        }
        if let Some(lease) = self.presence.take() {
            let _ = lease.revoke().await;
        }
    }

    fn publish(&mut self, books: &watch::Sender<Option<Books>>, news: &watch::Sender<News>) {
        let changed = books.send_if_modified(|published| {
            let changed = self.mirror.read
                && !published
                    .as_ref()
                    .is_some_and(|published| Arc::ptr_eq(published, &self.mirror.books));
            if changed {
                *published = Some(Arc::clone(&self.mirror.books));
            }
            changed
        });
        if !changed {
            return;
        }
        news.send_if_modified(|published| {
            let newest: BTreeMap<ClusterName, u64> = self
                .mirror
                .books
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
fn see(followed: &mut Followed) {
    let Some(view) = &followed.view else {
        return;
    };
    let settled = followed.witness.has_seen()
        || view.value.nodes.iter().all(was_asked)
        || followed.since.elapsed() >= SETTLING;
    if settled {
        followed.witness.see(&view.value);
    }
}

fn catch_up(followed: &mut Followed, book: Option<&Book>) {
    let Some(book) = book else {
        return;
    };
    let witness = &mut followed.witness;
    let next = witness.sequence() + 1;
    // One by one where every event from the last known one on is there, else all at once.
    let tail = book.tail.range(next..).map(|(_, event)| event);
    let known = (next..).zip(tail);
    for (_, event) in known.take_while(|(number, event)| event.sequence == *number) {
        witness.told(event);
    }
    witness.told_all(book.head.sequence, &book.head.states, book.head.at);
}
