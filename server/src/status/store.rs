//! Pages and what they tell in etcd: every write compares what it rests on and comes with its entries of the audit trail.

use console_core::audit::{Trail, TrailError};
use galera::record::audit::Record;
use registry::{Guard, Outcome, Registry, Transaction, Write};

use super::StatusError;
use super::board::Stored;
use super::keys::{Kept, Keys};

/// Races that are decided anew on the newest value before giving up.
const ATTEMPTS: usize = 10;

#[derive(Clone, Debug)]
pub(super) struct Store {
    registry: Registry,
    keys: Keys,
    trail: Trail,
}

impl Store {
    pub(super) fn new(registry: Registry, keys: Keys, trail: Trail) -> Self {
        Self {
            registry,
            keys,
            trail,
        }
    }

    /// The thing `name` now, read linearizably.
    pub(super) async fn get<T: Kept>(&self, name: &str) -> Result<Stored<T>, StatusError> {
        let key = self.keys.of::<T>(name);
        let Some(entry) = self.registry.get(key.clone()).await? else {
            return Err(unknown::<T>(name));
        };
        let value = serde_json::from_slice(&entry.value).map_err(|error| TrailError::Damaged {
            key,
            reason: error.to_string(),
        })?;
        Ok(Stored {
            value,
            revision: entry.mod_revision,
        })
    }

    /// Writes a new thing; `None` when there is one of its name. `guards` are what else must hold.
    pub(super) async fn create<T: Kept>(
        &self,
        value: &T,
        guards: Vec<Guard>,
        records: &[Record],
    ) -> Result<Option<Stored<T>>, StatusError> {
        let key = self.keys.of::<T>(value.name());
        let absent = Guard::Absent(key.clone().into_bytes());
        let write = Write::put(key, encode(value)?, None);
        let written = self.write(absent, guards, write, records).await?;
        Ok(written.map(|revision| Stored {
            value: value.clone(),
            revision,
        }))
    }

    /// Replaces `seen` by `next`; `None` when somebody changed it since, or one of `guards` does not hold.
    pub(super) async fn replace<T: Kept>(
        &self,
        seen: &Stored<T>,
        next: T,
        guards: Vec<Guard>,
        records: &[Record],
    ) -> Result<Option<Stored<T>>, StatusError> {
        let key = self.keys.of::<T>(seen.value.name());
        let unchanged = Guard::Unchanged(key.clone().into_bytes(), seen.revision);
        let write = Write::put(key, encode(&next)?, None);
        let written = self.write(unchanged, guards, write, records).await?;
        Ok(written.map(|revision| Stored {
            value: next,
            revision,
        }))
    }

    /// Removes `seen`; `false` when somebody changed it since, or one of `guards` does not hold.
    pub(super) async fn remove<T: Kept>(
        &self,
        seen: &Stored<T>,
        guards: Vec<Guard>,
        records: &[Record],
    ) -> Result<bool, StatusError> {
        let key = self.keys.of::<T>(seen.value.name());
        let unchanged = Guard::Unchanged(key.clone().into_bytes(), seen.revision);
        let written = self
            .write(unchanged, guards, Write::delete(key), records)
            .await?;
        Ok(written.is_some())
    }

    /// Changes the thing `name` by a step that is decided anew whenever somebody else was first.
    pub(super) async fn change<T: Kept>(
        &self,
        name: &str,
        step: impl Fn(&Stored<T>) -> Result<(T, Vec<Record>), StatusError>,
    ) -> Result<Stored<T>, StatusError> {
        for _ in 0..ATTEMPTS {
            let seen = self.get::<T>(name).await?;
            let (next, records) = step(&seen)?;
            if let Some(stored) = self.replace(&seen, next, Vec::new(), &records).await? {
                return Ok(stored);
            }
        }
        Err(StatusError::Contended)
    }

    async fn write(
        &self,
        first: Guard,
        guards: Vec<Guard>,
        write: Write,
        records: &[Record],
    ) -> Result<Option<i64>, StatusError> {
        let mut transaction = Transaction::new().when(first).then([write]);
        for guard in guards {
            transaction = transaction.when(guard);
        }
        Ok(match self.trail.commit(&transaction, records).await? {
            Outcome::Committed { revision } => Some(revision),
            Outcome::Refused { .. } => None,
        })
    }
}

/// The answer to the name of a thing that does not exist.
pub(super) fn unknown<T: Kept>(name: &str) -> StatusError {
    StatusError::Unknown {
        what: T::WHAT,
        id: format!("{:?}", name.chars().take(80).collect::<String>()),
    }
}

fn encode<T: Kept>(value: &T) -> Result<Vec<u8>, StatusError> {
    serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}
