//! An etcd in memory for tests: transactions with compares, leases, watches with compaction, and faults on command.
//!
//! It is a stand-in for one etcd cluster, held to real etcd by `tests/conformance`, which runs every case against both.
//! Leases use tokio's clock, so a test that pauses it (`tokio::time::pause`) decides when they expire.

mod state;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::entry::{LeaseId, Listing, RegistryEntry};
use crate::event::{WatchEvent, timestamp_now};
use crate::lease::LeaseInfo;
use crate::read::MemberStatus;
use crate::storage::StorageStatus;
use crate::transact::{Transaction, TransactionOutcome};
use crate::{Error, EtcdSettings, Registry, Result};
use state::{LeaseState, NextEvent, StoreState, WriteFault};

/// The shortest time to live that etcd grants with its default election timeout, in seconds.
const MIN_LEASE_TTL: u64 = 2;
/// The endpoint that messages name.
pub(crate) const NAME: &str = "memory://etcd";

/// One connection to an etcd cluster in memory. Clones are the same connection; [`MemoryEtcd::connect`] opens another one to the same store.
#[derive(Clone)]
pub struct MemoryEtcd {
    state: Arc<Mutex<StoreState>>,
    /// Which connection this is; faults of the network concern one.
    connection: u64,
    /// Counts everything that a watch may have to react to.
    changed: Arc<watch::Sender<u64>>,
    grace: Duration,
    deadline: Duration,
    /// What [`MemoryEtcd::advance_to`] sets, if not tokio's clock is used.
    manual: Option<Arc<ManualTime>>,
}

/// A clock that stands still until it is set.
struct ManualTime {
    begin: Instant,
    elapsed_millis: AtomicU64,
}

impl Default for MemoryEtcd {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryEtcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryEtcd").finish_non_exhaustive()
    }
}

impl MemoryEtcd {
    /// An empty store at revision 1, as a fresh etcd cluster has it.
    #[must_use]
    pub fn new() -> Self {
        let settings = EtcdSettings::new([NAME.to_owned()]);
        Self {
            state: Arc::new(Mutex::new(StoreState {
                revision: 1,
                ..StoreState::default()
            })),
            connection: 0,
            changed: Arc::new(watch::Sender::new(0)),
            grace: settings.grace,
            deadline: settings.deadline,
            manual: None,
        }
    }

    /// An empty store with its own clock, which stands still until [`MemoryEtcd::advance_to`]: for clients on several runtimes,
    /// each of which has its own clock.
    #[must_use]
    pub fn with_manual_time() -> Self {
        let manual = ManualTime {
            begin: Instant::now(),
            elapsed_millis: AtomicU64::new(0),
        };
        Self {
            manual: Some(Arc::new(manual)),
            ..Self::new()
        }
    }

    /// Sets the clock of a store with manual time to `elapsed` after its beginning; leases expire accordingly.
    pub fn advance_to(&self, elapsed: Duration) {
        if let Some(manual) = &self.manual {
            let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            manual.elapsed_millis.fetch_max(millis, Ordering::Relaxed);
        }
        let before = self.state().revision;
        let after = self.lock().revision;
        if before != after {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn now(&self) -> Instant {
        match &self.manual {
            Some(manual) => {
                let elapsed = manual.elapsed_millis.load(Ordering::Relaxed);
                manual.begin + Duration::from_millis(elapsed)
            }
            None => Instant::now(),
        }
    }

    /// Sets how long an outage may last before a watch reports it.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Another connection to the same store, with its own faults.
    #[must_use]
    pub fn connect(&self) -> Self {
        let connection = self.update(|state| {
            state.connections += 1;
            state.connections
        });
        Self {
            connection,
            ..self.clone()
        }
    }

    /// The registry on this connection.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::in_memory(self.clone())
    }

    /// Makes every call on this connection fail and interrupts its watches, until [`MemoryEtcd::restore`].
    pub fn cut(&self) {
        self.update(|state| state.cut.insert(self.connection));
    }

    /// Ends what [`MemoryEtcd::cut`] began.
    pub fn restore(&self) {
        self.update(|state| state.cut.remove(&self.connection));
    }

    /// Makes the store unreachable on every connection, until [`MemoryEtcd::start`]. Its data stay.
    pub fn stop(&self) {
        self.update(|state| state.stopped = Some(self.now()));
    }

    /// Starts a stopped store again. As in etcd, every lease then has its whole time to live again.
    pub fn start(&self) {
        self.update(|state| {
            if state.stopped.take().is_some() {
                for lease in state.leases.values_mut() {
                    lease.expires_at = self.now() + lease.granted;
                }
            }
        });
    }

    /// Discards the history before the present revision.
    pub fn compact(&self) {
        self.update(|state| {
            state.compacted = state.revision;
            state.log.clear();
        });
    }

    /// Replaces the store by an empty one, as if etcd had lost its data.
    pub fn wipe(&self) {
        self.update(|state| {
            *state = StoreState {
                generation: state.generation + 1,
                revision: 1,
                connections: state.connections,
                cut: std::mem::take(&mut state.cut),
                ..StoreState::default()
            };
        });
    }

    /// Applies the next transaction and loses its response once, so that the client sends it again.
    pub fn lose_next_response(&self) {
        self.update(|state| state.write_fault = Some(WriteFault::ResponseLost));
    }

    /// Applies the next transaction and never confirms it.
    pub fn leave_next_write_unconfirmed(&self) {
        self.update(|state| state.write_fault = Some(WriteFault::Unconfirmed));
    }

    fn update<T>(&self, change: impl FnOnce(&mut StoreState) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    fn lock(&self) -> MutexGuard<'_, StoreState> {
        let mut state = self.state();
        state.expire_leases(self.now());
        state
    }

    fn state(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable() -> Error {
        Error::Unavailable {
            endpoints: NAME.to_owned(),
            cause: "the connection is cut".to_owned(),
        }
    }

    /// The state, for a call that needs an answer.
    fn available(&self) -> Result<MutexGuard<'_, StoreState>> {
        let state = self.lock();
        if state.is_cut(self.connection) {
            return Err(Self::unavailable());
        }
        Ok(state)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<(Option<RegistryEntry>, i64)> {
        let state = self.available()?;
        Ok((state.entries.get(key).cloned(), state.revision))
    }

    pub(crate) fn list(&self, prefix: &[u8]) -> Result<Listing> {
        let state = self.available()?;
        Ok(Listing {
            revision: state.revision,
            entries: state.list(prefix),
        })
    }

    pub(crate) fn status(&self) -> Result<MemberStatus> {
        let state = self.available()?;
        let size = |entry: &RegistryEntry| entry.key.len() + entry.value.len();
        Ok(MemberStatus {
            version: "3.5.0-memory".to_owned(),
            has_leader: true,
            db_size: state.entries.values().map(size).sum::<usize>() as u64,
        })
    }

    pub(crate) fn storage_status(&self) -> Result<StorageStatus> {
        let status = self.status()?;
        Ok(StorageStatus {
            version: status.version,
            alarms: Vec::new(),
            database_size: status.db_size,
            in_use: status.db_size,
            quota: None,
            revision: self.available()?.revision,
        })
    }

    pub(crate) fn ready(&self) -> Result<()> {
        self.available().map(drop)
    }

    /// The outcome, and whether an earlier attempt of the same call may have been applied.
    pub(crate) fn transact(&self, transaction: &Transaction) -> Result<(TransactionOutcome, bool)> {
        let mut state = self.available()?;
        let first = state.transact(transaction)?;
        let fault = state.write_fault.take();
        let result = match fault {
            None => Ok((first, false)),
            Some(WriteFault::ResponseLost) => Ok((state.transact(transaction)?, true)),
            Some(WriteFault::Unconfirmed) => Err(Error::Unconfirmed {
                endpoints: NAME.to_owned(),
                cause: format!("no answer within {} ms", self.deadline.as_millis()),
            }),
        };
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        result
    }

    pub(crate) fn grant(&self, id: LeaseId, ttl: Duration) -> Result<()> {
        let granted = Duration::from_secs(ttl.as_secs().max(MIN_LEASE_TTL));
        self.available()?.leases.insert(
            id,
            LeaseState {
                granted,
                expires_at: self.now() + granted,
                keys: BTreeSet::new(),
            },
        );
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    pub(crate) fn renew(&self, id: LeaseId) -> Result<bool> {
        let mut state = self.available()?;
        let Some(lease) = state.leases.get_mut(&id) else {
            return Ok(false);
        };
        lease.expires_at = self.now() + lease.granted;
        Ok(true)
    }

    pub(crate) fn revoke(&self, id: LeaseId) -> Result<()> {
        self.available()?.end_lease(id);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    pub(crate) fn lease_info(&self, id: LeaseId) -> Result<Option<LeaseInfo>> {
        let state = self.available()?;
        Ok(state.leases.get(&id).map(|lease| LeaseInfo {
            granted: lease.granted,
            // etcd answers in whole seconds.
            remaining: Duration::from_secs(
                lease
                    .expires_at
                    .saturating_duration_since(self.now())
                    .as_secs(),
            ),
        }))
    }

    /// Delivers the changes below `prefix` until the subscriber is gone.
    pub(crate) async fn watch(self, prefix: Vec<u8>, events: mpsc::Sender<WatchEvent>) {
        let mut changed = self.changed.subscribe();
        let mut position = None;
        let mut outage: Option<WatchOutage> = None;
        loop {
            changed.mark_unchanged();
            let (next, expiry) = {
                let state = self.lock();
                let next = if state.is_cut(self.connection) {
                    NextEvent::Unavailable
                } else {
                    state.next_event(&prefix, position)
                };
                // A clock that is set announces what it ends.
                let expiry = state.next_expiry().filter(|_| self.manual.is_none());
                (next, expiry)
            };
            let sent = match next {
                NextEvent::Unavailable => {
                    let outage = outage.get_or_insert_with(WatchOutage::begin);
                    let announce = Instant::now() >= outage.began + self.grace;
                    if announce && !outage.announced {
                        outage.announced = true;
                        position = None;
                        let since = outage.since;
                        let error = Self::unavailable();
                        events.send(WatchEvent::Unreachable { since, error }).await
                    } else {
                        let wake = (!outage.announced).then_some(outage.began + self.grace);
                        wait(&mut changed, wake).await;
                        Ok(())
                    }
                }
                next => {
                    let announced = outage.take().is_some_and(|outage| outage.announced);
                    let back = if announced {
                        events.send(WatchEvent::Reachable).await
                    } else {
                        Ok(())
                    };
                    match (back, next) {
                        (Ok(()), NextEvent::Event(at, Some(event))) => {
                            position = Some(at);
                            events.send(event).await
                        }
                        (Ok(()), NextEvent::Event(at, None)) => {
                            position = Some(at);
                            wait(&mut changed, expiry).await;
                            Ok(())
                        }
                        (back, _) => back,
                    }
                }
            };
            if sent.is_err() || events.is_closed() {
                return;
            }
        }
    }
}

/// Waits for a change, at most until `deadline`.
async fn wait(changed: &mut watch::Receiver<u64>, deadline: Option<Instant>) {
    // The caller holds the sender, so neither wait can fail.
    match deadline {
        Some(deadline) => drop(timeout_at(deadline, changed.changed()).await),
        None => drop(changed.changed().await),
    }
}

/// The present streak of failures of a watch.
struct WatchOutage {
    since: galera::Timestamp,
    began: Instant,
    announced: bool,
}

impl WatchOutage {
    fn begin() -> Self {
        Self {
            since: timestamp_now(),
            began: Instant::now(),
            announced: false,
        }
    }
}
