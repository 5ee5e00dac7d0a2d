//! Lists a cluster's keys in etcd v2 for display, and the way of each node from there to an agent.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::{stale_reason, truncated_value};
use super::{NodeField, ParsedKey, V2KeyValue, parse_v2_key};
use crate::id::{ClusterName, NodeId};
use crate::observe::observation::Evidence;
use crate::view::{ClusterView, MoveStepView, V2KeyView, V2KeysView};

/// Nodes and reasons that a message names.
const NAMED_MAX: usize = 5;

/// What etcd v2 has of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V2ClusterKeys {
    /// etcd's index of the read.
    pub index: u64,
    pub keys: Vec<V2KeyValue>,
    /// Directories without keys.
    pub empty_directories: Vec<String>,
}

/// Lists `read` of `cluster`, or why it could not be read. `view` determines which nodes are alive, and `evidence` what the
/// registries hold of them.
#[must_use]
pub fn build_v2_view(
    prefix: &str,
    endpoints: String,
    read: Result<V2ClusterKeys, String>,
    view: &ClusterView,
    evidence: &Evidence,
    default_port: u16,
) -> V2KeysView {
    let (read, error) = match read {
        Ok(read) => (read, None),
        Err(error) => (V2ClusterKeys::default(), Some(error)),
    };
    let survey = MoveSurvey::new(prefix, &read, evidence, default_port);
    let mut keep_because = survey.keep_because();
    if let Some(error) = &error {
        keep_because.insert(0, format!("Its keys cannot be read: {error}."));
    }
    let mut keys = read.keys;
    keys.sort_by(|one, other| one.key.cmp(&other.key));
    let key_count = keys.len();
    keys.truncate(V2KeysView::LISTED_MAX);
    let mut stale_directories = read.empty_directories;
    let stale_directory_count = stale_directories.len();
    stale_directories.truncate(V2KeysView::DIRECTORIES_MAX);
    V2KeysView {
        endpoints,
        index: read.index,
        error,
        keys: keys
            .iter()
            .map(|raw| key_view(prefix, raw, view, evidence, default_port))
            .collect(),
        key_count,
        stale_directories,
        stale_directory_count,
        moves: survey.steps(&view.name),
        keep_because,
    }
}

fn key_view(
    prefix: &str,
    raw: &V2KeyValue,
    view: &ClusterView,
    evidence: &Evidence,
    default_port: u16,
) -> V2KeyView {
    let (node, known, stale, reason, seqno) = match parse_v2_key(prefix, &raw.key) {
        ParsedKey::Node { node, field, .. } => {
            let node = node.normalized(default_port);
            let life = (raw.ttl.is_some(), "time to live");
            let reason = stale_reason(&node, &field, life, view);
            let seen = evidence.registrations.get(&node);
            let meaning = seen.and_then(|seen| seen.v2.as_ref()?.seqno);
            let seqno = meaning.filter(|_| field == NodeField::Seqno);
            (Some(node), true, reason.is_some(), reason, seqno)
        }
        ParsedKey::Unknown { reason, .. } => (None, false, false, Some(reason), None),
        ParsedKey::Cluster { .. } | ParsedKey::Arbitrator { .. } => {
            (None, false, false, None, None)
        }
    };
    V2KeyView {
        key: raw.key.clone(),
        value: truncated_value(raw.value.as_bytes()).0,
        index: raw.index,
        ttl: raw.ttl,
        node,
        known,
        stale,
        reason,
        seqno,
    }
}

/// A node's keys in both registries.
#[derive(Default)]
struct MovingNode {
    in_v2: bool,
    /// A key in etcd v2 expires: scripts run there, or did until recently.
    reported_in_v2: bool,
    /// The address in etcd v2, if it is not the node's.
    other_address: Option<String>,
    /// Its agent reports in v3.
    in_v3: bool,
}

struct MoveSurvey(BTreeMap<NodeId, MovingNode>);

impl MoveSurvey {
    fn new(prefix: &str, read: &V2ClusterKeys, evidence: &Evidence, default_port: u16) -> Self {
        let mut nodes: BTreeMap<NodeId, MovingNode> = BTreeMap::new();
        for raw in &read.keys {
            let ParsedKey::Node { node, field, .. } = parse_v2_key(prefix, &raw.key) else {
                continue;
            };
            let node = node.normalized(default_port);
            let named = matches!(field, NodeField::IpAddress | NodeField::IpAddr)
                .then(|| raw.value.parse::<NodeId>().ok());
            let other = named.is_some_and(|named| {
                named.is_none_or(|named| named.normalized(default_port) != node)
            });
            let moving = nodes.entry(node).or_default();
            moving.in_v2 = true;
            moving.reported_in_v2 |= raw.ttl.is_some();
            if other {
                moving.other_address = Some(raw.value.chars().take(64).collect());
            }
        }
        for (id, seen) in evidence.registrations.iter() {
            let in_v3 = seen.v2.as_ref().map_or(seen.leased, |v2| v2.also_in_v3)
                && seen.fields.contains_key("phase");
            if in_v3 {
                let id = id.clone().normalized(default_port);
                nodes.entry(id).or_default().in_v3 = true;
            }
        }
        Self(nodes)
    }

    fn steps(&self, cluster: &ClusterName) -> Vec<MoveStepView> {
        let steps = self.0.iter().map(|(node, moving)| MoveStepView {
            node: node.clone(),
            in_v2: moving.in_v2,
            in_v3: moving.in_v3,
            next: moving.next_step(cluster),
        });
        steps.take(V2KeysView::LISTED_MAX).collect()
    }

    /// Why v2 cannot be given up.
    fn keep_because(&self) -> Vec<String> {
        let named = |wanted: &dyn Fn(&MovingNode) -> bool| {
            let all: BTreeSet<&NodeId> = self
                .0
                .iter()
                .filter_map(|(id, node)| wanted(node).then_some(id))
                .collect();
            let mut names: Vec<String> = all
                .iter()
                .take(NAMED_MAX)
                .map(ToString::to_string)
                .collect();
            if all.len() > NAMED_MAX {
                names.push(format!("{} more", all.len() - NAMED_MAX));
            }
            names.join(", ")
        };
        let mut reasons = Vec::new();
        for (names, text) in [
            (
                named(&|node| node.in_v2 && !node.in_v3),
                "in etcd v2 only. Move it, or remove its keys if it is gone",
            ),
            (
                named(&|node| node.reported_in_v2 && node.in_v3),
                "in both, and its scripts still write to etcd v2. Stop them",
            ),
            (
                named(&|node| node.other_address.is_some()),
                "registered with another address in etcd v2. Find out which one is right",
            ),
        ] {
            if !names.is_empty() {
                reasons.push(format!("{names}: {text}."));
            }
        }
        if !self.0.values().any(|node| node.in_v3) {
            reasons.push("No agent reports in v3.".to_owned());
        }
        reasons
    }
}

impl MovingNode {
    fn next_step(&self, cluster: &ClusterName) -> Option<String> {
        if let Some(address) = &self.other_address {
            return Some(format!(
                "Its ipaddress in etcd v2 is {address:?}, not the address under which it is registered. Correct or remove that key."
            ));
        }
        match (self.reported_in_v2, self.in_v2, self.in_v3) {
            (true, _, false) | (false, true, false) => Some(format!(
                "While the cluster is Primary and the other nodes are Synced, replace the container by one of an image with \
                 galera-agent over the same data directory: entry point `galera-agent run -- mariadbd`, CLUSTER_NAME={cluster}, \
                 DISCOVERY_SERVICE with the addresses of etcd v3, passwords and TTL as before. Wait until it is Synced before \
                 the next one. If the node is gone for good, remove its keys from etcd v2."
            )),
            (true, _, true) => Some(
                "Stop the scripts of the former image (report_status.sh) that still write to etcd v2 on this node.".to_owned(),
            ),
            (false, true, true) => {
                Some("Moved. Remove the keys that are left in etcd v2 once no node is in etcd v2 only.".to_owned())
            }
            (false, false, _) => None,
        }
    }
}
