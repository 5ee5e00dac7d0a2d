//! The registry's keys as they are, for people: each with its value, its lease, and whether it outlived its node.

use super::{NodeField, ParsedKey, parse_key};
use crate::id::{ClusterName, NodeId};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeState, NodeView, RegistryKeyView, RegistryView, SourceKind};

/// One key as etcd holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawKeyValue {
    /// The whole key.
    pub key: Vec<u8>,
    /// The whole value.
    pub value: Vec<u8>,
    /// etcd's `mod_revision`.
    pub mod_revision: i64,
    /// The lease; 0 for none, as etcd says it.
    pub lease: i64,
    /// Seconds until the lease expires, when known.
    pub ttl: Option<i64>,
}

/// Lists `raw` as the registry's view of `cluster`; `view` tells which nodes are alive, `default_port` which spelling
/// of a node's port the view uses.
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
            let reason = stale_reason(&node, &field, raw, view);
            (Some(node), true, reason.is_some(), reason)
        }
        ParsedKey::Cluster { .. } => (None, true, false, None),
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

/// The readable beginning of a value, and whether that is less than the whole.
fn truncated_value(value: &[u8]) -> (String, bool) {
    // Four bytes a character at most: never decode megabytes to show a few lines.
    let head = &value[..value.len().min(RegistryKeyView::VALUE_SHOWN_MAX * 4)];
    let text = String::from_utf8_lossy(head);
    match text.char_indices().nth(RegistryKeyView::VALUE_SHOWN_MAX) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text.into_owned(), head.len() < value.len()),
    }
}

/// Why a node's key outlived what it speaks of; `None` when it did not or cannot be known.
fn stale_reason(
    id: &NodeId,
    field: &NodeField,
    raw: &RawKeyValue,
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
            .then(|| format!("{id} runs, but its registration is no longer renewed"));
    }
    let failed = sql.is_some_and(|sql| sql.error.is_some());
    // Without a failed probe or a look at the registry, nothing is proven.
    if !failed || !view.registry.reachable || !registry_stale || node.state == NodeState::Stopped {
        return None;
    }
    Some(if raw.lease == 0 {
        format!(
            "{id} does not answer and no member lists it; without a lease this key stays until somebody removes it"
        )
    } else {
        format!(
            "{id} does not answer, no member lists it, and its registration is no longer renewed"
        )
    })
}

fn find_source(node: &NodeView, kind: SourceKind) -> Option<&crate::view::SourceView> {
    node.sources.iter().find(|source| source.kind == kind)
}
