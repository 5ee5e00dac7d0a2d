//! Members on different branches of one history: positions are comparable up to the fork only (I35).

use std::collections::BTreeSet;

use super::RecoveryCase;
use super::situation::{Situation, SourcedPosition};
use crate::id::{ActionId, NodeId};
use crate::judge::cluster::reasons::node_label;
use crate::observe::fork::{self, ForkConflict, ForkRecord};
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource, Mechanism, PlanTarget};

/// The record of the fork that the statement of `action` to a running component made, with its epoch; `None` if it is
/// recorded, or if the bootstrap is another one: an agent records its own.
#[must_use]
pub fn fork_of_statement(
    target: &PlanTarget,
    action: &ActionId,
    case: &RecoveryCase<'_>,
) -> Option<(u64, ForkRecord)> {
    let forks = &case.context.forks;
    let position = target.position.as_ref()?;
    if target.mechanism != Mechanism::Statement || forks.has_action(action.as_str()) {
        return None;
    }
    let port = case.settings.fold.default_port;
    let full = |id: &NodeId| fork::member_id(id, port);
    let members: BTreeSet<NodeId> = target.members.iter().map(full).collect();
    // Another replica observed the same bootstrap.
    if forks
        .bootstrap_at(position.uuid, position.seqno, &members)
        .is_some_and(|(_, record)| record.action_id == fork::OBSERVED)
    {
        return None;
    }
    let epochs = case
        .evidence
        .registrations
        .iter()
        .filter(|(id, _)| members.contains(&full(id)))
        .filter_map(|(_, seen)| Some(fork::parse_epoch(seen.fields.get("fork_epoch")?)));
    let named = members
        .iter()
        .map(|id| forks.newest_of_member(id, position.uuid));
    let parent = epochs.chain(named).max().unwrap_or(0);
    forks.next(ForkRecord {
        state_uuid: position.uuid,
        seqno: position.seqno,
        members,
        action_id: action.to_string(),
        parent,
        at: Some(case.now),
    })
}

/// The newest fork that the data of a node continued: as its agent reports or recorded; without a live report at least
/// the newest one that names the node a member from the start. `None` if nothing says.
fn epoch_of(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    (node, known): &(usize, SourcedPosition),
) -> Option<u64> {
    situation.reported_epoch(*node).or_else(|| {
        let id = fork::member_id(
            &situation.nodes()[*node].id,
            case.settings.fold.default_port,
        );
        let forks = &case.context.forks;
        let named = forks.newest_of_member(&id, known.position.uuid);
        situation
            .epoch_of_stop(*node)
            .max((named > 0).then_some(named))
    })
}

/// Checks that no member has what the newest fork lacks. Returns the members that the newest fork includes: no other may
/// be chosen.
pub(super) fn check(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    draft: &mut PlanDraft,
    known: &[(usize, SourcedPosition)],
) -> Vec<(usize, SourcedPosition)> {
    let forks = &case.context.forks;
    let epochs: Vec<Option<u64>> = known
        .iter()
        .map(|known| epoch_of(case, situation, known))
        .collect();
    let newest = epochs.iter().flatten().copied().max().unwrap_or(0);
    let mut branch = Vec::new();
    let (mut evidence, mut conflicts) = (Vec::new(), Vec::new());
    for ((node, known), epoch) in known.iter().zip(epochs) {
        let facts = &situation.nodes()[*node];
        let Some(epoch) = epoch.filter(|epoch| *epoch < newest) else {
            branch.push((*node, known.clone()));
            continue;
        };
        let value = format!("data of fork {epoch}, the newest is {newest}");
        evidence.push(fact(Some(&facts.id), EvidenceSource::Registry, None, value));
        let position = &known.position;
        let name = node_label(facts);
        match forks.conflict(epoch, position.uuid, position.seqno, newest) {
            None => {}
            Some(ForkConflict::Ahead { epoch, transactions: (first, last) }) => conflicts.push(format!(
                "{name} has transactions {first} to {last}, which fork {epoch} continued without at {}",
                first - 1
            )),
            Some(ForkConflict::Unrecorded { epoch }) => conflicts.push(format!(
                "{name} may have transactions that fork {epoch} continued without, and that fork is not recorded in etcd"
            )),
        }
    }
    if newest == 0 || known.is_empty() {
        return branch;
    }
    let (status, message) = if conflicts.is_empty() {
        (
            CheckStatus::Pass,
            format!("No member has transactions that fork {newest} continued without."),
        )
    } else {
        (
            CheckStatus::Fail,
            format!(
                "{}. Its data and those of the other members exclude each other: decide whose to keep. Keep a copy of the \
                 others; they return with an empty data directory.",
                conflicts.join("; ")
            ),
        )
    };
    draft.add_check(CheckCode::NO_FORK, status, message, evidence);
    branch
}
