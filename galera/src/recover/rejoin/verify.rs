//! Verifies a rejoin by what the node and its agent report afterwards (I21).

use crate::id::NodeId;
use crate::observe::registration::{RejoinOrder, ReportedData, waiting_reason};
use crate::position::Position;
use crate::recover::bootstrap::RecoveryCase;
use crate::recover::bootstrap::situation::{MemberCondition, Situation};
use crate::view::{ClusterStatus, NodeState};

/// Whether a rejoin is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejoinOutcome {
    /// The node is Synced in the Primary component, with the same history and other, registered data.
    Proven,
    /// Not yet; a sentence names what is missing.
    NotYet(String),
    /// The order ended and the agent still waits with the old data; nothing was changed.
    NotObeyed(String),
    /// Contradicted, and waiting will not change that; a sentence names by what.
    Contradicted(String),
}

/// Compares `rejoin` with what its node reports now. `ended`: the order's key is gone, for so long that no agent can still
/// be executing it.
#[must_use]
pub fn verify(rejoin: &RejoinOrder, ended: bool, case: &RecoveryCase<'_>) -> RejoinOutcome {
    let situation = Situation::new(case);
    let port = case.settings.fold.default_port;
    let id: NodeId = rejoin.order.node.clone().normalized(port);
    let Some(node) = situation.nodes().iter().position(|facts| facts.id == id) else {
        return RejoinOutcome::NotYet(format!("{id} is not known at the moment."));
    };
    let facts = &situation.nodes()[node];
    let seen = facts
        .fresh_registration()
        .filter(|seen| seen.observation.leased);
    let Some(seen) = seen else {
        return RejoinOutcome::NotYet(format!("The agent of {id} does not report."));
    };
    let fields = &seen.observation.fields;
    let lost = lost_primary(&situation, node);
    let data_id = fields.get("data_id");
    if data_id.is_none() || data_id == rejoin.order.data_id.as_ref() {
        if facts.fresh_answer().is_some() {
            return RejoinOutcome::Contradicted(format!(
                "The server of {id} runs on the data that should have been kept aside."
            ));
        }
        if lost {
            return RejoinOutcome::Contradicted(format!(
                "The cluster lost its Primary component before the agent of {id} executed the order."
            ));
        }
        if ended && situation.agent_waits(node) {
            let why = waiting_reason(fields).unwrap_or_else(|| "no reason is reported".to_owned());
            return RejoinOutcome::NotObeyed(format!(
                "The agent of {id} did not execute the order: {why}"
            ));
        }
        return RejoinOutcome::NotYet(format!("{id} has not kept its data aside yet."));
    }
    let Some(answer) = facts.fresh_answer() else {
        if lost {
            return RejoinOutcome::Contradicted(format!(
                "{id} has kept its data aside, and then the cluster lost its Primary component. It joins once there is one \
                 again."
            ));
        }
        return RejoinOutcome::NotYet(format!(
            "{id} has kept its data aside and is receiving the cluster's."
        ));
    };
    let status = answer.status;
    let history = rejoin.order.position.parse::<Position>().ok();
    let history = history.map(|position| position.uuid);
    if status.cluster_status != Some(ClusterStatus::Primary) {
        return RejoinOutcome::NotYet(format!("{id} is not Primary yet."));
    }
    if history.is_none() || status.cluster_state_uuid != history {
        return RejoinOutcome::Contradicted(format!("{id} is Primary with another history."));
    }
    if facts.state() != NodeState::Synced {
        let state = facts.state().as_str();
        return RejoinOutcome::NotYet(format!("{id} is {state}, not Synced yet."));
    }
    if fields.reported_data() != ReportedData::Registered {
        return RejoinOutcome::NotYet(format!("The new data of {id} are not registered yet."));
    }
    RejoinOutcome::Proven
}

/// Whether other nodes show that the cluster has no Primary component. That they are out of sight shows nothing, and the
/// action must not stand in the way of a bootstrap until the end of a state transfer that cannot happen.
fn lost_primary(situation: &Situation<'_>, own: usize) -> bool {
    let outside = |condition: MemberCondition| {
        matches!(
            condition,
            MemberCondition::NonPrimary(_)
                | MemberCondition::Disconnected
                | MemberCondition::ReportedStopped
        )
    };
    situation.primaries().next().is_none()
        && situation.members_where(outside).any(|node| node != own)
}
