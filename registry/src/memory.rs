//! An etcd in memory for tests: transactions with compares, leases, watches with compaction, and faults on command.
//!
//! It is a stand-in for one etcd cluster, held to real etcd by `tests/conformance`, which runs every case against both.
//! Leases use tokio's clock, so a test that pauses it (`tokio::time::pause`) decides when they expire.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::entry::{LeaseId, Listing, RegistryEntry};
use crate::lease::LeaseInfo;
use crate::read::{MemberStatus, prefix_end};
use crate::transact::{Precondition, Transaction, TransactionOutcome, WriteOp};
use crate::watch::{KeyChange, WatchEvent, timestamp_now};
use crate::{Error, EtcdSettings, Registry, Result};

/// etcd's default limit of a request, in bytes.
const REQUEST_LIMIT: usize = 1_572_864;
/// etcd's default limit of the operations of a transaction.
const OPERATION_LIMIT: usize = 128;
/// The shortest time to live that etcd grants with its default election timeout, in seconds.
const MIN_LEASE_TTL: u64 = 2;
/// The endpoint that messages name.
pub(crate) const NAME: &str = "memory://etcd";

/// One connection to an etcd cluster in memory. Clones are the same connection; [`MemoryEtcd::connect`] opens another one to the same store.
#[derive(Clone)]
pub struct MemoryEtcd {
    state: Arc<Mutex<State>>,
    /// Which connection this is; faults of the network concern one.
    connection: u64,
    /// Counts everything that a watch may have to react to.
    changed: Arc<watch::Sender<u64>>,
    grace: Duration,
    deadline: Duration,
}

#[derive(Default)]
struct State {
    /// Replaced by [`MemoryEtcd::wipe`]; positions of another generation cannot be continued.
    generation: u64,
    revision: i64,
    entries: BTreeMap<Vec<u8>, RegistryEntry>,
    log: VecDeque<(i64, KeyChange)>,
    compacted: i64,
    leases: HashMap<LeaseId, LeaseState>,
    connections: u64,
    /// Since when no connection gets an answer.
    stopped: Option<Instant>,
    /// The connections that are cut.
    cut: HashSet<u64>,
    write_fault: Option<WriteFault>,
}

struct LeaseState {
    granted: Duration,
    expires_at: Instant,
    keys: BTreeSet<Vec<u8>>,
}

/// What happens to the response of the next transaction.
#[derive(Clone, Copy)]
enum WriteFault {
    /// It is lost once; the client repeats the request.
    ResponseLost,
    /// It is lost and the deadline passes.
    Unconfirmed,
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
            state: Arc::new(Mutex::new(State {
                revision: 1,
                ..State::default()
            })),
            connection: 0,
            changed: Arc::new(watch::Sender::new(0)),
            grace: settings.grace,
            deadline: settings.deadline,
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
        self.update(|state| state.stopped = Some(Instant::now()));
    }

    /// Starts a stopped store again. As in etcd, every lease then has its whole time to live again.
    pub fn start(&self) {
        self.update(|state| {
            if state.stopped.take().is_some() {
                for lease in state.leases.values_mut() {
                    lease.expires_at = Instant::now() + lease.granted;
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
            *state = State {
                generation: state.generation + 1,
                revision: 1,
                connections: state.connections,
                cut: std::mem::take(&mut state.cut),
                ..State::default()
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

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire_leases(Instant::now());
        state
    }

    fn unavailable() -> Error {
        Error::Unavailable {
            endpoints: NAME.to_owned(),
            cause: "the connection is cut".to_owned(),
        }
    }

    /// The state, for a call that needs an answer.
    fn available(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.is_cut(self.connection) {
            return Err(Self::unavailable());
        }
        Ok(state)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<RegistryEntry>> {
        Ok(self.available()?.entries.get(key).cloned())
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
                expires_at: Instant::now() + granted,
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
        lease.expires_at = Instant::now() + lease.granted;
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
                    .saturating_duration_since(Instant::now())
                    .as_secs(),
            ),
        }))
    }

    /// Delivers the changes below `prefix` until the subscriber is gone.
    pub(crate) async fn watch(self, prefix: Vec<u8>, events: mpsc::Sender<WatchEvent>) {
        let mut changed = self.changed.subscribe();
        let mut position = None;
        let mut outage: Option<Outage> = None;
        loop {
            changed.mark_unchanged();
            let (next, expiry) = {
                let state = self.lock();
                let next = if state.is_cut(self.connection) {
                    Next::Unavailable
                } else {
                    state.next_event(&prefix, position)
                };
                (next, state.next_expiry())
            };
            let sent = match next {
                Next::Unavailable => {
                    let outage = outage.get_or_insert_with(Outage::begin);
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
                        (Ok(()), Next::Event(at, Some(event))) => {
                            position = Some(at);
                            events.send(event).await
                        }
                        (Ok(()), Next::Event(at, None)) => {
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
struct Outage {
    since: galera::Timestamp,
    began: Instant,
    announced: bool,
}

impl Outage {
    fn begin() -> Self {
        Self {
            since: timestamp_now(),
            began: Instant::now(),
            announced: false,
        }
    }
}

/// The generation and revision up to which a watch has delivered everything.
type Position = (u64, i64);

enum Next {
    Unavailable,
    Event(Position, Option<WatchEvent>),
}

impl State {
    fn list(&self, prefix: &[u8]) -> Vec<RegistryEntry> {
        let end = prefix_end(prefix);
        let below = self.entries.range(prefix.to_vec()..);
        below
            .take_while(|(key, _)| end == [0] || **key < end)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    fn next_event(&self, prefix: &[u8], position: Option<Position>) -> Next {
        let present = (self.generation, self.revision);
        let from = match position {
            Some((generation, revision))
                // A watch from a compacted revision is refused; one that has everything is not affected.
                if generation == self.generation
                    && (revision == self.revision || revision + 1 >= self.compacted) =>
            {
                revision
            }
            _ => {
                let entries = self.list(prefix);
                let revision = self.revision;
                return Next::Event(present, Some(WatchEvent::Reset { revision, entries }));
            }
        };
        let Some(revision) = self
            .log
            .iter()
            .find(|(revision, change)| *revision > from && change.key().starts_with(prefix))
            .map(|(revision, _)| *revision)
        else {
            return Next::Event(present, None);
        };
        let changes = self
            .log
            .iter()
            .filter(|(at, change)| *at == revision && change.key().starts_with(prefix))
            .map(|(_, change)| change.clone())
            .collect();
        Next::Event(
            (self.generation, revision),
            Some(WatchEvent::Changes { revision, changes }),
        )
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.expires_at).min()
    }

    fn is_cut(&self, connection: u64) -> bool {
        self.stopped.is_some() || self.cut.contains(&connection)
    }

    fn expire_leases(&mut self, now: Instant) {
        // A stopped etcd ends no lease.
        if self.stopped.is_some() {
            return;
        }
        let mut expired: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_at <= now)
            .map(|(id, lease)| (lease.expires_at, *id))
            .collect();
        expired.sort();
        for (_, id) in expired {
            self.end_lease(id);
        }
    }

    /// Removes the lease and, at one revision, the keys under it.
    fn end_lease(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.remove(&id) else {
            return;
        };
        let revision = self.revision + 1;
        for key in &lease.keys {
            self.delete(key, revision);
        }
        if !lease.keys.is_empty() {
            self.revision = revision;
        }
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<TransactionOutcome> {
        Self::check(transaction)?;
        let holds = transaction
            .preconditions()
            .iter()
            .all(|precondition| self.holds(precondition));
        let writes = if holds {
            transaction.writes()
        } else {
            transaction.otherwise_writes()
        };
        // Only the branch that is taken needs its leases.
        for write in writes {
            if let WriteOp::Put {
                lease: Some(id), ..
            } = write
                && !self.leases.contains_key(id)
            {
                return Err(Error::LeaseGone { id: *id });
            }
        }
        let revision = self.revision + 1;
        let mut changed = false;
        for write in writes {
            changed |= self.write(write, revision);
        }
        if changed {
            self.revision = revision;
        }
        let revision = self.revision;
        if holds {
            return Ok(TransactionOutcome::Committed { revision });
        }
        let keys = transaction.keys();
        let current = keys
            .iter()
            .filter_map(|key| self.entries.get(key).cloned())
            .collect();
        Ok(TransactionOutcome::Refused { revision, current })
    }

    /// Checks that etcd makes before it compares the preconditions.
    fn check(transaction: &Transaction) -> Result<()> {
        let branches = [transaction.writes(), transaction.otherwise_writes()];
        let reads = transaction.keys().len();
        let counts = [
            branches[0].len(),
            branches[1].len() + reads,
            transaction.preconditions().len(),
        ];
        let refused = |cause: &str| {
            Err(Error::Invalid(format!(
                "etcd at {NAME} refused the request: {cause}"
            )))
        };
        if counts.into_iter().any(|count| count > OPERATION_LIMIT) {
            return refused("too many operations in txn request");
        }
        let mut size = 0;
        for writes in branches {
            let mut seen = BTreeSet::new();
            for write in writes {
                if let WriteOp::Put { key, value, .. } = write {
                    size += key.len() + value.len();
                    if key.is_empty() {
                        return refused("key is not provided");
                    }
                    if !seen.insert(key) {
                        return refused("duplicate key given in txn request");
                    }
                }
            }
        }
        if size > REQUEST_LIMIT {
            return Err(Error::TooLarge {
                endpoints: NAME.to_owned(),
                cause: "request is too large".to_owned(),
            });
        }
        Ok(())
    }

    fn holds(&self, precondition: &Precondition) -> bool {
        match precondition {
            Precondition::Absent(key) => !self.entries.contains_key(key),
            Precondition::Exists(key) => self.entries.contains_key(key),
            Precondition::Unchanged(key, revision) => {
                // As in etcd, the revision of an absent key is 0.
                self.entries.get(key).map_or(0, |entry| entry.mod_revision) == *revision
            }
            Precondition::Leased(key, lease) => {
                self.entries.get(key).map_or(0, |entry| entry.lease) == *lease
            }
        }
    }

    /// Applies one write; whether anything changed.
    fn write(&mut self, write: &WriteOp, revision: i64) -> bool {
        match write {
            WriteOp::Put { key, value, lease } => {
                self.put(key, value, lease.unwrap_or(0), revision);
                true
            }
            WriteOp::Delete(key) => self.delete(key, revision),
            WriteOp::DeleteRange { first, last } => {
                let keys: Vec<_> = self
                    .entries
                    .range(first.clone()..=last.clone())
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in &keys {
                    self.delete(key, revision);
                }
                !keys.is_empty()
            }
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], lease: LeaseId, revision: i64) {
        let former = self.entries.get(key);
        let entry = RegistryEntry {
            key: key.to_vec(),
            value: value.to_vec(),
            create_revision: former.map_or(revision, |entry| entry.create_revision),
            mod_revision: revision,
            version: former.map_or(1, |entry| entry.version + 1),
            lease,
        };
        if let Some(former) = former.map(|entry| entry.lease).filter(|id| *id != lease)
            && let Some(former) = self.leases.get_mut(&former)
        {
            former.keys.remove(key);
        }
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(key.to_vec());
        }
        self.log
            .push_back((revision, KeyChange::Put(entry.clone())));
        self.entries.insert(key.to_vec(), entry);
    }

    fn delete(&mut self, key: &[u8], revision: i64) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        if let Some(lease) = self.leases.get_mut(&entry.lease) {
            lease.keys.remove(key);
        }
        self.log.push_back((
            revision,
            KeyChange::Delete {
                key: key.to_vec(),
                revision,
            },
        ));
        true
    }
}
