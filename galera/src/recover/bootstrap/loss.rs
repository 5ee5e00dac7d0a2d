//! What is known to be ahead of the chosen position, and what that costs.

use std::collections::BTreeSet;

use super::RecoveryCase;
use super::situation::{MemberCondition, Situation};
use crate::judge::known_positions::{self, HighestPosition};
use crate::position::Position;
use crate::recover::attestation::AttestedState;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource, LossEstimate};

/// Where the cluster would go on from.
pub(super) struct RecoveryPoint {
    pub(super) position: Position,
    /// Whose data that includes: the other members of the component bring what they have (B3).
    pub(super) holders: BTreeSet<usize>,
}

/// Nothing that is left out may be ahead (I5), nor anything that was ever seen (I9), nor the last Primary (I31).
pub(super) fn check_for_loss(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    goal: Option<&RecoveryPoint>,
) {
    let Some(goal) = goal else {
        let message = "Without a candidate there is nothing to compare.".to_owned();
        for code in [
            CheckCode::MOST_ADVANCED,
            CheckCode::NO_REGRESSION,
            CheckCode::LAST_PRIMARY,
        ] {
            draft.add_check(code, CheckStatus::Unknown, message.clone(), Vec::new());
        }
        return;
    };
    check_most_advanced(situation, draft, goal);
    check_no_regression(case, draft, goal);
    check_last_primary(case, situation, draft, goal);
}

fn check_most_advanced(situation: &Situation<'_>, draft: &mut PlanDraft, goal: &RecoveryPoint) {
    let mut evidence = Vec::new();
    let mut ahead = Vec::new();
    let mut level = Vec::new();
    for node in (0..situation.nodes().len()).filter(|node| !goal.holders.contains(node)) {
        let Some(known) = situation.last_known_position(node) else {
            continue;
        };
        if known.position.uuid != goal.position.uuid {
            continue;
        }
        let id = &situation.nodes()[node].id;
        let seen = format!("{id} was at {}", known.position.seqno);
        // Where exactly below the goal somebody was read last decides nothing, and every replica of the console read it
        // at another moment, or not at all: the digest must not depend on it.
        let value = if known.position.seqno > goal.position.seqno {
            ahead.push(seen);
            known.position.to_string()
        } else {
            level.push(seen);
            if known.source == EvidenceSource::Sql
                && situation.nodes()[node].fresh_answer().is_none()
            {
                continue;
            }
            format!("not ahead of {}", goal.position)
        };
        evidence.push(fact(Some(id), known.source, known.at, value));
    }
    let (status, message) = if ahead.is_empty() {
        let known = match level.join("; ") {
            none if none.is_empty() => none,
            level => format!(" ({level})"),
        };
        (
            CheckStatus::Pass,
            format!(
                "Nobody who is left out is known to be ahead of {}{known}.",
                goal.position.seqno
            ),
        )
    } else {
        (
            CheckStatus::Fail,
            format!(
                "Others hold more than {}: {}. Bring them back first, or give up what only they have.",
                goal.position.seqno,
                ahead.join("; ")
            ),
        )
    };
    draft.add_check(CheckCode::MOST_ADVANCED, status, message, evidence);
}

/// The highest position of a history that the console remembers or an agent recorded.
fn highest_seen(case: &RecoveryCase<'_>, uuid: &uuid::Uuid) -> Option<HighestPosition> {
    let mut highest = case.history.highest.get(uuid).cloned();
    for (id, seen) in &case.evidence.registrations {
        let Some(position) = known_positions::recorded_highest_position(&seen.fields) else {
            continue;
        };
        let more = highest
            .as_ref()
            .is_none_or(|known| known.seqno < position.seqno);
        if position.uuid == *uuid && more {
            highest = Some(HighestPosition {
                seqno: position.seqno,
                node: id.clone().normalized(case.settings.fold.default_port),
                at: seen.last_put_at.unwrap_or(case.now),
            });
        }
    }
    highest
}

fn check_no_regression(case: &RecoveryCase<'_>, draft: &mut PlanDraft, goal: &RecoveryPoint) {
    let (status, message, evidence) = match highest_seen(case, &goal.position.uuid) {
        None => (
            CheckStatus::Pass,
            "The console remembers no higher position of this history.".to_owned(),
            Vec::new(),
        ),
        Some(highest) => {
            let remembered =
                |node, value| vec![fact(node, EvidenceSource::Memory, Some(highest.at), value)];
            if highest.seqno > goal.position.seqno {
                let value = format!("{}:{}", goal.position.uuid, highest.seqno);
                (
                    CheckStatus::Fail,
                    format!(
                        "{} was once seen at {}, which is {} more than {}: that much would be lost.",
                        highest.node,
                        highest.seqno,
                        highest.seqno - goal.position.seqno,
                        goal.position.seqno
                    ),
                    remembered(Some(&highest.node), value),
                )
            } else {
                // Who was there first is for the reader only: replicas may have seen it of different members.
                (
                    CheckStatus::Pass,
                    format!(
                        "The highest position ever seen is {}, at {}.",
                        highest.seqno, highest.node
                    ),
                    remembered(None, format!("not ahead of {}", goal.position)),
                )
            }
        }
    };
    draft.add_check(CheckCode::NO_REGRESSION, status, message, evidence);
}

fn check_last_primary(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    goal: &RecoveryPoint,
) {
    let Some((conf_id, nodes)) = case.history.newest_primary_view(&goal.position.uuid) else {
        draft.add_check(
            CheckCode::LAST_PRIMARY,
            CheckStatus::Pass,
            "The console remembers no Primary component of this history.".to_owned(),
            Vec::new(),
        );
        return;
    };
    let evidence = nodes
        .iter()
        .map(|id| {
            fact(
                Some(id),
                EvidenceSource::Memory,
                None,
                format!("Primary in view {conf_id}"),
            )
        })
        .collect();
    let represented = goal
        .holders
        .iter()
        .any(|&node| nodes.contains(&situation.nodes()[node].id));
    let (status, message) = if represented {
        (
            CheckStatus::Pass,
            format!("The newest Primary view that was seen ({conf_id}) is represented."),
        )
    } else {
        let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        (
            CheckStatus::Fail,
            format!(
                "The newest Primary view ({conf_id}) was seen at {} only, and nobody of it would go on.",
                names.join(", ")
            ),
        )
    };
    draft.add_check(CheckCode::LAST_PRIMARY, status, message, evidence);
}

/// What going on from `position` may cost.
pub(super) fn estimate(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    position: &Position,
    holders: &BTreeSet<usize>,
) -> LossEstimate {
    let others = (0..situation.nodes().len()).filter(|node| !holders.contains(node));
    let mut highest: Option<(u64, String)> =
        highest_seen(case, &position.uuid).map(|highest| (highest.seqno, highest.node.to_string()));
    let mut blind = Vec::new();
    for node in others {
        let id = &situation.nodes()[node].id;
        let known = situation
            .last_known_position(node)
            .map(|known| known.position);
        let known = known.filter(|known| known.uuid == position.uuid);
        if let Some(known) = &known
            && highest
                .as_ref()
                .is_none_or(|(seqno, _)| *seqno < known.seqno)
        {
            highest = Some((known.seqno, id.to_string()));
        }
        if known.is_none() && situation.nodes()[node].expected && !situation.has_no_data(node) {
            blind.push(id.to_string());
        }
        let gone = matches!(
            situation.conditions[node],
            MemberCondition::Attested(AttestedState::Fenced | AttestedState::Decommissioned)
        );
        if gone && situation.stopped_position(node).is_none() && !blind.contains(&id.to_string()) {
            blind.push(id.to_string());
        }
    }
    let lost = highest
        .as_ref()
        .map_or(0, |(seqno, _)| seqno.saturating_sub(position.seqno));
    let mut explanation = match (&highest, lost) {
        (Some((seqno, who)), 1..) => {
            format!(
                "{who} is known to have reached {seqno}; what lies above {} would be lost.",
                position.seqno
            )
        }
        _ => format!("Nothing is known to lie above {}.", position.seqno),
    };
    if !blind.is_empty() {
        explanation.push_str(&format!(
            " What only {} may hold is not known.",
            blind.join(", ")
        ));
    }
    LossEstimate {
        transactions: Some(lost),
        explanation,
    }
}
