//! One watch stream on one endpoint, from its creation to its end, and the position it leaves behind.

use std::collections::HashSet;

use etcd_client::{
    Client, Error as ClientError, ResponseHeader, WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::{Instant, timeout};

use super::{SubscriberGone, WatchSupervisor};
use crate::Error;
use crate::entry::RegistryEntry;
use crate::error::AttemptError;
use crate::event::{KeyChange, WatchEvent};
use crate::read::{RESPONSE_LIMIT, prefix_end};

/// Why a stream ended.
pub(super) enum StreamEnd {
    /// Its history cannot be continued: list again.
    Relist(&'static str),
    /// It broke; it may be resumed elsewhere.
    Failed(Error),
}

/// The revision up to which the subscriber is up to date.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchPosition {
    revision: i64,
    /// Keys whose change at `revision` was already delivered; a large transaction may arrive in pieces, so until a later
    /// revision is seen the last one may not be complete.
    delivered: HashSet<Vec<u8>>,
    complete: bool,
    cluster_id: u64,
    raft_term: u64,
}

impl WatchPosition {
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

    /// Records a change; `false` if it was delivered before.
    fn advance(&mut self, revision: i64, key: &[u8]) -> bool {
        if revision < self.revision || (revision == self.revision && self.complete) {
            return false;
        }
        if revision > self.revision {
            self.revision = revision;
            self.complete = false;
            self.delivered.clear();
        }
        self.delivered.insert(key.to_vec())
    }

    /// Records that everything up to `revision` was delivered.
    fn caught_up(&mut self, revision: i64) {
        if revision >= self.revision {
            self.revision = revision;
            self.complete = true;
            self.delivered.clear();
        }
    }

    /// Whether the store with this header may be another one than the store of this position.
    fn is_suspicious(&self, header: &ResponseHeader) -> bool {
        header.revision() < self.revision
            || header.raft_term() < self.raft_term
            || (self.cluster_id != 0 && header.cluster_id() != self.cluster_id)
    }

    fn record_header(&mut self, header: &ResponseHeader) {
        self.cluster_id = header.cluster_id();
        self.raft_term = self.raft_term.max(header.raft_term());
    }
}

impl WatchSupervisor {
    /// Watches from `position` on the selected endpoint and delivers every change. Saves the position for the next round,
    /// unless that has to list again.
    pub(super) async fn follow(
        &mut self,
        position: WatchPosition,
    ) -> Result<StreamEnd, SubscriberGone> {
        let mut position = position;
        let (mut stream, connection) = match self.open(&mut position).await {
            Ok(opened) => opened,
            Err(ended) => return Ok(self.save_position(ended, position)),
        };
        self.on_recovered().await?;
        self.send_reset().await?;
        self.endpoints.set_preferred(self.endpoint);
        loop {
            let response = match self.receive(&mut stream, connection).await {
                Ok(response) => response,
                Err(ended) => return Ok(self.save_position(ended, position)),
            };
            if let Some(ended) = self.stream_end_in(&response) {
                return Ok(self.save_position(ended, position));
            }
            let changes = new_changes(&response, &mut position);
            if !changes.is_empty() {
                let revision = position.revision;
                self.send(WatchEvent::Changes { revision, changes }).await?;
            }
        }
    }

    fn save_position(&mut self, ended: StreamEnd, position: WatchPosition) -> StreamEnd {
        if matches!(ended, StreamEnd::Failed(_)) {
            self.position = Some(position);
        }
        ended
    }

    /// Opens the stream and makes sure that it continues the history that the position belongs to. Also returns the number
    /// of its connection.
    async fn open(&self, position: &mut WatchPosition) -> Result<(WatchStream, u64), StreamEnd> {
        let limit = self.endpoints.attempt_timeout();
        let begun = Instant::now();
        let connection = match timeout(limit, self.endpoints.connection(self.endpoint)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(self.stream_end_for_attempt(error)),
            Err(_) => {
                let cause = format!("no connection within {} ms", limit.as_millis());
                return Err(self.unavailable(&cause));
            }
        };
        let number = connection.number;
        let work = async {
            let client = connection.client;
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
                .max_decoding_message_size(RESPONSE_LIMIT);
            let mut stream = self.call(watch.watch(key, Some(options))).await?;
            let first = self
                .call(stream.message())
                .await?
                .ok_or_else(|| self.unavailable("the watch ended immediately"))?;
            if let Some(ended) = self.stream_end_in(&first) {
                return Err(ended);
            }
            if let Some(header) = first.header() {
                if position.is_suspicious(header) {
                    self.verify(client, position).await?;
                }
                position.record_header(header);
            }
            Ok(stream)
        };
        // Boxed: the client's calls make futures of many kilobytes.
        match timeout(limit, Box::pin(work)).await {
            Ok(opened) => opened.map(|stream| (stream, number)),
            Err(_) => {
                self.endpoints
                    .give_up_if_silent(self.endpoint, number, begun);
                Err(self.unavailable(&format!("no answer within {} ms", limit.as_millis())))
            }
        }
    }

    /// Reads linearizably from the member: one that merely lags behind catches up with the position, a
    /// store that was replaced or restored does not.
    async fn verify(&self, mut client: Client, position: &WatchPosition) -> Result<(), StreamEnd> {
        let key = if self.prefix.is_empty() {
            vec![0]
        } else {
            self.prefix.clone()
        };
        let response = self.call(client.get(key, None)).await?;
        match response.header() {
            Some(header) if !position.is_suspicious(header) => Ok(()),
            _ => Err(StreamEnd::Relist("etcd was replaced or restored")),
        }
    }

    /// The next message. A silent stream gets one progress request before it is closed.
    async fn receive(
        &self,
        stream: &mut WatchStream,
        connection: u64,
    ) -> Result<WatchResponse, StreamEnd> {
        let idle = self.endpoints.settings().idle_limit;
        let mut asked = false;
        let begun = Instant::now();
        loop {
            match timeout(idle, stream.message()).await {
                Ok(Ok(Some(response))) => {
                    self.endpoints.record_answer(self.endpoint);
                    return Ok(response);
                }
                Ok(Ok(None)) => return Err(self.unavailable("the watch was ended")),
                Ok(Err(error)) => return Err(self.stream_end_for(error)),
                Err(_) if asked => {
                    self.endpoints
                        .give_up_if_silent(self.endpoint, connection, begun);
                    return Err(
                        self.unavailable(&format!("silent for {} ms", 2 * idle.as_millis()))
                    );
                }
                Err(_) => {
                    asked = true;
                    match timeout(idle, stream.request_progress()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(self.stream_end_for(error)),
                        Err(_) => return Err(self.unavailable("requests are no longer taken")),
                    }
                }
            }
        }
    }

    /// Whether the response ends the watch.
    fn stream_end_in(&self, response: &WatchResponse) -> Option<StreamEnd> {
        if response.compact_revision() > 0 {
            return Some(StreamEnd::Relist("etcd compacted the history"));
        }
        if !response.canceled() {
            return None;
        }
        let reason = response.cancel_reason();
        if reason.contains("permission denied") || reason.contains("PermissionDenied") {
            let refusal = Error::Denied {
                endpoints: self.endpoints.url(self.endpoint).to_owned(),
                cause: reason.to_owned(),
            };
            return Some(StreamEnd::Failed(
                refusal.naming([("read", self.prefix.as_slice())]),
            ));
        }
        Some(self.unavailable(&format!("the watch was cancelled: {reason}")))
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, StreamEnd> {
        call.await.map_err(|error| self.stream_end_for(error))
    }

    fn stream_end_for(&self, error: ClientError) -> StreamEnd {
        self.stream_end_for_attempt(self.endpoints.classify(self.endpoint, error))
    }

    fn stream_end_for_attempt(&self, error: AttemptError) -> StreamEnd {
        match error {
            AttemptError::Permanent(Error::Compacted { .. }) => {
                StreamEnd::Relist("etcd compacted the history")
            }
            AttemptError::Permanent(error) => {
                StreamEnd::Failed(error.naming([("read", self.prefix.as_slice())]))
            }
            AttemptError::Transient { cause, .. } => self.unavailable(&cause),
        }
    }

    fn unavailable(&self, cause: &str) -> StreamEnd {
        let endpoints = &self.endpoints;
        StreamEnd::Failed(Error::Unavailable {
            endpoints: endpoints.joined_urls().to_owned(),
            cause: format!("{}: {cause}", endpoints.url(self.endpoint)),
        })
    }
}

/// The changes of a response that were not delivered before; advances the position.
fn new_changes(response: &WatchResponse, position: &mut WatchPosition) -> Vec<KeyChange> {
    let mut changes = Vec::new();
    for event in response.events() {
        let Some(kv) = event.kv() else { continue };
        if !position.advance(kv.mod_revision(), kv.key()) {
            continue;
        }
        // A removal is the only event of a key with version 0; `event_type` panics on kinds it does not know.
        changes.push(if kv.version() == 0 {
            KeyChange::Delete {
                key: kv.key().to_vec(),
                revision: kv.mod_revision(),
            }
        } else {
            KeyChange::Put(RegistryEntry::from(kv))
        });
    }
    // Responses to progress requests carry no watch id and, before etcd 3.4.25, may overtake events; the
    // server's own notifications are sent in order.
    let notification =
        response.events().is_empty() && response.watch_id() >= 0 && !response.created();
    if let Some(header) = response.header() {
        position.record_header(header);
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
    fn a_transaction_in_pieces_is_delivered_once_and_whole() {
        let mut position = WatchPosition::after_listing(5);
        assert_eq!(position.start(), 6);
        assert!(!position.advance(5, b"old"), "part of the listing");
        assert!(position.advance(6, b"a"));
        // Interrupted here: the rest of revision 6 may be missing.
        assert_eq!(position.start(), 6);
        assert!(!position.advance(6, b"a"), "delivered before");
        assert!(position.advance(6, b"b"));
        assert!(position.advance(7, b"a"));
        assert!(!position.advance(6, b"c"), "older than what was delivered");
        position.caught_up(9);
        assert_eq!(position.start(), 10);
        position.caught_up(8);
        assert_eq!(position.start(), 10, "never backwards");
    }
}
