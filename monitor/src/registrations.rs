//! The registry's keys of one cluster, kept in step with the watch.
//!
//! Between two folds only the latest values count, except for node states and the identity of the data: one that is superseded
//! before it was folded is folded anyway, together with everything else that its node reported at that revision. Other data may
//! use an address for a moment only (I34).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use galera::observe::fork::ForkRecords;
use galera::observe::node_map::NodeMap;
use galera::observe::observation::{Evidence, RegistryObservation};
use galera::observe::registration::{
    ArbitratorName, ArbitratorRecord, ClusterField, NodeField, ParsedKey, RegisteredFields,
    V2KeyValue, parse_key,
};
use galera::{NodeId, Timestamp};
use registry::{KeyChange, LeaseId, RegistryEntry};

use super::registration_limits::{NODES_MAX, STATE_FIELD, VALUE_MAX};
use super::v2_registrations::V2Registrations;

/// Arbitrators kept per cluster; keys of further ones count as unrecognized.
const ARBITRATORS_MAX: usize = 8;

/// States of one node that may wait for their fold; more than a whole state transfer passes through.
const SUPERSEDED_MAX: usize = 8;

/// One key of a node.
#[derive(Clone, Debug)]
struct RegisteredKey {
    field: NodeField,
    value: String,
    lease: LeaseId,
    mod_revision: i64,
}

/// All keys of one node, under either spelling of its port.
#[derive(Clone, Debug, Default)]
struct RegisteredNode {
    keys: BTreeMap<Arc<[u8]>, Arc<RegisteredKey>>,
    /// What `keys` report, once read since their last change.
    contents: OnceLock<RegisteredContents>,
    last_put_at: Option<Timestamp>,
    state_at: Option<Timestamp>,
    /// Observations with states that were superseded before their fold, oldest first.
    superseded: VecDeque<RegistryObservation>,
    /// Whether the current state has not been folded yet; always so while there are superseded ones.
    unfolded: bool,
}

/// What the keys of a node report.
#[derive(Clone, Debug)]
struct RegisteredContents {
    fields: RegisteredFields,
    /// The lease of the newest key that has one.
    lease: Option<LeaseId>,
    durable: bool,
    first_seen: Option<Timestamp>,
}

impl RegisteredContents {
    fn read(keys: &BTreeMap<Arc<[u8]>, Arc<RegisteredKey>>) -> Self {
        let mut keys: Vec<&RegisteredKey> = keys.values().map(|held| &**held).collect();
        // If both spellings of a node have the same field, the newer value wins.
        keys.sort_by_key(|held| held.mod_revision);
        let lease = keys
            .iter()
            .rev()
            .map(|held| held.lease)
            .find(|lease| *lease != 0);
        let registered = keys
            .iter()
            .rev()
            .find(|held| held.field == NodeField::Registered);
        Self {
            fields: keys
                .iter()
                .map(|held| (held.field.as_str().to_owned(), held.value.clone()))
                .collect(),
            lease,
            durable: registered.is_some(),
            first_seen: registered.and_then(|held| first_seen(&held.value)),
        }
    }
}

impl RegisteredNode {
    fn contents(&self) -> &RegisteredContents {
        self.contents
            .get_or_init(|| RegisteredContents::read(&self.keys))
    }

    /// The state as the node spells it.
    fn state(&self) -> Option<&str> {
        self.value(STATE_FIELD)
    }

    /// The state, and the identity of the data: what is folded before it is superseded.
    fn folded_values(&self) -> (Option<&str>, Option<&str>) {
        (self.state(), self.value(NodeField::DataId.as_str()))
    }

    fn value(&self, field: &str) -> Option<&str> {
        let of_field = |held: &&Arc<RegisteredKey>| held.field.as_str() == field;
        let newest = self
            .keys
            .values()
            .filter(of_field)
            .max_by_key(|held| held.mod_revision);
        newest.map(|held| held.value.as_str())
    }
}

/// The keys of one cluster. Clones share what does not change afterwards.
#[derive(Clone, Debug)]
pub(super) struct Registrations {
    prefix: Arc<str>,
    default_port: u16,
    /// Configured and recorded members, which have places before other nodes.
    members: Arc<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, Arc<RegisteredNode>>,
    unknown_keys: Arc<BTreeSet<Vec<u8>>>,
    forks: Arc<ForkRecords>,
    arbitrators: Arc<BTreeMap<ArbitratorName, ArbitratorRecord>>,
    lease_ttls: Arc<BTreeMap<LeaseId, u64>>,
    v2: V2Registrations,
}

impl Registrations {
    pub(super) fn new(prefix: &str, default_port: u16) -> Self {
        Self {
            prefix: prefix.into(),
            default_port,
            members: Arc::default(),
            nodes: BTreeMap::new(),
            unknown_keys: Arc::default(),
            forks: Arc::default(),
            arbitrators: Arc::default(),
            lease_ttls: Arc::default(),
            v2: V2Registrations::default(),
        }
    }

    /// Sets the members that have places before other nodes: those that `evidence` names from other sources.
    pub(super) fn set_members(&mut self, evidence: &Evidence) {
        let members = evidence
            .configured_members
            .iter()
            .chain(&evidence.last_primary_members);
        let members = members.map(|id| id.clone().normalized(self.default_port));
        self.members = Arc::new(members.collect());
    }

    /// Replaces all keys. An unchanged key keeps the time of its last change: listing it again proves nothing about
    /// its writer.
    pub(super) fn reset(&mut self, at: Timestamp, entries: Vec<RegistryEntry>) {
        let before = std::mem::take(&mut self.nodes);
        self.unknown_keys = Arc::default();
        self.forks = Arc::default();
        self.arbitrators = Arc::default();
        for entry in self.by_importance(entries) {
            self.put(at, entry);
        }
        for (id, node) in &mut self.nodes {
            let node = Arc::make_mut(node);
            node.state_at = Some(at);
            node.unfolded = true;
            let Some(known) = before.get(id) else {
                continue;
            };
            let changed = node.keys.iter().any(|(key, held)| {
                let same = known
                    .keys
                    .get(key)
                    .is_some_and(|old| old.mod_revision == held.mod_revision);
                !same && !held.field.is_durable()
            });
            if !changed {
                node.last_put_at = known.last_put_at;
            }
            if node.state() == known.state() {
                node.state_at = known.state_at;
            }
        }
        let held: BTreeSet<LeaseId> = self.leases().collect();
        Arc::make_mut(&mut self.lease_ttls).retain(|lease, _| held.contains(lease));
    }

    /// Replaces all keys in etcd v2. Returns the nodes whose state changed.
    pub(super) fn reset_v2(&mut self, at: Timestamp, keys: Vec<V2KeyValue>) -> BTreeSet<NodeId> {
        self.v2.reset(at, &self.prefix, self.default_port, keys)
    }

    /// Applies changes in order. Returns the nodes whose state changed.
    pub(super) fn apply(&mut self, at: Timestamp, changes: Vec<KeyChange>) -> BTreeSet<NodeId> {
        let mut moved = BTreeSet::new();
        let mut changes = changes.into_iter().peekable();
        while let Some(first) = changes.next() {
            let revision = revision(&first);
            let mut together = vec![first];
            while let Some(next) = changes.next_if(|next| self::revision(next) == revision) {
                together.push(next);
            }
            moved.extend(self.apply_revision(at, together));
        }
        moved
    }

    /// Applies the changes of one revision.
    fn apply_revision(&mut self, at: Timestamp, changes: Vec<KeyChange>) -> Vec<NodeId> {
        let of_nodes = changes.iter().filter_map(|change| self.node_of(change));
        let before: BTreeMap<NodeId, Arc<RegisteredNode>> = of_nodes
            .map(|id| {
                let node = self.nodes.get(&id).cloned().unwrap_or_default();
                (id, node)
            })
            .collect();
        for change in &changes {
            if let KeyChange::Put(entry) = change {
                self.make_room(entry);
            }
        }
        for change in changes {
            match change {
                KeyChange::Put(entry) => self.put(at, entry),
                KeyChange::Delete { key, .. } => self.remove(&key),
            }
        }
        let mut moved = Vec::new();
        for (id, before) in before {
            let reported = before.folded_values() != (None, None);
            let is_known = self.nodes.contains_key(&id);
            if !(is_known || before.unfolded && reported) {
                continue;
            }
            // Without keys it is kept until its last report is folded.
            let node = self.nodes.entry(id.clone()).or_default();
            if node.folded_values() == before.folded_values() {
                continue;
            }
            let room = node.superseded.len().max(before.superseded.len()) < SUPERSEDED_MAX;
            let passed = (before.unfolded && reported && room).then(|| self.observation(&before));
            let Some(node) = self.nodes.get_mut(&id).map(Arc::make_mut) else {
                continue;
            };
            if !is_known {
                node.superseded.clone_from(&before.superseded);
            }
            node.superseded.extend(passed);
            node.unfolded = true;
            if is_known && node.state() != before.state() {
                node.state_at = Some(at);
                moved.push(id);
            }
        }
        moved
    }

    /// The node whose state `change` may affect.
    fn node_of(&self, change: &KeyChange) -> Option<NodeId> {
        let key = match change {
            KeyChange::Put(entry) => &entry.key,
            KeyChange::Delete { key, .. } => key,
        };
        self.node_of_key(key)
    }

    fn node_of_key(&self, key: &[u8]) -> Option<NodeId> {
        match parse_key(&self.prefix, key) {
            ParsedKey::Node { node, .. } => Some(node.normalized(self.default_port)),
            _ => None,
        }
    }

    /// The entries in the order in which their nodes get one of [`NODES_MAX`] places: members, nodes with a lease, others.
    /// Durable keys of nodes that are gone would take the places of nodes that report.
    fn by_importance(&self, mut entries: Vec<RegistryEntry>) -> Vec<RegistryEntry> {
        // Each node has a key at least.
        if entries.len() <= NODES_MAX {
            return entries;
        }
        let leased: BTreeSet<NodeId> = entries
            .iter()
            .filter(|entry| entry.lease != 0)
            .filter_map(|entry| self.node_of_key(&entry.key))
            .collect();
        entries.sort_by_cached_key(|entry| match self.node_of_key(&entry.key) {
            Some(node) if self.members.contains(&node) => 0,
            Some(node) if leased.contains(&node) => 1,
            _ => 2,
        });
        entries
    }

    /// Frees the place of a node that is neither a member nor has a lease if `entry` is of one that is or has, and has no
    /// place.
    fn make_room(&mut self, entry: &RegistryEntry) {
        if self.nodes.len() < NODES_MAX {
            return;
        }
        let Some(node) = self.node_of_key(&entry.key) else {
            return;
        };
        let important = entry.lease != 0 || self.members.contains(&node);
        if !important || self.nodes.contains_key(&node) {
            return;
        }
        let replaced = self.nodes.iter().find(|(id, held)| {
            !self.members.contains(*id)
                && held.superseded.is_empty()
                && held.keys.values().all(|key| key.lease == 0)
        });
        let Some(id) = replaced.map(|(id, _)| id.clone()) else {
            return;
        };
        if let Some(held) = self.nodes.remove(&id) {
            let keys = held.keys.keys().map(|key| key.to_vec());
            Arc::make_mut(&mut self.unknown_keys).extend(keys);
        }
    }

    /// Marks the current observations as folded. Returns whether superseded ones are left to fold.
    pub(super) fn mark_folded(&mut self) -> bool {
        let mut more = false;
        let unfolded = |node: &&mut Arc<RegisteredNode>| node.unfolded;
        for node in self.nodes.values_mut().filter(unfolded) {
            let node = Arc::make_mut(node);
            match node.superseded.pop_front() {
                Some(_) => more = true,
                None => node.unfolded = false,
            }
        }
        self.nodes
            .retain(|_, node| !node.keys.is_empty() || !node.superseded.is_empty());
        more
    }

    /// Whether a state of `node` has not been folded yet.
    pub(super) fn has_unfolded_state(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|held| held.unfolded)
    }

    fn put(&mut self, at: Timestamp, entry: RegistryEntry) {
        let ParsedKey::Node { node, field, .. } = (match parse_key(&self.prefix, &entry.key) {
            ParsedKey::Cluster {
                field: ClusterField::Fork(epoch),
                ..
            } => {
                Arc::make_mut(&mut self.forks).insert(epoch, &entry.value);
                return;
            }
            ParsedKey::Cluster { .. } => return,
            ParsedKey::Arbitrator { name, .. } => {
                self.put_arbitrator(name, entry);
                return;
            }
            kind => kind,
        }) else {
            Arc::make_mut(&mut self.unknown_keys).insert(entry.key);
            return;
        };
        let node = node.normalized(self.default_port);
        let full = self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&node);
        if full || entry.value.len() > VALUE_MAX {
            self.remove(&entry.key);
            Arc::make_mut(&mut self.unknown_keys).insert(entry.key);
            return;
        }
        self.remove_unknown(&entry.key);
        let held = Arc::make_mut(self.nodes.entry(node).or_default());
        held.contents.take();
        if !field.is_durable() {
            held.last_put_at = Some(at);
        }
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        held.keys.insert(
            entry.key.into(),
            Arc::new(RegisteredKey {
                field,
                value,
                lease: entry.lease,
                mod_revision: entry.mod_revision,
            }),
        );
    }

    fn put_arbitrator(&mut self, name: ArbitratorName, entry: RegistryEntry) {
        let arbitrators = Arc::make_mut(&mut self.arbitrators);
        let full = arbitrators.len() >= ARBITRATORS_MAX && !arbitrators.contains_key(&name);
        // Without a lease nothing proves that it is alive.
        let record = ArbitratorRecord::parse(&entry.value).filter(|_| !full && entry.lease != 0);
        match record {
            Some(record) => {
                arbitrators.insert(name, record);
                self.remove_unknown(&entry.key);
            }
            None => {
                arbitrators.remove(&name);
                Arc::make_mut(&mut self.unknown_keys).insert(entry.key);
            }
        }
    }

    /// Removes a key that no dialect recognizes. Returns whether it was one.
    fn remove_unknown(&mut self, key: &[u8]) -> bool {
        // Only a set that changes is copied.
        self.unknown_keys.contains(key) && Arc::make_mut(&mut self.unknown_keys).remove(key)
    }

    fn remove(&mut self, key: &[u8]) {
        if self.remove_unknown(key) {
            return;
        }
        match parse_key(&self.prefix, key) {
            ParsedKey::Node { node, .. } => {
                let node = node.normalized(self.default_port);
                if let Some(held) = self.nodes.get_mut(&node).map(Arc::make_mut) {
                    held.contents.take();
                    held.keys.remove(key);
                    if held.keys.is_empty() {
                        self.nodes.remove(&node);
                    }
                }
            }
            ParsedKey::Cluster {
                field: ClusterField::Fork(epoch),
                ..
            } => Arc::make_mut(&mut self.forks).remove(epoch),
            ParsedKey::Arbitrator { name, .. } => {
                Arc::make_mut(&mut self.arbitrators).remove(&name);
            }
            _ => {}
        }
    }

    /// Sets the granted time to live of `lease`, in seconds.
    pub(super) fn set_lease_ttl(&mut self, lease: LeaseId, ttl: u64) {
        Arc::make_mut(&mut self.lease_ttls).insert(lease, ttl);
    }

    /// Leases whose time to live is not known yet.
    pub(super) fn leases_without_ttl(&self) -> BTreeSet<LeaseId> {
        self.leases()
            .filter(|lease| !self.lease_ttls.contains_key(lease))
            .collect()
    }

    fn leases(&self) -> impl Iterator<Item = LeaseId> {
        let keys = self.nodes.values().flat_map(|node| node.keys.values());
        keys.map(|held| held.lease).filter(|lease| *lease != 0)
    }

    /// The recorded forks of the cluster's history.
    pub(super) fn forks(&self) -> &ForkRecords {
        &self.forks
    }

    /// What the agents of arbitrators report.
    pub(super) fn arbitrators(&self) -> Arc<BTreeMap<ArbitratorName, ArbitratorRecord>> {
        Arc::clone(&self.arbitrators)
    }

    /// Number of keys that no dialect recognizes.
    pub(super) fn unknown_key_count(&self) -> usize {
        self.unknown_keys.len() + self.v2.unknown_key_count()
    }

    /// The registry's observation of every node: the oldest superseded one that was not folded, else the current one.
    pub(super) fn observations(&self) -> NodeMap<RegistryObservation> {
        let nodes = self.nodes.iter();
        let of_v3 = nodes
            .map(|(id, node)| {
                let passed = node.superseded.front().cloned();
                let observation = passed.unwrap_or_else(|| self.observation(node));
                (id.clone(), observation)
            })
            .collect();
        self.v2.merge_into(of_v3)
    }

    fn observation(&self, node: &RegisteredNode) -> RegistryObservation {
        let contents = node.contents();
        RegistryObservation {
            fields: contents.fields.clone(),
            last_put_at: node.last_put_at,
            state_changed_at: node.state_at,
            leased: contents.lease.is_some(),
            ttl: contents
                .lease
                .and_then(|lease| self.lease_ttls.get(&lease).copied()),
            durable: contents.durable,
            first_seen: contents.first_seen,
            v2: None,
        }
    }
}

fn revision(change: &KeyChange) -> i64 {
    match change {
        KeyChange::Put(entry) => entry.mod_revision,
        KeyChange::Delete { revision, .. } => *revision,
    }
}

fn first_seen(registered: &str) -> Option<Timestamp> {
    let value: serde_json::Value = serde_json::from_str(registered).ok()?;
    Timestamp::parse(value.get("first_seen")?.as_str()?)
}

#[cfg(test)]
mod tests;
