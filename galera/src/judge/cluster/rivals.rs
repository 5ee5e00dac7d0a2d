//! Whether two groups that both report Primary are one component during a view change, or rivals (I23).
//!
//! Rivals can share state UUID and conf_id, so only member lists prove that they are separate; and polls are not
//! simultaneous, so only coexistence over time proves that both exist.

use std::collections::BTreeSet;
use std::time::Duration;

use super::components::ViewGroup;
use super::node_facts::{NodeFacts, ProbeAnswer};

/// How many times `settle_time` an ambiguous contradiction must last: longer than Galera's own timeouts.
const AMBIGUOUS_SETTLE_FACTOR: u32 = 15;

/// The relation of two groups that report different views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupRelation {
    /// Nothing contradicts their being one component: each lists every reporter of the other.
    Same,
    /// One may be a former or later view of the other.
    Ambiguous,
    /// Neither can be part of the other.
    Disjoint,
}

/// How far it is proven that two groups are rivals, or that two nodes have different histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConflictStatus {
    /// No contradiction, or one that a view change explains.
    None,
    /// They contradict each other, but not for long enough.
    Suspected,
    /// They coexist.
    Proven,
}

/// The relation of two groups that report Primary.
pub(super) fn relation(
    newer: &ViewGroup<'_>,
    older: &ViewGroup<'_>,
    nodes: &[NodeFacts<'_>],
) -> GroupRelation {
    let process = |node: usize| {
        nodes[node]
            .fresh_answer()
            .and_then(|answer| answer.status.gcomm_uuid)
    };
    let same_process = |node: usize| {
        process(node).is_some_and(|uuid| {
            older
                .reporters
                .iter()
                .any(|&other| process(other) == Some(uuid))
        })
    };
    if newer.reporters.iter().any(|&node| same_process(node)) {
        return GroupRelation::Same;
    }
    if let (Some(one), Some(other)) = (
        newer.status.cluster_state_uuid,
        older.status.cluster_state_uuid,
    ) && one != other
    {
        return GroupRelation::Disjoint;
    }
    if newer.bucket == older.bucket {
        // Identical reports with the same local index cannot come from one component; with another index they can.
        return if newer.status.local_index == older.status.local_index {
            GroupRelation::Disjoint
        } else {
            GroupRelation::Same
        };
    }
    let (left_out_of_newer, left_out_of_older) = (
        unlisted_reporters(newer, older),
        unlisted_reporters(older, newer),
    );
    if fit_in_one_view(newer, older, nodes) {
        return GroupRelation::Same;
    }
    if left_out_of_newer == 0 && left_out_of_older == 0 {
        return GroupRelation::Same;
    }
    let shared = !newer.members.is_disjoint(&older.members);
    if shared || newer.unnamed >= left_out_of_newer || older.unnamed >= left_out_of_older {
        GroupRelation::Ambiguous
    } else {
        GroupRelation::Disjoint
    }
}

/// Whether two groups, at most one of which has its view's list, fit into one view: the same conf_id and size, a distinct
/// index for each reporter, and room in the list.
fn fit_in_one_view(one: &ViewGroup<'_>, other: &ViewGroup<'_>, nodes: &[NodeFacts<'_>]) -> bool {
    let view = |group: &ViewGroup<'_>| group.status.conf_id.zip(group.status.cluster_size);
    let Some((conf_id, size)) = view(one) else {
        return false;
    };
    if (one.list_matches_view && other.list_matches_view) || view(other) != Some((conf_id, size)) {
        return false;
    }
    let indexes: Option<Vec<u64>> = [one, other]
        .iter()
        .flat_map(|group| &group.reporters)
        .map(|&node| nodes[node].fresh_answer()?.status.local_index)
        .collect();
    let has_room = |group: &ViewGroup<'_>, other: &ViewGroup<'_>| {
        !group.list_matches_view || unlisted_reporters(group, other) <= group.unnamed
    };
    indexes.is_some_and(|indexes| {
        let distinct: BTreeSet<u64> = indexes.iter().copied().collect();
        distinct.len() == indexes.len() && distinct.last().is_some_and(|&last| last < size)
    }) && has_room(one, other)
        && has_room(other, one)
}

/// The longest time for which a reporter of each group was seen in its view without interruption, both at the same time;
/// `None` if never. Only reporters that `counts` accepts are compared.
pub(super) fn longest_overlap(
    one: &ViewGroup<'_>,
    other: &ViewGroup<'_>,
    nodes: &[NodeFacts<'_>],
    counts: impl Fn(&ProbeAnswer<'_>) -> bool,
) -> Option<Duration> {
    let answers = |group: &ViewGroup<'_>| -> Vec<(i64, i64)> {
        let answers = group
            .reporters
            .iter()
            .filter_map(|&node| nodes[node].fresh_answer());
        answers
            .filter(|answer| counts(answer))
            .map(|answer| (answer.view_since.unix_millis(), answer.at.unix_millis()))
            .collect()
    };
    let others = answers(other);
    answers(one)
        .into_iter()
        .flat_map(|mine| others.iter().map(move |&its| period_overlap(mine, its)))
        .max()
        .flatten()
}

/// How long two periods overlap; `None` when they do not.
pub(super) fn period_overlap(one: (i64, i64), other: (i64, i64)) -> Option<Duration> {
    let shared = one.1.min(other.1).saturating_sub(one.0.max(other.0));
    u64::try_from(shared).ok().map(Duration::from_millis)
}

/// Whether two Primary groups are rivals, as far as is proven.
pub(super) fn conflict_status(
    newer: &ViewGroup<'_>,
    older: &ViewGroup<'_>,
    nodes: &[NodeFacts<'_>],
    settle: Duration,
) -> ConflictStatus {
    match relation(newer, older, nodes) {
        GroupRelation::Same => ConflictStatus::None,
        GroupRelation::Disjoint
            if longest_overlap(newer, older, nodes, |_| true) >= Some(settle) =>
        {
            ConflictStatus::Proven
        }
        GroupRelation::Disjoint => ConflictStatus::Suspected,
        GroupRelation::Ambiguous => {
            // A node with a backlog reports its former view until it has applied its way to the present one.
            let current = longest_overlap(newer, older, nodes, |answer| {
                answer.status.recv_queue == Some(0)
            });
            let listed = unlisted_reporters(newer, older) == 0;
            let any = if listed {
                current
            } else {
                longest_overlap(newer, older, nodes, |_| true)
            };
            if current >= Some(settle.saturating_mul(AMBIGUOUS_SETTLE_FACTOR)) {
                ConflictStatus::Proven
            } else if any >= Some(settle) {
                ConflictStatus::Suspected
            } else {
                ConflictStatus::None
            }
        }
    }
}

/// How many reporters of `other` are not among the known members of `group`.
fn unlisted_reporters(group: &ViewGroup<'_>, other: &ViewGroup<'_>) -> usize {
    let reporters = other.reporters.iter();
    reporters
        .filter(|node| !group.members.contains(node))
        .count()
}
