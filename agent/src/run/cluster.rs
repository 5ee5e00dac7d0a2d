//! The registry as this node uses it: reads the cluster's keys and maintains this node's durable ones.

use std::time::Duration;

use galera::observe::fork::ForkRecord;
use galera::observe::registration::{BootstrapOrder, ClusterField, RawKeyValue, RegistryKeys};
use galera::startup::{
    CleanStop, FounderKeyState, FounderRecord, FounderUpdate, KeyPrecondition, RegisteredData,
    RegistrationRecord, RegistrationUpdate, RegistrySnapshot, ReplaceRegistration,
    raises_highest_position, update_founder, update_registration,
};
use galera::{ClusterName, NodeId, Position};
use registry::{
    Error, LeaseId, Precondition, Registry, RegistryEntry, Transaction, TransactionOutcome, WriteOp,
};
use uuid::Uuid;

use crate::clock::now;

/// One cluster's keys, as used by one node.
#[derive(Clone, Debug)]
pub(super) struct ClusterRegistry {
    pub(super) registry: Registry,
    pub(super) keys: RegistryKeys,
    pub(super) name: ClusterName,
    pub(super) node: NodeId,
}

/// All registry entries of the cluster, raw and parsed.
#[derive(Clone, Debug)]
pub(super) struct ClusterListing {
    pub(super) snapshot: RegistrySnapshot,
    entries: Vec<RegistryEntry>,
}

impl ClusterListing {
    #[must_use]
    pub(super) fn entry(&self, key: &str) -> Option<&RegistryEntry> {
        self.entries
            .iter()
            .find(|entry| entry.key == key.as_bytes())
    }

    /// The lease of the keys under `prefix`.
    #[must_use]
    pub(super) fn lease_under(&self, prefix: &str) -> Option<LeaseId> {
        let of_node = |entry: &&RegistryEntry| entry.key.starts_with(prefix.as_bytes());
        let mut leases = self.entries.iter().filter(of_node).map(|entry| entry.lease);
        leases.find(|lease| *lease != 0)
    }
}

type Result<T> = std::result::Result<T, Error>;

impl ClusterRegistry {
    /// Reads all entries at one revision.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn read(&self) -> Result<ClusterListing> {
        let listing = Box::pin(self.registry.list(self.keys.cluster_prefix(&self.name))).await?;
        let raw: Vec<RawKeyValue> = listing.entries.iter().map(raw_key).collect();
        Ok(ClusterListing {
            snapshot: RegistrySnapshot::from_keys(&self.keys, &self.name, &raw),
            entries: listing.entries,
        })
    }

    /// The key of one of this node's fields.
    #[must_use]
    pub(super) fn own_key(&self, field: &str) -> String {
        self.keys.node_key(&self.name, &self.node, field)
    }

    /// The key of one of the cluster's fields.
    #[must_use]
    pub(super) fn key(&self, field: ClusterField) -> String {
        self.keys.cluster_key(&self.name, field)
    }

    /// Replaces the founder key of revision `seen` (0: absent) with `founder`, provided that `lease` still holds this
    /// node's phase. Returns the new revision, or `None` if another node was first.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn claim_founding(
        &self,
        founder: &FounderRecord,
        seen: i64,
        lease: LeaseId,
    ) -> Result<Option<i64>> {
        let key = self.key(ClusterField::Founder);
        let transaction = Transaction::new()
            .when(guard_at(key.as_bytes(), seen))
            .when(Precondition::Leased(self.own_key("phase").into(), lease))
            .then([WriteOp::put(key, founder.to_value(), None)]);
        self.commit(&transaction).await
    }

    /// Removes the founder key of revision `seen`.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn release_founding(&self, seen: i64) -> Result<()> {
        let key = self.key(ClusterField::Founder);
        let transaction = Transaction::new()
            .when(guard_at(key.as_bytes(), seen))
            .then([WriteOp::delete(key)]);
        self.commit(&transaction).await.map(drop)
    }

    /// Writes the order under `lease` if all of `expect` holds. Returns the revision at which it was written.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn write_order(
        &self,
        order: &BootstrapOrder,
        expect: &[KeyPrecondition],
        lease: LeaseId,
    ) -> Result<Option<i64>> {
        let mut transaction =
            Transaction::new().when(Precondition::Leased(self.own_key("phase").into(), lease));
        for expect in expect {
            transaction = transaction.when(match expect {
                KeyPrecondition::Absent(key) => Precondition::Absent(key.clone()),
                KeyPrecondition::Unchanged(key, revision) => {
                    Precondition::Unchanged(key.clone(), *revision)
                }
            });
        }
        let key = self.key(ClusterField::Bootstrap);
        let transaction = transaction.then([WriteOp::put(key, order.to_value(), Some(lease))]);
        self.commit(&transaction).await
    }

    /// Creates the record of the fork `epoch`. Returns whether it did not exist.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn create_fork(&self, epoch: u64, record: &ForkRecord) -> Result<bool> {
        let key = self.key(ClusterField::Fork(epoch));
        let transaction = Transaction::new()
            .when(Precondition::Absent(key.clone().into()))
            .then([WriteOp::put(key, record.to_value(), None)]);
        Ok(self.commit(&transaction).await?.is_some())
    }

    /// Removes the order of `revision`, unless it was replaced.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn withdraw_order(&self, revision: i64) -> Result<()> {
        let key = self.key(ClusterField::Bootstrap);
        match Box::pin(self.registry.delete_if(key, revision)).await {
            Err(Error::Conflict { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the order at the key of `field` still has `revision`, and its lease lives for at least `left`.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn order_is_valid(
        &self,
        field: ClusterField,
        revision: i64,
        left: Duration,
    ) -> Result<bool> {
        let key = self.key(field);
        let Some(entry) = Box::pin(self.registry.get(key)).await? else {
            return Ok(false);
        };
        if entry.mod_revision != revision || entry.lease == 0 {
            return Ok(false);
        }
        let info = Box::pin(self.registry.lease_info(entry.lease)).await?;
        Ok(info.is_some_and(|info| info.remaining >= left.min(info.granted / 4)))
    }

    /// Removes the order to this node once it is complete.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn remove_order(&self) -> Result<()> {
        let key = self.key(ClusterField::Bootstrap);
        let Some(entry) = Box::pin(self.registry.get(key.clone())).await? else {
            return Ok(());
        };
        let ours = serde_json::from_slice::<BootstrapOrder>(&entry.value)
            .is_ok_and(|order| order.node.normalized(3306) == self.node);
        if !ours {
            return Ok(());
        }
        match Box::pin(self.registry.delete_if(key, entry.mod_revision)).await {
            // On a conflict it was removed or replaced in the meantime.
            Err(Error::Conflict { .. }) | Ok(()) => {
                tracing::info!("Bootstrap order completed and removed");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ensures that the founder key exists and names the history `uuid` of this node's Primary component.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn ensure_founder(&self, id: &str, uuid: Uuid) -> Result<()> {
        let key = self.key(ClusterField::Founder);
        let entry = Box::pin(self.registry.get(key)).await?;
        let seen = entry.as_ref().map_or(0, |entry| entry.mod_revision);
        let known = entry.map_or(FounderKeyState::Absent, |entry| {
            FounderKeyState::of_key(&raw_key(&entry))
        });
        let founder = match update_founder(&known, &self.node, id, uuid, now()) {
            FounderUpdate::Put(founder) => founder,
            FounderUpdate::Unchanged => return Ok(()),
            FounderUpdate::OtherHistory(named) => {
                tracing::error!(
                    "The founder key names history {named}, but this Primary component has {uuid}: an operator must find out \
                     which cluster is the right one",
                );
                return Ok(());
            }
        };
        let value = founder.to_value();
        let written = self.replace(ClusterField::Founder, seen, &value);
        if written.await?.is_some() {
            tracing::info!("Updated the founder key to history {uuid}");
        }
        Ok(())
    }

    async fn replace(&self, field: ClusterField, seen: i64, value: &str) -> Result<Option<i64>> {
        let key = self.key(field);
        let transaction = Transaction::new()
            .when(guard_at(key.as_bytes(), seen))
            .then([WriteOp::put(key, value, None)]);
        self.commit(&transaction).await
    }

    /// Writes the durable registration of the data `id`, with a clean stop if given, and raises the highest position. Returns
    /// whether these data are registered: the registration of other data is only replaced if `replace` permits it.
    ///
    /// # Errors
    /// If etcd does not respond or the keys change concurrently.
    pub(super) async fn register(
        &self,
        id: &str,
        replace: ReplaceRegistration,
        stopped: Option<CleanStop>,
        highest: Option<&Position>,
    ) -> Result<bool> {
        let key = self.own_key("registered");
        let entry = Box::pin(self.registry.get(key.clone())).await?;
        let seen = entry.as_ref().map_or(0, |entry| entry.mod_revision);
        let known = entry.map(|entry| RegistrationRecord::parse(&entry.value));
        let data = RegisteredData {
            id,
            agent_version: env!("CARGO_PKG_VERSION"),
            stopped,
        };
        match update_registration(known.as_ref(), data, replace, now()) {
            RegistrationUpdate::OfOtherData => return Ok(false),
            RegistrationUpdate::Unchanged => {}
            RegistrationUpdate::Put(record) => {
                let transaction = Transaction::new()
                    .when(guard_at(key.as_bytes(), seen))
                    .then([WriteOp::put(key.clone(), record.to_value(), None)]);
                if self.commit(&transaction).await?.is_none() {
                    return Err(Error::Conflict { key, current: None });
                }
            }
        }
        if let Some(highest) = highest {
            self.raise_highest_position(highest).await?;
        }
        Ok(true)
    }

    /// Records `position` as the node's highest, unless a higher one of the same history is recorded.
    ///
    /// # Errors
    /// If etcd does not respond or the key changes concurrently.
    pub(super) async fn raise_highest_position(&self, position: &Position) -> Result<()> {
        let key = self.own_key("highest_position");
        let entry = Box::pin(self.registry.get(key.clone())).await?;
        let seen = entry.as_ref().map_or(0, |entry| entry.mod_revision);
        let known: Option<Position> =
            entry.and_then(|entry| String::from_utf8_lossy(&entry.value).parse().ok());
        if !raises_highest_position(known.as_ref(), position) {
            return Ok(());
        }
        let transaction = Transaction::new()
            .when(guard_at(key.as_bytes(), seen))
            .then([WriteOp::put(key.clone(), position.to_string(), None)]);
        match self.commit(&transaction).await? {
            Some(_) => Ok(()),
            None => Err(Error::Conflict { key, current: None }),
        }
    }

    /// Moves the registration of the same data from `old` to this node's address. The registration of other data that is
    /// found here moves to `old`: as when containers start with each other's addresses, no member is forgotten.
    ///
    /// # Errors
    /// If etcd does not respond.
    pub(super) async fn move_registration(
        &self,
        old: &NodeId,
        seen: &ClusterListing,
    ) -> Result<bool> {
        let old_key = |field: &str| self.keys.node_key(&self.name, old, field);
        let mut transaction = Transaction::new();
        for field in ["registered", "highest_position"] {
            let keys = [old_key(field), self.own_key(field)];
            let [there, here] = [seen.entry(&keys[0]), seen.entry(&keys[1])];
            let [old_key, own_key] = keys;
            for (key, found) in [(&old_key, there), (&own_key, here)] {
                let revision = found.map_or(0, |entry| entry.mod_revision);
                transaction = transaction.when(guard_at(key.as_bytes(), revision));
            }
            for (key, moved) in [(old_key, here), (own_key, there)] {
                transaction = transaction.then([match moved {
                    Some(entry) => WriteOp::put(key, entry.value.clone(), None),
                    None => WriteOp::delete(key),
                }]);
            }
        }
        Ok(self.commit(&transaction).await?.is_some())
    }

    async fn commit(&self, transaction: &Transaction) -> Result<Option<i64>> {
        match Box::pin(self.registry.transact(transaction)).await? {
            TransactionOutcome::Committed { revision } => Ok(Some(revision)),
            TransactionOutcome::Refused { .. } => Ok(None),
        }
    }
}

fn guard_at(key: &[u8], seen: i64) -> Precondition {
    match seen {
        0 => Precondition::Absent(key.to_vec()),
        revision => Precondition::Unchanged(key.to_vec(), revision),
    }
}

fn raw_key(entry: &RegistryEntry) -> RawKeyValue {
    RawKeyValue {
        key: entry.key.clone(),
        value: entry.value.clone(),
        mod_revision: entry.mod_revision,
        lease: entry.lease,
        ttl: None,
    }
}

/// The founder in `snapshot`, if it is readable.
#[must_use]
pub(super) fn known_founder(snapshot: &RegistrySnapshot) -> Option<&FounderRecord> {
    match &snapshot.founder {
        FounderKeyState::Known { founder, .. } => Some(founder),
        FounderKeyState::Absent | FounderKeyState::Unreadable { .. } => None,
    }
}
