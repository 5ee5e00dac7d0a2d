//! Status page items in etcd. Every write compares the revision that it is based on and includes its audit records.

use console_core::audit::AuditTrail;
use console_core::keyspace::StatusPageKeys;
use console_core::repository::{Repository, Versioned};
use galera::record::audit::AuditRecord;
use registry::{Precondition, Registry, Transaction};

use super::StatusPageError;
use super::item::StatusItem;

/// How often a change that lost a race is retried on the newest value.
const ATTEMPTS_MAX: usize = 10;

#[derive(Clone, Debug)]
pub(super) struct StatusPageStore {
    repository: Repository,
    keys: StatusPageKeys,
}

impl StatusPageStore {
    pub(super) fn new(registry: Registry, keys: StatusPageKeys, trail: AuditTrail) -> Self {
        Self {
            repository: Repository::new(registry, trail),
            keys,
        }
    }

    /// The current item `name`, read linearizably.
    pub(super) async fn get<T: StatusItem>(
        &self,
        name: &str,
    ) -> Result<Versioned<T>, StatusPageError> {
        let found = self.repository.get(self.keys.item(T::FOLDER, name)).await?;
        found.ok_or_else(|| not_found::<T>(name))
    }

    /// Writes a new item; `None` when the name is taken or one of the additional `guards` does not hold.
    pub(super) async fn create<T: StatusItem>(
        &self,
        value: &T,
        guards: Vec<Precondition>,
        records: &[AuditRecord],
    ) -> Result<Option<Versioned<T>>, StatusPageError> {
        let key = self.keys.item(T::FOLDER, value.name());
        let created = self
            .repository
            .create(key, value.clone(), all_of(guards), records)
            .await?;
        Ok(created.stored())
    }

    /// Replaces `seen` by `next`; `None` when it was changed since, or one of `guards` does not hold.
    pub(super) async fn replace<T: StatusItem>(
        &self,
        seen: &Versioned<T>,
        next: T,
        guards: Vec<Precondition>,
        records: &[AuditRecord],
    ) -> Result<Option<Versioned<T>>, StatusPageError> {
        let key = self.keys.item(T::FOLDER, seen.value.name());
        let replaced = self
            .repository
            .replace(key, seen.revision, next, all_of(guards), records)
            .await?;
        Ok(replaced.stored())
    }

    /// Removes `seen`; `false` when it was changed since, or one of `guards` does not hold.
    pub(super) async fn remove<T: StatusItem>(
        &self,
        seen: &Versioned<T>,
        guards: Vec<Precondition>,
        records: &[AuditRecord],
    ) -> Result<bool, StatusPageError> {
        let key = self.keys.item(T::FOLDER, seen.value.name());
        let removed = self
            .repository
            .remove(key, seen.revision, all_of(guards), records)
            .await?;
        Ok(removed)
    }

    /// Changes the item `name`; `change` is evaluated again whenever a concurrent write was first.
    pub(super) async fn update<T: StatusItem>(
        &self,
        name: &str,
        change: impl Fn(&Versioned<T>) -> Result<(T, Vec<AuditRecord>), StatusPageError>,
    ) -> Result<Versioned<T>, StatusPageError> {
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.get::<T>(name).await?;
            let (next, records) = change(&seen)?;
            if let Some(stored) = self.replace(&seen, next, Vec::new(), &records).await? {
                return Ok(stored);
            }
        }
        Err(StatusPageError::Contended)
    }
}

/// A transaction that holds when all of `guards` do.
fn all_of(guards: Vec<Precondition>) -> Transaction {
    guards
        .into_iter()
        .fold(Transaction::new(), Transaction::when)
}

pub(super) fn not_found<T: StatusItem>(name: &str) -> StatusPageError {
    StatusPageError::NotFound {
        what: T::NOUN,
        id: format!("{:?}", name.chars().take(80).collect::<String>()),
    }
}
