//! The keys of one cluster in etcd v2, and their evidence beside that of v3: one registration for each node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use galera::observe::node_map::NodeMap;
use galera::observe::observation::RegistryObservation;
use galera::observe::registration::{
    NodeField, ParsedKey, V2KeyValue, V2Registration, parse_v2_key,
};
use galera::view::SeqnoMeaning;
use galera::{NodeId, Timestamp};

use super::registration_limits::{NODES_MAX, STATE_FIELD, VALUE_MAX};

/// One key of a node.
#[derive(Clone, Debug)]
struct HeldKey {
    field: NodeField,
    value: String,
    index: u64,
    ttl: Option<u64>,
}

/// The keys of one node.
#[derive(Clone, Debug, Default)]
struct V2Node {
    keys: BTreeMap<String, HeldKey>,
    last_put_at: Option<Timestamp>,
    state_at: Option<Timestamp>,
    seqno: Option<SeqnoMeaning>,
    /// The longest time to live that a key of its present reports had, in seconds: what the scripts grant.
    granted: Option<u64>,
}

impl V2Node {
    fn find(&self, field: &str) -> Option<&HeldKey> {
        let mut keys = self.keys.values();
        keys.find(|held| held.field.as_str() == field)
    }

    fn observation(&self) -> RegistryObservation {
        // The position of a stopped server is no status of a running one.
        let shown = |held: &&HeldKey| {
            held.field != NodeField::Seqno || self.seqno == Some(SeqnoMeaning::LastCommitted)
        };
        let fields = self.keys.values().filter(shown);
        RegistryObservation {
            fields: fields
                .map(|held| (held.field.as_str().to_owned(), held.value.clone()))
                .collect(),
            last_put_at: self.last_put_at,
            state_changed_at: self.state_at,
            leased: self.granted.is_some(),
            ttl: self.granted,
            durable: false,
            first_seen: None,
            v2: Some(V2Registration {
                reported: self.granted.is_some(),
                seqno: self.seqno,
                also_in_v3: false,
            }),
        }
    }
}

/// The keys of one cluster in etcd v2. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct V2Registrations {
    nodes: Arc<BTreeMap<NodeId, V2Node>>,
    unknown_keys: usize,
    /// Whether the keys were read before: what appears since was written since.
    read: bool,
}

impl V2Registrations {
    /// Replaces all keys. An unchanged key keeps the time of its last change. Returns the nodes whose state changed.
    pub(super) fn reset(
        &mut self,
        at: Timestamp,
        prefix: &str,
        default_port: u16,
        keys: Vec<V2KeyValue>,
    ) -> BTreeSet<NodeId> {
        let before = std::mem::take(&mut self.nodes);
        let mut nodes: BTreeMap<NodeId, V2Node> = BTreeMap::new();
        self.unknown_keys = 0;
        for key in keys {
            let parsed = match parse_v2_key(prefix, &key.key) {
                ParsedKey::Node { node, field, .. } if key.value.len() <= VALUE_MAX => {
                    Some((node.normalized(default_port), field))
                }
                _ => None,
            };
            let parsed =
                parsed.filter(|(node, _)| nodes.contains_key(node) || nodes.len() < NODES_MAX);
            let Some((node, field)) = parsed else {
                self.unknown_keys += 1;
                continue;
            };
            let held = HeldKey {
                field,
                value: key.value,
                index: key.index,
                ttl: key.ttl,
            };
            nodes.entry(node).or_default().keys.insert(key.key, held);
        }
        let mut moved = BTreeSet::new();
        for (id, node) in &mut nodes {
            if complete(node, before.get(id), at, self.read) {
                moved.insert(id.clone());
            }
        }
        self.nodes = Arc::new(nodes);
        self.read = true;
        moved
    }

    /// Keys that no image writes, or that exceed a limit.
    pub(super) fn unknown_key_count(&self) -> usize {
        self.unknown_keys
    }

    /// Adds what the keys report to the observations of v3. A live report of an agent is more exact, and stays as it is.
    pub(super) fn merge_into(
        &self,
        observations: NodeMap<RegistryObservation>,
    ) -> NodeMap<RegistryObservation> {
        if self.nodes.is_empty() {
            return observations;
        }
        let mut merged: BTreeMap<NodeId, RegistryObservation> = observations
            .iter()
            .map(|(id, seen)| (id.clone(), seen.clone()))
            .collect();
        for (id, node) in self.nodes.iter() {
            let own = node.observation();
            match merged.get_mut(id) {
                None => _ = merged.insert(id.clone(), own),
                Some(known) => merge(known, own),
            }
        }
        merged.into_iter().collect()
    }
}

/// Completes `node` by what was read `before`. Returns whether its state changed.
fn complete(node: &mut V2Node, before: Option<&V2Node>, at: Timestamp, watched: bool) -> bool {
    let unchanged = |key: &String, held: &HeldKey| {
        let known = before.and_then(|before| before.keys.get(key));
        known.is_some_and(|known| known.index == held.index)
    };
    let written =
        |(key, held): (&String, &HeldKey)| !held.field.is_durable() && !unchanged(key, held);
    let put = node.keys.iter().any(written);
    let any = node.keys.values().any(|held| !held.field.is_durable());
    node.last_put_at = match (put, any) {
        (true, _) => Some(at),
        (false, true) => before.and_then(|before| before.last_put_at),
        (false, false) => None,
    };
    let state = node.find(STATE_FIELD).map(|held| held.value.clone());
    let state_before = before.and_then(|before| before.find(STATE_FIELD));
    let moved = state.as_deref() != state_before.map(|held| held.value.as_str());
    node.state_at = match moved {
        true => Some(at),
        false => before.and_then(|before| before.state_at),
    };
    let longest = node.keys.values().filter_map(|held| held.ttl).max();
    let granted_before = before.and_then(|before| before.granted);
    node.granted = longest.map(|longest| longest.max(granted_before.unwrap_or(0)));
    let seqno = node
        .keys
        .iter()
        .find(|(_, held)| held.field == NodeField::Seqno);
    node.seqno = seqno.map(|(key, held)| {
        let known = before.and_then(|before| before.seqno);
        SeqnoMeaning::of(
            node.find("wsrep_last_committed").is_some(),
            state.is_some(),
            known.filter(|_| unchanged(key, held)),
            watched,
        )
    });
    moved
}

/// Adds `own`, of v2, to `known`, of v3.
fn merge(known: &mut RegistryObservation, own: RegistryObservation) {
    let v2 = own.v2.map(|v2| V2Registration {
        also_in_v3: known.leased,
        ..v2
    });
    if known.leased {
        known.v2 = v2;
        return;
    }
    let mut fields: BTreeMap<String, String> = BTreeMap::clone(&own.fields);
    fields.extend(
        known
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    *known = RegistryObservation {
        fields: fields.into(),
        durable: known.durable,
        first_seen: known.first_seen,
        v2,
        ..own
    };
}

#[cfg(test)]
mod tests;
