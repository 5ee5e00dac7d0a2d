//! Reasons that accompany a verdict without changing it: what else an operator should look at.

use super::node_facts::NodeFacts;
use super::reasons::{ReasonCollector, node_label};
use super::verdict::VerdictContext;
use crate::observe::observation::Evidence;
use crate::view::{ClusterStatus, NodeState, ReasonCode, VerdictState};

/// Unconfirmed nodes named in one reason.
const NAMED_MAX: usize = 5;

pub(super) fn add_secondary_reasons(
    context: &VerdictContext<'_>,
    state: VerdictState,
    reasons: &mut ReasonCollector<'_>,
) {
    add_history_alarms(context, reasons);
    add_registry_reasons(context, reasons);
    add_registration_reasons(context, reasons);
    add_unconfirmed_nodes(context, reasons);
    add_disagreements(context, reasons);
    add_frozen_nodes(context, reasons);
    add_quorum_options(context, reasons);
    add_flow_control(context, reasons);
    if state <= VerdictState::Degraded {
        add_unknown_members(context, reasons);
    }
}

/// Alarms about the data, in every verdict: no later status of a node shows what they report (I45).
fn add_history_alarms(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    for alarm in &context.evidence.history_alarms {
        reasons.add_history_alarm(&alarm.finding);
    }
}

fn add_registry_reasons(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    let health = &context.evidence.registry_health;
    if !health.reachable {
        let since = health.since.to_short_string(context.now);
        let why = health.error.as_deref().unwrap_or("no answer");
        reasons.add_for_cluster(
            ReasonCode::RegistryUnreachable,
            &format!(
                "The registry has been unreachable since {since}: {why}. SQL monitoring continues."
            ),
        );
    }
    match context.evidence.unrecognized_keys {
        0 => {}
        1 => reasons.add_for_cluster(
            ReasonCode::RegistryGarbage,
            "One registry key of this cluster has an unrecognized format.",
        ),
        count => reasons.add_for_cluster(
            ReasonCode::RegistryGarbage,
            &format!("{count} registry keys of this cluster have an unrecognized format."),
        ),
    }
}

/// Adds nodes that only the registry knows, and nodes that only SQL knows.
fn add_registration_reasons(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    let nodes = &context.gathered.nodes;
    let Evidence {
        registrations,
        registry_health,
        ..
    } = context.evidence;
    let lists_known = !context.components.observed.is_empty();
    for (node, facts) in nodes.iter().enumerate() {
        let listed = context
            .components
            .observed
            .iter()
            .any(|component| component.members.contains(&node));
        if lists_known && !listed {
            add_registration_without_node(facts, reasons);
        }
        let unregistered = facts.registration.is_none() && !is_registered_under_alias(nodes, node);
        if facts.fresh_answer().is_some()
            && unregistered
            && registry_health.reachable
            && !registrations.is_empty()
        {
            let message = format!(
                "{} is running but not registered, although other nodes are.",
                node_label(facts)
            );
            reasons.add_for_node(ReasonCode::NodeWithoutRegistration, node, message);
        }
    }
}

/// Adds nodes that are registered but not confirmed. One that reports Primary may be a second cluster under the same
/// name, or a forgery: only an operator knows.
fn add_unconfirmed_nodes(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    let all = &context.gathered.unconfirmed;
    if !context.components.observed.is_empty() {
        for facts in all.iter().take(NAMED_MAX) {
            add_registration_without_node(facts, reasons);
        }
    }
    let primary: Vec<&NodeFacts<'_>> = all.iter().filter(|facts| reports_primary(facts)).collect();
    if !primary.is_empty() {
        let message = format!(
            "{} Primary, but no member lists {} and no operator admitted {}: {} not count. Check whether a second cluster runs under this name.",
            joined(&primary, "reports", "report"),
            pronoun(primary.len()),
            pronoun(primary.len()),
            does(primary.len()),
        );
        reasons.add_for_unconfirmed(&primary, message);
    }
    let others: Vec<&NodeFacts<'_>> = all.iter().filter(|facts| !reports_primary(facts)).collect();
    if !others.is_empty() {
        let message = format!(
            "{} registered, but no member lists {} and no operator admitted {}: {} not count.",
            joined(&others, "is", "are"),
            pronoun(others.len()),
            pronoun(others.len()),
            does(others.len()),
        );
        reasons.add_for_unconfirmed(&others, message);
    }
}

fn reports_primary(facts: &NodeFacts<'_>) -> bool {
    facts
        .fresh_answer()
        .is_some_and(|answer| answer.status.cluster_status == Some(ClusterStatus::Primary))
}

const fn pronoun(count: usize) -> &'static str {
    if count == 1 { "it" } else { "them" }
}

const fn does(count: usize) -> &'static str {
    if count == 1 { "it does" } else { "they do" }
}

/// Names up to [`NAMED_MAX`] nodes, followed by the verb.
fn joined(nodes: &[&NodeFacts<'_>], singular: &str, plural: &str) -> String {
    let named: Vec<String> = nodes
        .iter()
        .take(NAMED_MAX)
        .map(|facts| node_label(facts))
        .collect();
    match (nodes, named.split_last()) {
        ([only], _) => format!("{} {singular}", node_label(only)),
        (_, Some((last, rest))) if nodes.len() == named.len() => {
            format!("{} and {last} {plural}", rest.join(", "))
        }
        _ => format!(
            "{} and {} more {plural}",
            named.join(", "),
            nodes.len() - named.len()
        ),
    }
}

/// Adds a registered node that does not answer and is in no member list.
fn add_registration_without_node(facts: &NodeFacts<'_>, reasons: &mut ReasonCollector<'_>) {
    if facts.registration.is_none() || facts.state() != NodeState::Unreachable {
        return;
    }
    let claims_primary = facts
        .registration_after_probe_failure()
        .is_some_and(|registered| registered.status.cluster_status == Some(ClusterStatus::Primary));
    let rest = if claims_primary {
        "; it reports Primary, so it may be in a component that the console cannot see."
    } else {
        "."
    };
    let message = format!(
        "{} is in the registry but unreachable, and no member sees it{rest}",
        node_label(facts)
    );
    reasons.add_for_facts(ReasonCode::RegistrationWithoutNode, facts, message);
}

/// Whether the process that answers as `node` is registered under another of its addresses.
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

/// Adds registrations that were put well after the node's view settled and still contradict its SQL answer.
fn add_disagreements(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    for (node, facts) in context.gathered.nodes.iter().enumerate() {
        let (Some(answer), Some(registered)) = (facts.fresh_answer(), facts.fresh_registration())
        else {
            continue;
        };
        // Its agent reads the same frozen status.
        if answer.status.frozen {
            continue;
        }
        let settled = answer.view_since.plus(context.settings.settle_time);
        if registered
            .observation
            .last_put_at
            .is_none_or(|put| put <= settled)
        {
            continue;
        }
        let add_if = |differs: bool, what: &str, reasons: &mut ReasonCollector<'_>| {
            if differs {
                let message = format!(
                    "{} and its registration report different {what}.",
                    node_label(facts)
                );
                reasons.add_for_node(ReasonCode::SourcesDisagree, node, message);
            }
        };
        let (sql, registered) = (answer.status, registered.status);
        let status =
            registered.cluster_status.is_some() && registered.cluster_status != sql.cluster_status;
        add_if(status, "component statuses", reasons);
        let uuid = registered.cluster_state_uuid.is_some()
            && registered.cluster_state_uuid != sql.cluster_state_uuid;
        add_if(uuid, "state UUIDs", reasons);
    }
}

/// Adds nodes whose server cannot process the view in which they lost their peers.
fn add_frozen_nodes(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    for (node, facts) in context.gathered.nodes.iter().enumerate() {
        if facts
            .fresh_answer()
            .is_some_and(|answer| answer.status.frozen)
        {
            let message = format!(
                "{} reports Primary, but its group counts no vote (wsrep_cluster_weight 0): it is not Primary and its status is frozen. A lock such as FLUSH TABLES WITH READ LOCK holds it. Run UNLOCK TABLES in that session, or find the session with SHOW PROCESSLIST and KILL it.",
                node_label(facts)
            );
            reasons.add_for_node(ReasonCode::StatusFrozen, node, message);
        }
    }
}

/// Adds options that permit two Primary components after a split.
fn add_quorum_options(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    for (node, facts) in context.gathered.nodes.iter().enumerate() {
        let Some(answer) = facts.fresh_answer() else {
            continue;
        };
        let options = &answer.status.quorum_options;
        let set = [
            (
                options.ignore_quorum,
                "pc.ignore_quorum",
                "every part of a split cluster",
            ),
            (
                options.ignore_split_brain,
                "pc.ignore_sb",
                "each half of a cluster that splits evenly",
            ),
        ];
        for (_, name, who) in set.iter().filter(|(value, ..)| *value == Some(true)) {
            let message = format!(
                "{} has {name}=true, with which {who} stays Primary and accepts writes. Set it to false: {}.",
                node_label(facts),
                answer.status.option_statement(&[(name, "FALSE")])
            );
            reasons.add_for_node(ReasonCode::QuorumIgnored, node, message);
        }
    }
}

/// Adds that flow control pauses replication, with the node that asks for it most: the others wait for that one.
fn add_flow_control(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    let averages = |facts: &NodeFacts<'_>| {
        facts.fresh_answer()?;
        Some(facts.probe?.rates.flow_control.clone())
    };
    let nodes = context.gathered.nodes.iter().enumerate();
    let averages: Vec<_> = nodes
        .filter_map(|(node, facts)| Some((node, averages(facts)?)))
        .collect();
    if !averages.iter().any(|(_, flow)| flow.lasting) {
        return;
    }
    let slowest = averages
        .iter()
        .filter(|(_, flow)| flow.sent > 0.0)
        .max_by(|(_, one), (_, other)| one.sent.total_cmp(&other.sent));
    let Some((node, _)) = slowest else {
        reasons.add_for_cluster(
            ReasonCode::FlowControl,
            "Flow control pauses replication for much of the time; which node asks for it is not reported.",
        );
        return;
    };
    let message = format!(
        "Flow control pauses replication for much of the time, because {} applies too slowly: all members wait for it. Check its disk and load, and wsrep_slave_threads there.",
        node_label(&context.gathered.nodes[*node])
    );
    reasons.add_for_node(ReasonCode::FlowControl, *node, message);
}

fn add_unknown_members(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) {
    let Some(primary) = context.components.primary() else {
        return;
    };
    let nodes = &context.gathered.nodes;
    let counted = primary
        .view
        .size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(0);
    // A list without addresses may count any known node outside: one that cannot be reached, or one that has left its peers
    // and noticed it first.
    if counted > nodes.len() {
        let known = primary.members.len();
        reasons.add_for_cluster(
            ReasonCode::UnknownMembers,
            &format!(
                "The Primary component has {counted} members, of which {known} are known; the others are arbitrators, or nodes that are neither configured nor registered."
            ),
        );
    }
}
