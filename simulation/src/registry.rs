//! The registry as one consistent map; what a node's agent put with its lease goes with it.

use std::collections::BTreeMap;

use galera::ClusterName;
use galera::observe::registration::{RawKeyValue, RegistryKeys};
use galera::startup::{KeyPrecondition, RegistrySnapshot};

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub struct SimulatedRegistry {
    pub keys: RegistryKeys,
    pub cluster: ClusterName,
    /// Milliseconds since the beginning: when what is put now is put.
    pub now: u64,
    entries: BTreeMap<Vec<u8>, RawKeyValue>,
    put_at: BTreeMap<Vec<u8>, u64>,
    revision: i64,
    leases: i64,
}

impl SimulatedRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            keys: RegistryKeys::new("/galera"),
            cluster,
            now: 0,
            entries: BTreeMap::new(),
            put_at: BTreeMap::new(),
            revision: 0,
            leases: 0,
        }
    }

    /// A new lease.
    pub const fn grant(&mut self) -> i64 {
        self.leases += 1;
        self.leases
    }

    /// Removes every key.
    pub fn clear(&mut self) {
        self.revision += 1;
        self.entries.clear();
    }

    /// Replaces the durable keys with those of `backup`.
    pub fn restore(&mut self, backup: &Self) {
        self.revision += 1;
        self.entries.retain(|_, entry| entry.lease != 0);
        let durable = backup.entries.iter().filter(|(_, entry)| entry.lease == 0);
        for (key, entry) in durable {
            self.entries.insert(key.clone(), entry.clone());
        }
    }

    /// Removes every key of `lease`.
    pub fn revoke(&mut self, lease: i64) {
        self.entries.retain(|_, entry| entry.lease != lease);
    }

    /// Puts a value, with a lease or durably (0). Returns the revision.
    pub fn put(&mut self, key: &str, value: String, lease: i64) -> i64 {
        self.revision += 1;
        let entry = RawKeyValue {
            key: key.as_bytes().to_vec(),
            value: value.into_bytes(),
            mod_revision: self.revision,
            lease,
            ttl: None,
        };
        self.put_at.insert(entry.key.clone(), self.now);
        self.entries.insert(entry.key.clone(), entry);
        self.revision
    }

    pub fn delete(&mut self, key: &str) {
        self.entries.remove(key.as_bytes());
    }

    /// The revision of the last change.
    #[must_use]
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// When `key` was last put.
    #[must_use]
    pub fn put_at(&self, key: &[u8]) -> u64 {
        self.put_at.get(key).copied().unwrap_or(0)
    }

    /// The value of `key` as text.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let entry = self.entries.get(key.as_bytes())?;
        Some(String::from_utf8_lossy(&entry.value).into_owned())
    }

    pub fn entries(&self) -> impl Iterator<Item = &RawKeyValue> {
        self.entries.values()
    }

    /// Whether every precondition of a decision holds.
    #[must_use]
    pub fn holds(&self, preconditions: &[KeyPrecondition]) -> bool {
        preconditions.iter().all(|one| match one {
            KeyPrecondition::Absent(key) => !self.entries.contains_key(key),
            KeyPrecondition::Unchanged(key, revision) => {
                let entry = self.entries.get(key);
                entry.is_some_and(|entry| entry.mod_revision == *revision)
            }
        })
    }

    /// What a starting agent reads.
    #[must_use]
    pub fn snapshot(&self) -> RegistrySnapshot {
        RegistrySnapshot::from_keys(&self.keys, &self.cluster, self.entries())
    }
}
