//! One watch stream on one endpoint, from its creation to its end, and the position it leaves behind.

use std::collections::HashSet;

use etcd_client::{
    Client, Error as ClientError, ResponseHeader, WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::timeout;

use super::{Change, Supervisor, Unsubscribed, WatchEvent};
use crate::Error;
use crate::entry::Entry;
use crate::error::{Failed, classify};
use crate::read::{ANSWER_LIMIT, prefix_end};

/// Why a stream ended.
pub(super) enum Ended {
    /// Its history cannot be continued: list anew.
    Relist(&'static str),
    /// It broke; it may be resumed elsewhere.
    Failed(Error),
}

/// Up to where the subscriber knows everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    revision: i64,
    /// Keys whose change at `revision` was told already; a large transaction may arrive in pieces, so until a later
    /// revision is seen the last one may not be complete.
    told: HashSet<Vec<u8>>,
    complete: bool,
    cluster_id: u64,
    raft_term: u64,
}

impl Position {
    pub(super) fn after_listing(revision: i64) -> Self {
        Self {
            revision,
            complete: true,
            ..Self::default()
        }
    }

    /// The revision to watch from.
    fn start(&self) -> i64 {
        if self.complete {
            self.revision + 1
        } else {
            self.revision
        }
    }

    /// Notes a change; `false` when it was told before.
    fn advance(&mut self, revision: i64, key: &[u8]) -> bool {
        if revision < self.revision || (revision == self.revision && self.complete) {
            return false;
        }
        if revision > self.revision {
            self.revision = revision;
            self.complete = false;
            self.told.clear();
        }
        self.told.insert(key.to_vec())
    }

    /// Notes that everything up to `revision` has been told.
    fn caught_up(&mut self, revision: i64) {
        if revision >= self.revision {
            self.revision = revision;
            self.complete = true;
            self.told.clear();
        }
    }

    /// Whether a store with this header may be another one than the one this position came from.
    fn is_suspicious(&self, header: &ResponseHeader) -> bool {
        header.revision() < self.revision
            || header.raft_term() < self.raft_term
            || (self.cluster_id != 0 && header.cluster_id() != self.cluster_id)
    }

    fn remember(&mut self, header: &ResponseHeader) {
        self.cluster_id = header.cluster_id();
        self.raft_term = self.raft_term.max(header.raft_term());
    }
}

impl Supervisor {
    /// Watches from `position` on the chosen endpoint, tells every change, and leaves the position for the next round
    /// unless it has to list anew.
    pub(super) async fn follow(&mut self, position: Position) -> Result<Ended, Unsubscribed> {
        let mut position = position;
        let mut stream = match self.open(&mut position).await {
            Ok(stream) => stream,
            Err(ended) => return Ok(self.leave(ended, position)),
        };
        self.recovered().await?;
        self.reset().await?;
        self.registry.endpoints.prefer(self.endpoint);
        loop {
            let response = match self.receive(&mut stream).await {
                Ok(response) => response,
                Err(ended) => return Ok(self.leave(ended, position)),
            };
            if let Some(ended) = self.ended(&response) {
                return Ok(self.leave(ended, position));
            }
            let changes = changes(&response, &mut position);
            if !changes.is_empty() {
                let revision = position.revision;
                self.send(WatchEvent::Changes { revision, changes }).await?;
            }
        }
    }

    fn leave(&mut self, ended: Ended, position: Position) -> Ended {
        if matches!(ended, Ended::Failed(_)) {
            self.position = Some(position);
        }
        ended
    }

    /// Opens the stream and makes sure that it continues the history that the position belongs to.
    async fn open(&self, position: &mut Position) -> Result<WatchStream, Ended> {
        let limit = self.registry.endpoints.attempt_timeout();
        let work = async {
            let client = self.client().await?;
            let options = WatchOptions::new()
                .with_range(prefix_end(&self.prefix))
                .with_start_revision(position.start())
                .with_progress_notify()
                .with_fragment();
            let key = if self.prefix.is_empty() {
                vec![0]
            } else {
                self.prefix.clone()
            };
            let mut watch = client
                .watch_client()
                .max_decoding_message_size(ANSWER_LIMIT);
            let mut stream = self.ask(watch.watch(key, Some(options))).await?;
            let first = self
                .ask(stream.message())
                .await?
                .ok_or_else(|| self.broken("the watch ended at once"))?;
            if let Some(ended) = self.ended(&first) {
                return Err(ended);
            }
            if let Some(header) = first.header() {
                if position.is_suspicious(header) {
                    self.verify(client, position).await?;
                }
                position.remember(header);
            }
            Ok(stream)
        };
        // Boxed: the client's calls make futures of many kilobytes.
        match timeout(limit, Box::pin(work)).await {
            Ok(opened) => opened,
            Err(_) => {
                self.registry.endpoints.disconnect(self.endpoint);
                Err(self.broken(&format!("no answer within {} ms", limit.as_millis())))
            }
        }
    }

    /// Asks the member for what the majority knows: a member that merely lags behind catches up with the position, a
    /// store that was replaced or restored does not.
    async fn verify(&self, mut client: Client, position: &Position) -> Result<(), Ended> {
        let key = if self.prefix.is_empty() {
            vec![0]
        } else {
            self.prefix.clone()
        };
        let response = self.ask(client.get(key, None)).await?;
        match response.header() {
            Some(header) if !position.is_suspicious(header) => Ok(()),
            _ => Err(Ended::Relist("etcd was replaced or restored")),
        }
    }

    async fn client(&self) -> Result<Client, Ended> {
        self.ask(self.registry.endpoints.client(self.endpoint))
            .await
    }

    /// The next message; a silent stream is asked for a sign of life once before it is given up.
    async fn receive(&self, stream: &mut WatchStream) -> Result<WatchResponse, Ended> {
        let idle = self.registry.endpoints.settings().idle_limit;
        let mut asked = false;
        loop {
            match timeout(idle, stream.message()).await {
                Ok(Ok(Some(response))) => return Ok(response),
                Ok(Ok(None)) => return Err(self.broken("the watch was ended")),
                Ok(Err(error)) => return Err(self.refused(error)),
                Err(_) if asked => {
                    self.registry.endpoints.disconnect(self.endpoint);
                    return Err(self.broken(&format!("silent for {} ms", 2 * idle.as_millis())));
                }
                Err(_) => {
                    asked = true;
                    match timeout(idle, stream.request_progress()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(self.refused(error)),
                        Err(_) => return Err(self.broken("requests are no longer taken")),
                    }
                }
            }
        }
    }

    /// Whether the response ends the watch.
    fn ended(&self, response: &WatchResponse) -> Option<Ended> {
        if response.compact_revision() > 0 {
            return Some(Ended::Relist("etcd compacted the history"));
        }
        if !response.canceled() {
            return None;
        }
        let reason = response.cancel_reason();
        if reason.contains("permission denied") || reason.contains("PermissionDenied") {
            return Some(Ended::Failed(Error::Denied {
                endpoints: self.registry.endpoints.url(self.endpoint).to_owned(),
                cause: reason.to_owned(),
            }));
        }
        Some(self.broken(&format!("the watch was cancelled: {reason}")))
    }

    async fn ask<T>(&self, call: impl Future<Output = Result<T, ClientError>>) -> Result<T, Ended> {
        call.await.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: ClientError) -> Ended {
        match classify(self.registry.endpoints.url(self.endpoint), error) {
            Failed::Final(Error::Compacted { .. }) => Ended::Relist("etcd compacted the history"),
            Failed::Final(error) => Ended::Failed(error),
            Failed::Transient { cause, .. } => self.broken(&cause),
        }
    }

    fn broken(&self, cause: &str) -> Ended {
        let endpoints = &self.registry.endpoints;
        Ended::Failed(Error::Unavailable {
            endpoints: endpoints.names().to_owned(),
            cause: format!("{}: {cause}", endpoints.url(self.endpoint)),
        })
    }
}

/// The changes of a response that were not told before; moves the position.
fn changes(response: &WatchResponse, position: &mut Position) -> Vec<Change> {
    let mut changes = Vec::new();
    for event in response.events() {
        let Some(kv) = event.kv() else { continue };
        if !position.advance(kv.mod_revision(), kv.key()) {
            continue;
        }
        // A removal is the only event of a key with version 0; `event_type` panics on kinds it does not know.
        changes.push(if kv.version() == 0 {
            Change::Delete {
                key: kv.key().to_vec(),
                revision: kv.mod_revision(),
            }
        } else {
            Change::Put(Entry::from(kv))
        });
    }
    // Answers to our own progress requests carry no watch id and, before etcd 3.4.25, may overtake events; the
    // server's own notifications are sent in order.
    let notification =
        response.events().is_empty() && response.watch_id() >= 0 && !response.created();
    if let Some(header) = response.header() {
        position.remember(header);
        if notification {
            position.caught_up(header.revision());
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_in_pieces_is_told_once_and_whole() {
        let mut position = Position::after_listing(5);
        assert_eq!(position.start(), 6);
        assert!(!position.advance(5, b"old"), "part of the listing");
        assert!(position.advance(6, b"a"));
        // Interrupted here: the rest of revision 6 may be missing.
        assert_eq!(position.start(), 6);
        assert!(!position.advance(6, b"a"), "told before");
        assert!(position.advance(6, b"b"));
        assert!(position.advance(7, b"a"));
        assert!(!position.advance(6, b"c"), "older than what was told");
        position.caught_up(9);
        assert_eq!(position.start(), 10);
        position.caught_up(8);
        assert_eq!(position.start(), 10, "never backwards");
    }
}
