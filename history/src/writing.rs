//! What the recording replica writes: the events that wait, and the word until when it observed.

use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use futures::future::join_all;
use galera::record::history::Event;
use galera::record::uptime::{Date, Day};
use galera::{ClusterName, Timestamp};
use registry::{Guard, Outcome, Transaction, Write};
use serde::Serialize;
use tokio::time::Instant;

use super::ChronicleError;
use super::book::{Book, Head};
use super::keys::Keys;
use super::mirror::Observed;
use super::recorder::{Recorder, Recording};

/// How often the recording replica says that it observes.
const BEAT: Duration = Duration::from_secs(5);
/// Events of one transaction: etcd allows 128 operations.
const BATCH: usize = 50;
/// Transactions that are under way at the same time.
const ABREAST: usize = 16;
/// How long the summaries of days are kept at least, whatever the retention of changes.
const DAYS: Duration = Duration::from_secs(91 * 86_400);

/// A write of one cluster, and what its book becomes with it.
struct Prepared {
    cluster: ClusterName,
    transaction: Transaction,
    head: Head,
    events: Vec<Event>,
    days: Option<Vec<Day>>,
}

impl Recorder {
    /// Writes everything that waits to be recorded, then what follows from it.
    pub(super) async fn record(&mut self) -> Result<(), ChronicleError> {
        let Some(term) = self.term() else {
            return Ok(());
        };
        if !self.begin(&term).await? {
            return Ok(());
        }
        let until = self.sighted;
        self.write_all(&term).await?;
        self.beat(&term, until).await?;
        self.seal(&term).await?;
        self.sweep(&term).await
    }

    /// What every write of this replica's term compares.
    fn term(&self) -> Option<Guard> {
        let recording = self.recording.as_ref();
        recording.map(|recording| recording.term.guard())
    }

    /// Writes everything that waits, as long as `authority` holds.
    pub(super) async fn write_all(&mut self, authority: &Guard) -> Result<(), ChronicleError> {
        loop {
            let prepared = self.prepare(authority)?;
            if prepared.is_empty() {
                return Ok(());
            }
            self.carry_out(prepared).await?;
        }
    }

    /// The next write of each cluster that has anything to write.
    fn prepare(&mut self, authority: &Guard) -> Result<Vec<Prepared>, ChronicleError> {
        let oldest = Date::of(now().minus(self.settings.retention.max(DAYS)));
        let mut prepared = Vec::new();
        for (cluster, followed) in &mut self.followed {
            let lost = followed.witness.take_lost();
            if lost > 0 {
                self.metrics.lost(lost);
                tracing::warn!(cluster.id = %cluster, lost, "{lost} changes of cluster {cluster} could not be recorded: too many waited for etcd");
            }
            let fresh = Book::default();
            let book = self.mirror.book(cluster).map_or(&fresh, Arc::as_ref);
            let events = followed.witness.next(BATCH, book.head.last());
            if events.is_empty() {
                continue;
            }
            let mut head = book.head.clone();
            let over: Vec<Day> = events.iter().flat_map(|event| head.append(event)).collect();
            let mut writes = vec![put(self.keys.head(cluster), &head)?];
            for event in &events {
                writes.push(put(self.keys.event(cluster, event.sequence), event)?);
            }
            let days = (!over.is_empty()).then(|| book.days_with(over, oldest));
            if let Some(days) = &days {
                writes.push(put(self.keys.days(cluster), days)?);
            }
            prepared.push(Prepared {
                transaction: guarded(&self.keys, authority.clone(), cluster, book).then(writes),
                cluster: cluster.clone(),
                head,
                events,
                days,
            });
            if prepared.len() == ABREAST {
                break;
            }
        }
        Ok(prepared)
    }

    async fn carry_out(&mut self, prepared: Vec<Prepared>) -> Result<(), ChronicleError> {
        let attempts = prepared.into_iter().map(|prepared| {
            let registry = self.registry.clone();
            async move { (registry.transact(&prepared.transaction).await, prepared) }
        });
        let mut failed = None;
        for (outcome, prepared) in join_all(attempts).await {
            match outcome {
                Ok(Outcome::Committed { revision }) => self.committed(prepared, revision),
                // Somebody else wrote, or we did without knowing, or this term is over: what is there counts.
                Ok(Outcome::Refused { .. }) => {
                    failed = Some(refused(&prepared.cluster));
                    self.read_again(&prepared.cluster).await?;
                }
                // Trying again is harmless: if it happened, the head has changed, and the next attempt is refused.
                Err(error) => failed = Some(error.into()),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn committed(&mut self, prepared: Prepared, revision: i64) {
        let cluster = prepared.cluster;
        let count = u64::try_from(prepared.events.len()).unwrap_or(u64::MAX);
        self.metrics.recorded(count);
        self.written = self.written.max(revision);
        let book = self.mirror.edit(&cluster);
        for event in prepared.events {
            book.add(event);
        }
        book.set_head(prepared.head, revision);
        if let Some(days) = prepared.days {
            book.set_days(days, revision);
        }
        self.catch_up(&cluster);
    }

    /// Reads the head and the newest events of `cluster` from etcd.
    pub(super) async fn read_again(&mut self, cluster: &ClusterName) -> Result<(), ChronicleError> {
        // The head first: then every event up to it is in what is listed, and they are told one by one.
        let head = self.registry.get(self.keys.head(cluster)).await?;
        let tail = self.registry.list(self.keys.tail(cluster)).await?;
        for entry in head.into_iter().chain(tail.entries) {
            self.mirror.put(&entry);
        }
        self.catch_up(cluster);
        Ok(())
    }

    /// Says now and then that everything up to `until` is recorded.
    async fn beat(&mut self, term: &Guard, until: Timestamp) -> Result<(), ChronicleError> {
        let due = |recording: &Recording| recording.beat.is_none_or(|beat| beat.elapsed() >= BEAT);
        if !self.recording.as_ref().is_some_and(due) {
            return Ok(());
        }
        let transaction = Transaction::new()
            .when(term.clone())
            .then([self.observed(until)?]);
        let outcome = self.registry.transact(&transaction).await?;
        if let (Outcome::Committed { .. }, Some(recording)) = (outcome, &mut self.recording) {
            recording.beat = Some(Instant::now());
        }
        Ok(())
    }

    /// The word that everything up to `until` is recorded.
    pub(super) fn observed(&self, until: Timestamp) -> Result<Write, ChronicleError> {
        let observed = Observed {
            until,
            by: self.settings.replica.clone(),
        };
        put(self.keys.observed(), &observed)
    }
}

/// A transaction that needs `authority` on the chronicle of `cluster` as `book` shows it.
pub(super) fn guarded(
    keys: &Keys,
    authority: Guard,
    cluster: &ClusterName,
    book: &Book,
) -> Transaction {
    let key = keys.head(cluster).into_bytes();
    let head = match book.revision {
        0 => Guard::Absent(key),
        revision => Guard::Unchanged(key, revision),
    };
    Transaction::new().when(authority).when(head)
}

pub(super) fn refused(cluster: &ClusterName) -> ChronicleError {
    registry::Error::Conflict {
        key: format!("the chronicle of {cluster}"),
        current: None,
    }
    .into()
}

pub(super) fn put(key: String, value: &impl Serialize) -> Result<Write, ChronicleError> {
    let value =
        serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()))?;
    Ok(Write::put(key, value, None))
}
