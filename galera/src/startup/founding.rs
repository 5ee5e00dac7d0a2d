//! Founding: exactly one of all nodes that ever start founds the cluster.

use std::collections::BTreeSet;

use super::member::{RegistryMember, ReportedPosition};
use super::registry_snapshot::{FounderRecord, RegistrySnapshot};
use super::{
    DataState, ExpectedMembers, FounderClaim, StartingNode, StartupAction, StartupDecision,
    StartupSettings, join_names, recovery,
};
use crate::id::NodeId;
use crate::observe::registration::AgentPhase;

/// The node has no data and there is no founder key.
pub(super) fn found_new_cluster(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
) -> StartupDecision {
    let earlier = earlier_members(own, snapshot);
    if !earlier.is_empty() {
        return StartupDecision::wait(
            earlier.clone(),
            format!(
                "The registry lists {} but has no founder key: the cluster existed before and part of the registry was lost; \
                 waiting for one of them to become Primary, because founding again would create a second cluster",
                join_names(&earlier)
            ),
        );
    }
    if let Some(waiting) = await_expected_members(own, snapshot, settings) {
        return waiting;
    }
    StartupDecision::new(
        StartupAction::FoundCluster(FounderClaim::Create),
        format!(
            "{} has no data and the registry lists no node of cluster {}: founding it, unless another node creates the \
             founder key first",
            own.node, own.cluster
        ),
    )
}

/// The founder key names this node's data, but this agent did not create it, or has recorded the history since.
pub(super) fn refuse_foreign_claim(own: &StartingNode) -> StartupDecision {
    StartupDecision::wait(
        Vec::new(),
        format!(
            "The founder key names {} and its data as the founder of cluster {}, but this agent did not create the key; \
             waiting for a member to become Primary, because founding could create a second cluster (if the cluster does \
             not exist, remove the founder key)",
            own.node, own.cluster
        ),
    )
}

/// The founder key has the identity of this node's data, and this agent created it.
pub(super) fn continue_own_founding(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
    founder: &FounderRecord,
    revision: i64,
) -> StartupDecision {
    if founder.state_uuid.is_some() {
        return recovery::decide(own, snapshot, settings);
    }
    let earlier = earlier_members(own, snapshot);
    if !earlier.is_empty() && !founder.started {
        return StartupDecision::wait(
            earlier.clone(),
            format!(
                "{} was about to found the cluster, but {} is already registered in cluster {}; waiting for the cluster",
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
                "{} owns the founder key and no node can have joined yet: founding cluster {}",
                own.node, own.cluster
            ),
        ),
        // Members join only after the founder has recorded its history.
        DataState::AtPosition(position) if founder.started && earlier.is_empty() => {
            StartupDecision::new(
                found,
                format!(
                    "{} founded cluster {} and stopped at {position} before any node could join: continuing alone with its data",
                    own.node, own.cluster
                ),
            )
        }
        _ => recovery::decide(own, snapshot, settings),
    }
}

/// The node has no data, and the founder key belongs to another node that has not started a server.
pub(super) fn await_or_take_over_founding(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
    founder: &FounderRecord,
    revision: i64,
) -> StartupDecision {
    let founder_is_live = snapshot
        .members
        .get(&founder.node)
        .is_some_and(|member| member.live);
    // A live key under this node's own address is its own.
    if founder_is_live && founder.node != own.node {
        return StartupDecision::wait(
            vec![founder.node.clone()],
            format!(
                "{} is founding cluster {}; waiting until it is Synced and Primary to join it",
                founder.node, own.cluster
            ),
        );
    }
    let earlier = earlier_members(own, snapshot);
    if !earlier.is_empty() {
        return StartupDecision::wait(
            earlier.clone(),
            format!(
                "{} began founding and is gone, but the registry lists {}; waiting for a member to become Primary",
                founder.node,
                join_names(&earlier)
            ),
        );
    }
    if let Some(waiting) = await_expected_members(own, snapshot, settings) {
        return waiting;
    }
    StartupDecision::new(
        StartupAction::FoundCluster(FounderClaim::TakeOver { revision }),
        format!(
            "{} began founding cluster {} and is gone without having started a server: taking over the founder key",
            founder.node, own.cluster
        ),
    )
}

/// With EXPECTED_MEMBERS, a node founds only when that many nodes, or these, wait with empty data under live leases (I40):
/// fewer may be newcomers to a cluster whose members and registry are out of sight.
fn await_expected_members(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
) -> Option<StartupDecision> {
    let waits_empty = |member: &RegistryMember| {
        member.live
            && member.phase == Some(AgentPhase::Waiting)
            && member.reported_position == ReportedPosition::NoPosition
    };
    let empty: BTreeSet<&NodeId> = snapshot
        .members_except(&own.node)
        .filter(|(_, member)| waits_empty(member))
        .map(|(id, _)| id)
        .chain([&own.node])
        .collect();
    let alone = "to found it with fewer nodes, start one of them with EXPECTED_MEMBERS=1";
    match &settings.expected_members {
        ExpectedMembers::Registered => None,
        ExpectedMembers::Count(count) if empty.len() >= *count => None,
        ExpectedMembers::Count(count) => Some(StartupDecision::wait(
            Vec::new(),
            format!(
                "{} has no data and the registry lists no member of cluster {}; waiting until {count} empty nodes \
                 (EXPECTED_MEMBERS) wait to found it, or a member becomes Primary; {} so far: {}; {alone}",
                own.node,
                own.cluster,
                empty.len(),
                join_names(empty),
            ),
        )),
        ExpectedMembers::Members(expected) if !expected.contains(&own.node) => {
            Some(StartupDecision::wait(
                expected.iter().cloned().collect(),
                format!(
                    "{} is not among EXPECTED_MEMBERS ({}), so it does not found cluster {}; waiting for one of them to \
                     become Primary",
                    own.node,
                    join_names(expected),
                    own.cluster
                ),
            ))
        }
        ExpectedMembers::Members(expected) => {
            let absent: Vec<NodeId> = expected
                .iter()
                .filter(|node| !empty.contains(node))
                .cloned()
                .collect();
            (!absent.is_empty()).then(|| {
                let names = join_names(&absent);
                StartupDecision::wait(
                    absent,
                    format!(
                        "{} has no data and the registry lists no member of cluster {}; waiting until {names} \
                         (EXPECTED_MEMBERS) wait with empty data too, or a member becomes Primary; {alone}",
                        own.node, own.cluster
                    ),
                )
            })
        }
    }
}

/// The nodes whose keys show that the cluster existed before this start, including old keys of this node.
fn earlier_members(own: &StartingNode, snapshot: &RegistrySnapshot) -> Vec<NodeId> {
    let mut earlier: Vec<NodeId> = snapshot
        .members_except(&own.node)
        .filter(|(_, member)| member.has_membership_evidence)
        .map(|(id, _)| id.clone())
        .collect();
    let own_traces = snapshot.members.get(&own.node).is_some_and(|member| {
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
