//! Leader election: one replica does the work that must be done once (recording the history, sending notifications).
//!
//! Invariant: leadership is compared, never assumed. Every write of a leader carries [`Term::fence`], so that etcd
//! refuses the write of a replica that was paused and has been replaced.

use std::sync::Arc;
use std::time::Duration;

use galera::ReplicaId;
use registry::{
    CreateOutcome, KeyMirror, Lease, Precondition, Registry, RegistryEntry, WatchEvent,
};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::keyspace;

/// How long a crashed leader blocks the election of another.
const TTL: Duration = Duration::from_secs(10);
/// Time between attempts while etcd does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// One replica's term as the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    key: Vec<u8>,
    revision: i64,
}

impl Term {
    /// The precondition of every write of this term: etcd refuses the write once the term is over.
    #[must_use]
    pub fn fence(&self) -> Precondition {
        Precondition::Unchanged(self.key.clone(), self.revision)
    }

    /// The revision at which the term began; later terms have higher ones.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }
}

/// This replica's term while it leads; notifies when a term begins or ends.
pub type Leadership = watch::Receiver<Option<Arc<Term>>>;

/// Campaigns under `state_prefix` as `replica`. The returned task runs until `shutdown`; it resigns then, or when the state
/// secret of `registry` is proven to be older than the one in use.
pub fn campaign(
    registry: Registry,
    state_prefix: &str,
    replica: ReplicaId,
    shutdown: CancellationToken,
) -> (Leadership, impl Future<Output = ()> + Send + use<>) {
    let (term_sender, leadership) = watch::channel(None);
    let candidate = Candidate {
        registry,
        key: keyspace::leader(state_prefix).into_bytes(),
        replica,
        term_sender,
    };
    (leadership, candidate.run(shutdown))
}

struct Candidate {
    registry: Registry,
    key: Vec<u8>,
    replica: ReplicaId,
    term_sender: watch::Sender<Option<Arc<Term>>>,
}

impl Candidate {
    async fn run(self, shutdown: CancellationToken) {
        let mut events = self.registry.watch(self.key.clone());
        let mut vacant = false;
        let mut led: Option<Lease> = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                // What it cannot write is left to another replica.
                () = wait_until_outdated(&self.registry) => break,
                event = events.next() => match event {
                    Some(event) => vacant = self.is_vacant(event).unwrap_or(vacant),
                    None => break,
                },
                () = wait_until_lost(&mut led) => led = None,
                // Retry after etcd did not answer.
                () = sleep(RETRY_INTERVAL), if vacant && led.is_none() => {}
            }
            if led.is_none() || self.is_deposed(vacant) {
                self.step_down();
                led = if vacant {
                    self.try_acquire().await
                } else {
                    None
                };
                vacant = vacant && led.is_none();
            }
        }
        self.step_down();
        if let Some(lease) = led
            && let Err(error) = lease.revoke().await
        {
            tracing::debug!(%error, "Could not resign; leadership will expire with its lease: {error}");
        }
        shutdown.cancelled().await;
    }

    fn step_down(&self) {
        self.term_sender
            .send_if_modified(|term| term.take().is_some());
    }

    /// Whether the key is gone although its lease lives: an operator deleted it.
    fn is_deposed(&self, vacant: bool) -> bool {
        vacant && self.term_sender.borrow().is_some()
    }

    /// Whether there is no leader after `event`; `None` if the event does not show it.
    fn is_vacant(&self, event: WatchEvent) -> Option<bool> {
        let term = self.term_sender.borrow();
        let mut mirror = LeaderKeyMirror {
            key: &self.key,
            own_revision: term.as_ref().map_or(0, |term| term.revision),
            vacant: None,
        };
        event.apply_to(&mut mirror);
        mirror.vacant
    }

    /// Becomes the leader unless another replica was faster.
    async fn try_acquire(&self) -> Option<Lease> {
        let lease = match self.registry.grant(TTL).await {
            Ok(lease) => lease,
            Err(error) => {
                tracing::debug!(%error, "Leader election failed; will retry: {error}");
                return None;
            }
        };
        // The lease makes the value unique to this attempt.
        let value = format!("{} {:x}", self.replica, lease.id());
        match self
            .registry
            .create(self.key.clone(), value, Some(lease.id()))
            .await
        {
            Ok(CreateOutcome::Created { revision }) => {
                tracing::info!(
                    replica = self.replica.as_str(),
                    revision,
                    "Elected as leader"
                );
                let term = Term {
                    key: self.key.clone(),
                    revision,
                };
                self.term_sender.send_replace(Some(Arc::new(term)));
                Some(lease)
            }
            Ok(CreateOutcome::Exists(_)) | Err(_) => {
                // If it cannot be revoked now, the lease expires on its own.
                let _ = lease.revoke().await;
                None
            }
        }
    }
}

struct LeaderKeyMirror<'a> {
    key: &'a [u8],
    own_revision: i64,
    vacant: Option<bool>,
}

impl KeyMirror for LeaderKeyMirror<'_> {
    fn clear(&mut self) {
        self.vacant = Some(true);
    }

    fn put(&mut self, entry: &RegistryEntry) {
        if entry.key == self.key {
            self.vacant = Some(false);
        }
    }

    fn delete(&mut self, key: &[u8], revision: i64) {
        // Not a deletion from an earlier term, delivered after ours began.
        if key == self.key && revision > self.own_revision {
            self.vacant = Some(true);
        }
    }
}

/// Waits until the state secret of this process is proven to be older than the one in use.
async fn wait_until_outdated(registry: &Registry) {
    let Some(mut outdated) = registry.watch_outdated_secret() else {
        return std::future::pending().await;
    };
    // It ends with the registry, which the caller holds.
    let _ = outdated.wait_for(Option::is_some).await;
}

/// Waits for the loss of the lease; forever when there is none.
async fn wait_until_lost(lease: &mut Option<Lease>) {
    match lease {
        Some(lease) => {
            let reason = lease.wait_until_lost().await;
            tracing::warn!(?reason, "Leadership lost: {reason}");
        }
        None => std::future::pending().await,
    }
}
