//! The Primary component and its votes.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::view::{ClusterStatus, ClusterView, NodeState, NodeView, SourceKind};

/// Members without a name that are counted at most: a server may report any size.
const UNNAMED_MAX: u64 = 1_000;

/// A member of the Primary component.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMember {
    pub id: NodeId,
    /// How messages name it.
    pub label: String,
    /// `pc.weight`; `None` if it is not known.
    pub votes: Option<u8>,
    /// Whether its state is from fresh evidence.
    pub fresh: bool,
    /// Whether it is Synced and accepts queries.
    pub serves: bool,
    /// Whether it is a donor, or desynced on purpose.
    pub donor: bool,
    /// `wsrep_local_recv_queue`, in write-sets.
    pub recv_queue: Option<u64>,
    /// Fraction (0 to 1) of the last poll interval during which flow control paused replication.
    pub paused: Option<f64>,
}

/// The votes of the Primary component before and after members leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupVotes {
    /// All votes now; `null` if a member's weight is not known.
    pub before: Option<u64>,
    /// The votes that remain.
    pub after: Option<u64>,
    /// Whether the others remain Primary if the members are killed at once instead of stopped in order.
    pub primary_if_killed: Option<bool>,
    /// How many of the remaining members may then crash at the same moment, the heaviest first, without ending the
    /// Primary component.
    pub crashes_tolerated: Option<u64>,
}

/// The Primary component of a view.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PrimaryGroup {
    /// Sorted as in the view.
    pub members: Vec<GroupMember>,
    /// Members that the console cannot name.
    pub unnamed: u64,
    /// Their votes together, as in the quorum of the view; one each if they are not known.
    pub unnamed_votes: u64,
}

/// The first Primary component of the view; empty without one.
pub(super) fn primary_group(view: &ClusterView) -> PrimaryGroup {
    let primary = view
        .components
        .iter()
        .find(|component| component.status == ClusterStatus::Primary);
    let Some(component) = primary else {
        return PrimaryGroup::default();
    };
    let members: Vec<GroupMember> = view
        .members()
        .filter(|node| component.members.contains(&node.id))
        .map(group_member)
        .collect();
    let named = members.len() as u64;
    let unnamed = component.size.unwrap_or(named).saturating_sub(named);
    let unnamed = unnamed.min(UNNAMED_MAX);
    let counted = view.quorum.as_ref().map(|quorum| quorum.arbitrators);
    let counted = counted.filter(|votes| *votes > 0).unwrap_or(unnamed);
    PrimaryGroup {
        members,
        unnamed,
        // pc.weight is at most 255.
        unnamed_votes: counted.min(unnamed * u64::from(u8::MAX)),
    }
}

fn group_member(node: &NodeView) -> GroupMember {
    let mut sources = node.sources.iter();
    let sql = sources.find(|source| source.kind == SourceKind::Sql);
    GroupMember {
        id: node.id.clone(),
        label: node.label(),
        votes: node.votes,
        fresh: sql.is_some_and(|sql| !sql.stale),
        serves: node.state == NodeState::Synced && node.ready == Some(true),
        donor: node.state == NodeState::Donor,
        recv_queue: node.recv_queue,
        paused: node.flow_control_paused,
    }
}

impl PrimaryGroup {
    /// The votes before and after `leaving` have left.
    pub(super) fn votes(&self, leaving: &[&GroupMember]) -> GroupVotes {
        if self.members.is_empty() {
            return GroupVotes::default();
        }
        let stays = |member: &&GroupMember| !leaving.iter().any(|left| left.id == member.id);
        let of = |member: &GroupMember| member.votes.map(u64::from);
        let mut remaining: Vec<Option<u64>> = self.members.iter().filter(stays).map(of).collect();
        remaining.extend(self.votes_of_unnamed().map(Some));
        let named: Option<u64> = self.members.iter().map(of).sum();
        let before = named.map(|votes| votes.saturating_add(self.unnamed_votes));
        let after: Option<u64> = remaining.iter().copied().sum();
        GroupVotes {
            before,
            after,
            primary_if_killed: before
                .zip(after)
                .map(|(before, after)| has_majority(after, before)),
            crashes_tolerated: remaining
                .into_iter()
                .collect::<Option<Vec<u64>>>()
                .map(crashes_tolerated),
        }
    }

    /// The votes of each member without a name. Of several only the sum is known: what exceeds one each is taken as the
    /// weight of a single one, whose crash then costs most.
    fn votes_of_unnamed(&self) -> impl Iterator<Item = u64> {
        let (count, all) = (self.unnamed, self.unnamed_votes);
        (0..count).map(move |index| match index {
            0 => all.min(1) + all.saturating_sub(count),
            _ => u64::from(index < all),
        })
    }
}

/// Galera's rule without orderly leavers: more than half of the last view's votes.
const fn has_majority(votes: u64, of: u64) -> bool {
    votes > of / 2
}

/// How many members of a component, the heaviest first, may crash at once while the others have more than half.
fn crashes_tolerated(mut votes: Vec<u64>) -> u64 {
    votes.sort_unstable();
    let total: u64 = votes.iter().sum();
    let mut rest = total;
    let mut tolerated = 0;
    while let Some(heaviest) = votes.pop() {
        rest -= heaviest;
        if votes.is_empty() || !has_majority(rest, total) {
            break;
        }
        tolerated += 1;
    }
    tolerated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_count_the_heaviest_first() {
        for (votes, expected) in [
            (vec![], 0),
            (vec![1], 0),
            (vec![1, 1], 0),
            (vec![1, 1, 1], 1),
            (vec![1, 1, 1, 1], 1),
            (vec![1, 1, 1, 1, 1], 2),
            (vec![3, 1, 1], 0),
            (vec![2, 1, 1, 1], 1),
            (vec![0, 1, 1], 0),
            (vec![0, 0], 0),
        ] {
            assert_eq!(crashes_tolerated(votes.clone()), expected, "{votes:?}");
        }
    }

    #[test]
    fn votes_of_members_without_a_name_add_up() {
        for (unnamed, unnamed_votes, expected) in [
            (0, 0, vec![]),
            (1, 1, vec![1]),
            (1, 3, vec![3]),
            (2, 2, vec![1, 1]),
            (2, 5, vec![4, 1]),
            (3, 2, vec![1, 1, 0]),
        ] {
            let group = PrimaryGroup {
                unnamed,
                unnamed_votes,
                ..PrimaryGroup::default()
            };
            let votes: Vec<u64> = group.votes_of_unnamed().collect();
            assert_eq!(votes, expected, "{unnamed} {unnamed_votes}");
        }
    }
}
