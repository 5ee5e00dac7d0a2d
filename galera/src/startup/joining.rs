//! A member is Primary: join it, unless that would destroy data that no other node has.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::forks;
use super::member::RegistryMember;
use super::registry_snapshot::{FounderKeyState, RegistrySnapshot};
use super::rejoin;
use super::{
    DataState, StartingNode, StartupAction, StartupDecision, join_names, recover_position,
};
use crate::id::{ClusterName, NodeId};
use crate::observe::registration::HeldRange;
use crate::observe::wsrep::MemberAddress;

pub(super) fn decide(own: &StartingNode, snapshot: &RegistrySnapshot) -> StartupDecision {
    let primaries: Vec<(&NodeId, &RegistryMember)> = snapshot.primaries_except(&own.node).collect();
    let names: Vec<NodeId> = primaries.iter().map(|(id, _)| (*id).clone()).collect();
    let history = match single_history(&own.cluster, snapshot, &primaries) {
        Ok(history) => history,
        Err(problem) => return StartupDecision::wait(names, problem),
    };
    if let Some((held, problem)) =
        history.and_then(|uuid| forks::join_problem(own, snapshot, uuid, &primaries))
    {
        return rejoin::hold_back(own, snapshot, names, held, &problem);
    }
    match check_join(own, history, &primaries) {
        JoinCheck::Join => {}
        JoinCheck::Recover => return recover_position(own),
        JoinCheck::Wait(explanation) => return StartupDecision::wait(names, explanation),
        JoinCheck::Hold(held, problem) => {
            return rejoin::hold_back(own, snapshot, names, held, &problem);
        }
        JoinCheck::Refuse(explanation) => return StartupDecision::refuse(explanation),
    }
    let synced = primaries.iter().filter(|(_, member)| member.is_synced());
    let members: Vec<NodeId> = synced.map(|(id, _)| (*id).clone()).collect();
    if members.is_empty() {
        return StartupDecision::wait(
            names.clone(),
            format!(
                "Primary but not Synced (starting or donating): {}; joining as soon as one is Synced",
                join_names(&names)
            ),
        );
    }
    let explanation = format!(
        "Joining {}, Synced and Primary under a live lease",
        join_names(&members)
    );
    StartupDecision::new(StartupAction::Join { members }, explanation)
}

/// The one history of all Primary members, if known, or why there is no single one.
pub(super) fn single_history(
    cluster: &ClusterName,
    snapshot: &RegistrySnapshot,
    primaries: &[(&NodeId, &RegistryMember)],
) -> Result<Option<Uuid>, String> {
    let uuids: BTreeSet<Uuid> = primaries
        .iter()
        .filter_map(|(_, member)| member.state_uuid())
        .collect();
    if uuids.len() > 1 {
        return Err(format!(
            "Members of cluster {cluster} are Primary with different histories; waiting for an operator to stop one of them"
        ));
    }
    if let Some((one, other)) = find_rivals(primaries) {
        return Err(format!(
            "{one} and {other} are both Primary but do not see each other; waiting until this is resolved"
        ));
    }
    let history = uuids.first().copied();
    match &snapshot.founder {
        FounderKeyState::Known { founder, .. } if founder.state_uuid.is_none() => Err(format!(
            "{} reports Primary, but the founder key does not name a history yet; waiting for it",
            join_names(primaries.iter().map(|(id, _)| *id))
        )),
        FounderKeyState::Known { founder, .. }
            if history.is_some() && founder.state_uuid != history =>
        {
            Err(format!(
                "The founder key names a different history than {}; waiting for an operator to decide which is right",
                join_names(primaries.iter().map(|(id, _)| *id))
            ))
        }
        _ => Ok(history),
    }
}

/// Two Primary members, neither of which is in the other's member list (I23).
fn find_rivals<'a>(
    primaries: &[(&'a NodeId, &'a RegistryMember)],
) -> Option<(&'a NodeId, &'a NodeId)> {
    for (index, (one, of_one)) in primaries.iter().enumerate() {
        for (other, of_other) in &primaries[index + 1..] {
            if list_excludes(of_one, other) && list_excludes(of_other, one) {
                return Some((one, other));
            }
        }
    }
    None
}

/// Whether the member's list is complete and does not name `other`.
fn list_excludes(member: &RegistryMember, other: &NodeId) -> bool {
    let list = &member.status.incoming_addresses;
    !list.is_empty()
        && list.iter().all(|address| match address {
            MemberAddress::Known(id) => {
                id.clone().normalized(3306) != other.clone().normalized(3306)
            }
            MemberAddress::Arbitrator => true,
            MemberAddress::Unnamed | MemberAddress::Unreadable(_) => false,
        })
}

enum JoinCheck {
    Join,
    Recover,
    Wait(String),
    Hold(HeldRange, String),
    Refuse(String),
}

fn check_join(
    own: &StartingNode,
    history: Option<Uuid>,
    primaries: &[(&NodeId, &RegistryMember)],
) -> JoinCheck {
    match (&own.data, history) {
        (DataState::Empty | DataState::Incomplete { .. }, _) => JoinCheck::Join,
        (DataState::Unrecovered { .. }, _) => JoinCheck::Recover,
        (_, None) => JoinCheck::Wait(
            "The Primary members do not report their history; waiting for it, because joining could replace this node's data"
                .to_owned(),
        ),
        (DataState::AtPosition(position), Some(history)) if position.uuid != history => {
            JoinCheck::Refuse(different_history_message(own, position.uuid, history))
        }
        (DataState::AtPosition(position), Some(_)) => {
            let known = primaries.iter().filter_map(|(_, member)| member.status.last_committed);
            match known.max() {
                Some(newest) if newest >= position.seqno => JoinCheck::Join,
                newest => JoinCheck::Hold(
                    HeldRange { fork: 0, first: None, last: position.seqno },
                    format!(
                        "This node's data is at {}, ahead of every Primary member (at {}); waiting, because joining would \
                         discard transactions that only this node has; to give them up, request its rejoin in the console, \
                         or keep a copy and empty the data directory",
                        position.seqno,
                        newest.map_or_else(|| "no known position".to_owned(), |newest| newest.to_string())
                    ),
                ),
            }
        }
        (DataState::Unrecoverable { uuid: Some(uuid), why, at_most }, Some(history)) if *uuid == history => {
            let known = primaries.iter().filter_map(|(_, member)| member.status.last_committed);
            match (at_most, known.max()) {
                (Some(most), newest) if newest.is_none_or(|newest| newest < *most) => JoinCheck::Wait(format!(
                    "The position of this node's data is not trusted ({why}); it may be as high as {most}, ahead of every \
                     Primary member; waiting, because joining would discard transactions that only this node has; to give \
                     them up, keep a copy and empty the data directory"
                )),
                _ => JoinCheck::Join,
            }
        }
        (DataState::Unrecoverable { uuid: Some(uuid), .. }, Some(history)) => {
            JoinCheck::Refuse(different_history_message(own, *uuid, history))
        }
        (DataState::Unrecoverable { uuid: None, why, .. }, Some(_)) => JoinCheck::Refuse(format!(
            "The data of {} cannot be attributed to this cluster ({why}); joining would replace it; keep a copy and \
             empty the data directory to join",
            own.node
        )),
    }
}

fn different_history_message(own: &StartingNode, ours: Uuid, theirs: Uuid) -> String {
    format!(
        "The data of {} has history {ours}, the Primary members have {theirs}; joining would replace it; keep a copy \
         and empty the data directory to join, or correct CLUSTER_NAME",
        own.node
    )
}
