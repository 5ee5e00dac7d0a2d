//! Decides which of the seven verdicts the evidence supports, and why.
//!
//! Order matters: the states that must never be overlooked are checked first. Missing evidence never makes a verdict
//! worse than `unknown` (I2, I18).

use super::FoldSettings;
use super::components::{ObservedComponents, ViewGroup};
use super::gather::GatheredEvidence;
use super::node_facts::{NodeFacts, ProbeState};
use super::reasons::ReasonCollector;
use super::rivals::{ConflictStatus, conflict_status, period_overlap};
use super::service_reasons::add_service_limits;
use super::unseen::UnseenMembers;
use crate::observe::observation::Evidence;
use crate::view::{ClusterStatus, NodeState, ReasonCode, VerdictReason, VerdictState};

/// The input of a verdict.
pub(super) struct VerdictContext<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) gathered: &'a GatheredEvidence<'a>,
    pub(super) components: &'a ObservedComponents<'a>,
    pub(super) settings: &'a FoldSettings,
    pub(super) now: crate::Timestamp,
}

/// The verdict and its reasons, most important first.
pub(super) fn judge(context: &VerdictContext<'_>) -> (VerdictState, Vec<VerdictReason>) {
    let mut reasons = ReasonCollector::new(context);
    let state = decide_state(context, &mut reasons);
    super::secondary_reasons::add_secondary_reasons(context, state, &mut reasons);
    (state, reasons.into_sorted())
}

fn decide_state(context: &VerdictContext<'_>, reasons: &mut ReasonCollector<'_>) -> VerdictState {
    let nodes = &context.gathered.nodes;
    if nodes.is_empty() {
        reasons.add_for_cluster(
            ReasonCode::NoEvidence,
            "No member is configured, registered or known from an earlier view.",
        );
        return VerdictState::Unknown;
    }
    let rivals = compare_primary_groups(context, reasons);
    let histories = compare_histories(context, reasons, rivals != ConflictStatus::None);
    if rivals == ConflictStatus::Proven {
        return VerdictState::SplitBrain;
    }
    if histories == ConflictStatus::Proven {
        return VerdictState::Diverged;
    }
    if context.components.primary().is_some() {
        return verdict_with_primary(context, reasons, rivals.max(histories));
    }
    if nodes.iter().any(|facts| facts.fresh_answer().is_some()) {
        return verdict_without_primary(context, reasons);
    }
    verdict_without_answers(context, reasons)
}

/// Compares every two groups that report Primary.
fn compare_primary_groups(
    context: &VerdictContext<'_>,
    reasons: &mut ReasonCollector<'_>,
) -> ConflictStatus {
    let groups = &context.components.primary_groups;
    let mut worst = ConflictStatus::None;
    for (index, newer) in groups.iter().enumerate() {
        for older in &groups[index + 1..] {
            let rivalry = conflict_status(
                newer,
                older,
                &context.gathered.nodes,
                context.settings.settle_time,
            );
            worst = worst.max(rivalry);
            add_rivalry_reason(context, reasons, rivalry, newer, older);
        }
    }
    worst
}

fn add_rivalry_reason(
    context: &VerdictContext<'_>,
    reasons: &mut ReasonCollector<'_>,
    rivalry: ConflictStatus,
    one: &ViewGroup<'_>,
    other: &ViewGroup<'_>,
) {
    let names = |group: &ViewGroup<'_>| node_labels(context, &group.reporters);
    match rivalry {
        ConflictStatus::None => {}
        ConflictStatus::Suspected => reasons.add_for_cluster(
            ReasonCode::SourcesDisagree,
            &format!(
                "{} and {} both report Primary, but in different views; it is not proven yet that they are separate components.",
                names(one),
                names(other)
            ),
        ),
        ConflictStatus::Proven => reasons.add_for_cluster(
            ReasonCode::RivalPrimaries,
            &format!(
                "Two separate components report Primary: {} and {}. Both accept writes; stop the applications before anything else.",
                names(one),
                names(other)
            ),
        ),
    }
}

fn node_labels(context: &VerdictContext<'_>, members: &[usize]) -> String {
    let names: Vec<String> = members
        .iter()
        .map(|&node| super::reasons::node_label(&context.gathered.nodes[node]))
        .collect();
    names.join(", ")
}

/// Compares the histories of nodes that answer.
fn compare_histories(
    context: &VerdictContext<'_>,
    reasons: &mut ReasonCollector<'_>,
    rivals: bool,
) -> ConflictStatus {
    let histories: Vec<(&NodeFacts<'_>, uuid::Uuid, (i64, i64))> = context
        .gathered
        .nodes
        .iter()
        // A joiner's history is about to be replaced.
        .filter(|facts| facts.state() != NodeState::Joining)
        .filter_map(|facts| {
            let answer = facts.fresh_answer()?;
            // A view change does not start a new history: a proven difference stays proven when a component loses a member.
            let period = (answer.history_since.unix_millis(), answer.at.unix_millis());
            Some((facts, answer.status.cluster_state_uuid?, period))
        })
        .collect();
    let mut worst = ConflictStatus::None;
    for (index, (one, uuid, period)) in histories.iter().enumerate() {
        for (other, other_uuid, other_period) in &histories[index + 1..] {
            if uuid == other_uuid {
                continue;
            }
            let proven =
                period_overlap(*period, *other_period) >= Some(context.settings.settle_time);
            worst = worst.max(if proven {
                ConflictStatus::Proven
            } else {
                ConflictStatus::Suspected
            });
            if proven || !rivals {
                let (code, rest) = if proven {
                    (
                        ReasonCode::StateUuidsDiffer,
                        "their data does not belong to one cluster",
                    )
                } else {
                    (
                        ReasonCode::SourcesDisagree,
                        "it is not proven yet that this lasts",
                    )
                };
                let (one, other) = (
                    super::reasons::node_label(one),
                    super::reasons::node_label(other),
                );
                reasons.add_for_cluster(
                    code,
                    &format!("{one} has history {uuid} and {other} has {other_uuid}; {rest}."),
                );
            }
        }
    }
    worst
}

fn verdict_with_primary(
    context: &VerdictContext<'_>,
    reasons: &mut ReasonCollector<'_>,
    doubt: ConflictStatus,
) -> VerdictState {
    let nodes = &context.gathered.nodes;
    let Some(primary) = context.components.primary() else {
        return VerdictState::Unknown;
    };
    let is_synced = |node: usize| {
        primary.members.contains(&node)
            && nodes[node].state() == NodeState::Synced
            && nodes[node]
                .fresh_answer()
                .is_some_and(|answer| answer.status.cluster_status == Some(ClusterStatus::Primary))
    };
    // If no member is expected, the verdict is about the members that the component shows.
    let expects = nodes.iter().any(|facts| facts.expected);
    let required: Vec<usize> = (0..nodes.len())
        .filter(|node| {
            if expects {
                nodes[*node].expected
            } else {
                primary.members.contains(node)
            }
        })
        .collect();
    let missing: Vec<usize> = required
        .iter()
        .copied()
        .filter(|&node| !is_synced(node))
        .collect();
    for &node in &missing {
        reasons.add_for_member(node, primary.members.contains(&node));
    }
    let limited = add_service_limits(context, &required, reasons);
    if doubt != ConflictStatus::None {
        return VerdictState::Degraded;
    }
    let pending = |node: &usize| matches!(nodes[*node].probe_state, ProbeState::Pending);
    let apart = context
        .components
        .primary_groups
        .iter()
        .find(|group| has_no_room_for(group, &required) && !is_catching_up(group, nodes));
    match (missing.len(), apart) {
        // A former view of a returning node, or the first answer of a rival: neither is healthy, and time shows which.
        (0, Some(group)) => {
            reasons.add_for_cluster(
                ReasonCode::SourcesDisagree,
                &format!(
                    "All expected members report Synced in a Primary component, but the view reported by {} has no room for all of them; the view is changing, or there are two components.",
                    node_labels(context, &group.reporters)
                ),
            );
            VerdictState::Degraded
        }
        (0, None) if limited || !context.evidence.history_alarms.is_empty() => {
            VerdictState::Degraded
        }
        (0, None) => {
            reasons.add_for_cluster(
                ReasonCode::AllSynced,
                &match required.len() {
                    1 => "The one expected member is Synced in the Primary component.".to_owned(),
                    count => format!(
                        "All {count} expected members are Synced in the one Primary component."
                    ),
                },
            );
            VerdictState::Healthy
        }
        // The first probes are still running: nothing is known to be wrong.
        _ if missing.iter().all(pending) => VerdictState::Unknown,
        _ => VerdictState::Degraded,
    }
}

/// Whether a view has no room for all of `required`.
fn has_no_room_for(group: &ViewGroup<'_>, required: &[usize]) -> bool {
    let outside = required.iter().filter(|node| !group.members.contains(node));
    outside.count() > group.unnamed
}

/// Whether every reporter of a view still has a receive queue, so that the view may be a former one.
fn is_catching_up(group: &ViewGroup<'_>, nodes: &[NodeFacts<'_>]) -> bool {
    group.reporters.iter().all(|&node| {
        nodes[node]
            .fresh_answer()
            .and_then(|answer| answer.status.recv_queue)
            .is_some_and(|queue| queue > 0)
    })
}

fn verdict_without_primary(
    context: &VerdictContext<'_>,
    reasons: &mut ReasonCollector<'_>,
) -> VerdictState {
    let nodes = &context.gathered.nodes;
    let mut blind = false;
    for (node, facts) in nodes.iter().enumerate() {
        let primary = facts
            .registration_after_probe_failure()
            .is_some_and(|registered| {
                registered.status.cluster_status == Some(ClusterStatus::Primary)
            });
        if primary {
            reasons.add_sql_blind(node, "reports Primary");
            blind = true;
        } else if facts.fresh_answer().is_none() && facts.expected {
            reasons.add_for_member(node, false);
        }
    }
    if blind {
        return VerdictState::Unknown;
    }
    if nodes
        .iter()
        .any(|facts| facts.expected && matches!(facts.probe_state, ProbeState::Pending))
    {
        reasons.add_for_cluster(
            ReasonCode::NoEvidence,
            "Not every member has been probed yet.",
        );
        return VerdictState::Unknown;
    }
    let unseen = UnseenMembers::of(
        context.evidence,
        context.gathered,
        context.components,
        |_| false,
    );
    if unseen.could_be_primary() {
        reasons.add_for_cluster(
            ReasonCode::NoPrimaryInSight,
            &unseen.no_primary_in_sight(&context.gathered.nodes),
        );
        for (node, facts) in nodes.iter().enumerate() {
            if facts.expected && facts.has_other_data() {
                reasons.add_reused_address(node);
            }
        }
        return VerdictState::Unknown;
    }
    let answering: Vec<usize> = (0..nodes.len())
        .filter(|&node| nodes[node].fresh_answer().is_some())
        .collect();
    let names = node_labels(context, &answering);
    let verb = if answering.len() == 1 {
        "answers but is"
    } else {
        "answer but are"
    };
    reasons.add_for_cluster(
        ReasonCode::NobodyPrimary,
        &format!("{names} {verb} not in a Primary component: the cluster accepts no writes."),
    );
    for node in answering {
        if nodes[node].state() == NodeState::Inconsistent {
            reasons.add_for_member(node, false);
        }
    }
    VerdictState::NoPrimary
}

fn verdict_without_answers(
    context: &VerdictContext<'_>,
    reasons: &mut ReasonCollector<'_>,
) -> VerdictState {
    let nodes = &context.gathered.nodes;
    let is_down = |facts: &NodeFacts<'_>| match facts.probe_state {
        // What is known is about the address, not about the member.
        _ if facts.has_other_data() => false,
        ProbeState::Failing { error, .. } if error.kind.proves_stopped() => true,
        _ => facts.state() == NodeState::Stopped,
    };
    let mut alive = false;
    for (node, facts) in nodes.iter().enumerate() {
        let running = facts
            .registration_after_probe_failure()
            .is_some_and(|registered| {
                crate::observe::registration::reports_running(&registered.observation.fields)
            });
        if running {
            reasons.add_sql_blind(node, "reports a running server");
            alive = true;
        } else if facts.expected || !matches!(facts.probe_state, ProbeState::Unprobed) {
            reasons.add_for_member(node, false);
        }
        if facts.expected && facts.has_other_data() {
            reasons.add_reused_address(node);
        }
    }
    let expects = nodes.iter().any(|facts| facts.expected);
    if expects && !alive && nodes.iter().filter(|facts| facts.expected).all(is_down) {
        reasons.add_for_cluster(
            ReasonCode::EverybodyDown,
            "No expected member is running: each refuses connections or is reported as stopped.",
        );
        return VerdictState::Down;
    }
    if !alive {
        reasons.add_for_cluster(
            ReasonCode::NoEvidence,
            "No member has answered recently, and not all of them are known to be down.",
        );
    }
    VerdictState::Unknown
}
