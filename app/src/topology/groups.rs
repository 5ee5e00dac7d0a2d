//! Components as groups of nodes, and state transfers within them.

use galera::NodeId;
use galera::view::{ClusterStatus, ClusterView, Component, NodeState};

use crate::sides::{side_label, side_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupKind {
    /// A component with quorum.
    Primary,
    /// A side of a split brain.
    Rival(usize),
    /// A component without quorum.
    NonPrimary,
    /// Nodes in no component: stopped, unreachable, absent.
    Outside,
}

/// Nodes that see each other, or those that see none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeGroup {
    pub(super) kind: GroupKind,
    pub(super) title: &'static str,
    /// Size, and the state UUID where components differ in it.
    pub(super) detail: String,
    pub(super) members: Vec<NodeId>,
}

impl NodeGroup {
    /// The title in the tile of a member.
    pub(super) fn short_title(&self) -> &'static str {
        match self.kind {
            GroupKind::Outside => "no component",
            _ => self.title,
        }
    }
}

/// A node that sends its state to another one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StateTransfer {
    pub(super) donor: NodeId,
    pub(super) joiner: NodeId,
    /// Whether this is the component's only donor.
    pub(super) certain: bool,
}

/// The components of a view, and the members that are in none of them.
pub(super) fn node_groups(view: &ClusterView) -> Vec<NodeGroup> {
    let uuid = |component: &Component| component.state_uuid.clone();
    let several = view
        .components
        .iter()
        .any(|one| uuid(one) != view.components.first().and_then(uuid));
    let group = |one: &Component| {
        let side = one.members.first().and_then(|node| side_of(view, node));
        component_group(one, several, side)
    };
    let mut groups: Vec<NodeGroup> = view.components.iter().map(group).collect();
    let placed = |id: &NodeId| {
        view.components
            .iter()
            .any(|component| component.members.contains(id))
    };
    let outside: Vec<NodeId> = view
        .members()
        .map(|node| &node.id)
        .filter(|id| !placed(id))
        .cloned()
        .collect();
    if !outside.is_empty() {
        groups.push(NodeGroup {
            kind: GroupKind::Outside,
            title: "Not in any component",
            detail: String::new(),
            members: outside,
        });
    }
    groups
}

/// A component. `history` adds its state UUID, where components differ in it.
fn component_group(component: &Component, history: bool, side: Option<usize>) -> NodeGroup {
    let known = u64::try_from(component.members.len()).unwrap_or(u64::MAX);
    let size = component.size.map(|size| match size > known {
        true => [&known.to_string(), " of ", &size.to_string(), " seen"].concat(),
        false => ["size ", &size.to_string()].concat(),
    });
    let uuid = component.state_uuid.as_deref().filter(|_| history);
    let uuid = uuid.map(|uuid| uuid.get(..8).unwrap_or(uuid).to_owned());
    let detail: Vec<String> = size.into_iter().chain(uuid).collect();
    let (kind, title) = match (component.status, side) {
        (_, Some(side)) => (GroupKind::Rival(side), side_label(side)),
        (ClusterStatus::Primary, None) => (GroupKind::Primary, "Primary"),
        (ClusterStatus::NonPrimary, None) => (GroupKind::NonPrimary, "non-Primary"),
        (ClusterStatus::Disconnected, None) => (GroupKind::NonPrimary, "Disconnected"),
    };
    NodeGroup {
        kind,
        title,
        detail: detail.join(" · "),
        members: component.members.clone(),
    }
}

/// Each joiner with each donor of its component.
pub(super) fn state_transfers(view: &ClusterView, groups: &[NodeGroup]) -> Vec<StateTransfer> {
    let state_of = |id: &NodeId| {
        let node = view.nodes.iter().find(|node| node.id == *id);
        node.map(|node| node.state)
    };
    let mut transfers = Vec::new();
    for group in groups {
        if group.kind == GroupKind::Outside {
            continue;
        }
        let within = |state: NodeState| {
            let members = group.members.iter();
            members.filter(move |id| state_of(id) == Some(state))
        };
        let certain = within(NodeState::Donor).count() == 1;
        for joiner in within(NodeState::Joining) {
            for donor in within(NodeState::Donor) {
                transfers.push(StateTransfer {
                    donor: donor.clone(),
                    joiner: joiner.clone(),
                    certain,
                });
            }
        }
    }
    transfers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn every_joiner_has_the_donor() {
        let view = fixtures::state_transfer("lab", 90_000);
        let transfers = state_transfers(&view, &node_groups(&view));
        let expected = StateTransfer {
            donor: fixtures::id("127.0.0.2"),
            joiner: fixtures::id("127.0.0.3"),
            certain: true,
        };
        assert_eq!(transfers, [expected]);
    }

    #[test]
    fn members_out_of_sight_are_counted() {
        let mut view = fixtures::healthy("lab", 90_000);
        view.components[0].size = Some(4);
        assert_eq!(node_groups(&view)[0].detail, "3 of 4 seen");
    }

    #[test]
    fn different_histories_show_their_uuid() {
        let mut view = fixtures::split_brain("lab", 90_000);
        view.components[1].state_uuid = Some("00000000-0000-0000-0000-000000000001".to_owned());
        let groups = node_groups(&view);
        let uuid = fixtures::UUID.get(..8).unwrap();
        assert!(groups[0].detail.ends_with(uuid), "{groups:?}");
        assert!(groups[1].detail.ends_with(" · 00000000"), "{groups:?}");
    }
}
