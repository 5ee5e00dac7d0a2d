//! Writes with preconditions: a transaction is applied at one revision as a whole, or not at all.

use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse,
    TxnResponse,
};

use crate::endpoints::{CallKind, CallResponse, Endpoints};
use crate::entry::{LeaseId, RegistryEntry};
use crate::read::RESPONSE_LIMIT;
use crate::spans::in_etcd_call;
use crate::{Backend, Error, Registry, Result};

/// A condition that is compared in the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key does not exist.
    Absent(Vec<u8>),
    /// The key exists: the fence of a lock, whose key vanishes with its lease.
    Exists(Vec<u8>),
    /// The key was last changed at this revision.
    Unchanged(Vec<u8>, i64),
    /// The key is attached to this lease; 0 for no lease.
    Leased(Vec<u8>, LeaseId),
}

impl Precondition {
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Self::Absent(key)
            | Self::Exists(key)
            | Self::Unchanged(key, _)
            | Self::Leased(key, _) => key,
        }
    }

    fn to_compare(&self) -> Compare {
        match self {
            Self::Absent(key) => Compare::create_revision(key.clone(), CompareOp::Equal, 0),
            Self::Exists(key) => Compare::create_revision(key.clone(), CompareOp::Greater, 0),
            Self::Unchanged(key, revision) => {
                Compare::mod_revision(key.clone(), CompareOp::Equal, *revision)
            }
            Self::Leased(key, lease) => Compare::lease(key.clone(), CompareOp::Equal, *lease),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// Sets the key, under a lease or durable.
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        /// The lease it is attached to; `None` for durable.
        lease: Option<LeaseId>,
    },
    /// Removes the key when it exists.
    Delete(Vec<u8>),
    /// Removes every key from the first to the last; made by [`WriteOp::delete_numbered`] only.
    DeleteRange {
        /// The first key.
        first: Vec<u8>,
        /// The last one.
        last: Vec<u8>,
    },
}

/// The key of the entry `number` in `folder`; in etcd's order of keys numbers are in order.
#[must_use]
pub fn numbered_key(folder: &str, number: u64) -> String {
    format!("{folder}{number:020}")
}

impl WriteOp {
    /// Sets `key` to `value`.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: Option<LeaseId>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease,
        }
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::Delete(key.into())
    }

    /// Removes the entries `numbers` of `folder` (see [`numbered_key`]) in one go: etcd counts it as one operation of a
    /// transaction. Keys that are not numbered entries are not deleted.
    #[must_use]
    pub fn delete_numbered(folder: &str, numbers: std::ops::RangeInclusive<u64>) -> Self {
        Self::DeleteRange {
            first: numbered_key(folder, *numbers.start()).into_bytes(),
            last: numbered_key(folder, *numbers.end()).into_bytes(),
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete(key) | Self::DeleteRange { first: key, .. } => key,
        }
    }

    fn to_txn_op(&self) -> TxnOp {
        match self {
            Self::Put { key, value, lease } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease));
                TxnOp::put(key.clone(), value.clone(), options)
            }
            Self::Delete(key) => TxnOp::delete(key.clone(), None),
            Self::DeleteRange { first, last } => {
                let mut end = last.clone();
                end.push(0);
                let options = DeleteOptions::new().with_range(end);
                TxnOp::delete(first.clone(), Some(options))
            }
        }
    }

    /// Whether `entry` is what this write leaves behind.
    fn is_reflected_in(&self, entry: Option<&RegistryEntry>) -> bool {
        match (self, entry) {
            (Self::Put { value, lease, .. }, Some(entry)) => {
                entry.value == *value && entry.lease == lease.unwrap_or(0)
            }
            (Self::Delete(_) | Self::DeleteRange { .. }, None) => true,
            _ => false,
        }
    }
}

/// Preconditions, the writes if all of them hold, and the writes if one does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    preconditions: Vec<Precondition>,
    writes: Vec<WriteOp>,
    otherwise: Vec<WriteOp>,
}

impl Transaction {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a precondition; all of them must hold.
    #[must_use]
    pub fn when(mut self, guard: Precondition) -> Self {
        self.preconditions.push(guard);
        self
    }

    /// Adds writes for the case that every precondition holds.
    #[must_use]
    pub fn then(mut self, writes: impl IntoIterator<Item = WriteOp>) -> Self {
        self.writes.extend(writes);
        self
    }

    /// Adds writes for the case that a precondition does not hold. A transaction with any must be idempotent.
    #[must_use]
    pub fn otherwise(mut self, writes: impl IntoIterator<Item = WriteOp>) -> Self {
        self.otherwise.extend(writes);
        self
    }

    pub(crate) fn preconditions(&self) -> &[Precondition] {
        &self.preconditions
    }

    pub(crate) fn writes(&self) -> &[WriteOp] {
        &self.writes
    }

    pub(crate) fn otherwise_writes(&self) -> &[WriteOp] {
        &self.otherwise
    }

    /// The writes of both cases.
    pub(crate) fn all_writes(&self) -> impl Iterator<Item = &WriteOp> {
        self.writes.iter().chain(&self.otherwise)
    }

    /// The keys whose present state a refusal reports.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let named = self
            .preconditions
            .iter()
            .map(Precondition::key)
            .chain(self.writes.iter().map(WriteOp::key));
        for key in named {
            if !keys.iter().any(|known| known == key) {
                keys.push(key.to_vec());
            }
        }
        keys
    }

    fn to_txn(&self) -> Txn {
        let reads = self
            .keys()
            .into_iter()
            .map(|key| TxnOp::get(key, Some(GetOptions::new())));
        let otherwise = self.otherwise.iter().map(WriteOp::to_txn_op);
        Txn::new()
            .when(
                self.preconditions
                    .iter()
                    .map(Precondition::to_compare)
                    .collect::<Vec<_>>(),
            )
            .and_then(
                self.writes
                    .iter()
                    .map(WriteOp::to_txn_op)
                    .collect::<Vec<_>>(),
            )
            .or_else(otherwise.chain(reads).collect::<Vec<_>>())
    }

    /// The revision of an earlier attempt of this transaction, if `current` is exactly its result.
    fn already_applied(&self, current: &[RegistryEntry]) -> Option<i64> {
        let find = |key: &[u8]| current.iter().find(|entry| entry.key == key);
        let done = self
            .writes
            .iter()
            .all(|write| write.is_reflected_in(find(write.key())));
        let mut revisions = self
            .writes
            .iter()
            .filter_map(|write| find(write.key()))
            .map(|entry| entry.mod_revision);
        let first = revisions.next().unwrap_or(0);
        (done && revisions.all(|revision| revision == first)).then_some(first)
    }
}

/// The outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Every guard held and the writes happened at this revision.
    Committed {
        /// The revision of the writes; 0 when only deletions were left to confirm.
        revision: i64,
    },
    /// A precondition did not hold: none of the writes was applied, only those of [`Transaction::otherwise`].
    Refused {
        /// The revision at which the guards were compared (or the other writes happened).
        revision: i64,
        /// The keys of the guards and writes as they are now; a key that is absent is missing here.
        current: Vec<RegistryEntry>,
    },
}

/// The outcome of [`Registry::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// This call created the key.
    Created {
        /// The revision of the creation.
        revision: i64,
    },
    /// The key exists.
    Exists(RegistryEntry),
}

impl Registry {
    /// Carries out `transaction`: all of it at one revision.
    ///
    /// A lost answer is repeated on another endpoint, which is harmless because the guards are compared again; when
    /// they no longer hold and the keys hold exactly what was to be written, our own first attempt did it. So a value
    /// that decides who won must be unique to its writer (a name, a lease).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nothing happened, [`Error::Unconfirmed`] when it may have, [`Error::LeaseGone`],
    /// [`Error::TooLarge`], [`Error::NoSpace`], [`Error::Denied`]; [`Error::Tampered`] when a compared record was changed
    /// outside the console.
    pub async fn transact(&self, transaction: &Transaction) -> Result<TransactionOutcome> {
        match &self.sealing {
            Some(sealing) => Box::pin(self.transact_sealed(sealing, transaction)).await,
            None => self.transact_stored(transaction).await,
        }
    }

    /// Carries out `transaction` with values as they are stored.
    pub(crate) async fn transact_stored(
        &self,
        transaction: &Transaction,
    ) -> Result<TransactionOutcome> {
        let floor = self.revisions.newest();
        let sent = in_etcd_call("transact", self.send_stored(transaction));
        let (outcome, maybe_applied) = sent.await?;
        let (TransactionOutcome::Committed { revision }
        | TransactionOutcome::Refused { revision, .. }) = &outcome;
        self.observe_revision(floor, *revision);
        match &outcome {
            TransactionOutcome::Refused { current, .. }
                if maybe_applied && transaction.otherwise.is_empty() =>
            {
                let applied = transaction.already_applied(current);
                Ok(
                    applied.map_or(outcome, |revision| TransactionOutcome::Committed {
                        revision,
                    }),
                )
            }
            _ => Ok(outcome),
        }
    }

    async fn send_stored(&self, transaction: &Transaction) -> Result<(TransactionOutcome, bool)> {
        match &self.backend {
            Backend::Etcd(endpoints) => send(endpoints, transaction).await,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => store.transact(transaction),
        }
    }

    /// Creates `key` unless it exists: of any number of racers exactly one wins.
    ///
    /// # Errors
    /// As [`Registry::transact`].
    pub async fn create(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> Result<CreateOutcome> {
        let key = key.into();
        let transaction = Transaction::new()
            .when(Precondition::Absent(key.clone()))
            .then([WriteOp::put(key.clone(), value, lease)]);
        match self.transact(&transaction).await? {
            TransactionOutcome::Committed { revision } => Ok(CreateOutcome::Created { revision }),
            TransactionOutcome::Refused { current, .. } => match current.into_iter().next() {
                Some(entry) => Ok(CreateOutcome::Exists(entry)),
                None => Err(conflict_error(&key, None)),
            },
        }
    }

    /// Sets `key` when it was last changed at `seen`; returns the new revision. The entry becomes durable unless
    /// `lease` is given.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it was changed or removed since, else as [`Registry::transact`].
    pub async fn update(
        &self,
        key: impl Into<Vec<u8>>,
        seen: i64,
        value: impl Into<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> Result<i64> {
        let key = key.into();
        self.write_if_unchanged(&key, seen, WriteOp::put(key.clone(), value, lease))
            .await
    }

    /// Removes `key` when it was last changed at `seen`.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it was changed or removed since, else as [`Registry::transact`].
    pub async fn delete_if(&self, key: impl Into<Vec<u8>>, seen: i64) -> Result<()> {
        let key = key.into();
        self.write_if_unchanged(&key, seen, WriteOp::delete(key.clone()))
            .await
            .map(drop)
    }

    async fn write_if_unchanged(&self, key: &[u8], seen: i64, write: WriteOp) -> Result<i64> {
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(key.to_vec(), seen))
            .then([write]);
        match self.transact(&transaction).await? {
            TransactionOutcome::Committed { revision } => Ok(revision),
            TransactionOutcome::Refused { current, .. } => {
                Err(conflict_error(key, current.into_iter().next()))
            }
        }
    }

    /// Sets `key` whatever it held before; returns the revision. For values that have one writer only.
    ///
    /// # Errors
    /// As [`Registry::transact`].
    pub async fn put(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> Result<i64> {
        let transaction = Transaction::new().then([WriteOp::put(key, value, lease)]);
        match self.transact(&transaction).await? {
            TransactionOutcome::Committed { revision }
            | TransactionOutcome::Refused { revision, .. } => Ok(revision),
        }
    }
}

/// Sends the transaction to etcd; the outcome, and whether an earlier attempt may have been applied as well.
async fn send(
    endpoints: &Endpoints,
    transaction: &Transaction,
) -> Result<(TransactionOutcome, bool)> {
    let request = transaction.to_txn();
    let CallResponse {
        value,
        maybe_applied,
    } = endpoints
        .call(CallKind::Write, |client| {
            let request = request.clone();
            let mut kv = client.kv_client().max_decoding_message_size(RESPONSE_LIMIT);
            async move { kv.txn(request).await }
        })
        .await
        .map_err(|error| with_lease_id(error, transaction))
        .map_err(|error| {
            let writes = transaction.all_writes();
            let compared = transaction.preconditions().iter();
            error.naming(
                writes
                    .map(|write| ("write", write.key()))
                    .chain(compared.map(|compared| ("read", compared.key()))),
            )
        })?;
    let revision = value
        .header()
        .map_or(0, etcd_client::ResponseHeader::revision);
    let outcome = if value.succeeded() {
        TransactionOutcome::Committed { revision }
    } else {
        let current = read_entries(&value);
        TransactionOutcome::Refused { revision, current }
    };
    Ok((outcome, maybe_applied))
}

fn conflict_error(key: &[u8], current: Option<RegistryEntry>) -> Error {
    Error::Conflict {
        key: String::from_utf8_lossy(key).into_owned(),
        current: current.map(Box::new),
    }
}

fn read_entries(response: &TxnResponse) -> Vec<RegistryEntry> {
    let mut entries = Vec::new();
    for answer in response.op_responses() {
        if let TxnOpResponse::Get(get) = answer {
            entries.extend(get.kvs().iter().map(RegistryEntry::from));
        }
    }
    entries
}

/// Adds the lease, which etcd's error does not name.
fn with_lease_id(error: Error, transaction: &Transaction) -> Error {
    let writes = transaction.writes.iter().chain(&transaction.otherwise);
    let mut leases = writes.filter_map(|write| match write {
        WriteOp::Put { lease, .. } => *lease,
        WriteOp::Delete(_) | WriteOp::DeleteRange { .. } => None,
    });
    match (error, leases.next()) {
        (Error::LeaseGone { .. }, Some(id)) => Error::LeaseGone { id },
        (error, _) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str, mod_revision: i64) -> RegistryEntry {
        RegistryEntry {
            key: key.into(),
            value: value.into(),
            create_revision: 1,
            mod_revision,
            version: 1,
            lease: 0,
        }
    }

    #[test]
    fn recognises_its_own_earlier_attempt() {
        let both =
            Transaction::new().then([WriteOp::put("a", "1", None), WriteOp::put("b", "2", None)]);
        assert_eq!(
            both.already_applied(&[entry("a", "1", 7), entry("b", "2", 7)]),
            Some(7)
        );
        assert_eq!(
            both.already_applied(&[entry("a", "1", 7), entry("b", "2", 8)]),
            None
        );
        assert_eq!(
            both.already_applied(&[entry("a", "1", 7), entry("b", "x", 7)]),
            None
        );
        assert_eq!(both.already_applied(&[entry("a", "1", 7)]), None);
        let leased = Transaction::new().then([WriteOp::put("a", "1", Some(5))]);
        assert_eq!(leased.already_applied(&[entry("a", "1", 7)]), None);
        let gone = Transaction::new().then([WriteOp::delete("a")]);
        assert_eq!(gone.already_applied(&[]), Some(0));
    }
}
