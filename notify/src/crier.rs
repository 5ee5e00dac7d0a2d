//! Follows the chronicle and the audit trail, and writes what is to be told into the outbox.
//!
//! What was read and told is kept in etcd and moved on by the same transaction that queues the deliveries: a replica that
//! dies leaves both or neither, and the next leader goes on from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::audit::TrailError;
use console_core::clock::now;
use console_core::leader::Term;
use galera::publish::notification::Rules;
use galera::publish::notification::trail::Reading;
use galera::publish::notification::verdicts::{Addressed, Change, Circumstances, Course};
use galera::record::history::{Change as HistoryChange, Event};
use galera::{ClusterName, Timestamp};
use history::ChronicleError;
use registry::{Guard, Outcome, Transaction, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Inner;
use super::outbox;
use super::send::Firing;
use super::targets::{Known, rules};

/// Between attempts when etcd did not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait for news: maintenance ends without any.
const LOOK: Duration = Duration::from_secs(5);
/// How many changes are read at once.
const AT_ONCE: usize = 100;
/// How far back the verdict of a cluster is looked for that was never followed before.
const LOOK_BACK: u64 = 500;
/// How far a cursor may be ahead of what is kept of it, when there was nothing to tell.
const UNKEPT_MAX: u64 = 200;

/// What each Alertmanager is to be told again.
pub(super) type Fires = Arc<BTreeMap<String, Vec<Firing>>>;

/// Why the crier starts over.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Trail(#[from] TrailError),
    #[error(transparent)]
    Chronicle(#[from] ChronicleError),
    #[error("somebody else wrote it, or another replica leads")]
    Lost,
}

impl From<registry::Error> for Interrupted {
    fn from(error: registry::Error) -> Self {
        Self::Trail(error.into())
    }
}

/// Something kept in etcd, as of a revision (0 when it was never written), and how far it is kept.
#[derive(Debug, Default)]
struct Kept<T> {
    value: T,
    revision: i64,
    /// The cursor that etcd holds.
    sequence: u64,
}

/// What was read and told.
struct Desk {
    courses: BTreeMap<ClusterName, Kept<Course>>,
    reading: Kept<Reading>,
}

/// Whom to tell.
struct Listeners {
    /// Every target there is.
    known: Arc<BTreeMap<String, Known>>,
    /// The rules of those that are told anything.
    rules: BTreeMap<String, Rules>,
}

/// The crier of one term.
pub(super) struct Crier {
    inner: Arc<Inner>,
    term: Arc<Term>,
    fires: watch::Sender<Fires>,
}

impl Crier {
    pub(super) fn new(inner: Arc<Inner>, term: Arc<Term>) -> (Self, watch::Receiver<Fires>) {
        let (fires, receiver) = watch::channel(Fires::default());
        let crier = Self { inner, term, fires };
        (crier, receiver)
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.follow().await {
                tracing::debug!(%error, "Following what is to be told starts over: {error}");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn follow(&self) -> Result<(), Interrupted> {
        let mut news = self.inner.sources.chronicle.news();
        let mut targets = self.inner.targets.watch();
        let mut entries = self.inner.sources.trail.watch_head();
        let mut desk = self.load().await?;
        loop {
            // Both are marked as seen before they are read, so that no change is missed between.
            let (latest, table) = (
                news.borrow_and_update().clone(),
                targets.borrow_and_update().clone(),
            );
            // Nobody is told before it is known who there is: a cursor that moved on would not come back.
            if let Some(known) = table {
                let listeners = Listeners {
                    rules: rules(&known),
                    known,
                };
                self.read_trail(&mut desk, &listeners).await?;
                for (cluster, sequence) in latest.iter() {
                    self.read_course(&mut desk, cluster, *sequence, &listeners)
                        .await?;
                }
                self.publish(&desk);
                let wait = self.wait(&desk, &listeners);
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return Ok(()) },
                    changed = targets.changed() => if changed.is_err() { return Ok(()) },
                    event = entries.next() => if event.is_none() { return Ok(()) },
                    () = tokio::time::sleep(wait) => {}
                }
            } else if targets.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn load(&self) -> Result<Desk, Interrupted> {
        let (registry, keys) = (&self.inner.registry, &self.inner.keys);
        let prefix = keys.courses();
        let mut courses = BTreeMap::new();
        for entry in registry.list(prefix.clone()).await?.entries {
            let name = std::str::from_utf8(&entry.key).ok();
            let name = name.and_then(|key| key.strip_prefix(&prefix)?.parse::<ClusterName>().ok());
            if let (Some(name), Some(course)) = (name, read::<Course>(&entry)) {
                let sequence = course.sequence;
                courses.insert(
                    name,
                    Kept {
                        value: course,
                        revision: entry.mod_revision,
                        sequence,
                    },
                );
            }
        }
        let entry = registry.get(keys.reading()).await?;
        let reading = match entry
            .as_ref()
            .and_then(|entry| Some((entry, read::<Reading>(entry)?)))
        {
            Some((entry, reading)) => {
                let sequence = reading.sequence;
                Kept {
                    value: reading,
                    revision: entry.mod_revision,
                    sequence,
                }
            }
            // What happened before anybody listened is not told.
            None => {
                let newest = self.inner.sources.trail.newest().await?;
                let mut kept = Kept {
                    value: Reading::from(newest),
                    revision: entry.map_or(0, |entry| entry.mod_revision),
                    sequence: 0,
                };
                self.keep(&keys.reading(), &mut kept, newest, Vec::new())
                    .await?;
                kept
            }
        };
        Ok(Desk { courses, reading })
    }

    async fn read_trail(&self, desk: &mut Desk, listeners: &Listeners) -> Result<(), Interrupted> {
        let key = self.inner.keys.reading();
        let reading = &mut desk.reading;
        while let Some(entry) = self
            .inner
            .sources
            .trail
            .entry(reading.value.sequence + 1)
            .await?
        {
            let Some(notice) = reading.value.take(&entry) else {
                continue;
            };
            let wanted = |rules: &&Rules| rules.want(notice.kind, notice.cluster.as_ref());
            let told: Vec<Addressed> = listeners
                .rules
                .iter()
                .filter(|(_, rules)| wanted(rules))
                .map(|(target, _)| (target.clone(), notice.clone()))
                .collect();
            let sequence = reading.value.sequence;
            self.keep(&key, reading, sequence, told).await?;
        }
        let sequence = reading.value.sequence;
        if sequence - reading.sequence.min(sequence) >= UNKEPT_MAX {
            self.keep(&key, reading, sequence, Vec::new()).await?;
        }
        Ok(())
    }

    async fn read_course(
        &self,
        desk: &mut Desk,
        cluster: &ClusterName,
        latest: u64,
        listeners: &Listeners,
    ) -> Result<(), Interrupted> {
        let key = self.inner.keys.course(cluster);
        let quiet = |at: Timestamp| (self.inner.sources.quiet)(cluster, at);
        let around = Circumstances {
            cluster,
            targets: &listeners.rules,
            quiet: &quiet,
        };
        let kept = match desk.courses.entry(cluster.clone()) {
            std::collections::btree_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let course = self.recall(cluster, latest).await?;
                place.insert(Kept {
                    value: course,
                    ..Kept::default()
                })
            }
        };
        while kept.value.sequence < latest {
            let events = self.after(cluster, kept.value.sequence, AT_ONCE).await?;
            if events.is_empty() {
                break;
            }
            for event in events {
                let sequence = event.sequence;
                let Some(change) = verdict(event) else {
                    kept.value.sequence = sequence;
                    continue;
                };
                let told = kept.value.take(change, &around);
                if !told.is_empty() {
                    self.keep(&key, kept, sequence, told).await?;
                }
            }
        }
        let told = kept.value.advance(now(), &around);
        let forgot = kept
            .value
            .keep(|target| listeners.known.contains_key(target));
        let sequence = kept.value.sequence;
        if !told.is_empty()
            || forgot
            || kept.revision == 0
            || sequence - kept.sequence >= UNKEPT_MAX
        {
            self.keep(&key, kept, sequence, told).await?;
        }
        Ok(())
    }

    /// How a cluster came to where it is that was never followed before.
    async fn recall(&self, cluster: &ClusterName, latest: u64) -> Result<Course, Interrupted> {
        let mut course = Course::from(latest.saturating_sub(LOOK_BACK));
        let limit = usize::try_from(LOOK_BACK).unwrap_or(usize::MAX);
        for event in self.after(cluster, course.sequence, limit).await? {
            let sequence = event.sequence;
            match verdict(event) {
                Some(change) => course.recall(change),
                None => course.sequence = sequence,
            }
        }
        Ok(course)
    }

    async fn after(
        &self,
        cluster: &ClusterName,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Interrupted> {
        Ok(self
            .inner
            .sources
            .chronicle
            .after(cluster, sequence, limit)
            .await?)
    }

    /// Writes the deliveries of `told` and what was read in one transaction of this term.
    async fn keep<T: Serialize>(
        &self,
        key: &str,
        kept: &mut Kept<T>,
        sequence: u64,
        told: Vec<Addressed>,
    ) -> Result<(), Interrupted> {
        let value = serde_json::to_vec(&kept.value)
            .map_err(|error| registry::Error::Invalid(error.to_string()))?;
        let guard = match kept.revision {
            0 => Guard::Absent(key.into()),
            seen => Guard::Unchanged(key.into(), seen),
        };
        let at = now();
        let queued: Vec<Write> = told
            .into_iter()
            .map(|(target, notice)| {
                outbox::queue(&self.inner.keys, &outbox::delivery(&target, notice, at))
            })
            .collect();
        let transaction = Transaction::new()
            .when(self.term.guard())
            .when(guard)
            .then([Write::put(key, value, None)])
            .then(queued);
        match self.inner.registry.transact(&transaction).await? {
            Outcome::Committed { revision } => {
                kept.revision = revision;
                kept.sequence = sequence;
                Ok(())
            }
            Outcome::Refused { .. } => Err(Interrupted::Lost),
        }
    }

    fn publish(&self, desk: &Desk) {
        let mut fires: BTreeMap<String, Vec<Firing>> = BTreeMap::new();
        for (cluster, kept) in &desk.courses {
            for (target, notice) in kept.value.standing(cluster) {
                fires.entry(target).or_default().push(Firing { notice });
            }
        }
        self.fires.send_if_modified(|known| {
            let differs = **known != fires;
            if differs {
                *known = Arc::new(fires);
            }
            differs
        });
    }

    /// How long until something is due.
    fn wait(&self, desk: &Desk, listeners: &Listeners) -> Duration {
        let at = now();
        let due = desk
            .courses
            .iter()
            .filter_map(|(cluster, kept)| kept.value.due(cluster, &listeners.rules))
            // What lies in the past is held back by maintenance.
            .filter(|due| *due > at)
            .min();
        due.map_or(LOOK, |due| at.age(due).min(LOOK))
    }
}

fn verdict(event: Event) -> Option<Change> {
    match event.change {
        HistoryChange::Verdict { to, reasons, .. } => Some(Change {
            sequence: event.sequence,
            at: event.at,
            to,
            reasons: reasons.into_iter().map(|reason| reason.message).collect(),
        }),
        HistoryChange::Node { .. } => None,
    }
}

fn read<T: DeserializeOwned>(entry: &registry::Entry) -> Option<T> {
    serde_json::from_slice(&entry.value)
        .map_err(|error| {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            tracing::warn!(key, %error, "What was told before cannot be read from {key}: {error}");
        })
        .ok()
}
