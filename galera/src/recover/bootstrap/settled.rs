//! Whether the views of a cluster without quorum are stable, or it may still become Primary automatically (I12).

use std::time::Duration;

use super::RecoveryCase;
use super::situation::{MemberCondition, Situation};
use crate::observe::registration::AgentPhase;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource, TransientCause};

/// Views must have been stable: for longer while the members of the last Primary view may all return (I12).
pub(super) fn check(case: &RecoveryCase<'_>, situation: &Situation<'_>, draft: &mut PlanDraft) {
    let starting: Vec<usize> = (0..situation.nodes().len())
        .filter(|&node| {
            matches!(
                situation.phase(node),
                Some(AgentPhase::Starting | AgentPhase::Joining)
            ) && situation.nodes()[node].fresh_answer().is_none()
        })
        .collect();
    let may_heal = !starting.is_empty() || all_expected_connected(situation);
    let needed = if may_heal {
        case.settings.grace_period
    } else {
        case.settings.settle_time
    };
    let mut evidence: Vec<_> = starting
        .iter()
        .map(|&node| {
            let id = &situation.nodes()[node].id;
            fact(
                Some(id),
                EvidenceSource::Registry,
                None,
                "starting, as its agent reports",
            )
        })
        .collect();
    let (mut unsettled, mut change_observed) = (Vec::new(), false);
    let mut settles_at = None;
    for facts in situation.nodes() {
        let Some(answer) = facts.fresh_answer() else {
            continue;
        };
        let settled = answer.view_since.age(case.now) >= needed;
        let value = if settled {
            "view unchanged for long enough"
        } else {
            "view changed recently"
        };
        evidence.push(fact(
            Some(&facts.id),
            EvidenceSource::Sql,
            Some(answer.view_since),
            value,
        ));
        if !settled {
            unsettled.push(facts.id.to_string());
            settles_at = settles_at.max(Some(answer.view_since.plus(needed)));
            change_observed |= answer.view_start_observed;
        }
    }
    // A console that has only just started has seen no change: another replica may know how long the view has existed.
    let short_observation = !unsettled.is_empty() && !change_observed;
    let (status, message) = settled_message(&unsettled, short_observation, may_heal, needed);
    draft.add_check(CheckCode::SETTLED, status, message, evidence);
    if let Some(at) = settles_at {
        draft.expect_at(at);
    }
    if short_observation {
        draft.mark_transient(TransientCause::ShortObservation);
    }
}

/// Whether every expected member runs and is connected to a group, so that they may find each other.
fn all_expected_connected(situation: &Situation<'_>) -> bool {
    let mut expected = situation
        .nodes()
        .iter()
        .filter(|facts| facts.expected)
        .peekable();
    expected.peek().is_some()
        && expected.all(|facts| facts.fresh_answer().is_some())
        && situation
            .members_where(|condition| condition == MemberCondition::Disconnected)
            .next()
            .is_none()
}

fn settled_message(
    unsettled: &[String],
    short_observation: bool,
    may_heal: bool,
    needed: Duration,
) -> (CheckStatus, String) {
    let seconds = needed.as_secs();
    let names = unsettled.join(", ");
    if short_observation {
        return (
            CheckStatus::Unknown,
            format!(
                "The console has watched the view of {names} for less than {seconds} s; wait that long."
            ),
        );
    }
    if !unsettled.is_empty() {
        let why = if may_heal {
            "the cluster may still become Primary automatically"
        } else {
            "views may still change"
        };
        return (
            CheckStatus::Unknown,
            format!("The view of {names} changed less than {seconds} s ago; {why}."),
        );
    }
    let message = if may_heal {
        format!("All expected members run, but no Primary has formed for {seconds} s.")
    } else {
        format!("No view has changed for {seconds} s.")
    };
    (CheckStatus::Pass, message)
}
