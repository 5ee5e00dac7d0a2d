//! The arbitrators of a cluster: those that an agent reports, and those that only the size of a component shows.
//!
//! A report names an arbitrator. It never changes the arithmetic of a quorum, which rests on what members report: whoever can
//! write the registry could otherwise add votes.

use crate::observe::observation::Evidence;
use crate::observe::registration::{
    ArbitratorName, ArbitratorPhase, ArbitratorRecord, bounded_reason, short_member_id,
};
use crate::view::{ArbitratorState, ArbitratorView, ClusterStatus, Component, NodeView};

/// Inferred arbitrators that are listed; further members without a name are rather unknown nodes.
const INFERRED_MAX: u64 = 4;

pub(super) fn arbitrator_views(
    evidence: &Evidence,
    components: &[Component],
    nodes: &[NodeView],
) -> Vec<ArbitratorView> {
    let primaries: Vec<PrimaryMembers> = components
        .iter()
        .filter(|component| component.status == ClusterStatus::Primary)
        .map(|component| PrimaryMembers::of(component, nodes))
        .collect();
    let mut views: Vec<ArbitratorView> = evidence
        .arbitrators
        .iter()
        .map(|(name, record)| reported(name, record, &primaries))
        .collect();
    let voting = views
        .iter()
        .filter(|view| view.state == ArbitratorState::Member)
        .count() as u64;
    let unnamed: u64 = primaries.iter().map(|members| members.unnamed).sum();
    let inferred = unnamed.saturating_sub(voting).min(INFERRED_MAX);
    views.extend((0..inferred).map(|_| ArbitratorView {
        name: None,
        state: ArbitratorState::Inferred,
        address: None,
        since: None,
        message: "The component has an unknown member: an arbitrator that no agent reports, or a node that is not registered.".to_owned(),
    }));
    views
}

/// A Primary component as far as it concerns arbitrators.
struct PrimaryMembers {
    /// Of the nodes that answer, as Galera's log names them.
    ids: Vec<String>,
    /// Members besides the named ones.
    unnamed: u64,
}

impl PrimaryMembers {
    fn of(component: &Component, nodes: &[NodeView]) -> Self {
        let members = nodes
            .iter()
            .filter(|node| component.members.contains(&node.id));
        let ids = members.filter_map(|node| short_member_id(node.gcomm_uuid.as_deref()?));
        let named = component.members.len() as u64;
        Self {
            ids: ids.collect(),
            unnamed: component.size.map_or(0, |size| size.saturating_sub(named)),
        }
    }

    fn include(&self, record: &ArbitratorRecord) -> bool {
        self.unnamed > 0 && self.ids.iter().any(|id| record.members.contains(id))
    }
}

fn reported(
    name: &ArbitratorName,
    record: &ArbitratorRecord,
    primaries: &[PrimaryMembers],
) -> ArbitratorView {
    let (state, message) = match record.phase {
        ArbitratorPhase::Waiting => (
            ArbitratorState::Waiting,
            record
                .waiting_for
                .as_deref()
                .map_or_else(|| "It does not run.".to_owned(), bounded_reason),
        ),
        ArbitratorPhase::Connecting => (
            ArbitratorState::Connecting,
            "It runs and has not joined a component yet.".to_owned(),
        ),
        ArbitratorPhase::NonPrimary => (
            ArbitratorState::NonPrimary,
            "Its component has no quorum.".to_owned(),
        ),
        ArbitratorPhase::Primary if primaries.iter().any(|members| members.include(record)) => {
            (ArbitratorState::Member, "It votes.".to_owned())
        }
        ArbitratorPhase::Primary => (
            ArbitratorState::Elsewhere,
            "It reports to be in a Primary component, which no member that answers confirms."
                .to_owned(),
        ),
    };
    ArbitratorView {
        name: Some(name.to_string()),
        state,
        address: Some(record.address.clone()),
        since: Some(record.since),
        message,
    }
}
