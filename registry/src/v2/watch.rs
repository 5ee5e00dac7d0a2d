//! A supervised subscription to a directory of etcd's v2 keys: list, wait for a change, list again.
//!
//! A wait only says that something changed. What it was comes from the next listing, because writes that refresh a time to
//! live, and directories that expire with what they hold, are not reported key by key, and etcd keeps 1,000 events only.

use std::time::Duration;

use galera::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{V2Error, V2Listing, V2Read, V2Registry};
use crate::backoff::Backoff;
use crate::event::timestamp_now;

/// Listings that wait for a slow subscriber.
const QUEUE: usize = 2;
/// Shortest time between two listings: whatever writes to etcd, it is asked no more often.
const LISTING_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which the keys are listed although no change was reported, which also proves that etcd answers.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks at an etcd without the v2 API.
const DISABLED_INTERVAL: Duration = Duration::from_secs(60);

/// What a subscription reports.
#[derive(Clone, Debug)]
pub enum V2Event {
    /// Every key; replaces what was known.
    Listing(V2Listing),
    /// etcd runs without the v2 API.
    Disabled,
    /// The keys could not be read for the grace period. Sent once per outage; the next event ends it.
    Unreadable {
        /// Since when.
        since: Timestamp,
        /// What the last attempt met.
        error: V2Error,
    },
}

/// A running subscription; dropping it ends it.
#[derive(Debug)]
pub struct V2Subscription {
    events: mpsc::Receiver<V2Event>,
    _stop: DropGuard,
}

impl V2Subscription {
    /// The next event. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Option<V2Event> {
        self.events.recv().await
    }
}

impl V2Registry {
    /// Subscribes to everything below the directory `prefix`. Never fails: keys that cannot be read are an event.
    #[must_use]
    pub fn watch(&self, prefix: &str) -> V2Subscription {
        let (sender, events) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (registry, prefix) = (self.clone(), prefix.to_owned());
        TaskTracker::new().spawn(async move {
            stopped
                .run_until_cancelled(follow(&registry, &prefix, &sender))
                .await
        });
        V2Subscription {
            events,
            _stop: stop.drop_guard(),
        }
    }
}

/// Sends events until the subscriber is gone.
async fn follow(registry: &V2Registry, prefix: &str, events: &mpsc::Sender<V2Event>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut failing: Option<(Timestamp, Instant)> = None;
    let mut announced = false;
    loop {
        let next_listing = Instant::now() + LISTING_INTERVAL;
        let error = match registry.list(prefix).await {
            Ok(V2Read::Listing(listing)) => {
                (failing, announced) = (None, false);
                backoff.reset();
                let index = listing.index;
                if events.send(V2Event::Listing(listing)).await.is_err() {
                    return;
                }
                // Whatever ends the wait, also an error: the next listing shows what there is.
                let ended = registry.wait(prefix, index, IDLE_LIMIT).await;
                tracing::trace!(?ended, prefix, "Wait for v2 keys ended");
                sleep_until(next_listing).await;
                continue;
            }
            Ok(V2Read::Disabled) => {
                (failing, announced) = (None, false);
                if events.send(V2Event::Disabled).await.is_err() {
                    return;
                }
                sleep(DISABLED_INTERVAL).await;
                continue;
            }
            Err(error) => error,
        };
        let (since, started) = *failing.get_or_insert_with(|| (timestamp_now(), Instant::now()));
        if !announced && started.elapsed() >= registry.client.grace() {
            announced = true;
            let event = V2Event::Unreadable { since, error };
            if events.send(event).await.is_err() {
                return;
            }
        }
        sleep(backoff.next_delay()).await;
    }
}
