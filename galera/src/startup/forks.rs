//! Data that have what a later fork of their history lacks never join by an incremental state transfer, and are never
//! ranked with the data of that fork (I35).

use uuid::Uuid;

use super::member::RegistryMember;
use super::registry_snapshot::RegistrySnapshot;
use super::reports::MemberReport;
use super::{DataState, StartingNode};
use crate::id::NodeId;
use crate::observe::fork::{ForkConflict, ForkRecord};
use crate::observe::registration::HeldRange;
use crate::observe::wsrep::MemberAddress;

/// What holds this node's data back from the Primary members, and why, if anything does.
pub(super) fn join_problem(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    history: Uuid,
    primaries: &[(&NodeId, &RegistryMember)],
) -> Option<(HeldRange, String)> {
    let seqno = match &own.data {
        DataState::AtPosition(position) if position.uuid == history => position.seqno,
        DataState::Unrecoverable {
            uuid: Some(uuid),
            at_most: Some(seqno),
            ..
        } if *uuid == history => *seqno,
        _ => return None,
    };
    let epochs = primaries
        .iter()
        .map(|(id, member)| snapshot.epoch_of_primary(id, member));
    // Agents of version 0.1 do not report it: then the newest fork is taken to be theirs.
    let current = match epochs.max().unwrap_or(0) {
        0 => snapshot.forks.newest(),
        epoch => epoch,
    };
    let conflict =
        snapshot
            .forks
            .conflict(continued_fork(own, snapshot), history, seqno, current)?;
    // No order can name data without a trusted position.
    let rejoin = match &own.data {
        DataState::AtPosition(_) => "request its rejoin in the console, or ",
        _ => "",
    };
    let remedy = format!(
        "It waits, because an incremental state transfer would leave the members with different data; to give its own up, \
         {rejoin}move the contents of its data directory aside and start it empty"
    );
    let range = HeldRange::of_conflict(&conflict, seqno);
    let problem = match conflict {
        ForkConflict::Ahead {
            epoch,
            transactions: (first, last),
        } => format!(
            "Transactions {first} to {last} of {history} on {} are not those of cluster {}, which was bootstrapped at {} \
             without them (fork {epoch}). {remedy}",
            own.node,
            own.cluster,
            first - 1
        ),
        ForkConflict::Unrecorded { epoch } => format!(
            "Cluster {} was bootstrapped since {} was a member, but fork {epoch} is not recorded in etcd, so which \
             transactions only this node has is unknown. {remedy}",
            own.cluster, own.node
        ),
    };
    Some((range, problem))
}

/// The newest fork that this node's data continued, by the numbers of this registry: one that was emptied may have given
/// the same number to another fork, and then only the one before counts.
fn continued_fork(own: &StartingNode, snapshot: &RegistrySnapshot) -> u64 {
    match (&own.fork, snapshot.forks.get(own.fork_epoch)) {
        (Some(known), Some(recorded)) if known != recorded => {
            known.parent.min(own.fork_epoch.saturating_sub(1))
        }
        _ => own.fork_epoch,
    }
}

/// The newest fork that the data of a cleanly stopped member continued: as its agent recorded, or, if the agent had not
/// read that yet, the newest one that names it a member from the start.
pub(super) fn epoch_of_stop(
    node: &NodeId,
    member: &RegistryMember,
    snapshot: &RegistrySnapshot,
) -> Option<u64> {
    let stopped = member.clean_stop()?;
    let named = snapshot.forks.newest_of_member(node, stopped.position.uuid);
    stopped.fork_epoch.max((named > 0).then_some(named))
}

/// The reports whose data are part of the newest fork that any of them continued, or why they cannot be compared.
pub(super) fn newest_branch<'a>(
    snapshot: &RegistrySnapshot,
    reports: &[MemberReport<'a>],
) -> Result<Vec<MemberReport<'a>>, (Vec<NodeId>, String)> {
    let with_position = || reports.iter().filter(|report| report.position.is_some());
    let newest = with_position().filter_map(|report| report.fork_epoch).max();
    let newest = newest.unwrap_or(0);
    let mut branch = Vec::new();
    for report in with_position() {
        let (Some(position), Some(epoch)) = (report.position, report.fork_epoch) else {
            branch.push(*report);
            continue;
        };
        if epoch == newest {
            branch.push(*report);
            continue;
        }
        if let Some(conflict) =
            snapshot
                .forks
                .conflict(epoch, position.uuid, position.seqno, newest)
        {
            let what = match conflict {
                ForkConflict::Ahead {
                    transactions: (first, last),
                    epoch,
                } => format!(
                    "has transactions {first} to {last} that fork {epoch} continued without"
                ),
                ForkConflict::Unrecorded { epoch } => {
                    format!(
                        "may have transactions that fork {epoch}, which is not recorded, continued without"
                    )
                }
            };
            return Err((
                vec![report.node.clone()],
                format!("{} {what}; waiting for an operator to choose", report.node),
            ));
        }
    }
    Ok(branch)
}

impl RegistrySnapshot {
    /// The newest fork that the Primary component of `node` continues, by the members that list it and by the records that
    /// name it a member; 0 for none.
    #[must_use]
    pub fn fork_of_component(&self, node: &NodeId, history: Uuid) -> u64 {
        let lists_node = |member: &RegistryMember| {
            let listed = member.status.incoming_addresses.iter();
            listed
                .filter_map(MemberAddress::node)
                .any(|id| id.clone().normalized(3306) == *node)
        };
        let of_members = self
            .primaries_except(node)
            .filter(|(_, member)| member.state_uuid() == Some(history) && lists_node(member))
            .map(|(_, member)| member.fork_epoch)
            .max()
            .unwrap_or(0);
        of_members.max(self.forks.newest_of_member(node, history))
    }

    /// The newest fork that the data of a Primary member continue: as it reports, or as a record names it a member that its
    /// agent has not read yet.
    pub(super) fn epoch_of_primary(&self, id: &NodeId, member: &RegistryMember) -> u64 {
        let named = |uuid| self.forks.newest_of_member(id, uuid);
        member.fork_epoch.max(member.state_uuid().map_or(0, named))
    }

    /// The epoch and the record of a bootstrap of this node's data, which follow the newest recorded fork; `None` without a
    /// known position.
    #[must_use]
    pub fn next_fork(&self, own: &StartingNode, action: &str) -> Option<(u64, ForkRecord)> {
        let position = own.data.position()?;
        let record = ForkRecord {
            state_uuid: position.uuid,
            seqno: position.seqno,
            members: [own.node.clone()].into(),
            action_id: action.to_owned(),
            // Its agent may not have read yet that a statement bootstrapped these data.
            parent: self
                .forks
                .newest_of_member(&own.node, position.uuid)
                .max(own.fork_epoch),
            at: None,
        };
        self.forks.next(record)
    }
}
