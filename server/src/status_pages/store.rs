//! Pages and what they tell in etcd: every write compares what it rests on and comes with its entries of the audit trail.

use console_core::audit::{AuditError, AuditTrail};
use console_core::keyspace::StatusPageKeys;
use galera::record::audit::AuditRecord;
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};

use super::StatusPageError;
use super::cache::Versioned;
use super::item::StatusItem;

/// Races that are decided anew on the newest value before giving up.
const ATTEMPTS_MAX: usize = 10;

#[derive(Clone, Debug)]
pub(super) struct StatusPageStore {
    registry: Registry,
    keys: StatusPageKeys,
    trail: AuditTrail,
}

impl StatusPageStore {
    pub(super) fn new(registry: Registry, keys: StatusPageKeys, trail: AuditTrail) -> Self {
        Self {
            registry,
            keys,
            trail,
        }
    }

    /// The thing `name` now, read linearizably.
    pub(super) async fn get<T: StatusItem>(
        &self,
        name: &str,
    ) -> Result<Versioned<T>, StatusPageError> {
        let key = self.keys.item(T::FOLDER, name);
        let Some(entry) = self.registry.get(key.clone()).await? else {
            return Err(not_found::<T>(name));
        };
        let value = serde_json::from_slice(&entry.value).map_err(|error| AuditError::Damaged {
            key,
            reason: error.to_string(),
        })?;
        Ok(Versioned {
            value,
            revision: entry.mod_revision,
        })
    }

    /// Writes a new thing; `None` when there is one of its name. `guards` are what else must hold.
    pub(super) async fn create<T: StatusItem>(
        &self,
        value: &T,
        guards: Vec<Precondition>,
        records: &[AuditRecord],
    ) -> Result<Option<Versioned<T>>, StatusPageError> {
        let key = self.keys.item(T::FOLDER, value.name());
        let absent = Precondition::Absent(key.clone().into_bytes());
        let write = WriteOp::put(key, encode(value)?, None);
        let written = self.write(absent, guards, write, records).await?;
        Ok(written.map(|revision| Versioned {
            value: value.clone(),
            revision,
        }))
    }

    /// Replaces `seen` by `next`; `None` when somebody changed it since, or one of `guards` does not hold.
    pub(super) async fn replace<T: StatusItem>(
        &self,
        seen: &Versioned<T>,
        next: T,
        guards: Vec<Precondition>,
        records: &[AuditRecord],
    ) -> Result<Option<Versioned<T>>, StatusPageError> {
        let key = self.keys.item(T::FOLDER, seen.value.name());
        let unchanged = Precondition::Unchanged(key.clone().into_bytes(), seen.revision);
        let write = WriteOp::put(key, encode(&next)?, None);
        let written = self.write(unchanged, guards, write, records).await?;
        Ok(written.map(|revision| Versioned {
            value: next,
            revision,
        }))
    }

    /// Removes `seen`; `false` when somebody changed it since, or one of `guards` does not hold.
    pub(super) async fn remove<T: StatusItem>(
        &self,
        seen: &Versioned<T>,
        guards: Vec<Precondition>,
        records: &[AuditRecord],
    ) -> Result<bool, StatusPageError> {
        let key = self.keys.item(T::FOLDER, seen.value.name());
        let unchanged = Precondition::Unchanged(key.clone().into_bytes(), seen.revision);
        let written = self
            .write(unchanged, guards, WriteOp::delete(key), records)
            .await?;
        Ok(written.is_some())
    }

    /// Changes the thing `name` by a step that is decided anew whenever somebody else was first.
    pub(super) async fn update<T: StatusItem>(
        &self,
        name: &str,
        step: impl Fn(&Versioned<T>) -> Result<(T, Vec<AuditRecord>), StatusPageError>,
    ) -> Result<Versioned<T>, StatusPageError> {
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.get::<T>(name).await?;
            let (next, records) = step(&seen)?;
            if let Some(stored) = self.replace(&seen, next, Vec::new(), &records).await? {
                return Ok(stored);
            }
        }
        Err(StatusPageError::Contended)
    }

    async fn write(
        &self,
        first: Precondition,
        guards: Vec<Precondition>,
        write: WriteOp,
        records: &[AuditRecord],
    ) -> Result<Option<i64>, StatusPageError> {
        let mut transaction = Transaction::new().when(first).then([write]);
        for guard in guards {
            transaction = transaction.when(guard);
        }
        Ok(match self.trail.commit(&transaction, records).await? {
            TransactionOutcome::Committed { revision } => Some(revision),
            TransactionOutcome::Refused { .. } => None,
        })
    }
}

/// The answer to the name of a thing that does not exist.
pub(super) fn not_found<T: StatusItem>(name: &str) -> StatusPageError {
    StatusPageError::NotFound {
        what: T::NOUN,
        id: format!("{:?}", name.chars().take(80).collect::<String>()),
    }
}

fn encode<T: StatusItem>(value: &T) -> Result<Vec<u8>, StatusPageError> {
    serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}
