//! Records in etcd whose every change is a compare-and-swap together with its audit entries.

use galera::record::audit::AuditRecord;
use registry::{Precondition, Registry, RegistryEntry, Transaction, TransactionOutcome, WriteOp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::{AuditError, AuditTrail};

/// A record as of an etcd revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// The revision of its last change, which a write compares.
    pub revision: i64,
}

/// The outcome of a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome<T> {
    /// Written.
    Stored(Versioned<T>),
    /// A precondition failed and nothing was written; the current entries of all compared keys.
    Refused(Vec<RegistryEntry>),
}

impl<T> WriteOutcome<T> {
    /// The written record; `None` if a precondition failed.
    #[must_use]
    pub fn stored(self) -> Option<Versioned<T>> {
        match self {
            Self::Stored(stored) => Some(stored),
            Self::Refused(_) => None,
        }
    }
}

/// Reads records and writes them with their audit entries. Each write includes `rest`, further preconditions and
/// writes, in the same transaction.
#[derive(Clone, Debug)]
pub struct Repository {
    registry: Registry,
    trail: AuditTrail,
}

impl Repository {
    /// The records in `registry`, audited by `trail`.
    #[must_use]
    pub fn new(registry: Registry, trail: AuditTrail) -> Self {
        Self { registry, trail }
    }

    /// Reads the record at `key`, linearizably.
    ///
    /// # Errors
    /// [`AuditError`], also for a damaged record.
    pub async fn get<T: DeserializeOwned>(
        &self,
        key: String,
    ) -> Result<Option<Versioned<T>>, AuditError> {
        let entry = self.registry.get(key).await?;
        entry.as_ref().map(decode).transpose()
    }

    /// Writes a record, unless `key` exists.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn create<T: Serialize>(
        &self,
        key: String,
        value: T,
        rest: Transaction,
        records: &[AuditRecord],
    ) -> Result<WriteOutcome<T>, AuditError> {
        let absent = Precondition::Absent(key.clone().into_bytes());
        self.put(absent, key, value, rest, records).await
    }

    /// Replaces the record at `key`, unless it changed after `revision`.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn replace<T: Serialize>(
        &self,
        key: String,
        revision: i64,
        value: T,
        rest: Transaction,
        records: &[AuditRecord],
    ) -> Result<WriteOutcome<T>, AuditError> {
        let unchanged = Precondition::Unchanged(key.clone().into_bytes(), revision);
        self.put(unchanged, key, value, rest, records).await
    }

    /// Removes the record at `key`, unless it changed after `revision`; returns whether it was removed.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn remove(
        &self,
        key: String,
        revision: i64,
        rest: Transaction,
        records: &[AuditRecord],
    ) -> Result<bool, AuditError> {
        let unchanged = Precondition::Unchanged(key.clone().into_bytes(), revision);
        let transaction = rest.when(unchanged).then([WriteOp::delete(key)]);
        let outcome = self.trail.commit(&transaction, records).await?;
        Ok(matches!(outcome, TransactionOutcome::Committed { .. }))
    }

    async fn put<T: Serialize>(
        &self,
        precondition: Precondition,
        key: String,
        value: T,
        rest: Transaction,
        records: &[AuditRecord],
    ) -> Result<WriteOutcome<T>, AuditError> {
        let write = WriteOp::put(key, encode(&value)?, None);
        let transaction = rest.when(precondition).then([write]);
        Ok(match self.trail.commit(&transaction, records).await? {
            TransactionOutcome::Committed { revision } => {
                WriteOutcome::Stored(Versioned { value, revision })
            }
            TransactionOutcome::Refused { current, .. } => WriteOutcome::Refused(current),
        })
    }
}

/// The record in `entry`.
///
/// # Errors
/// [`AuditError::Damaged`].
pub fn decode<T: DeserializeOwned>(entry: &RegistryEntry) -> Result<Versioned<T>, AuditError> {
    let value = serde_json::from_slice(&entry.value).map_err(|error| AuditError::Damaged {
        key: String::from_utf8_lossy(&entry.key).into_owned(),
        reason: error.to_string(),
    })?;
    Ok(Versioned {
        value,
        revision: entry.mod_revision,
    })
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, AuditError> {
    serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}
