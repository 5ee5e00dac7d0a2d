//! Members on different branches of one history: positions are comparable up to the fork only (I35).

use std::collections::BTreeSet;

use super::RecoveryCase;
use super::situation::{Situation, SourcedPosition};
use crate::id::{ActionId, NodeId};
use crate::judge::cluster::reasons::node_label;
use crate::observe::fork::{self, ForkConflict, ForkRecord};
use crate::position::Position;
use crate::recover::plan::digest::{PlanDraft, fact};
use crate::recover::plan::{CheckCode, CheckStatus, EvidenceSource, Mechanism, PlanTarget};

/// No epoch is left for another fork: a key or an agent names the highest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its fork cannot be recorded: the last possible fork number is in use")]
pub struct NoEpochLeft;

/// The record of the fork that the statement of `action` to a running component makes, with its epoch; `None` if it is
/// recorded, or if the bootstrap is another one: an agent records its own.
///
/// # Errors
/// [`NoEpochLeft`]; the check `no_fork` names who uses it.
pub fn fork_of_statement(
    target: &PlanTarget,
    action: &ActionId,
    case: &RecoveryCase<'_>,
) -> Result<Option<(u64, ForkRecord)>, NoEpochLeft> {
    let forks = &case.context.forks;
    let Some(position) = &target.position else {
        return Ok(None);
    };
    if target.mechanism != Mechanism::Statement {
        return Ok(None);
    }
    let port = case.settings.fold.default_port;
    let full = |id: &NodeId| fork::member_id(id, port);
    let members: BTreeSet<NodeId> = target.members.iter().map(full).collect();
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
    let record = ForkRecord {
        state_uuid: position.uuid,
        seqno: position.seqno,
        members,
        action_id: action.to_string(),
        parent,
        at: Some(case.now),
    };
    if forks.has(&record) {
        return Ok(None);
    }
    forks.next(record).map(Some).ok_or(NoEpochLeft)
}

/// The same once the bootstrap took effect; `None` also if a replica recorded it as an observed one.
///
/// # Errors
/// [`NoEpochLeft`].
pub fn fork_of_proven_statement(
    target: &PlanTarget,
    action: &ActionId,
    case: &RecoveryCase<'_>,
) -> Result<Option<(u64, ForkRecord)>, NoEpochLeft> {
    let fork = fork_of_statement(target, action, case)?;
    Ok(fork.filter(|(_, record)| {
        let forks = &case.context.forks;
        let recorded = forks.bootstrap_at(record.state_uuid, record.seqno, &record.members);
        recorded.is_none_or(|(_, recorded)| recorded.action_id != fork::OBSERVED)
    }))
}

/// What uses the last possible fork number, so that a bootstrap could not be recorded.
fn last_epoch_users(case: &RecoveryCase<'_>) -> Vec<String> {
    let registrations = case.evidence.registrations.iter();
    let reports = registrations.filter(|(_, seen)| {
        let epoch = seen.fields.get("fork_epoch");
        epoch.is_some_and(|epoch| fork::parse_epoch(epoch) == u64::MAX)
    });
    let mut users: Vec<String> = reports
        .map(|(id, _)| format!("the key fork_epoch of {id}"))
        .collect();
    if case.context.forks.newest() == u64::MAX {
        users.push(format!("the key forks/{}", u64::MAX));
    }
    users
}

/// The newest fork that the data of a node continued: as its agent reports or recorded; without a live report at least
/// the newest one that names the node a member from the start. `None` if nothing says.
pub(super) fn epoch_of(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    (node, known): &(usize, SourcedPosition),
) -> Option<u64> {
    situation.reported_epoch(*node).or_else(|| {
        let named = epoch_of_member(case, situation, *node, &known.position);
        situation.epoch_of_stop(*node).max(named)
    })
}

/// The newest fork of the history of `position` that names the node a member from the start, if any.
pub(super) fn epoch_of_member(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
    node: usize,
    position: &Position,
) -> Option<u64> {
    let id = fork::member_id(&situation.nodes()[node].id, case.settings.fold.default_port);
    let named = case.context.forks.newest_of_member(&id, position.uuid);
    (named > 0).then_some(named)
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
    let last_epoch = last_epoch_users(case);
    if !last_epoch.is_empty() {
        let message = format!(
            "The fork that a bootstrap makes could not be recorded: {} in etcd names the last possible fork number, {}. No \
             console or agent writes it: remove that key.",
            last_epoch.join(" and "),
            u64::MAX
        );
        draft.add_check(CheckCode::NO_FORK, CheckStatus::Fail, message, evidence);
        return branch;
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
                 others; they return with an empty data directory. If data that are named here are gone for good, confirm \
                 that their member is permanently removed: they count as lost.",
                conflicts.join("; ")
            ),
        )
    };
    draft.add_check(CheckCode::NO_FORK, status, message, evidence);
    branch
}
