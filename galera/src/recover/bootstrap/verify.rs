//! Verifies a bootstrap by what the nodes report afterwards, never by the statement's result (I21, I22).

use std::collections::{BTreeMap, BTreeSet};

use super::{MemberCondition, RecoveryCase, Situation};
use crate::id::NodeId;
use crate::judge::known_positions::LastPrimaryView;
use crate::recover::plan::PlanTarget;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, NodeState};

/// Whether a bootstrap is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapOutcome {
    /// The executor's component is Primary with the same history, and every revived member is Synced in it.
    Proven,
    /// Not yet; a sentence says what is missing.
    NotYet(String),
    /// Contradicted, and waiting will not change that; a sentence says by what.
    Contradicted(String),
}

/// Compares `target` with what the nodes report now.
#[must_use]
pub fn verify(target: &PlanTarget, case: &RecoveryCase<'_>) -> BootstrapOutcome {
    let situation = Situation::new(case);
    let (Some(executor), Some(position)) = (&target.node, &target.position) else {
        return BootstrapOutcome::Contradicted(
            "The plan names no node that would become Primary.".to_owned(),
        );
    };
    let Some(executor) = situation.node_named(executor) else {
        return BootstrapOutcome::NotYet(format!("{executor} is not known at the moment."));
    };
    let elsewhere: Vec<usize> = situation
        .primaries()
        .filter(|&node| !share_primary_component(&situation, executor, node))
        .collect();
    if !elsewhere.is_empty() && situation.conditions[executor] == MemberCondition::Primary {
        return BootstrapOutcome::Contradicted(format!(
            "{} is Primary outside the component of {}.",
            situation.join_names(elsewhere.into_iter()),
            situation.nodes()[executor].id
        ));
    }
    for id in std::iter::once(&situation.nodes()[executor].id).chain(&target.revives) {
        let Some(node) = situation.node_named(id) else {
            return BootstrapOutcome::NotYet(format!("{id} is not known at the moment."));
        };
        if let Some(missing) = unmet_condition(&situation, executor, node, position.uuid) {
            return missing;
        }
    }
    BootstrapOutcome::Proven
}

fn share_primary_component(situation: &Situation<'_>, one: usize, other: usize) -> bool {
    situation.components.observed.iter().any(|seen| {
        seen.view.status == ClusterStatus::Primary
            && seen.members.contains(&one)
            && seen.members.contains(&other)
    })
}

fn unmet_condition(
    situation: &Situation<'_>,
    executor: usize,
    node: usize,
    uuid: uuid::Uuid,
) -> Option<BootstrapOutcome> {
    let facts = &situation.nodes()[node];
    let id = &facts.id;
    let not_yet = |what: String| Some(BootstrapOutcome::NotYet(what));
    let Some(answer) = facts.fresh_answer() else {
        return not_yet(format!("{id} is unreachable."));
    };
    let status = answer.status;
    if status.cluster_status != Some(ClusterStatus::Primary) {
        return not_yet(format!("{id} is not Primary yet."));
    }
    if status.cluster_state_uuid != Some(uuid) {
        return Some(BootstrapOutcome::Contradicted(format!(
            "{id} is Primary with another history than {uuid}."
        )));
    }
    if status.conf_id.is_none() {
        return not_yet(format!("{id} has not joined a view yet."));
    }
    if facts.state() != NodeState::Synced {
        return not_yet(format!(
            "{id} is {}, not Synced yet.",
            facts.state().as_str()
        ));
    }
    (!share_primary_component(situation, executor, node))
        .then(|| BootstrapOutcome::NotYet(format!("{id} is not in the executor's component yet.")))
}

/// A node outside the Primary component whose data are ahead of the position that the cluster continued from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturningAhead {
    pub node: NodeId,
    /// Number of transactions known to exist only there.
    pub transactions: u64,
    /// The warning, with the remedy.
    pub message: String,
}

/// Nodes that were left out of the bootstrap that ended at `since` and turn out to be ahead. Joining would abort them
/// ("Reversing history"), and a state transfer would then destroy the transactions that only they have (I22). A node
/// that has joined since then holds the cluster's data, however far the cluster has advanced.
#[must_use]
pub fn returning_ahead(
    target: &PlanTarget,
    since: Timestamp,
    case: &RecoveryCase<'_>,
) -> Vec<ReturningAhead> {
    let situation = Situation::new(case);
    let Some(position) = &target.position else {
        return Vec::new();
    };
    let left_out: BTreeSet<&NodeId> = target.leaves_out.iter().collect();
    (0..situation.nodes().len())
        .filter(|&node| left_out.contains(&situation.nodes()[node].id))
        .filter(|&node| situation.conditions[node] != MemberCondition::Primary)
        .filter(|&node| !has_joined(&situation.nodes()[node].id, target, since, &case.history.primary))
        .filter_map(|node| {
            let known = situation.last_known_position(node)?.position;
            let more = (known.uuid == position.uuid).then(|| known.seqno.saturating_sub(position.seqno))?;
            let id = situation.nodes()[node].id.clone();
            (more > 0).then(|| ReturningAhead {
                message: format!(
                    "{id} is at {}, {more} transactions ahead of where the cluster continued. Copy its data directory \
                     before it joins; the state transfer would destroy those transactions.",
                    known.seqno
                ),
                node: id,
                transactions: more,
            })
        })
        .collect()
}

/// Whether `node` was seen in a view that began after `since` and contains a member of the component that continued.
/// The view from before the loss does not count, although a server that was paused briefly reports it again.
fn has_joined(
    node: &NodeId,
    target: &PlanTarget,
    since: Timestamp,
    primary: &BTreeMap<NodeId, LastPrimaryView>,
) -> bool {
    primary.get(node).is_some_and(|last| {
        let of_history = target
            .position
            .as_ref()
            .is_some_and(|position| position.uuid == last.position.uuid);
        let continued = target.node.iter().chain(&target.members);
        of_history
            && last.since.is_some_and(|began| began > since)
            && continued
                .into_iter()
                .any(|member| last.members.contains(member))
    })
}
