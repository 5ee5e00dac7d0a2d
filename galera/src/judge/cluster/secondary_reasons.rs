//! Reasons that accompany a verdict without changing it: what else somebody should look at.

use super::node_facts::NodeFacts;
use super::reasons::{ReasonCollector, node_label};
use super::verdict::VerdictContext;
use crate::observe::observation::Evidence;
use crate::view::{ClusterStatus, NodeState, ReasonCode, VerdictState};

/// Adds what the evidence shows besides the verdict.
pub(super) fn add_secondary_reasons(
    case: &VerdictContext<'_>,
    state: VerdictState,
    reasons: &mut ReasonCollector<'_>,
) {
    add_registry_reasons(case, reasons);
    add_registration_reasons(case, reasons);
    add_disagreements(case, reasons);
    if state <= VerdictState::Degraded {
        add_unknown_members(case, reasons);
    }
}

fn add_registry_reasons(case: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    let health = &case.evidence.registry_health;
    if !health.reachable {
        let since = health.since.to_short_string(case.now);
        let why = health.error.as_deref().unwrap_or("no answer");
        reasons.add_for_cluster(
            ReasonCode::RegistryUnreachable,
            &format!("The registry cannot be read since {since}: {why}. What SQL says goes on."),
        );
    }
    match case.evidence.unrecognized_keys {
        0 => {}
        1 => reasons.add_for_cluster(
            ReasonCode::RegistryGarbage,
            "One registry key of this cluster fits no known dialect.",
        ),
        count => reasons.add_for_cluster(
            ReasonCode::RegistryGarbage,
            &format!("{count} registry keys of this cluster fit no known dialect."),
        ),
    }
}

/// Tells nodes known to the registry alone from nodes known to SQL alone.
fn add_registration_reasons(case: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    let nodes = &case.gathered.nodes;
    let Evidence {
        registrations: registry,
        registry_health,
        ..
    } = case.evidence;
    let lists_known = !case.components.observed.is_empty();
    for (node, facts) in nodes.iter().enumerate() {
        let listed = case
            .components
            .observed
            .iter()
            .any(|seen| seen.members.contains(&node));
        let unreachable = facts.state() == NodeState::Unreachable;
        if facts.registration.is_some() && unreachable && lists_known && !listed {
            let claims = facts
                .registration_after_probe_failure()
                .is_some_and(|registered| {
                    registered.status.cluster_status == Some(ClusterStatus::Primary)
                });
            let rest = if claims {
                "; it says Primary, so it may be in a component that the console cannot see."
            } else {
                "."
            };
            let message = format!(
                "{} is registered, but it does not answer and no member lists it{rest}",
                node_label(facts)
            );
            reasons.add_for_node(ReasonCode::RegistrationWithoutNode, node, message);
        }
        let unregistered = facts.registration.is_none() && !is_registered_under_alias(nodes, node);
        if facts.fresh_answer().is_some()
            && unregistered
            && registry_health.reachable
            && !registry.is_empty()
        {
            let message = format!(
                "{} answers, but is not registered although other nodes are.",
                node_label(facts)
            );
            reasons.add_for_node(ReasonCode::NodeWithoutRegistration, node, message);
        }
    }
}

/// Whether the process that answers as `add_for_node` is registered by another of its addresses.
fn is_registered_under_alias(nodes: &[NodeFacts<'_>], node: usize) -> bool {
    let process = |facts: &NodeFacts<'_>| {
        facts
            .fresh_answer()
            .and_then(|answer| answer.status.gcomm_uuid)
    };
    let Some(own) = process(&nodes[node]) else {
        return false;
    };
    nodes
        .iter()
        .any(|facts| facts.registration.is_some() && process(facts) == Some(own))
}

/// A registration that was put well after the node's view settled and still tells another story.
fn add_disagreements(case: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    for (node, facts) in case.gathered.nodes.iter().enumerate() {
        let (Some(answer), Some(registered)) = (facts.fresh_answer(), facts.fresh_registration())
        else {
            continue;
        };
        let settled = answer.view_since.plus(case.settings.settle_time);
        if registered
            .observation
            .last_put_at
            .is_none_or(|put| put <= settled)
        {
            continue;
        }
        let differs = |one: bool, what: &str, reasons: &mut ReasonCollector<'_>| {
            if one {
                let message = format!(
                    "{} and its registration tell different {what}.",
                    node_label(facts)
                );
                reasons.add_for_node(ReasonCode::SourcesDisagree, node, message);
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

fn add_unknown_members(case: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
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
        .filter(|(node, facts)| facts.fresh_answer().is_none() && !primary.members.contains(node))
        .count();
    let known = primary.members.len();
    if counted > known + silent {
        reasons.add_for_cluster(
            ReasonCode::UnknownMembers,
            &format!(
                "The Primary component counts {counted} members, of which {known} are known: an arbitrator, or a node that is neither configured nor registered."
            ),
        );
    }
}
