//! Whether a bootstrap did what it should: by the nodes' own words only, never by the statement's answer (I21, I22).

use std::collections::{BTreeMap, BTreeSet};

use super::{MemberCondition, RecoveryCase, Situation};
use crate::id::NodeId;
use crate::judge::known_positions::LastPrimaryView;
use crate::recover::plan::PlanTarget;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, NodeState};

/// How far the proof has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapOutcome {
    /// The executor's component is Primary with the same history, and every revived member is Synced in it.
    Proven,
    /// Not yet; what is missing, in a sentence.
    NotYet(String),
    /// Something contradicts it and will not go away by waiting; a sentence.
    Contradicted(String),
}

/// Compares `target` with what the nodes say now.
#[must_use]
pub fn verify(target: &PlanTarget, case: &RecoveryCase<'_>) -> BootstrapOutcome {
    let situation = Situation::new(case);
    let (Some(executor), Some(position)) = (&target.node, &target.position) else {
        return BootstrapOutcome::Contradicted(
            "The plan names nobody who would become Primary.".to_owned(),
        );
    };
    let Some(executor) = situation
        .nodes()
        .iter()
        .position(|facts| facts.id == *executor)
    else {
        return BootstrapOutcome::NotYet(format!("{executor} is not known at present."));
    };
    let elsewhere: Vec<usize> = situation
        .primaries()
        .filter(|&node| !share_primary_component(&situation, executor, node))
        .collect();
    if !elsewhere.is_empty() && situation.conditions[executor] == MemberCondition::Primary {
        return BootstrapOutcome::Contradicted(format!(
            "{} says Primary outside the component of {}.",
            situation.join_names(elsewhere.into_iter()),
            situation.nodes()[executor].id
        ));
    }
    for id in std::iter::once(&situation.nodes()[executor].id).chain(&target.revives) {
        let Some(node) = situation.nodes().iter().position(|facts| facts.id == *id) else {
            return BootstrapOutcome::NotYet(format!("{id} is not known at present."));
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
        return not_yet(format!("{id} does not answer."));
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
        return not_yet(format!("{id} has no view number yet."));
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

/// A node outside the Primary component that holds more than the cluster went on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturningAhead {
    /// The node.
    pub node: NodeId,
    /// How many transactions only it is known to have.
    pub transactions: u64,
    /// The warning, with what to do.
    pub message: String,
}

/// Nodes that the bootstrap that ended at `since` left out and that turn out to hold more: joining would abort them
/// ("Reversing history") and a state transfer would then destroy what only they have (I22). Who has joined since then holds
/// what the cluster holds, however far that has gone on.
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
                    "{id} stands at {}, {more} after the point from which the cluster went on. Copy its data directory \
                     before it joins: the state transfer would destroy what only it has.",
                    known.seqno
                ),
                node: id,
                transactions: more,
            })
        })
        .collect()
}

/// Whether `node` was seen in a view that began after `since` and has a member of the component that went on. The view from
/// before the loss does not count, though a server that was paused repeats it for a moment when it goes on.
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
        let went_on = target.node.iter().chain(&target.members);
        of_history
            && last.since.is_some_and(|began| began > since)
            && went_on
                .into_iter()
                .any(|member| last.members.contains(member))
    })
}
