//! Reasons that accompany a verdict without changing it: what else somebody should look at.

use super::facts::Facts;
use super::reasons::{Reasons, label};
use super::verdict::Case;
use crate::observe::observation::Evidence;
use crate::view::{ClusterStatus, NodeState, ReasonCode, VerdictState};

/// Adds what the evidence shows besides the verdict.
pub(super) fn add(case: &Case<'_>, state: VerdictState, reasons: &mut Reasons<'_>) {
    registry(case, reasons);
    registrations(case, reasons);
    disagreements(case, reasons);
    if state <= VerdictState::Degraded {
        unknown_members(case, reasons);
    }
}

fn registry(case: &Case<'_>, reasons: &mut Reasons<'_>) {
    let health = &case.evidence.registry_health;
    if !health.reachable {
        let since = health.since.since_text(case.now);
        let why = health.error.as_deref().unwrap_or("no answer");
        reasons.cluster(
            ReasonCode::RegistryUnreachable,
            &format!("The registry cannot be read since {since}: {why}. What SQL says goes on."),
        );
    }
    match case.evidence.garbage {
        0 => {}
        1 => reasons.cluster(
            ReasonCode::RegistryGarbage,
            "One registry key of this cluster fits no known dialect.",
        ),
        count => reasons.cluster(
            ReasonCode::RegistryGarbage,
            &format!("{count} registry keys of this cluster fit no known dialect."),
        ),
    }
}

/// Tells nodes known to the registry alone from nodes known to SQL alone.
fn registrations(case: &Case<'_>, reasons: &mut Reasons<'_>) {
    let nodes = &case.gathered.nodes;
    let Evidence {
        registry,
        registry_health,
        ..
    } = case.evidence;
    let lists_known = !case.components.seen.is_empty();
    for (node, facts) in nodes.iter().enumerate() {
        let listed = case
            .components
            .seen
            .iter()
            .any(|seen| seen.members.contains(&node));
        let unreachable = facts.state() == NodeState::Unreachable;
        if facts.registered.is_some() && unreachable && lists_known && !listed {
            let claims = facts.outlives_probe().is_some_and(|registered| {
                registered.status.cluster_status == Some(ClusterStatus::Primary)
            });
            let rest = if claims {
                "; it says Primary, so it may be in a component that the console cannot see."
            } else {
                "."
            };
            let message = format!(
                "{} is registered, but it does not answer and no member lists it{rest}",
                label(facts)
            );
            reasons.node(ReasonCode::RegistrationWithoutNode, node, message);
        }
        let unregistered = facts.registered.is_none() && !under_another_name(nodes, node);
        if facts.answer().is_some()
            && unregistered
            && registry_health.reachable
            && !registry.is_empty()
        {
            let message = format!(
                "{} answers, but is not registered although other nodes are.",
                label(facts)
            );
            reasons.node(ReasonCode::NodeWithoutRegistration, node, message);
        }
    }
}

/// Whether the process that answers as `node` is registered by another of its addresses.
fn under_another_name(nodes: &[Facts<'_>], node: usize) -> bool {
    let process = |facts: &Facts<'_>| facts.answer().and_then(|answer| answer.status.gcomm_uuid);
    let Some(own) = process(&nodes[node]) else {
        return false;
    };
    nodes
        .iter()
        .any(|facts| facts.registered.is_some() && process(facts) == Some(own))
}

/// A registration that was put well after the node's view settled and still tells another story.
fn disagreements(case: &Case<'_>, reasons: &mut Reasons<'_>) {
    for (node, facts) in case.gathered.nodes.iter().enumerate() {
        let (Some(answer), Some(registered)) = (facts.answer(), facts.fresh_registration()) else {
            continue;
        };
        let settled = answer.since.plus(case.settings.settle);
        if registered.seen.last_put_at.is_none_or(|put| put <= settled) {
            continue;
        }
        let differs = |one: bool, what: &str, reasons: &mut Reasons<'_>| {
            if one {
                let message = format!(
                    "{} and its registration tell different {what}.",
                    label(facts)
                );
                reasons.node(ReasonCode::SourcesDisagree, node, message);
            }
        };
        let (sql, told) = (answer.status, &registered.status);
        let status = told.cluster_status.is_some() && told.cluster_status != sql.cluster_status;
        differs(status, "component statuses", reasons);
        let uuid =
            told.cluster_state_uuid.is_some() && told.cluster_state_uuid != sql.cluster_state_uuid;
        differs(uuid, "state UUIDs", reasons);
    }
}

fn unknown_members(case: &Case<'_>, reasons: &mut Reasons<'_>) {
    let Some(primary) = case.components.primary() else {
        return;
    };
    let nodes = &case.gathered.nodes;
    let counted = primary
        .view
        .size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(0);
    // A node that does not answer may be the one that a list without addresses counts.
    let silent = nodes
        .iter()
        .enumerate()
        .filter(|(node, facts)| facts.answer().is_none() && !primary.members.contains(node))
        .count();
    let known = primary.members.len();
    if counted > known + silent {
        reasons.cluster(
            ReasonCode::UnknownMembers,
            &format!(
                "The Primary component counts {counted} members, of which {known} are known: an arbitrator, or a node that is neither configured nor registered."
            ),
        );
    }
}
