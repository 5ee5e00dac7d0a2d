//! A supervised subscription to a prefix: list, then watch from the next revision, and resume after every interruption.
//!
//! Invariants: after a [`WatchEvent::Reset`] every change arrives exactly once and in order; whenever that cannot be
//! promised (compaction, etcd replaced or restored, a long absence), another reset replaces everything.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::endpoints::Endpoints;
use crate::event::{WatchEvent, timestamp_now};
use crate::sealing::Sealing;
use crate::{Backend, Error, Listing, Registry};
use stream::{StreamEnd, WatchPosition};

/// Events that wait for a slow subscriber before etcd is slowed down.
const QUEUE: usize = 64;

/// A running subscription; dropping it ends it.
#[derive(Debug)]
pub struct WatchSubscription {
    events: mpsc::Receiver<WatchEvent>,
    /// Opens the records among the events, which are below the prefix.
    sealing: Option<(Arc<Sealing>, Vec<u8>)>,
    _stop: DropGuard,
}

impl WatchSubscription {
    /// The next event. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        let event = self.events.recv().await?;
        Some(match &self.sealing {
            Some((sealing, prefix)) => sealing.open_event(prefix, event),
            None => event,
        })
    }
}

impl Registry {
    /// Subscribes to everything under `prefix`. Never fails: an etcd that cannot be reached is an event.
    #[must_use]
    pub fn watch(&self, prefix: impl Into<Vec<u8>>) -> WatchSubscription {
        let (sender, events) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let prefix: Vec<u8> = prefix.into();
        let sealing = self
            .sealing
            .clone()
            .map(|sealing| (sealing, prefix.clone()));
        match &self.backend {
            Backend::Etcd(endpoints) => {
                let supervisor = WatchSupervisor {
                    // Records are opened by the subscription, once.
                    registry: self.unsealed(),
                    endpoints: Arc::clone(endpoints),
                    prefix,
                    events: sender,
                    position: None,
                    listing: None,
                    endpoint: endpoints.preferred(),
                    outage: None,
                    backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
                };
                TaskTracker::new().spawn(async move {
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        _ = supervisor.run() => {}
                    }
                });
            }
            #[cfg(feature = "memory")]
            Backend::Memory(store) => {
                let watch = store.clone().watch(prefix, sender);
                TaskTracker::new().spawn(async move {
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        () = watch => {}
                    }
                });
            }
        }
        WatchSubscription {
            events,
            sealing,
            _stop: stop.drop_guard(),
        }
    }
}

/// The subscriber is gone.
struct SubscriberGone;

/// The present streak of failures.
struct WatchOutage {
    since: Timestamp,
    started: Instant,
    attempts: usize,
    announced: bool,
}

struct WatchSupervisor {
    registry: Registry,
    endpoints: Arc<Endpoints>,
    prefix: Vec<u8>,
    events: mpsc::Sender<WatchEvent>,
    /// The revision up to which the subscriber is up to date; `None` makes the next round list again.
    position: Option<WatchPosition>,
    /// A listing that was not delivered yet.
    listing: Option<Listing>,
    /// The endpoint that the next stream uses.
    endpoint: usize,
    outage: Option<WatchOutage>,
    backoff: Backoff,
}

impl WatchSupervisor {
    async fn run(mut self) -> Result<(), SubscriberGone> {
        loop {
            match self.run_once().await? {
                StreamEnd::Relist(reason) => {
                    tracing::info!(
                        reason,
                        "Watch of {} starts over: {reason}",
                        self.prefix_text()
                    );
                    self.discard_position();
                }
                StreamEnd::Failed(error) => self.on_failure(error).await?,
            }
        }
    }

    /// Lists when needed, then watches until the stream ends.
    async fn run_once(&mut self) -> Result<StreamEnd, SubscriberGone> {
        let position = match self.position.take() {
            Some(position) => position,
            None => match self.registry.list(self.prefix.clone()).await {
                Ok(listing) => {
                    // Where the listing was answered, the stream is likely to work too.
                    self.endpoint = self.endpoints.preferred();
                    let position = WatchPosition::after_listing(listing.revision);
                    self.listing = Some(listing);
                    position
                }
                Err(error) => return Ok(StreamEnd::Failed(error)),
            },
        };
        self.follow(position).await
    }

    /// Delivers the listing once its stream is open: only both together keep the subscriber up to date.
    async fn send_reset(&mut self) -> Result<(), SubscriberGone> {
        match self.listing.take() {
            Some(Listing { revision, entries }) => {
                self.send(WatchEvent::Reset { revision, entries }).await
            }
            None => Ok(()),
        }
    }

    /// Discards the position, so that the next round lists again.
    fn discard_position(&mut self) {
        self.position = None;
        self.listing = None;
    }

    /// Ends the present streak of failures.
    async fn on_recovered(&mut self) -> Result<(), SubscriberGone> {
        self.backoff.reset();
        match self.outage.take() {
            Some(outage) if outage.announced => {
                tracing::info!("Watch of {}: etcd answers again", self.prefix_text());
                self.send(WatchEvent::Reachable).await
            }
            _ => Ok(()),
        }
    }

    /// Notes a failure, announces an outage that lasts, pauses, and moves on to the next endpoint.
    async fn on_failure(&mut self, error: Error) -> Result<(), SubscriberGone> {
        let endpoints = &self.endpoints;
        tracing::debug!(%error, endpoint = endpoints.url(self.endpoint), "Watch of {} interrupted", self.prefix_text());
        self.endpoint = (self.endpoint + 1) % endpoints.count();
        let (count, grace) = (endpoints.count(), endpoints.settings().grace);
        let outage = self.outage.get_or_insert_with(|| WatchOutage {
            since: timestamp_now(),
            started: Instant::now(),
            attempts: 0,
            announced: false,
        });
        outage.attempts += 1;
        let lasting = outage.started.elapsed() >= grace && outage.attempts >= count;
        let pause = outage.attempts >= count;
        if !outage.announced && (lasting || !error.is_transient()) {
            outage.announced = true;
            let since = outage.since;
            // Another etcd may have taken its place when it answers again.
            self.discard_position();
            tracing::warn!(%error, since = %since, "Watch of {}: etcd is unreachable: {error}", self.prefix_text());
            self.send(WatchEvent::Unreachable { since, error }).await?;
        }
        if pause {
            sleep(self.backoff.next_delay()).await;
        }
        Ok(())
    }

    async fn send(&self, event: WatchEvent) -> Result<(), SubscriberGone> {
        self.events.send(event).await.map_err(|_| SubscriberGone)
    }

    fn prefix_text(&self) -> String {
        String::from_utf8_lossy(&self.prefix).into_owned()
    }
}
