//! Lists the registry's keys for display: each with its value, its lease, and whether its node is gone.

use super::{NodeField, ParsedKey, parse_key};
use crate::id::{ClusterName, NodeId};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeState, NodeView, RegistryKeyView, RegistryView, SourceKind};

/// One key as stored in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawKeyValue {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// etcd's `mod_revision`.
    pub mod_revision: i64,
    /// The lease id; 0 without a lease, as in etcd.
    pub lease: i64,
    /// Seconds until the lease expires, if known.
    pub ttl: Option<i64>,
}

/// Lists the keys `raw` of `cluster`. `view` determines which nodes are alive; `default_port` is the port that its node
/// ids omit.
#[must_use]
pub fn build_registry_view(
    prefix: &str,
    cluster: &ClusterName,
    revision: i64,
    at: Timestamp,
    raw: &[RawKeyValue],
    view: &ClusterView,
    default_port: u16,
) -> RegistryView {
    let mut keys: Vec<RegistryKeyView> = raw
        .iter()
        .map(|raw| key_view(prefix, raw, view, default_port))
        .collect();
    keys.sort_by(|one, other| one.key.cmp(&other.key));
    RegistryView {
        cluster: cluster.clone(),
        prefix: super::RegistryKeys::new(prefix).cluster_prefix(cluster),
        revision,
        observed_at: at,
        keys,
        v2: None,
    }
}

fn key_view(
    prefix: &str,
    raw: &RawKeyValue,
    view: &ClusterView,
    default_port: u16,
) -> RegistryKeyView {
    let (node, known, stale, reason) = match parse_key(prefix, &raw.key) {
        ParsedKey::Node { node, field, .. } => {
            let node = node.normalized(default_port);
            let reason = stale_reason(&node, &field, (raw.lease != 0, "lease"), view);
            (Some(node), true, reason.is_some(), reason)
        }
        ParsedKey::Cluster { .. } | ParsedKey::Arbitrator { .. } => (None, true, false, None),
        ParsedKey::Unknown { reason, .. } => (None, false, false, Some(reason)),
    };
    let (value, truncated) = truncated_value(&raw.value);
    RegistryKeyView {
        key: String::from_utf8_lossy(&raw.key).into_owned(),
        value,
        value_bytes: raw.value.len(),
        truncated,
        revision: raw.mod_revision,
        lease: (raw.lease != 0).then(|| format!("{:x}", raw.lease)),
        ttl: raw.ttl.filter(|_| raw.lease != 0),
        node,
        known,
        stale,
        reason,
    }
}

/// The beginning of a value as text, and whether it is truncated.
pub(super) fn truncated_value(value: &[u8]) -> (String, bool) {
    // A character has at most four bytes: megabytes are not decoded to show a few lines.
    let head = &value[..value.len().min(RegistryKeyView::VALUE_SHOWN_MAX * 4)];
    let text = String::from_utf8_lossy(head);
    match text.char_indices().nth(RegistryKeyView::VALUE_SHOWN_MAX) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text.into_owned(), head.len() < value.len()),
    }
}

/// Why a node's key is stale; `None` if it is not, or if that is unknown. `life` is what makes a key expire.
pub(super) fn stale_reason(
    id: &NodeId,
    field: &NodeField,
    (expires, life): (bool, &str),
    view: &ClusterView,
) -> Option<String> {
    let node = view.nodes.iter().find(|node| node.id == *id)?;
    let sql = find_source(node, SourceKind::Sql);
    let answers = sql.is_some_and(|sql| !sql.stale && sql.error.is_none());
    let listed = view
        .components
        .iter()
        .any(|component| component.members.contains(id));
    let registry_stale =
        find_source(node, SourceKind::Registry).is_none_or(|registry| registry.stale);
    if answers || listed {
        return (!field.is_durable() && view.registry.reachable && registry_stale)
            .then(|| format!("{id} is running, but its registration is no longer renewed"));
    }
    let failed = sql.is_some_and(|sql| sql.error.is_some());
    // Without a failed probe and a readable registry nothing is proven.
    if !failed || !view.registry.reachable || !registry_stale || node.state == NodeState::Stopped {
        return None;
    }
    Some(if !expires {
        format!(
            "{id} is unreachable and no member lists it; without a {life} this key stays until it is removed"
        )
    } else {
        format!(
            "{id} is unreachable, no member lists it, and its registration is no longer renewed"
        )
    })
}

fn find_source(node: &NodeView, kind: SourceKind) -> Option<&crate::view::SourceView> {
    node.sources.iter().find(|source| source.kind == kind)
}
