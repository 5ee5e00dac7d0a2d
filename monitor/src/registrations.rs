//! The registry's keys of one cluster, kept in step with the watch.
//!
//! Between two folds only the latest values count, except for node states: a state that is superseded before it was
//! folded is folded anyway, together with everything else that its node reported at that revision.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use galera::observe::observation::RegistryObservation;
use galera::observe::registration::{NodeField, ParsedKey, parse_key};
use galera::{NodeId, Timestamp};
use registry::{KeyChange, LeaseId, RegistryEntry};

/// Longest value accepted, in bytes; no field of any dialect comes near it.
const VALUE_MAX: usize = 4096;
/// The field that holds a node's state.
const STATE_FIELD: &str = "wsrep_local_state_comment";
/// Nodes kept per cluster; keys of further nodes count as unrecognized.
const NODES_MAX: usize = 256;

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
    keys: BTreeMap<Vec<u8>, RegisteredKey>,
    last_put_at: Option<Timestamp>,
    state_at: Option<Timestamp>,
    /// Observations with states that were superseded before their fold, oldest first.
    superseded: VecDeque<RegistryObservation>,
    /// Whether the current state has not been folded yet.
    unfolded: bool,
}

impl RegisteredNode {
    /// The state as the node spells it.
    fn state(&self) -> Option<&str> {
        let of_state = |held: &&RegisteredKey| held.field.as_str() == STATE_FIELD;
        let newest = self
            .keys
            .values()
            .filter(of_state)
            .max_by_key(|held| held.mod_revision);
        newest.map(|held| held.value.as_str())
    }
}

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Registrations {
    prefix: String,
    default_port: u16,
    nodes: BTreeMap<NodeId, RegisteredNode>,
    unknown_keys: BTreeSet<Vec<u8>>,
    lease_ttls: BTreeMap<LeaseId, u64>,
}

impl Registrations {
    pub(super) fn new(prefix: &str, default_port: u16) -> Self {
        Self {
            prefix: prefix.to_owned(),
            default_port,
            nodes: BTreeMap::new(),
            unknown_keys: BTreeSet::new(),
            lease_ttls: BTreeMap::new(),
        }
    }

    /// Replaces all keys. An unchanged key keeps the time of its last change: listing it again proves nothing about
    /// its writer.
    pub(super) fn reset(&mut self, at: Timestamp, entries: Vec<RegistryEntry>) {
        let before = std::mem::take(&mut self.nodes);
        self.unknown_keys.clear();
        for entry in entries {
            self.put(at, entry);
        }
        for (id, node) in &mut self.nodes {
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
        self.lease_ttls.retain(|lease, _| held.contains(lease));
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
        let before: BTreeMap<NodeId, RegisteredNode> = of_nodes
            .map(|id| {
                let node = self.nodes.get(&id).cloned().unwrap_or_default();
                (id, node)
            })
            .collect();
        for change in changes {
            match change {
                KeyChange::Put(entry) => self.put(at, entry),
                KeyChange::Delete { key, .. } => self.remove(&key),
            }
        }
        let mut moved = Vec::new();
        for (id, before) in before {
            let passed = self.observation(&before);
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            if node.state() == before.state() {
                continue;
            }
            if before.unfolded && before.state().is_some() && node.superseded.len() < SUPERSEDED_MAX
            {
                node.superseded.push_back(passed);
            }
            node.state_at = Some(at);
            node.unfolded = true;
            moved.push(id);
        }
        moved
    }

    /// The node whose state `change` may affect.
    fn node_of(&self, change: &KeyChange) -> Option<NodeId> {
        let key = match change {
            KeyChange::Put(entry) => &entry.key,
            KeyChange::Delete { key, .. } => key,
        };
        match parse_key(&self.prefix, key) {
            ParsedKey::Node { node, .. } => Some(node.normalized(self.default_port)),
            _ => None,
        }
    }

    /// Marks the current observations as folded. Returns whether superseded ones are left to fold.
    pub(super) fn mark_folded(&mut self) -> bool {
        let mut more = false;
        for node in self.nodes.values_mut() {
            match node.superseded.pop_front() {
                Some(_) => more = true,
                None => node.unfolded = false,
            }
        }
        more
    }

    /// Whether a state of `node` has not been folded yet.
    pub(super) fn has_unfolded_state(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|held| held.unfolded)
    }

    fn put(&mut self, at: Timestamp, entry: RegistryEntry) {
        let ParsedKey::Node { node, field, .. } = (match parse_key(&self.prefix, &entry.key) {
            ParsedKey::Cluster { .. } => return,
            kind => kind,
        }) else {
            self.unknown_keys.insert(entry.key);
            return;
        };
        let node = node.normalized(self.default_port);
        let full = self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&node);
        if full || entry.value.len() > VALUE_MAX {
            self.remove(&entry.key);
            self.unknown_keys.insert(entry.key);
            return;
        }
        self.unknown_keys.remove(&entry.key);
        let held = self.nodes.entry(node).or_default();
        if !field.is_durable() {
            held.last_put_at = Some(at);
        }
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        held.keys.insert(
            entry.key,
            RegisteredKey {
                field,
                value,
                lease: entry.lease,
                mod_revision: entry.mod_revision,
            },
        );
    }

    fn remove(&mut self, key: &[u8]) {
        if self.unknown_keys.remove(key) {
            return;
        }
        if let ParsedKey::Node { node, .. } = parse_key(&self.prefix, key) {
            let node = node.normalized(self.default_port);
            if let Some(held) = self.nodes.get_mut(&node) {
                held.keys.remove(key);
                if held.keys.is_empty() {
                    self.nodes.remove(&node);
                }
            }
        }
    }

    /// Sets the granted time to live of `lease`, in seconds.
    pub(super) fn set_lease_ttl(&mut self, lease: LeaseId, ttl: u64) {
        self.lease_ttls.insert(lease, ttl);
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

    /// Number of keys that no dialect recognizes.
    pub(super) fn unknown_key_count(&self) -> usize {
        self.unknown_keys.len()
    }

    /// The registry's observation of every node: the oldest superseded one that was not folded, else the current one.
    pub(super) fn observations(&self) -> BTreeMap<NodeId, RegistryObservation> {
        let nodes = self.nodes.iter();
        nodes
            .map(|(id, node)| {
                let passed = node.superseded.front().cloned();
                let observation = passed.unwrap_or_else(|| self.observation(node));
                (id.clone(), observation)
            })
            .collect()
    }

    fn observation(&self, node: &RegisteredNode) -> RegistryObservation {
        let mut keys: Vec<&RegisteredKey> = node.keys.values().collect();
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
        RegistryObservation {
            fields: keys
                .iter()
                .map(|held| (held.field.as_str().to_owned(), held.value.clone()))
                .collect(),
            last_put_at: node.last_put_at,
            state_changed_at: node.state_at,
            leased: lease.is_some(),
            ttl: lease.and_then(|lease| self.lease_ttls.get(&lease).copied()),
            durable: registered.is_some(),
            first_seen: registered.and_then(|held| first_seen(&held.value)),
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
