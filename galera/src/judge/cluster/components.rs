//! Groups fresh SQL answers by the view that they report, and merges the groups into components (I5, I23).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::gather::GatheredEvidence;
use super::node_facts::{NodeFacts, ProbeAnswer};
use super::rivals::{ConflictStatus, conflict_status};
use crate::observe::wsrep::{MemberAddress, WsrepStatus};
use crate::view::{ClusterStatus, Component, NodeState};

/// Nodes that report the same view.
pub(crate) struct ViewGroup<'a> {
    pub(crate) status: &'a WsrepStatus,
    /// The nodes that report it: indexes into [`GatheredEvidence::nodes`], ascending.
    pub(crate) reporters: Vec<usize>,
    /// The reporters and the other nodes that its list names.
    pub(crate) members: BTreeSet<usize>,
    /// How many members the list does not name.
    pub(crate) unnamed: usize,
    /// Whether its list belongs to its view. If not, only indexes and counts limit who may be in it.
    pub(crate) list_matches_view: bool,
    /// Groups of one bucket report identical values, yet cannot be one component.
    pub(crate) bucket: usize,
}

/// Nodes that see each other: one view, or a view and nodes that have not caught up with it.
pub(crate) struct ObservedComponent {
    pub(crate) members: BTreeSet<usize>,
    /// Further members that are known to be arbitrators. One whose address is not known, as without quorum, may be any node.
    pub(crate) arbitrators: u64,
    pub(crate) view: Component,
}

/// All components, Primary first, and the groups that report Primary.
pub(crate) struct ObservedComponents<'a> {
    pub(crate) observed: Vec<ObservedComponent>,
    pub(crate) primary_groups: Vec<ViewGroup<'a>>,
}

impl ObservedComponents<'_> {
    /// The Primary component; the one with the newest view if several report Primary.
    pub(crate) fn primary(&self) -> Option<&ObservedComponent> {
        self.observed
            .first()
            .filter(|component| component.view.status == ClusterStatus::Primary)
    }
}

/// Groups the fresh answers of all nodes into components.
pub(crate) fn find_components<'a>(
    gathered: &GatheredEvidence<'a>,
    settle: Duration,
) -> ObservedComponents<'a> {
    let nodes = &gathered.nodes;
    let mut primary_groups = group_answers(gathered, ClusterStatus::Primary, &BTreeSet::new());
    primary_groups.sort_by_key(|group| {
        (
            std::cmp::Reverse(group.status.conf_id),
            group.reporters.first().copied(),
        )
    });
    let mut observed = merge_groups(&primary_groups, nodes, |newer, older| {
        conflict_status(newer, older, nodes, settle) == ConflictStatus::None
    });
    // A joiner may report non-Primary for a moment; its peers are right.
    let joiners: BTreeSet<usize> = observed
        .iter()
        .flat_map(|component| component.members.iter().copied())
        .filter(|&node| nodes[node].state() == NodeState::Joining)
        .collect();
    let mut others = group_answers(gathered, ClusterStatus::NonPrimary, &joiners);
    others.sort_by_key(|group| {
        (
            std::cmp::Reverse(newest_view_since(group, nodes)),
            group.reporters.first().copied(),
        )
    });
    let lists_all = |group: &ViewGroup<'_>, other: &ViewGroup<'_>| {
        other
            .reporters
            .iter()
            .all(|node| group.members.contains(node))
    };
    observed.extend(merge_groups(&others, nodes, |newer, older| {
        lists_all(newer, older) && lists_all(older, newer)
    }));
    observed.sort_by(|one, other| {
        let rank = |component: &ObservedComponent| {
            (
                component.view.status,
                std::cmp::Reverse((component.view.conf_id, component.members.len())),
            )
        };
        rank(one)
            .cmp(&rank(other))
            .then_with(|| one.members.cmp(&other.members))
    });
    ObservedComponents {
        observed,
        primary_groups,
    }
}

fn newest_view_since(group: &ViewGroup<'_>, nodes: &[NodeFacts<'_>]) -> Option<crate::Timestamp> {
    group
        .reporters
        .iter()
        .filter_map(|&node| nodes[node].fresh_answer())
        .map(|answer| answer.view_since)
        .max()
}

/// Merges groups, newest first, into components: `is_same_component` decides for two groups.
fn merge_groups(
    groups: &[ViewGroup<'_>],
    nodes: &[NodeFacts<'_>],
    one: impl Fn(&ViewGroup<'_>, &ViewGroup<'_>) -> bool,
) -> Vec<ObservedComponent> {
    let mut merged: Vec<Vec<&ViewGroup<'_>>> = Vec::new();
    for group in groups {
        let existing = merged.iter_mut().find(|component| {
            component
                .iter()
                .all(|other| other.bucket != group.bucket && one(other, group))
        });
        match existing {
            Some(component) => component.push(group),
            None => merged.push(vec![group]),
        }
    }
    merged
        .iter()
        .map(|component| observed_component(component, nodes))
        .collect()
}

fn observed_component(component: &[&ViewGroup<'_>], nodes: &[NodeFacts<'_>]) -> ObservedComponent {
    let newest = component[0];
    let mut members = newest.members.clone();
    let mut open = newest.unnamed;
    for &node in component.iter().skip(1).flat_map(|older| &older.reporters) {
        if !members.contains(&node) && open > 0 {
            open -= 1;
            members.insert(node);
        }
    }
    let known = u64::try_from(members.len() + open).unwrap_or(u64::MAX);
    let size = newest.status.cluster_size;
    let arbitrators = size.map_or(0, |size| size.saturating_sub(known));
    // What a node reports of itself outweighs a list that names it, except for a joiner.
    let elsewhere = |node: &usize| {
        nodes[*node].fresh_answer().is_some()
            && nodes[*node].state() != NodeState::Joining
            && !component.iter().any(|group| group.reporters.contains(node))
    };
    members.retain(|node| !elsewhere(node));
    let status = newest.status;
    ObservedComponent {
        view: Component {
            status: status.cluster_status.unwrap_or(ClusterStatus::Disconnected),
            members: members.iter().map(|&node| nodes[node].id.clone()).collect(),
            state_uuid: status.cluster_state_uuid.map(|uuid| uuid.to_string()),
            conf_id: status.conf_id,
            size,
        },
        members,
        arbitrators,
    }
}

/// The groups of all nodes that report `status`, except the nodes in `skipped`.
fn group_answers<'a>(
    gathered: &GatheredEvidence<'a>,
    status: ClusterStatus,
    skipped: &BTreeSet<usize>,
) -> Vec<ViewGroup<'a>> {
    let mut buckets: BTreeMap<ViewKey<'a>, Vec<(usize, ProbeAnswer<'a>)>> = BTreeMap::new();
    for (node, facts) in gathered.nodes.iter().enumerate() {
        let Some(answer) = facts.fresh_answer() else {
            continue;
        };
        if answer.status.cluster_status == Some(status) && !skipped.contains(&node) {
            buckets
                .entry(view_key(answer.status))
                .or_default()
                .push((node, answer));
        }
    }
    let mut groups = Vec::new();
    for (bucket, reports) in buckets.into_values().enumerate() {
        if is_contested(&reports) {
            // Which of them belong together is unknown, so each process is a group.
            for process in group_by_process(&reports) {
                groups.push(build_group(process, bucket, gathered));
            }
        } else {
            groups.push(build_group(reports, bucket, gathered));
        }
    }
    groups
}

type ViewKey<'a> = (
    Option<uuid::Uuid>,
    Option<u64>,
    Option<u64>,
    &'a [MemberAddress],
);

fn view_key(status: &WsrepStatus) -> ViewKey<'_> {
    (
        status.cluster_state_uuid,
        status.conf_id,
        status.cluster_size,
        &status.incoming_addresses,
    )
}

/// Groups reports by process: one process may be known under two names.
fn group_by_process<'a>(
    reports: &[(usize, ProbeAnswer<'a>)],
) -> Vec<Vec<(usize, ProbeAnswer<'a>)>> {
    let mut processes: Vec<Vec<(usize, ProbeAnswer<'a>)>> = Vec::new();
    for report in reports {
        let same = |other: &(usize, ProbeAnswer<'a>)| is_same_process(&report.1, &other.1);
        match processes
            .iter_mut()
            .find(|process| process.iter().any(same))
        {
            Some(process) => process.push(*report),
            None => processes.push(vec![*report]),
        }
    }
    processes
}

fn is_same_process(one: &ProbeAnswer<'_>, other: &ProbeAnswer<'_>) -> bool {
    let process = one.status.gcomm_uuid;
    process.is_some() && process == other.status.gcomm_uuid
}

/// Whether identical reports come from several components: rivals may agree on everything but the local index.
fn is_contested(reports: &[(usize, ProbeAnswer<'_>)]) -> bool {
    let mut processes: Vec<&ProbeAnswer<'_>> = Vec::with_capacity(reports.len());
    for (_, answer) in reports {
        if !processes.iter().any(|other| is_same_process(answer, other)) {
            processes.push(answer);
        }
    }
    let size = reports
        .first()
        .and_then(|(_, answer)| answer.status.cluster_size);
    if size.is_some_and(|size| processes.len() as u64 > size.max(1)) {
        return true;
    }
    let mut indexes: Vec<u64> = processes
        .iter()
        .filter_map(|answer| answer.status.local_index)
        .collect();
    indexes.sort_unstable();
    indexes.windows(2).any(|pair| pair[0] == pair[1])
}

fn build_group<'a>(
    reports: Vec<(usize, ProbeAnswer<'a>)>,
    bucket: usize,
    gathered: &GatheredEvidence<'a>,
) -> ViewGroup<'a> {
    let status = reports[0].1.status;
    let mut members: BTreeSet<usize> = reports.iter().map(|(node, _)| *node).collect();
    let local_index = |answer: &ProbeAnswer<'_>| {
        answer
            .status
            .local_index
            .and_then(|index| usize::try_from(index).ok())
    };
    let indexed: BTreeSet<usize> = reports
        .iter()
        .filter_map(|(_, answer)| local_index(answer))
        .collect();
    let size = status
        .cluster_size
        .and_then(|size| usize::try_from(size).ok());
    // Status variables are not read atomically, and a node that joined by IST shows an old list until the next view
    // change: a list whose length differs from the view's size belongs to another view and adds no members to this one.
    let list = &status.incoming_addresses;
    let list_matches_view = !list.is_empty() && size.is_none_or(|size| size == list.len());
    let mut unnamed: usize = 0;
    if list_matches_view {
        for (index, address) in list.iter().enumerate() {
            if indexed.contains(&index) {
                continue;
            }
            let named = match address {
                MemberAddress::Arbitrator => continue,
                MemberAddress::Known(id) => gathered.resolve_address(id),
                MemberAddress::Unnamed | MemberAddress::Unreadable(_) => None,
            };
            match named {
                Some(node) => _ = members.insert(node),
                None => unnamed += 1,
            }
        }
        // Reporters without a local index take an unnamed place.
        let unindexed = reports
            .iter()
            .filter(|(_, answer)| local_index(answer).is_none())
            .count();
        unnamed = unnamed.saturating_sub(unindexed);
    } else {
        unnamed = size.unwrap_or(0).saturating_sub(members.len());
    }
    ViewGroup {
        status,
        reporters: reports.into_iter().map(|(node, _)| node).collect(),
        members,
        unnamed,
        list_matches_view,
        bucket,
    }
}
