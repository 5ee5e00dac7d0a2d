//! What the registry holds of one cluster, kept in step with the watch.

use std::collections::{BTreeMap, BTreeSet};

use galera::observation::RegistryObservation;
use galera::registration::{Field, RegistryKeyKind, parse_key};
use galera::{NodeId, Timestamp};
use registry::{Change, Entry, LeaseId};

/// Longest value that is read, in bytes; no field of any dialect comes near it.
const VALUE_MAX: usize = 4096;
/// Nodes of one cluster that are kept; the keys of more count as unexplained.
const NODES_MAX: usize = 256;

/// One key of a node.
#[derive(Clone, Debug)]
struct Held {
    field: Field,
    value: String,
    lease: LeaseId,
    mod_revision: i64,
}

/// All keys of one node, under either spelling of its port.
#[derive(Clone, Debug, Default)]
struct HeldNode {
    keys: BTreeMap<Vec<u8>, Held>,
    last_put_at: Option<Timestamp>,
}

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Registrations {
    prefix: String,
    default_port: u16,
    nodes: BTreeMap<NodeId, HeldNode>,
    unexplained: BTreeSet<Vec<u8>>,
    granted: BTreeMap<LeaseId, u64>,
}

impl Registrations {
    pub(super) fn new(prefix: &str, default_port: u16) -> Self {
        Self {
            prefix: prefix.to_owned(),
            default_port,
            nodes: BTreeMap::new(),
            unexplained: BTreeSet::new(),
            granted: BTreeMap::new(),
        }
    }

    /// Takes in everything that the registry holds, in place of what was known. A key that did not change keeps the
    /// time of its last change: seeing it again proves nothing about its writer.
    pub(super) fn reset(&mut self, at: Timestamp, entries: Vec<Entry>) {
        let before = std::mem::take(&mut self.nodes);
        self.unexplained.clear();
        for entry in entries {
            self.put(at, entry);
        }
        for (id, node) in &mut self.nodes {
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
        }
        let held: BTreeSet<LeaseId> = self.leases().collect();
        self.granted.retain(|lease, _| held.contains(lease));
    }

    /// Takes in one change.
    pub(super) fn apply(&mut self, at: Timestamp, change: Change) {
        match change {
            Change::Put(entry) => self.put(at, entry),
            Change::Delete { key, .. } => self.remove(&key),
        }
    }

    fn put(&mut self, at: Timestamp, entry: Entry) {
        let RegistryKeyKind::Node { node, field, .. } = (match parse_key(&self.prefix, &entry.key) {
            RegistryKeyKind::Cluster { .. } => return,
            kind => kind,
        }) else {
            self.unexplained.insert(entry.key);
            return;
        };
        let node = node.normalized(self.default_port);
        let full = self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&node);
        if full || entry.value.len() > VALUE_MAX {
            self.remove(&entry.key);
            self.unexplained.insert(entry.key);
            return;
        }
        self.unexplained.remove(&entry.key);
        let held = self.nodes.entry(node).or_default();
        if !field.is_durable() {
            held.last_put_at = Some(at);
        }
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        held.keys.insert(
            entry.key,
            Held {
                field,
                value,
                lease: entry.lease,
                mod_revision: entry.mod_revision,
            },
        );
    }

    fn remove(&mut self, key: &[u8]) {
        if self.unexplained.remove(key) {
            return;
        }
        if let RegistryKeyKind::Node { node, .. } = parse_key(&self.prefix, key) {
            let node = node.normalized(self.default_port);
            if let Some(held) = self.nodes.get_mut(&node) {
                held.keys.remove(key);
                if held.keys.is_empty() {
                    self.nodes.remove(&node);
                }
            }
        }
    }

    /// The time to live that `lease` was granted, in seconds.
    pub(super) fn granted(&mut self, lease: LeaseId, ttl: u64) {
        self.granted.insert(lease, ttl);
    }

    /// Leases whose time to live is not known yet.
    pub(super) fn unknown_leases(&self) -> BTreeSet<LeaseId> {
        self.leases()
            .filter(|lease| !self.granted.contains_key(lease))
            .collect()
    }

    fn leases(&self) -> impl Iterator<Item = LeaseId> {
        let keys = self.nodes.values().flat_map(|node| node.keys.values());
        keys.map(|held| held.lease).filter(|lease| *lease != 0)
    }

    /// How many keys no dialect explains.
    pub(super) fn unexplained(&self) -> usize {
        self.unexplained.len()
    }

    /// What the registry says of every node.
    pub(super) fn observations(&self) -> BTreeMap<NodeId, RegistryObservation> {
        let nodes = self.nodes.iter();
        nodes
            .map(|(id, node)| (id.clone(), self.observation(node)))
            .collect()
    }

    fn observation(&self, node: &HeldNode) -> RegistryObservation {
        let mut keys: Vec<&Held> = node.keys.values().collect();
        // Where two spellings of the node hold the same field, the newer one counts.
        keys.sort_by_key(|held| held.mod_revision);
        let lease = keys
            .iter()
            .rev()
            .map(|held| held.lease)
            .find(|lease| *lease != 0);
        let registered = keys
            .iter()
            .rev()
            .find(|held| held.field == Field::Registered);
        RegistryObservation {
            fields: keys
                .iter()
                .map(|held| (held.field.word().to_owned(), held.value.clone()))
                .collect(),
            last_put_at: node.last_put_at,
            leased: lease.is_some(),
            ttl: lease.and_then(|lease| self.granted.get(&lease).copied()),
            durable: registered.is_some(),
            first_seen: registered.and_then(|held| first_seen(&held.value)),
        }
    }
}

fn first_seen(registered: &str) -> Option<Timestamp> {
    let value: serde_json::Value = serde_json::from_str(registered).ok()?;
    Timestamp::parse(value.get("first_seen")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Timestamp = Timestamp::from_unix_millis(1_000);
    const LATE: Timestamp = Timestamp::from_unix_millis(60_000);

    fn entry(key: &str, value: &str, lease: LeaseId, mod_revision: i64) -> Entry {
        Entry {
            key: key.into(),
            value: value.into(),
            create_revision: 1,
            mod_revision,
            version: 1,
            lease,
        }
    }

    fn lab() -> Registrations {
        Registrations::new("/galera", 3306)
    }

    fn only(registrations: &Registrations) -> RegistryObservation {
        let mut all = registrations.observations();
        assert_eq!(all.len(), 1, "{all:?}");
        all.pop_first().unwrap().1
    }

    #[test]
    fn a_registration_ends_with_its_lease_but_a_durable_one_stays() {
        let mut lab = lab();
        let registered = r#"{"first_seen":"2026-11-23T08:00:00Z"}"#;
        lab.reset(
            EARLY,
            vec![
                entry("/galera/lab/db1/wsrep_local_state_comment", "Synced", 7, 2),
                entry("/galera/lab/db1/registered", registered, 0, 1),
            ],
        );
        lab.granted(7, 30);
        let observation = only(&lab);
        assert!(observation.leased && observation.durable);
        assert_eq!(
            (observation.ttl, observation.last_put_at),
            (Some(30), Some(EARLY))
        );
        assert_eq!(
            observation.first_seen,
            Timestamp::parse("2026-11-23T08:00:00Z")
        );
        let key = b"/galera/lab/db1/wsrep_local_state_comment".to_vec();
        lab.apply(LATE, Change::Delete { key, revision: 3 });
        let observation = only(&lab);
        assert!(!observation.leased && observation.durable);
        assert_eq!(
            observation.last_put_at,
            Some(EARLY),
            "how long ago it last spoke stays known"
        );
        let key = b"/galera/lab/db1/registered".to_vec();
        lab.apply(LATE, Change::Delete { key, revision: 4 });
        assert!(lab.observations().is_empty());
    }

    #[test]
    fn seeing_an_old_key_again_does_not_make_it_young() {
        let mut lab = lab();
        let old = entry("/galera/lab/db1/wsrep_last_committed", "5", 7, 2);
        lab.reset(EARLY, vec![old.clone()]);
        lab.reset(LATE, vec![old]);
        assert_eq!(only(&lab).last_put_at, Some(EARLY));
        lab.reset(
            LATE,
            vec![entry("/galera/lab/db1/wsrep_last_committed", "6", 7, 3)],
        );
        assert_eq!(only(&lab).last_put_at, Some(LATE));
    }

    #[test]
    fn both_spellings_of_a_node_are_one_and_the_newer_value_counts() {
        let mut lab = lab();
        lab.apply(
            EARLY,
            Change::Put(entry(
                "/galera/lab/db1:3306/wsrep_last_committed",
                "9",
                0,
                5,
            )),
        );
        lab.apply(
            EARLY,
            Change::Put(entry("/galera/lab/db1/wsrep_last_committed", "4", 0, 3)),
        );
        assert_eq!(only(&lab).fields["wsrep_last_committed"], "9");
    }

    #[test]
    fn garbage_is_counted_and_harms_nothing() {
        let mut lab = lab();
        let huge = "x".repeat(2_000_000);
        for (key, value) in [
            ("/galera/lab/<script>/wsrep_ready", "ON"),
            ("/galera/lab/db1/wsrep_ready/deeper", "ON"),
            ("/galera/lab/db1/wsrep_ready", huge.as_str()),
            ("/galera/lab/db1/colour", "red"),
        ] {
            lab.apply(EARLY, Change::Put(entry(key, value, 0, 2)));
        }
        assert_eq!((lab.unexplained(), lab.observations().len()), (4, 0));
        lab.apply(
            EARLY,
            Change::Put(entry("/galera/lab/db1/wsrep_ready", "ON", 0, 3)),
        );
        assert_eq!((lab.unexplained(), lab.observations().len()), (3, 1));
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let mut lab = lab();
        for number in 0..=NODES_MAX {
            let key = format!("/galera/lab/node{number}/wsrep_ready");
            lab.apply(EARLY, Change::Put(entry(&key, "ON", 0, 2)));
        }
        assert_eq!(
            (lab.unexplained(), lab.observations().len()),
            (1, NODES_MAX)
        );
    }
}
