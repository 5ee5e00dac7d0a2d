//! The judgement: which of the seven verdicts the evidence supports, and why.
//!
//! Order matters: what must never be overlooked comes first. Missing evidence never makes a verdict worse than
//! `unknown` (I2, I18).

use super::Settings;
use super::components::{Components, Group};
use super::facts::{Facts, Sql};
use super::gather::Gathered;
use super::reasons::Reasons;
use super::rivals::{Rivalry, rivalry, together};
use crate::observe::observation::Evidence;
use crate::view::{ClusterStatus, NodeState, Reason, ReasonCode, VerdictState};

/// Everything the judgement rests on.
pub(super) struct Case<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) gathered: &'a Gathered<'a>,
    pub(super) components: &'a Components<'a>,
    pub(super) settings: &'a Settings,
    pub(super) now: crate::Timestamp,
}

/// The verdict and its reasons, most important first.
pub(super) fn judge(case: &Case<'_>) -> (VerdictState, Vec<Reason>) {
    let mut reasons = Reasons::new(case);
    let state = decide(case, &mut reasons);
    super::remarks::add(case, state, &mut reasons);
    (state, reasons.sorted())
}

fn decide(case: &Case<'_>, reasons: &mut Reasons<'_>) -> VerdictState {
    let nodes = &case.gathered.nodes;
    if nodes.is_empty() {
        reasons.cluster(
            ReasonCode::NoEvidence,
            "No member is configured, registered or known from an earlier view.",
        );
        return VerdictState::Unknown;
    }
    let rivals = rivals(case, reasons);
    let histories = histories(case, reasons, rivals != Rivalry::None);
    if rivals == Rivalry::Proven {
        return VerdictState::SplitBrain;
    }
    if histories == Rivalry::Proven {
        return VerdictState::Diverged;
    }
    if case.components.primary().is_some() {
        return with_primary(case, reasons, rivals.max(histories));
    }
    if nodes.iter().any(|facts| facts.answer().is_some()) {
        return without_primary(case, reasons);
    }
    without_answers(case, reasons)
}

/// Compares every two groups that say Primary.
fn rivals(case: &Case<'_>, reasons: &mut Reasons<'_>) -> Rivalry {
    let groups = &case.components.primary_groups;
    let mut worst = Rivalry::None;
    for (place, newer) in groups.iter().enumerate() {
        for older in &groups[place + 1..] {
            let rivalry = rivalry(newer, older, &case.gathered.nodes, case.settings.settle);
            worst = worst.max(rivalry);
            explain_rivals(case, reasons, rivalry, newer, older);
        }
    }
    worst
}

fn explain_rivals(
    case: &Case<'_>,
    reasons: &mut Reasons<'_>,
    rivalry: Rivalry,
    one: &Group<'_>,
    other: &Group<'_>,
) {
    let names = |group: &Group<'_>| reasons_list(case, &group.reporters);
    match rivalry {
        Rivalry::None => {}
        Rivalry::Suspected => reasons.cluster(
            ReasonCode::SourcesDisagree,
            &format!(
                "{} and {} both say Primary but report different views; whether they are separate components is not proven yet.",
                names(one),
                names(other)
            ),
        ),
        Rivalry::Proven => reasons.cluster(
            ReasonCode::RivalPrimaries,
            &format!(
                "Two separate components say Primary: {} and {}. Both accept writes; stop the applications before anything else.",
                names(one),
                names(other)
            ),
        ),
    }
}

fn reasons_list(case: &Case<'_>, members: &[usize]) -> String {
    let names: Vec<String> = members
        .iter()
        .map(|&node| super::reasons::label(&case.gathered.nodes[node]))
        .collect();
    names.join(", ")
}

/// Compares the histories of nodes that answer.
fn histories(case: &Case<'_>, reasons: &mut Reasons<'_>, rivals: bool) -> Rivalry {
    let settled: Vec<(&Facts<'_>, uuid::Uuid, (i64, i64))> = case
        .gathered
        .nodes
        .iter()
        // A joiner's history is about to be replaced.
        .filter(|facts| facts.state() != NodeState::Joining)
        .filter_map(|facts| {
            let answer = facts.answer()?;
            // A change of views makes no new history: what is proven stays so when a component loses a member.
            let period = (answer.history_since.unix_millis(), answer.at.unix_millis());
            Some((facts, answer.status.cluster_state_uuid?, period))
        })
        .collect();
    let mut worst = Rivalry::None;
    for (place, (one, uuid, period)) in settled.iter().enumerate() {
        for (other, other_uuid, other_period) in &settled[place + 1..] {
            if uuid == other_uuid {
                continue;
            }
            let proven = together(*period, *other_period) >= Some(case.settings.settle);
            worst = worst.max(if proven {
                Rivalry::Proven
            } else {
                Rivalry::Suspected
            });
            if proven || !rivals {
                let (code, rest) = if proven {
                    (
                        ReasonCode::StateUuidsDiffer,
                        "they are not one cluster's data",
                    )
                } else {
                    (
                        ReasonCode::SourcesDisagree,
                        "whether that lasts is not proven yet",
                    )
                };
                let (one, other) = (super::reasons::label(one), super::reasons::label(other));
                reasons.cluster(
                    code,
                    &format!("{one} has the history {uuid} and {other} has {other_uuid}; {rest}."),
                );
            }
        }
    }
    worst
}

fn with_primary(case: &Case<'_>, reasons: &mut Reasons<'_>, doubt: Rivalry) -> VerdictState {
    let nodes = &case.gathered.nodes;
    let Some(primary) = case.components.primary() else {
        return VerdictState::Unknown;
    };
    let in_step = |node: usize| {
        primary.members.contains(&node)
            && nodes[node].state() == NodeState::Synced
            && nodes[node]
                .answer()
                .is_some_and(|answer| answer.status.cluster_status == Some(ClusterStatus::Primary))
    };
    // Without any expectation, those whom the component shows are all there is to ask about.
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
        .filter(|&node| !in_step(node))
        .collect();
    for &node in &missing {
        reasons.member(node, primary.members.contains(&node));
    }
    if doubt != Rivalry::None {
        return VerdictState::Degraded;
    }
    let pending = |node: &usize| matches!(nodes[*node].sql, Sql::Pending);
    let apart = case
        .components
        .primary_groups
        .iter()
        .find(|group| leaves_out(group, &required) && !catches_up(group, nodes));
    match (missing.len(), apart) {
        // A former view of who comes back, or the first word of a rival: time tells which, and neither is health.
        (0, Some(group)) => {
            reasons.cluster(
                ReasonCode::SourcesDisagree,
                &format!(
                    "All expected members say that they are Synced in a Primary component, but the view told by {} has no room for all of them; the views are changing, or there are two components.",
                    reasons_list(case, &group.reporters)
                ),
            );
            VerdictState::Degraded
        }
        (0, None) => {
            reasons.cluster(
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
        // The first answers are on their way: nothing is known to be wrong.
        _ if missing.iter().all(pending) => VerdictState::Unknown,
        _ => VerdictState::Degraded,
    }
}

/// Whether a view has no room for all of `required`.
fn leaves_out(group: &Group<'_>, required: &[usize]) -> bool {
    let outside = required.iter().filter(|node| !group.members.contains(node));
    outside.count() > group.open
}

/// Whether all who report a view are still on their way to the present one, so that it is a former view.
fn catches_up(group: &Group<'_>, nodes: &[Facts<'_>]) -> bool {
    group.reporters.iter().all(|&node| {
        nodes[node]
            .answer()
            .and_then(|answer| answer.status.recv_queue)
            .is_some_and(|queue| queue > 0)
    })
}

fn without_primary(case: &Case<'_>, reasons: &mut Reasons<'_>) -> VerdictState {
    let nodes = &case.gathered.nodes;
    let mut blind = false;
    for (node, facts) in nodes.iter().enumerate() {
        let primary = facts.outlives_probe().is_some_and(|registered| {
            registered.status.cluster_status == Some(ClusterStatus::Primary)
        });
        if primary {
            reasons.blind(node, "says Primary");
            blind = true;
        } else if facts.answer().is_none() && facts.expected {
            reasons.member(node, false);
        }
    }
    if blind {
        return VerdictState::Unknown;
    }
    if nodes
        .iter()
        .any(|facts| facts.expected && matches!(facts.sql, Sql::Pending))
    {
        reasons.cluster(
            ReasonCode::NoEvidence,
            "Not every member has been asked yet.",
        );
        return VerdictState::Unknown;
    }
    let answering: Vec<usize> = (0..nodes.len())
        .filter(|&node| nodes[node].answer().is_some())
        .collect();
    let names = reasons_list(case, &answering);
    let verb = if answering.len() == 1 {
        "answers but is"
    } else {
        "answer but are"
    };
    reasons.cluster(
        ReasonCode::NobodyPrimary,
        &format!("{names} {verb} not in a Primary component: the cluster accepts no writes."),
    );
    for node in answering {
        if nodes[node].state() == NodeState::Inconsistent {
            reasons.member(node, false);
        }
    }
    VerdictState::NoPrimary
}

fn without_answers(case: &Case<'_>, reasons: &mut Reasons<'_>) -> VerdictState {
    let nodes = &case.gathered.nodes;
    let stands = |facts: &Facts<'_>| match facts.sql {
        Sql::Failing { error, .. } if error.kind.positively_down() => true,
        _ => facts.state() == NodeState::Stopped,
    };
    let mut alive = false;
    for (node, facts) in nodes.iter().enumerate() {
        let runs = facts.outlives_probe().is_some_and(|registered| {
            crate::observe::registration::says_running(&registered.seen.fields)
        });
        if runs {
            reasons.blind(node, "says that it runs");
            alive = true;
        } else if facts.expected || !matches!(facts.sql, Sql::Unprobed) {
            reasons.member(node, false);
        }
    }
    let expects = nodes.iter().any(|facts| facts.expected);
    if expects && !alive && nodes.iter().filter(|facts| facts.expected).all(stands) {
        reasons.cluster(
            ReasonCode::EverybodyDown,
            "No expected member runs: every one refuses connections or reports itself stopped.",
        );
        return VerdictState::Down;
    }
    if !alive {
        reasons.cluster(
            ReasonCode::NoEvidence,
            "No member gives a fresh answer, and not every one is known to be down.",
        );
    }
    VerdictState::Unknown
}
