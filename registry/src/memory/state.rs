//! The contents of the store: entries, history and leases, changed by transactions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::NAME;
use crate::entry::{LeaseId, RegistryEntry};
use crate::event::{KeyChange, WatchEvent};
use crate::read::prefix_end;
use crate::transact::{Precondition, Transaction, TransactionOutcome, WriteOp};
use crate::{Error, Result};

/// etcd's default limit of a request, in bytes.
const REQUEST_LIMIT: usize = 1_572_864;
/// etcd's default limit of the operations of a transaction.
const OPERATION_LIMIT: usize = 128;

#[derive(Default)]
pub(super) struct StoreState {
    /// Replaced by `MemoryEtcd::wipe`; positions of another generation cannot be continued.
    pub(super) generation: u64,
    pub(super) revision: i64,
    pub(super) entries: BTreeMap<Vec<u8>, RegistryEntry>,
    pub(super) log: VecDeque<(i64, KeyChange)>,
    pub(super) compacted: i64,
    pub(super) leases: HashMap<LeaseId, LeaseState>,
    pub(super) connections: u64,
    /// Since when no connection gets an answer.
    pub(super) stopped: Option<Instant>,
    /// The connections that are cut.
    pub(super) cut: HashSet<u64>,
    pub(super) write_fault: Option<WriteFault>,
}

pub(super) struct LeaseState {
    pub(super) granted: Duration,
    pub(super) expires_at: Instant,
    pub(super) keys: BTreeSet<Vec<u8>>,
}

/// What happens to the response of the next transaction.
#[derive(Clone, Copy)]
pub(super) enum WriteFault {
    /// It is lost once; the client repeats the request.
    ResponseLost,
    /// It is lost and the deadline passes.
    Unconfirmed,
}

/// The generation and revision up to which a watch has delivered everything.
pub(super) type StorePosition = (u64, i64);

pub(super) enum NextEvent {
    Unavailable,
    Event(StorePosition, Option<WatchEvent>),
}

impl StoreState {
    pub(super) fn list(&self, prefix: &[u8]) -> Vec<RegistryEntry> {
        let end = prefix_end(prefix);
        let below = self.entries.range(prefix.to_vec()..);
        below
            .take_while(|(key, _)| end == [0] || **key < end)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    pub(super) fn next_event(&self, prefix: &[u8], position: Option<StorePosition>) -> NextEvent {
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
                return NextEvent::Event(present, Some(WatchEvent::Reset { revision, entries }));
            }
        };
        let Some(revision) = self
            .log
            .iter()
            .find(|(revision, change)| *revision > from && change.key().starts_with(prefix))
            .map(|(revision, _)| *revision)
        else {
            return NextEvent::Event(present, None);
        };
        let changes = self
            .log
            .iter()
            .filter(|(at, change)| *at == revision && change.key().starts_with(prefix))
            .map(|(_, change)| change.clone())
            .collect();
        NextEvent::Event(
            (self.generation, revision),
            Some(WatchEvent::Changes { revision, changes }),
        )
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.expires_at).min()
    }

    pub(super) fn is_cut(&self, connection: u64) -> bool {
        self.stopped.is_some() || self.cut.contains(&connection)
    }

    pub(super) fn expire_leases(&mut self, now: Instant) {
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
    pub(super) fn end_lease(&mut self, id: LeaseId) {
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

    pub(super) fn transact(&mut self, transaction: &Transaction) -> Result<TransactionOutcome> {
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
