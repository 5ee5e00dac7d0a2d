//! Reading of cluster views in tests.

use std::time::Duration;

use galera::id::NodeId;
use galera::view::{
    ClusterView, NodeState, NodeView, ReasonCode, SourceKind, SourceView, VerdictState,
};

/// The topic of the lab's cluster.
pub(crate) const TOPIC: &str = "cluster/lab";
/// The longest wait for a change, on a machine that other tests slow down.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn node<'v>(view: &'v ClusterView, id: &NodeId) -> Option<&'v NodeView> {
    view.nodes.iter().find(|node| node.id == *id)
}

pub(crate) fn state(view: &ClusterView, id: &NodeId) -> Option<NodeState> {
    node(view, id).map(|node| node.state)
}

pub(crate) fn source<'v>(
    view: &'v ClusterView,
    id: &NodeId,
    kind: SourceKind,
) -> Option<&'v SourceView> {
    node(view, id)?
        .sources
        .iter()
        .find(|source| source.kind == kind)
}

/// The states of all nodes but one.
pub(crate) fn others<'v>(
    view: &'v ClusterView,
    but: &'v NodeId,
) -> impl Iterator<Item = NodeState> + 'v {
    let others = view.nodes.iter().filter(move |node| node.id != *but);
    others.map(|node| node.state)
}

/// Whether a source's observation is current.
pub(crate) fn is_fresh(view: &ClusterView, id: &NodeId, kind: SourceKind) -> bool {
    source(view, id, kind).is_some_and(|source| !source.stale && source.observed_at.is_some())
}

pub(crate) fn has_verdict(view: &ClusterView, verdict: VerdictState) -> bool {
    view.verdict.state == verdict
}

/// Whether a reason with this code names this node.
pub(crate) fn reason_names(view: &ClusterView, code: ReasonCode, id: &NodeId) -> bool {
    view.verdict
        .reasons
        .iter()
        .any(|reason| reason.code == code && reason.node.as_ref() == Some(id))
}

/// Whether any reason names this node.
pub(crate) fn any_reason_names(view: &ClusterView, id: &NodeId) -> bool {
    view.verdict
        .reasons
        .iter()
        .any(|reason| reason.node.as_ref() == Some(id))
}

pub(crate) fn has_reason(view: &ClusterView, code: ReasonCode) -> bool {
    view.verdict
        .reasons
        .iter()
        .any(|reason| reason.code == code)
}

/// The sequence numbers of all nodes; `None` when one is not known.
pub(crate) fn seqnos(view: &ClusterView) -> Option<Vec<u64>> {
    view.nodes
        .iter()
        .map(|node| node.position.as_ref().map(|position| position.seqno))
        .collect()
}

/// The view in a line, for messages.
pub(crate) fn describe(view: &ClusterView) -> String {
    let nodes = view.nodes.iter().map(|node| {
        let errors: Vec<_> = node
            .sources
            .iter()
            .filter_map(|source| source.error.as_deref())
            .collect();
        format!(
            "{}={:?} registered={} {}",
            node.id,
            node.state,
            node.registered,
            errors.join("; ")
        )
    });
    let reasons = view
        .verdict
        .reasons
        .iter()
        .map(|reason| reason.message.as_str());
    let components = view.components.iter().map(|component| {
        let members: Vec<_> = component.members.iter().map(ToString::to_string).collect();
        format!(
            "{:?} of {} (size {:?}, conf_id {:?})",
            component.status,
            members.join(" + "),
            component.size,
            component.conf_id
        )
    });
    format!(
        "{:?} because of [{}]; components [{}]; nodes [{}]; registry {:?}",
        view.verdict.state,
        reasons.collect::<Vec<_>>().join(" · "),
        components.collect::<Vec<_>>().join(", "),
        nodes.collect::<Vec<_>>().join(", "),
        view.registry
    )
}
