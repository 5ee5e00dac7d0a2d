//! When an arbitrator is started: only to join members that are Primary, of one history. It has no data and never founds,
//! bootstraps or executes an order.

use super::joining::single_history;
use super::{RegistrySnapshot, join_names};
use crate::id::{ClusterName, NodeId};

/// What the agent of an arbitrator does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArbitratorDecision {
    /// Start it with these members' addresses.
    Join(Vec<NodeId>),
    /// Leave it stopped, for this reason.
    Wait(String),
}

/// Decides whether an arbitrator joins the members in `snapshot`.
#[must_use]
pub fn decide_arbitrator(cluster: &ClusterName, snapshot: &RegistrySnapshot) -> ArbitratorDecision {
    let primaries: Vec<_> = snapshot
        .members
        .iter()
        .filter(|(_, member)| member.is_primary())
        .collect();
    if primaries.is_empty() {
        return ArbitratorDecision::Wait(format!(
            "No member of cluster {cluster} is registered as Primary; an arbitrator never starts a cluster"
        ));
    }
    if let Err(problem) = single_history(cluster, snapshot, &primaries) {
        return ArbitratorDecision::Wait(problem);
    }
    let synced = primaries.iter().filter(|(_, member)| member.is_synced());
    let members: Vec<NodeId> = synced.map(|(id, _)| (*id).clone()).collect();
    if members.is_empty() {
        let names = join_names(primaries.iter().map(|(id, _)| *id));
        return ArbitratorDecision::Wait(format!(
            "Primary but not Synced (starting or donating): {names}; joining as soon as one is Synced"
        ));
    }
    ArbitratorDecision::Join(members)
}
