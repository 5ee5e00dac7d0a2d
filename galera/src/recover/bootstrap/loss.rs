//! Checks what is known to be ahead of the chosen position.

use std::collections::BTreeSet;

use super::RecoveryCase;
use super::situation::{MemberCondition, Situation};
use crate::id::NodeId;
use crate::judge::known_positions::{self, HighestPosition, NewestPrimaryView};
use crate::observe::fork::ForkConflict;
use crate::position::Position;
use crate::recover::attestation::AttestedState;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource};

/// Where the cluster would continue from.
pub(super) struct RecoveryPoint {
    pub(super) position: Position,
    /// Nodes whose data are included: every member of the component contributes what it has (B3).
    pub(super) holders: BTreeSet<usize>,
}

/// No excluded node may be ahead (I5), no position ever seen may be higher (I9), and the last Primary view must be
/// represented (I31).
pub(super) fn check_for_loss(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    point: Option<&RecoveryPoint>,
) {
    let Some(point) = point else {
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
    check_most_advanced(situation, draft, point);
    check_no_regression(case, situation, draft, point);
    check_last_primary(case, situation, draft, point);
}

fn check_most_advanced(situation: &Situation<'_>, draft: &mut PlanDraft, point: &RecoveryPoint) {
    let mut evidence = Vec::new();
    let mut ahead = Vec::new();
    let mut behind = Vec::new();
    for node in (0..situation.nodes().len()).filter(|node| !point.holders.contains(node)) {
        let Some(known) = situation.last_known_position(node) else {
            continue;
        };
        if known.position.uuid != point.position.uuid {
            continue;
        }
        let id = &situation.nodes()[node].id;
        let seen = format!("{id} was at {}", known.position.seqno);
        // Every replica of the console read a node's last position at another moment, or not at all: the digest must not
        // depend on it. Below the recovery point it decides nothing.
        let value = if known.position.seqno > point.position.seqno {
            ahead.push(seen);
            if known.source == EvidenceSource::Sql
                && situation.nodes()[node].fresh_answer().is_none()
            {
                // The number that counts is the highest one that any replica read: see `check_no_regression`.
                format!("ahead of {}", point.position)
            } else {
                known.position.to_string()
            }
        } else {
            behind.push(seen);
            if known.source == EvidenceSource::Sql
                && situation.nodes()[node].fresh_answer().is_none()
            {
                continue;
            }
            format!("not ahead of {}", point.position)
        };
        evidence.push(fact(Some(id), known.source, known.at, value));
    }
    let (status, message) = if ahead.is_empty() {
        let known = match behind.join("; ") {
            none if none.is_empty() => none,
            level => format!(" ({level})"),
        };
        (
            CheckStatus::Pass,
            format!(
                "No excluded member is known to be ahead of {}{known}.",
                point.position.seqno
            ),
        )
    } else {
        (
            CheckStatus::Fail,
            format!(
                "Other members are ahead of {}: {}. Bring them back first, or accept the loss of their transactions.",
                point.position.seqno,
                ahead.join("; ")
            ),
        )
    };
    draft.add_check(CheckCode::MOST_ADVANCED, status, message, evidence);
}

/// The highest position of a history that the console has stored or an agent has recorded.
pub(super) fn highest_seen(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    uuid: &uuid::Uuid,
) -> Option<HighestPosition> {
    let mut highest = case.history.highest.get(uuid).cloned();
    for (id, seen) in &case.evidence.registrations {
        let id = id.clone().normalized(case.settings.fold.default_port);
        let Some(position) = known_positions::recorded_highest_position(&seen.fields)
            .filter(|_| situation.unconfirmed_node(&id).is_none())
        else {
            continue;
        };
        let more = highest
            .as_ref()
            .is_none_or(|known| known.seqno < position.seqno);
        if position.uuid == *uuid && more {
            highest = Some(HighestPosition {
                seqno: position.seqno,
                node: id,
                at: seen.last_put_at.unwrap_or(case.now),
            });
        }
    }
    highest
}

fn check_no_regression(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    point: &RecoveryPoint,
) {
    let (status, message, evidence) = match highest_seen(case, situation, &point.position.uuid) {
        None => (
            CheckStatus::Pass,
            "No position of this history is stored.".to_owned(),
            Vec::new(),
        ),
        Some(highest) => {
            let remembered =
                |node, value| vec![fact(node, EvidenceSource::Memory, Some(highest.at), value)];
            if highest.seqno > point.position.seqno {
                let value = format!("{}:{}", point.position.uuid, highest.seqno);
                (
                    CheckStatus::Fail,
                    format!(
                        "{} was once seen at {}, which is {} more than {}; {}",
                        highest.node,
                        highest.seqno,
                        highest.seqno - point.position.seqno,
                        point.position.seqno,
                        what_is_lost(case, situation, point, highest.seqno)
                    ),
                    remembered(Some(&highest.node), value),
                )
            } else {
                // The node's name is for the reader only: replicas may have seen the position on different members.
                (
                    CheckStatus::Pass,
                    format!(
                        "The highest position ever seen is {}, on {}.",
                        highest.seqno, highest.node
                    ),
                    remembered(None, format!("not ahead of {}", point.position)),
                )
            }
        }
    };
    draft.add_check(CheckCode::NO_REGRESSION, status, message, evidence);
}

/// What became of the transactions up to `highest`. The highest position is kept for a history, not for a branch, so a
/// fork below it shows only that they may have been given up, and never lowers it.
fn what_is_lost(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    point: &RecoveryPoint,
    highest: u64,
) -> String {
    let epochs = point.holders.iter();
    let newest = epochs
        .filter_map(|&holder| situation.reported_epoch(holder))
        .max()
        .unwrap_or(0);
    let forks = &case.context.forks;
    match forks.conflict(0, point.position.uuid, highest, newest) {
        Some(ForkConflict::Ahead {
            epoch,
            transactions: (first, last),
        }) => format!(
            "transactions {first} to {last} that were seen before fork {epoch} were given up by it already, and those since \
             would be lost. No record shows which they are; if they are all of the former, an administrator may override this \
             check."
        ),
        _ => "those transactions would be lost.".to_owned(),
    }
}

/// The newest Primary view must be represented, or all of its members be accounted for: their data known to be included,
/// or given up by an operator.
fn check_last_primary(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    point: &RecoveryPoint,
) {
    let Some(NewestPrimaryView { conf_id, nodes }) =
        case.history.newest_primary_view(&point.position.uuid)
    else {
        draft.add_check(
            CheckCode::LAST_PRIMARY,
            CheckStatus::Pass,
            "No Primary view of this history is stored.".to_owned(),
            Vec::new(),
        );
        return;
    };
    let evidence = nodes
        .iter()
        .map(|id| {
            let value = format!("Primary in view {conf_id}");
            fact(Some(id), EvidenceSource::Memory, None, value)
        })
        .collect();
    let represented = point
        .holders
        .iter()
        .any(|&node| nodes.contains(&situation.nodes()[node].id));
    let (mut open, mut given_up) = (Vec::new(), Vec::new());
    for id in nodes.iter().filter(|_| !represented) {
        match fate(situation, point, id) {
            ViewMemberFate::Included => {}
            ViewMemberFate::GivenUp => given_up.push(id.to_string()),
            ViewMemberFate::Open => open.push(id.to_string()),
        }
    }
    let (status, message) = if represented {
        (
            CheckStatus::Pass,
            format!("The newest Primary view seen ({conf_id}) is represented."),
        )
    } else if !open.is_empty() {
        (
            CheckStatus::Fail,
            format!(
                "The newest Primary view ({conf_id}) was seen only on {}, and none of those members would be in the new component. Start {} or paste the recovered position; if the data is lost, confirm that the member is isolated or permanently removed.",
                nodes
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                open.join(", "),
            ),
        )
    } else if !given_up.is_empty() {
        (
            CheckStatus::Attested,
            format!(
                "The newest Primary view ({conf_id}) would continue without {}, whose data counts as lost as confirmed by the requester.",
                given_up.join(", ")
            ),
        )
    } else {
        (
            CheckStatus::Pass,
            format!(
                "The members of the newest Primary view seen ({conf_id}) have stopped, none of them ahead."
            ),
        )
    };
    draft.add_check(CheckCode::LAST_PRIMARY, status, message, evidence);
}

/// What becomes of the data of a member of the newest Primary view that is not in the new component.
enum ViewMemberFate {
    /// It has stopped at a position that the recovery point includes.
    Included,
    /// An operator declared it isolated or removed.
    GivenUp,
    Open,
}

fn fate(situation: &Situation<'_>, point: &RecoveryPoint, id: &NodeId) -> ViewMemberFate {
    let Some(node) = situation.node_named(id) else {
        return ViewMemberFate::Open;
    };
    if situation.nodes()[node].fresh_answer().is_some() {
        return ViewMemberFate::Open;
    }
    match situation.stopped_position(node) {
        Some(known)
            if known.position.uuid == point.position.uuid
                && known.position.seqno <= point.position.seqno =>
        {
            ViewMemberFate::Included
        }
        Some(_) => ViewMemberFate::Open,
        None => match situation.conditions[node] {
            MemberCondition::Attested(AttestedState::Fenced | AttestedState::Decommissioned) => {
                ViewMemberFate::GivenUp
            }
            _ => ViewMemberFate::Open,
        },
    }
}
