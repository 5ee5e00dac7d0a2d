//! Founding: of all nodes that ever start, one.

use super::registry_snapshot::{FounderRecord, RegistrySnapshot};
use super::{
    DataState, FounderClaim, StartingNode, StartupAction, StartupDecision, StartupSettings,
    join_names, recovery,
};
use crate::id::NodeId;

/// Empty data and no founder.
pub(super) fn found_new_cluster(own: &StartingNode, seen: &RegistrySnapshot) -> StartupDecision {
    let earlier = earlier_members(own, seen);
    if !earlier.is_empty() {
        return StartupDecision::wait(
            earlier.clone(),
            format!(
                "The registry names {} but no founder: the cluster existed before and part of the registry was lost; \
                 waiting for one of them to be Primary, because founding again would make a second cluster",
                join_names(&earlier)
            ),
        );
    }
    StartupDecision::new(
        StartupAction::FoundCluster(FounderClaim::Create),
        format!(
            "{} has no data and the registry knows nobody of cluster {}: founding it, unless another starter is first \
             to create the founder key",
            own.node, own.cluster
        ),
    )
}

/// The founder key carries the identity of our own data.
pub(super) fn continue_own_founding(
    own: &StartingNode,
    seen: &RegistrySnapshot,
    settings: &StartupSettings,
    founder: &FounderRecord,
    revision: i64,
) -> StartupDecision {
    if founder.state_uuid.is_some() {
        return recovery::decide(own, seen, settings);
    }
    let earlier = earlier_members(own, seen);
    if !earlier.is_empty() && !founder.started {
        return StartupDecision::wait(
            earlier.clone(),
            format!(
                "{} was about to found, but {} turned out to be a member of cluster {}; waiting for the cluster",
                own.node,
                join_names(&earlier),
                own.cluster
            ),
        );
    }
    let found = StartupAction::FoundCluster(FounderClaim::Continue { revision });
    match &own.data {
        DataState::Empty if earlier.is_empty() => StartupDecision::new(
            found,
            format!(
                "{} owns the founder key and nobody can have joined yet: founding cluster {}",
                own.node, own.cluster
            ),
        ),
        // Members join only after the founder has recorded its history.
        DataState::AtPosition(position) if founder.started && earlier.is_empty() => {
            StartupDecision::new(
                found,
                format!(
                    "{} founded cluster {} and stopped at {position} before anybody could join: going on alone with its data",
                    own.node, own.cluster
                ),
            )
        }
        _ => recovery::decide(own, seen, settings),
    }
}

/// Empty data, and somebody else's founder key that never led to a server.
pub(super) fn await_or_take_over_founding(
    own: &StartingNode,
    seen: &RegistrySnapshot,
    founder: &FounderRecord,
    revision: i64,
) -> StartupDecision {
    let lives = seen
        .members
        .get(&founder.node)
        .is_some_and(|member| member.live);
    // Under our own address lives only what we write ourselves.
    if lives && founder.node != own.node {
        return StartupDecision::wait(
            vec![founder.node.clone()],
            format!(
                "{} founds cluster {}; waiting until it is Synced and Primary to join it",
                founder.node, own.cluster
            ),
        );
    }
    let earlier = earlier_members(own, seen);
    if !earlier.is_empty() {
        return StartupDecision::wait(
            earlier.clone(),
            format!(
                "{} began to found and is gone, but {} is registered as a member; waiting for one of them to be Primary",
                founder.node,
                join_names(&earlier)
            ),
        );
    }
    StartupDecision::new(
        StartupAction::FoundCluster(FounderClaim::TakeOver { revision }),
        format!(
            "{} began to found cluster {} and is gone before it started a server: taking the founder key over",
            founder.node, own.cluster
        ),
    )
}

/// Everybody who shows that the cluster existed before this start; our own old traces count as well.
fn earlier_members(own: &StartingNode, seen: &RegistrySnapshot) -> Vec<NodeId> {
    let mut earlier: Vec<NodeId> = seen
        .members_except(&own.node)
        .filter(|(_, member)| member.has_membership_evidence)
        .map(|(id, _)| id.clone())
        .collect();
    let own_traces = seen.members.get(&own.node).is_some_and(|member| {
        let other_data = member
            .registration
            .as_ref()
            .is_some_and(|registered| registered.id.as_deref() != Some(&own.data_id));
        other_data || (member.highest_position.is_some() && !own.data.has_history())
    });
    if own_traces {
        earlier.push(own.node.clone());
    }
    earlier
}
