//! Actions in etcd: created once for a cluster, changed by compare, each change with its entries of the audit trail.

use console_core::audit::Trail;
use galera::record::audit::Record;
use galera::recover::action::{Action, Refusal};
use registry::{Entry, Guard, Outcome, Registry, Transaction, Write};

use super::ActionError;
use super::keys::Keys;

/// Races that are decided anew on the newest record before giving up.
const ATTEMPTS: usize = 10;

/// A record as of a revision.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) action: Action,
    pub(super) revision: i64,
}

/// What came of a compared write.
pub(super) enum Put {
    /// It is written.
    Stored(Box<Stored>),
    /// A guard did not hold; the keys of all guards as they are now.
    Refused(Vec<Entry>),
}

#[derive(Clone)]
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

    /// The record now, read linearizably.
    pub(super) async fn get(&self, id: &str) -> Result<Option<Stored>, ActionError> {
        let entry = self.registry.get(self.keys.action(id)).await?;
        entry.as_ref().map(parse).transpose()
    }

    /// Writes a new action, unless its cluster has an open one. `guards` are what else must hold.
    pub(super) async fn create(
        &self,
        action: &Action,
        guards: Vec<Guard>,
        records: &[Record],
    ) -> Result<Stored, ActionError> {
        let key = self.keys.action(&action.id);
        let open = self.keys.open(&action.cluster);
        let mut transaction = Transaction::new()
            .when(Guard::Absent(key.clone().into_bytes()))
            .when(Guard::Absent(open.clone().into_bytes()))
            .then([
                Write::put(key, encode(action)?, None),
                Write::put(open.clone(), action.id.clone(), None),
            ]);
        for guard in guards {
            transaction = transaction.when(guard);
        }
        match self.trail.commit(&transaction, records).await? {
            Outcome::Committed { revision } => Ok(Stored {
                action: action.clone(),
                revision,
            }),
            Outcome::Refused { current, .. } => {
                let other = current.iter().find(|entry| entry.key == open.as_bytes());
                Err(match other {
                    Some(entry) => {
                        ActionError::Open(String::from_utf8_lossy(&entry.value).into_owned())
                    }
                    // A switch was turned in the same moment.
                    None => Refusal::DigestChanged.into(),
                })
            }
        }
    }

    /// Replaces `seen` by `next` when nobody changed it since and all of `guards` hold, together with `writes`.
    pub(super) async fn put(
        &self,
        seen: &Stored,
        next: Action,
        guards: &[Guard],
        writes: &[Write],
        records: &[Record],
    ) -> Result<Put, ActionError> {
        let key = self.keys.action(&next.id);
        let mut transaction = Transaction::new()
            .when(Guard::Unchanged(key.clone().into_bytes(), seen.revision))
            .then([Write::put(key, encode(&next)?, None)])
            .then(writes.iter().cloned());
        for guard in guards {
            transaction = transaction.when(guard.clone());
        }
        if next.state.is_final() {
            transaction = transaction.then([Write::delete(self.keys.open(&next.cluster))]);
        }
        Ok(match self.trail.commit(&transaction, records).await? {
            Outcome::Committed { revision } => Put::Stored(Box::new(Stored {
                action: next,
                revision,
            })),
            Outcome::Refused { current, .. } => Put::Refused(current),
        })
    }

    /// Changes an action by a person's or the clock's step, which is decided anew whenever somebody else was first.
    pub(super) async fn change(
        &self,
        id: &str,
        step: impl Fn(&Action) -> Result<(Action, Vec<Record>), Refusal>,
    ) -> Result<Stored, ActionError> {
        for _ in 0..ATTEMPTS {
            let seen = self
                .get(id)
                .await?
                .ok_or_else(|| ActionError::Unknown(id.to_owned()))?;
            let (next, records) = step(&seen.action)?;
            if let Put::Stored(stored) = self.put(&seen, next, &[], &[], &records).await? {
                return Ok(*stored);
            }
        }
        Err(ActionError::Contended)
    }
}

pub(super) fn parse(entry: &Entry) -> Result<Stored, ActionError> {
    let damaged = |error: serde_json::Error| console_core::audit::TrailError::Damaged {
        key: String::from_utf8_lossy(&entry.key).into_owned(),
        reason: error.to_string(),
    };
    Ok(Stored {
        action: serde_json::from_slice(&entry.value).map_err(damaged)?,
        revision: entry.mod_revision,
    })
}

pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ActionError> {
    serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}
