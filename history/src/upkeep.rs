//! What becomes of older events: blocks of them, until they are let go.

use std::time::Duration;

use console_core::clock::now;
use galera::record::history::Event;
use galera::{ClusterName, Timestamp};
use registry::{Guard, Outcome, Transaction, Write};
use tokio::time::Instant;

use super::ChronicleError;
use super::block::{self, BLOCK};
use super::book::{Book, Head};
use super::recorder::{Recorder, Recording};
use super::writing::{guarded, put, refused};

/// Events that stay beside the blocks when one is made.
const MARGIN: u64 = 100;
/// How often it is looked for what is kept no longer.
const SWEEP: Duration = Duration::from_secs(600);

impl Recorder {
    /// Makes a block of the oldest events where there are enough for one.
    pub(super) async fn seal(&mut self, term: &Guard) -> Result<(), ChronicleError> {
        let full = |book: &Book| book.head.sealed + BLOCK + MARGIN <= book.head.sequence;
        let due: Vec<ClusterName> = self
            .mirror
            .books
            .iter()
            .filter(|(_, book)| full(book))
            .map(|(cluster, _)| cluster.clone())
            .collect();
        for cluster in due {
            self.seal_one(term, &cluster).await?;
        }
        Ok(())
    }

    async fn seal_one(
        &mut self,
        term: &Guard,
        cluster: &ClusterName,
    ) -> Result<(), ChronicleError> {
        let Some(book) = self.mirror.book(cluster).cloned() else {
            return Ok(());
        };
        let numbers = book.head.sealed + 1..=book.head.sealed + BLOCK;
        let mut head = book.head.clone();
        head.sealed += BLOCK;
        if *numbers.end() < book.head.first {
            // All of it expired before its block was full.
            let transaction = guarded(&self.keys, term.clone(), cluster, &book)
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
        let transaction = guarded(&self.keys, term.clone(), cluster, &book).then([
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
                self.written = self.written.max(revision);
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
    pub(super) async fn sweep(&mut self, term: &Guard) -> Result<(), ChronicleError> {
        let due =
            |recording: &Recording| recording.swept.is_none_or(|swept| swept.elapsed() >= SWEEP);
        if !self.recording.as_ref().is_some_and(due) {
            return Ok(());
        }
        let oldest = now().minus(self.settings.retention);
        let clusters: Vec<ClusterName> = self.mirror.books.keys().cloned().collect();
        for cluster in clusters {
            while self.let_go(term, &cluster, oldest).await? {}
        }
        if let Some(recording) = &mut self.recording {
            recording.swept = Some(Instant::now());
        }
        Ok(())
    }

    /// Lets go one block of `cluster`, or what expired of its newest events; whether there may be more.
    async fn let_go(
        &mut self,
        term: &Guard,
        cluster: &ClusterName,
        oldest: Timestamp,
    ) -> Result<bool, ChronicleError> {
        let Some(book) = self.mirror.book(cluster).cloned() else {
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
        let transaction = guarded(&self.keys, term.clone(), cluster, &book)
            .then([put(self.keys.head(cluster), &head)?, write]);
        self.change_head(cluster, head, &transaction).await?;
        self.metrics.expired(gone);
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
