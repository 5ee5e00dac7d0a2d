//! Somebody is Primary: join, unless that would destroy data that nobody else has.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::member::Member;
use super::registry::{FounderKey, Snapshot};
use super::{Action, Data, Decision, Own, listed, recover};
use crate::id::NodeId;
use crate::observe::wsrep::MemberAddress;

pub(super) fn decide(own: &Own, seen: &Snapshot) -> Decision {
    let primaries: Vec<(&NodeId, &Member)> = seen.primaries(&own.node).collect();
    let names: Vec<NodeId> = primaries.iter().map(|(id, _)| (*id).clone()).collect();
    let history = match one_history(own, seen, &primaries) {
        Ok(history) => history,
        Err(trouble) => return Decision::wait(names, trouble),
    };
    match fits(own, history, &primaries) {
        Fit::Joins => {}
        Fit::Recover => return recover(own),
        Fit::Waits(sentence) => return Decision::wait(names, sentence),
        Fit::Refuses(sentence) => return Decision::refuse(sentence),
    }
    let synced = primaries.iter().filter(|(_, member)| member.is_synced());
    let members: Vec<NodeId> = synced.map(|(id, _)| (*id).clone()).collect();
    if members.is_empty() {
        return Decision::wait(
            names.clone(),
            format!(
                "{} is Primary but not Synced (starting or donating); joining as soon as it is",
                listed(&names)
            ),
        );
    }
    let sentence = format!(
        "{} is Synced and Primary under a living lease: joining",
        listed(&members)
    );
    Decision::new(Action::Join { members }, sentence)
}

/// The one history of everybody who is Primary, or why there is none.
fn one_history(
    own: &Own,
    seen: &Snapshot,
    primaries: &[(&NodeId, &Member)],
) -> Result<Option<Uuid>, String> {
    let uuids: BTreeSet<Uuid> = primaries
        .iter()
        .filter_map(|(_, member)| member.state_uuid())
        .collect();
    if uuids.len() > 1 {
        return Err(format!(
            "Members of cluster {} are Primary with different histories; waiting until a person has ended one of them",
            own.cluster
        ));
    }
    if let Some((one, other)) = rivals(primaries) {
        return Err(format!(
            "{one} and {other} are both Primary without seeing each other; waiting until that is over"
        ));
    }
    let history = uuids.first().copied();
    match &seen.founder {
        FounderKey::Known { founder, .. } if founder.state_uuid.is_none() => Err(format!(
            "{} is Primary, but the founder key does not name its history yet; waiting for that",
            listed(primaries.iter().map(|(id, _)| *id))
        )),
        FounderKey::Known { founder, .. } if history.is_some() && founder.state_uuid != history => {
            Err(format!(
                "The founder key names another history than that of {}; waiting for a person to tell which is right",
                listed(primaries.iter().map(|(id, _)| *id))
            ))
        }
        _ => Ok(history),
    }
}

/// Two Primary members, neither of which is in the other's list of members (I23).
fn rivals<'a>(primaries: &[(&'a NodeId, &'a Member)]) -> Option<(&'a NodeId, &'a NodeId)> {
    for (index, (one, of_one)) in primaries.iter().enumerate() {
        for (other, of_other) in &primaries[index + 1..] {
            if excludes(of_one, other) && excludes(of_other, one) {
                return Some((one, other));
            }
        }
    }
    None
}

/// Whether the member's list is complete and does not name `other`.
fn excludes(member: &Member, other: &NodeId) -> bool {
    let list = &member.status.incoming_addresses;
    !list.is_empty()
        && list.iter().all(|address| match address {
            MemberAddress::Known(id) => {
                id.clone().normalized(3306) != other.clone().normalized(3306)
            }
            MemberAddress::Blank => true,
            MemberAddress::Auto | MemberAddress::Unreadable(_) => false,
        })
}

enum Fit {
    Joins,
    Recover,
    Waits(String),
    Refuses(String),
}

fn fits(own: &Own, history: Option<Uuid>, primaries: &[(&NodeId, &Member)]) -> Fit {
    match (&own.data, history) {
        (Data::Empty | Data::Incomplete { .. }, _) => Fit::Joins,
        (Data::Unrecovered { .. }, _) => Fit::Recover,
        (_, None) => Fit::Waits(
            "The Primary members do not tell their history; waiting for it, because joining could replace this node's data"
                .to_owned(),
        ),
        (Data::At(position), Some(history)) if position.uuid != history => {
            Fit::Refuses(another_history(own, position.uuid, history))
        }
        (Data::At(position), Some(_)) => {
            let known = primaries.iter().filter_map(|(_, member)| member.status.last_committed);
            match known.max() {
                Some(newest) if newest >= position.seqno => Fit::Joins,
                newest => Fit::Waits(format!(
                    "This node's data are at {}, ahead of every Primary member (at {}); waiting, because joining would \
                     discard what only this node has; to give that up, keep a copy and empty the data directory",
                    position.seqno,
                    newest.map_or_else(|| "no known position".to_owned(), |newest| newest.to_string())
                )),
            }
        }
        (Data::Unrecoverable { uuid: Some(uuid), .. }, Some(history)) if *uuid == history => Fit::Joins,
        (Data::Unrecoverable { uuid: Some(uuid), .. }, Some(history)) => {
            Fit::Refuses(another_history(own, *uuid, history))
        }
        (Data::Unrecoverable { uuid: None, why }, Some(_)) => Fit::Refuses(format!(
            "The data of {} cannot be told to be of this cluster ({why}); joining would replace them; keep a copy and \
             empty the data directory to join",
            own.node
        )),
    }
}

fn another_history(own: &Own, ours: Uuid, theirs: Uuid) -> String {
    format!(
        "The data of {} are of history {ours}, the Primary members of {theirs}; joining would replace them; keep a copy \
         and empty the data directory to join, or correct CLUSTER_NAME",
        own.node
    )
}
