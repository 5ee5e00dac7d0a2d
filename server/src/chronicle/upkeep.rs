//! What the recording replica writes: events, blocks, the word until when it observed; and what it lets go.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use galera::chronicle::Event;
use galera::uptime::{Date, Day};
use galera::{ClusterName, Timestamp};
use registry::{Guard, Outcome, Transaction, Write};
use serde::Serialize;
use tokio::time::Instant;

use super::ChronicleError;
use super::block::{self, BLOCK};
use super::book::{Book, Head};
use super::keys::Keys;
use super::mirror::Observed;
use super::recorder::{Recorder, Recording};
use crate::hub::now;

/// How often the recording replica says that it observes.
const BEAT: Duration = Duration::from_secs(5);
/// A longer silence than this was blindness, unless the next one observed meanwhile.
const GRACE: Duration = Duration::from_secs(15);
/// Events of one transaction: etcd allows 128 operations.
const BATCH: usize = 50;
/// Transactions that are under way at the same time.
const ABREAST: usize = 16;
/// Events that stay beside the blocks when one is made.
const MARGIN: u64 = 100;
/// How long the summaries of days are kept at least, whatever the retention of changes.
const DAYS: Duration = Duration::from_secs(91 * 86_400);
/// How often it is looked for what is kept no longer.
const SWEEP: Duration = Duration::from_secs(600);

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
        if !self.has_begun() {
            self.begin().await?;
        }
        let before = now();
        loop {
            let prepared = self.prepare()?;
            if prepared.is_empty() {
                break;
            }
            self.carry_out(prepared).await?;
        }
        self.beat(before).await?;
        self.seal().await?;
        self.sweep().await
    }

    fn has_begun(&self) -> bool {
        self.recording
            .as_ref()
            .is_some_and(|recording| recording.begun)
    }

    fn guard(&self) -> Option<Guard> {
        self.recording
            .as_ref()
            .map(|recording| recording.term.guard())
    }

    /// Finds out whether nobody observed for a while before this term, and takes that down as unknown.
    async fn begin(&mut self) -> Result<(), ChronicleError> {
        let entry = self.registry.get(self.keys.observed()).await?;
        let observed: Option<Observed> =
            entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        if let (Some(observed), Some(since)) = (observed, self.observing)
            && observed.until.plus(GRACE) < since
        {
            tracing::warn!(from = %observed.until, until = %since, "No console was watching from {} to {since}; the chronicle says unknown for that time", observed.until);
            for followed in self.followed.values_mut() {
                let view = followed.view().cloned();
                followed.witness.blind(observed.until, since, view.as_ref());
            }
        }
        if let Some(recording) = &mut self.recording {
            recording.begun = true;
        }
        Ok(())
    }

    /// The next write of each cluster that has anything to write.
    fn prepare(&mut self) -> Result<Vec<Prepared>, ChronicleError> {
        let Some(term) = self.guard() else {
            return Ok(Vec::new());
        };
        let oldest = Date::of(now().minus(self.settings.retention.max(DAYS)));
        let mut prepared = Vec::new();
        for (cluster, followed) in &mut self.followed {
            let lost = followed.witness.take_lost();
            if lost > 0 {
                self.hub.metrics().chronicle_lost(lost);
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
                transaction: guarded(&self.keys, term.clone(), cluster, book).then(writes),
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
        self.hub.metrics().chronicle_recorded(count);
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
    async fn read_again(&mut self, cluster: &ClusterName) -> Result<(), ChronicleError> {
        let tail = self.registry.list(self.keys.tail(cluster)).await?;
        let head = self.registry.get(self.keys.head(cluster)).await?;
        for entry in tail.entries.into_iter().chain(head) {
            self.mirror.put(entry);
        }
        self.catch_up(cluster);
        Ok(())
    }

    /// Says that everything up to `until` is recorded.
    async fn beat(&mut self, until: Timestamp) -> Result<(), ChronicleError> {
        let due = |recording: &Recording| recording.beat.is_none_or(|beat| beat.elapsed() >= BEAT);
        let Some(term) = self
            .guard()
            .filter(|_| self.recording.as_ref().is_some_and(due))
        else {
            return Ok(());
        };
        let observed = Observed {
            until,
            by: self.settings.replica.clone(),
        };
        let transaction = Transaction::new()
            .when(term)
            .then([put(self.keys.observed(), &observed)?]);
        let outcome = self.registry.transact(&transaction).await?;
        if let (Outcome::Committed { .. }, Some(recording)) = (outcome, &mut self.recording) {
            recording.beat = Some(Instant::now());
        }
        Ok(())
    }

    /// Makes a block of the oldest events where there are enough for one.
    async fn seal(&mut self) -> Result<(), ChronicleError> {
        let full = |book: &Book| book.head.sealed + BLOCK + MARGIN <= book.head.sequence;
        let due: Vec<ClusterName> = self
            .mirror
            .books
            .iter()
            .filter(|(_, book)| full(book))
            .map(|(cluster, _)| cluster.clone())
            .collect();
        for cluster in due {
            self.seal_one(&cluster).await?;
        }
        Ok(())
    }

    async fn seal_one(&mut self, cluster: &ClusterName) -> Result<(), ChronicleError> {
        let (Some(term), Some(book)) = (self.guard(), self.mirror.book(cluster).cloned()) else {
            return Ok(());
        };
        let numbers = book.head.sealed + 1..=book.head.sealed + BLOCK;
        let mut head = book.head.clone();
        head.sealed += BLOCK;
        if *numbers.end() < book.head.first {
            // All of it expired before its block was full.
            let transaction = guarded(&self.keys, term, cluster, &book)
                .then([put(self.keys.head(cluster), &head)?]);
            return self.change_head(cluster, head, &transaction).await;
        }
        let events: Vec<Event> = book
            .tail
            .range(numbers.clone())
            .map(|(_, event)| Event::clone(event))
            .collect();
        let key = self.keys.block(cluster, book.head.sealed / BLOCK);
        // Events that expired before their block was full are missing at its beginning, and no others.
        let oldest = book.head.first.max(*numbers.start());
        if events.first().map(|event| event.sequence) != Some(oldest)
            || u64::try_from(events.len()).unwrap_or(0) != numbers.end() + 1 - oldest
        {
            return self.read_again(cluster).await;
        }
        let value = block::encode(&events).map_err(|reason| ChronicleError::Damaged {
            key: key.clone(),
            reason,
        })?;
        let transaction = guarded(&self.keys, term, cluster, &book).then([
            put(self.keys.head(cluster), &head)?,
            Write::put(key, value, None),
            Write::delete_numbered(&self.keys.tail(cluster), numbers),
        ]);
        self.change_head(cluster, head, &transaction).await
    }

    /// Carries out a transaction that changes the head, but adds no event.
    async fn change_head(
        &mut self,
        cluster: &ClusterName,
        head: Head,
        transaction: &Transaction,
    ) -> Result<(), ChronicleError> {
        match self.registry.transact(transaction).await? {
            Outcome::Committed { revision } => {
                self.mirror.edit(cluster).set_head(head, revision);
                Ok(())
            }
            Outcome::Refused { .. } => {
                self.read_again(cluster).await?;
                Err(refused(cluster))
            }
        }
    }

    /// Lets go what is older than the retention and what is too much.
    async fn sweep(&mut self) -> Result<(), ChronicleError> {
        let due =
            |recording: &Recording| recording.swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
        if !self.recording.as_ref().is_some_and(due) {
            return Ok(());
        }
        let oldest = now().minus(self.settings.retention);
        let clusters: Vec<ClusterName> = self.mirror.books.keys().cloned().collect();
        for cluster in clusters {
            while self.let_go(&cluster, oldest).await? {}
        }
        if let Some(recording) = &mut self.recording {
            recording.swept = Some(Instant::now());
        }
        Ok(())
    }

    /// Lets go one block of `cluster`, or what expired of its newest events; whether there may be more.
    async fn let_go(
        &mut self,
        cluster: &ClusterName,
        oldest: Timestamp,
    ) -> Result<bool, ChronicleError> {
        let (Some(term), Some(book)) = (self.guard(), self.mirror.book(cluster).cloned()) else {
            return Ok(false);
        };
        let first = book.head.first.max(1);
        let mut head = book.head.clone();
        let (write, why) = if first <= book.head.sealed {
            let number = block::of(first);
            let too_many = book.head.sequence + 1 - first > self.settings.changes_max;
            let key = self.keys.block(cluster, number);
            if !too_many && !self.block_expired(&key, oldest).await? {
                return Ok(false);
            }
            head.first = block::first(number + 1);
            let why = if too_many { "too many" } else { "too old" };
            (Write::delete(key), why)
        } else {
            // The newest one stays: what is, is not history yet.
            let expired = book
                .tail
                .values()
                .take_while(|event| event.at < oldest && event.sequence < book.head.sequence);
            let Some(last) = expired.last().map(|event| event.sequence) else {
                return Ok(false);
            };
            head.first = last + 1;
            let numbers = first..=last;
            (
                Write::delete_numbered(&self.keys.tail(cluster), numbers),
                "too old",
            )
        };
        let gone = head.first - first;
        let transaction = guarded(&self.keys, term, cluster, &book)
            .then([put(self.keys.head(cluster), &head)?, write]);
        self.change_head(cluster, head, &transaction).await?;
        self.hub.metrics().chronicle_expired(gone);
        tracing::info!(cluster.id = %cluster, changes = gone, why, "{gone} changes of cluster {cluster} are kept no longer: {why}");
        Ok(true)
    }

    async fn block_expired(&self, key: &str, oldest: Timestamp) -> Result<bool, ChronicleError> {
        let Some(entry) = self.registry.get(key).await? else {
            return Ok(true);
        };
        match block::decode(&entry.value) {
            Ok(events) => Ok(events.last().is_none_or(|event| event.at < oldest)),
            Err(reason) => {
                // It must not keep everything after it for ever, and it cannot tell its age.
                tracing::error!(
                    key,
                    reason,
                    "A block of the chronicle is damaged and kept: {key}: {reason}"
                );
                Ok(false)
            }
        }
    }
}

/// A transaction of this term on the chronicle of `cluster` as `book` shows it.
fn guarded(keys: &Keys, term: Guard, cluster: &ClusterName, book: &Book) -> Transaction {
    let key = keys.head(cluster).into_bytes();
    let head = match book.revision {
        0 => Guard::Absent(key),
        revision => Guard::Unchanged(key, revision),
    };
    Transaction::new().when(term).when(head)
}

fn refused(cluster: &ClusterName) -> ChronicleError {
    registry::Error::Conflict {
        key: format!("the chronicle of {cluster}"),
        current: None,
    }
    .into()
}

fn put(key: String, value: &impl Serialize) -> Result<Write, ChronicleError> {
    let value =
        serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()))?;
    Ok(Write::put(key, value, None))
}
