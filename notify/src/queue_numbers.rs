//! Numbers of deliveries. Each one that is queued for a target gets the next number of that target, sealed together with it, and
//! the highest number that was delivered or given up is recorded in the transaction that records the result. A delivery that
//! another client of etcd puts back into the outbox is so recognized on every replica, also after a restart.

use std::collections::BTreeMap;

use console_core::clock::now;
use console_core::keyspace::NotifyKeys;
use registry::{Error, Precondition, Registry, RegistryEntry, Transaction, WriteOp};
use serde::{Deserialize, Serialize};

/// The last number that was given, or that was settled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct NumberRecord {
    number: u64,
}

/// A number and the revision of its record; 0 if there is none that verifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredNumber {
    pub(super) number: u64,
    pub(super) revision: i64,
}

impl StoredNumber {
    fn of(entry: &RegistryEntry) -> Self {
        let record: Option<NumberRecord> = serde_json::from_slice(&entry.value).ok();
        Self {
            number: record.map_or(0, |record| record.number),
            revision: entry.mod_revision,
        }
    }

    fn unchanged(&self, key: &str) -> Precondition {
        match self.revision {
            0 => Precondition::Absent(key.into()),
            revision => Precondition::Unchanged(key.into(), revision),
        }
    }
}

fn write(key: &str, number: u64) -> WriteOp {
    // A number always serializes.
    let value = serde_json::to_vec(&NumberRecord { number }).unwrap_or_default();
    WriteOp::put(key, value, None)
}

/// The number at `key`. A record that was removed or altered outside the console counts as none.
async fn read(registry: &Registry, key: &str) -> Result<StoredNumber, Error> {
    match registry.get(key).await {
        Ok(entry) => Ok(entry
            .as_ref()
            .map_or_else(StoredNumber::default, StoredNumber::of)),
        Err(Error::Tampered { .. }) => Ok(StoredNumber::default()),
        Err(error) => Err(error),
    }
}

/// Not less than the time in milliseconds: above every earlier number, even if their record was lost.
fn time_number() -> u64 {
    u64::try_from(now().unix_millis()).unwrap_or(0)
}

/// The next numbers of the targets of one transaction.
#[derive(Debug)]
pub(super) struct NextNumbers {
    keys: NotifyKeys,
    targets: BTreeMap<String, (StoredNumber, u64)>,
}

impl NextNumbers {
    /// Reads the last numbers of `targets`; begins with those of a target that has none.
    ///
    /// # Errors
    /// When etcd fails.
    pub(super) async fn read(
        registry: &Registry,
        keys: &NotifyKeys,
        targets: impl Iterator<Item = &str>,
    ) -> Result<Self, Error> {
        let mut next = Self {
            keys: keys.clone(),
            targets: BTreeMap::new(),
        };
        for target in targets {
            if next.targets.contains_key(target) {
                continue;
            }
            let mut stored = read(registry, &keys.queued_number(target)).await?;
            if stored.revision == 0 {
                stored = begin(registry, keys, target).await?;
            }
            next.targets
                .insert(target.to_owned(), (stored, stored.number));
        }
        Ok(next)
    }

    /// The next number of `target`, which is one of those that were read.
    pub(super) fn take(&mut self, target: &str) -> u64 {
        let Some((_, last)) = self.targets.get_mut(target) else {
            return 0;
        };
        *last = last.saturating_add(1).max(time_number());
        *last
    }

    /// Adds to `transaction` what records the numbers that were taken.
    pub(super) fn record_in(&self, mut transaction: Transaction) -> Transaction {
        for (target, (stored, last)) in &self.targets {
            if *last == stored.number {
                continue;
            }
            let key = self.keys.queued_number(target);
            transaction = transaction
                .when(stored.unchanged(&key))
                .then([write(&key, *last)]);
        }
        transaction
    }
}

/// Writes the first numbers of a target, in a transaction of their own: one transaction may queue for 50 targets, and etcd permits
/// 128 operations.
async fn begin(
    registry: &Registry,
    keys: &NotifyKeys,
    target: &str,
) -> Result<StoredNumber, Error> {
    let (queued, settled) = (keys.queued_number(target), keys.settled_number(target));
    let known = read(registry, &settled).await?;
    let number = time_number().max(known.number);
    let mut transaction = Transaction::new()
        .when(Precondition::Absent(queued.clone().into()))
        .then([write(&queued, number)]);
    if known.revision == 0 {
        transaction = transaction
            .when(Precondition::Absent(settled.clone().into()))
            .then([write(&settled, number)]);
    }
    // Another replica may have been faster.
    registry.transact(&transaction).await?;
    read(registry, &queued).await
}

/// The highest number of a target that was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SettledNumber {
    key: String,
    stored: StoredNumber,
}

impl SettledNumber {
    /// Reads it. If its record was removed or altered outside the console, everything that was queued counts as settled.
    ///
    /// # Errors
    /// When etcd fails.
    pub(super) async fn read(
        registry: &Registry,
        keys: &NotifyKeys,
        target: &str,
    ) -> Result<Self, Error> {
        let key = keys.settled_number(target);
        let mut stored = read(registry, &key).await?;
        if stored.revision == 0 {
            let queued = read(registry, &keys.queued_number(target)).await?;
            stored.number = match queued.revision {
                0 => time_number(),
                _ => queued.number,
            };
        }
        Ok(Self { key, stored })
    }

    /// Whether the delivery `number` was delivered or given up before.
    pub(super) fn includes(&self, number: u64) -> bool {
        number <= self.stored.number
    }

    /// Whether nothing is known of what was settled.
    pub(super) fn is_lost(&self) -> bool {
        self.stored.revision == 0
    }

    /// Adds to `transaction` that `number` is settled, unless another replica changed the record.
    pub(super) fn record_in(&self, transaction: Transaction, number: u64) -> Transaction {
        let number = number.max(self.stored.number);
        transaction
            .when(self.stored.unchanged(&self.key))
            .then([write(&self.key, number)])
    }
}
