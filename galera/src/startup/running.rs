//! A server that runs without being Primary while more advanced members wait: the cluster is incomplete without them, and
//! they wait for this server. Restarted, it waits like them.

use super::member::{RegistryMember, ReportedPosition};
use super::registry_snapshot::RegistrySnapshot;
use crate::id::NodeId;
use crate::observe::registration::{AgentPhase, ReportedData};
use crate::position::Position;

/// A node whose server runs and is not Primary.
#[derive(Clone, Debug)]
pub struct NonPrimaryNode {
    /// Its identity in the registry.
    pub node: NodeId,
    /// The position of its server.
    pub position: Position,
    /// The newest fork that its data continued; 0 for none.
    pub fork_epoch: u64,
}

/// Whether the server is to be restarted, so that its node waits like the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NonPrimaryDecision {
    /// It runs on.
    Continue,
    /// A waiting member is proven to be ahead on the same branch of the history, and no member is known that this server
    /// could become Primary with. The caller acts once this has held for its settle time.
    Restart {
        /// The evidence, for log and health endpoint.
        explanation: String,
    },
    /// A waiting member is ahead, but something is unproven; an operator may restart this node.
    Ask {
        /// What is unproven, and the remedy.
        explanation: String,
    },
}

/// Decides whether the server of `own`, which is not Primary, is to be restarted.
///
/// Nothing is lost by a restart: a server that is not Primary accepts no writes. What it gives up is the chance to become
/// Primary with the members that it sees, so none of those may be as advanced as the one that waits.
#[must_use]
pub fn decide_non_primary(own: &NonPrimaryNode, snapshot: &RegistrySnapshot) -> NonPrimaryDecision {
    if snapshot.primaries_except(&own.node).next().is_some() {
        return NonPrimaryDecision::Continue;
    }
    let ahead = snapshot
        .members_except(&own.node)
        .filter_map(|(node, member)| Some((node, member, waiting_position(member)?)))
        .filter(|(_, _, position)| {
            position.uuid == own.position.uuid && position.seqno > own.position.seqno
        })
        .max_by_key(|(node, _, position)| (position.seqno, std::cmp::Reverse(*node)));
    let Some((node, member, position)) = ahead else {
        return NonPrimaryDecision::Continue;
    };
    let situation = format!(
        "the server of {} runs at {} without being Primary, and {node} waits at {} of the same history",
        own.node, own.position.seqno, position.seqno
    );
    match unproven(own, snapshot, (node, member, position)) {
        None => NonPrimaryDecision::Restart {
            explanation: format!(
                "Restarting it: {situation}. No member is Primary, and as long as it runs the others wait for it"
            ),
        },
        Some(why) => NonPrimaryDecision::Ask {
            explanation: format!(
                "{situation}, but {why}. If no member can become Primary, restart the container or service of {}, so that it \
                 waits like the others",
                own.node
            ),
        },
    }
}

/// The position at which a live member waits.
fn waiting_position(member: &RegistryMember) -> Option<&Position> {
    match &member.reported_position {
        ReportedPosition::At(position)
            if member.live && member.phase == Some(AgentPhase::Waiting) && !member.has_status =>
        {
            Some(position)
        }
        _ => None,
    }
}

/// What is not proven about the waiting member and the members that run, if anything.
fn unproven(
    own: &NonPrimaryNode,
    snapshot: &RegistrySnapshot,
    (node, member, position): (&NodeId, &RegistryMember, &Position),
) -> Option<String> {
    if member.reported_data() != ReportedData::Registered {
        return Some(format!(
            "the data of {node} are not the ones that are registered at its address"
        ));
    }
    if member.fork_epoch < own.fork_epoch {
        return Some(format!(
            "{node} has not continued fork {}, which this node's data have",
            own.fork_epoch
        ));
    }
    let conflict = snapshot.forks.conflict(
        own.fork_epoch,
        own.position.uuid,
        own.position.seqno,
        member.fork_epoch,
    );
    if conflict.is_some() {
        return Some(format!(
            "{node} continued fork {} without transactions that this node has",
            member.fork_epoch
        ));
    }
    // Together with one that is as advanced this server may still become Primary.
    let rival = snapshot
        .members_except(&own.node)
        .filter(|(_, other)| other.live && other.has_status)
        .find(|(_, other)| {
            let seqno = other.status.last_committed;
            let behind = seqno.is_some_and(|seqno| seqno < position.seqno);
            !(behind && other.state_uuid().is_none_or(|uuid| uuid == position.uuid))
        });
    rival.map(|(other, _)| format!("{other} runs too, and is not proven to be behind {node}"))
}
