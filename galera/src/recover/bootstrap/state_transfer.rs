//! State transfers that a recovery would interrupt (I13).

use super::situation::Situation;
use crate::judge::cluster::node_facts::NodeFacts;
use crate::observe::registration::AgentPhase;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource};
use crate::view::NodeState;

/// Interrupting a state transfer has destroyed whole clusters.
pub(crate) fn check(situation: &Situation<'_>, draft: &mut PlanDraft) {
    let (mut busy, mut unanswered) = (Vec::new(), Vec::new());
    let mut evidence = Vec::new();
    for (node, facts) in situation.nodes().iter().enumerate() {
        let id = Some(&facts.id);
        if takes_part(facts) {
            let at = facts.fresh_answer().map(|answer| answer.at);
            let state = facts.state().as_str();
            evidence.push(fact(id, EvidenceSource::Sql, at, state));
            busy.push(node);
        } else if situation.phase(node) == Some(AgentPhase::Joining)
            && facts.fresh_answer().is_none()
        {
            let value = "joining, as its agent reports";
            evidence.push(fact(id, EvidenceSource::Registry, None, value));
            busy.push(node);
            unanswered.push(node);
        }
    }
    if busy.is_empty() {
        let message = "No state transfer is in progress.".to_owned();
        draft.add_check(
            CheckCode::NO_STATE_TRANSFER,
            CheckStatus::Pass,
            message,
            evidence,
        );
        return;
    }
    let mut message = format!(
        "{} {} part in a state transfer. Wait until it completes or fails.",
        situation.join_names(busy.iter().copied()),
        if busy.len() == 1 { "takes" } else { "take" },
    );
    // Without a Primary member a joiner has no donor, or one that may still send.
    if !unanswered.is_empty() && situation.primaries().next().is_none() {
        message.push_str(&format!(
            " While no member is Primary, an agent restarts a server to which nothing has been sent for a minute, and its node \
             waits again. If that does not happen, restart the container or service of {}: only what it has received is \
             discarded.",
            situation.join_names(unanswered.into_iter()),
        ));
    }
    draft.add_check(
        CheckCode::NO_STATE_TRANSFER,
        CheckStatus::Fail,
        message,
        evidence,
    );
}

/// Whether a node answers as joiner or donor. A failed transfer is over; its node is damaged (I14), and no other node waits
/// for it.
fn takes_part(facts: &NodeFacts<'_>) -> bool {
    let is_ongoing = facts
        .fresh_answer()
        .is_some_and(|answer| !answer.status.transfer_failed());
    is_ongoing
        && matches!(
            facts.state(),
            NodeState::Joining | NodeState::Donor | NodeState::Joined
        )
}
