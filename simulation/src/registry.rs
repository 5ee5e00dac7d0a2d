//! The registry in the in-memory etcd that consoles use too; what a node's agent put with its lease goes with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use galera::ClusterName;
use galera::observe::registration::{RawKeyValue, RegistryKeys};
use galera::startup::{KeyPrecondition, RegistrySnapshot};
use registry::memory::MemoryEtcd;
use registry::{Listing, Registry, WriteOp};

/// Agents revoke their leases: the schedule decides when one has expired.
const UNLIMITED: Duration = Duration::from_secs(1_000_000_000);

#[derive(Debug, Default)]
struct PutTimes {
    now: u64,
    at: BTreeMap<Vec<u8>, u64>,
}

/// The keys of one cluster. Clones share them.
#[derive(Clone, Debug)]
pub struct SimulatedRegistry {
    pub keys: RegistryKeys,
    pub cluster: ClusterName,
    etcd: MemoryEtcd,
    connection: Registry,
    times: Arc<Mutex<PutTimes>>,
}

/// The durable keys at one moment.
#[derive(Clone, Debug)]
pub struct RegistryBackup(Vec<RawKeyValue>);

impl SimulatedRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new(cluster: ClusterName) -> Self {
        let etcd = MemoryEtcd::with_manual_time();
        Self {
            keys: RegistryKeys::new("/galera"),
            cluster,
            connection: etcd.registry(),
            etcd,
            times: Arc::default(),
        }
    }

    /// The store, for the connections of consoles.
    #[must_use]
    pub const fn etcd(&self) -> &MemoryEtcd {
        &self.etcd
    }

    /// Sets the time: milliseconds since the beginning. Leases of consoles expire.
    pub fn advance_to(&self, now: u64) {
        self.times().now = now;
        self.etcd.advance_to(Duration::from_millis(now));
    }

    /// The time, in milliseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.times().now
    }

    fn times(&self) -> MutexGuard<'_, PutTimes> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new lease; 0 if etcd gives none.
    #[must_use]
    pub fn grant(&self) -> i64 {
        let granted = self.connection.grant_without_keep_alive(UNLIMITED);
        granted.now_or_never().and_then(Result::ok).unwrap_or(0)
    }

    /// Removes every key of the cluster.
    pub fn clear(&self) {
        for entry in self.entries() {
            self.write(WriteOp::delete(entry.key));
        }
    }

    /// The durable keys as they are.
    #[must_use]
    pub fn backup(&self) -> RegistryBackup {
        let mut entries = self.entries();
        entries.retain(|entry| entry.lease == 0);
        RegistryBackup(entries)
    }

    /// Replaces the durable keys with those of `backup`.
    pub fn restore(&self, backup: &RegistryBackup) {
        for entry in self.entries().into_iter().filter(|entry| entry.lease == 0) {
            self.write(WriteOp::delete(entry.key));
        }
        for entry in &backup.0 {
            self.write(WriteOp::put(entry.key.clone(), entry.value.clone(), None));
        }
    }

    /// Removes every key of `lease`.
    pub fn revoke(&self, lease: i64) {
        self.connection.revoke(lease).now_or_never();
    }

    /// Puts a value, with a lease or durably (0). Returns the revision.
    pub fn put(&self, key: &str, value: String, lease: i64) -> i64 {
        let mut times = self.times();
        let now = times.now;
        times.at.insert(key.as_bytes().to_vec(), now);
        drop(times);
        self.write(WriteOp::put(key, value, (lease != 0).then_some(lease)))
    }

    pub fn delete(&self, key: &str) {
        self.write(WriteOp::delete(key));
    }

    fn write(&self, write: WriteOp) -> i64 {
        let transaction = registry::Transaction::new().then([write]);
        let written = self.connection.transact(&transaction).now_or_never();
        match written {
            Some(Ok(registry::TransactionOutcome::Committed { revision })) => revision,
            _ => 0,
        }
    }

    /// The keys of the cluster and the revision, as consoles list them.
    #[must_use]
    pub fn list(&self) -> Listing {
        let prefix = self.keys.cluster_prefix(&self.cluster);
        let listed = self.connection.list(prefix).now_or_never();
        listed.and_then(Result::ok).unwrap_or(Listing {
            revision: 0,
            entries: Vec::new(),
        })
    }

    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.list().revision
    }

    /// When `key` was last put.
    #[must_use]
    pub fn put_at(&self, key: &[u8]) -> u64 {
        self.times().at.get(key).copied().unwrap_or(0)
    }

    /// The value of `key` as text.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let entry = self.connection.get(key).now_or_never()?.ok()??;
        Some(String::from_utf8_lossy(&entry.value).into_owned())
    }

    /// The keys of the cluster.
    #[must_use]
    pub fn entries(&self) -> Vec<RawKeyValue> {
        let entries = self.list().entries.into_iter();
        let raw = entries.map(|entry| RawKeyValue {
            key: entry.key,
            value: entry.value,
            mod_revision: entry.mod_revision,
            lease: entry.lease,
            ttl: None,
        });
        raw.collect()
    }

    /// Whether every precondition of a decision holds.
    #[must_use]
    pub fn holds(&self, preconditions: &[KeyPrecondition]) -> bool {
        let entries = self.entries();
        let find = |key: &Vec<u8>| entries.iter().find(|entry| entry.key == *key);
        preconditions.iter().all(|one| match one {
            KeyPrecondition::Absent(key) => find(key).is_none(),
            KeyPrecondition::Unchanged(key, revision) => {
                find(key).is_some_and(|entry| entry.mod_revision == *revision)
            }
        })
    }

    /// What a starting agent reads.
    #[must_use]
    pub fn snapshot(&self) -> RegistrySnapshot {
        RegistrySnapshot::from_keys(&self.keys, &self.cluster, &self.entries())
    }
}
