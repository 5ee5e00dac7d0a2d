//! The condition of every member: what is known about it now, and from which source.

use super::RecoveryCase;
use crate::id::NodeId;
use crate::judge::cluster::components::{ObservedComponents, find_components};
use crate::judge::cluster::gather::{GatheredEvidence, gather};
use crate::judge::cluster::node_facts::{NodeFacts, ProbeState};
use crate::judge::cluster::reasons::node_label;
use crate::judge::cluster::unseen::UnseenMembers;
use crate::recover::attestation::Attestation;

mod agent_reports;
mod member_condition;
mod member_evidence;
mod sourced_position;

pub(crate) use agent_reports::{OrderTerms, removal_remedy};
pub(crate) use member_condition::MemberCondition;
pub(crate) use sourced_position::SourcedPosition;

use member_condition::member_condition;

/// All members with their conditions. Nodes and components are indices.
pub(crate) struct Situation<'a> {
    gathered: GatheredEvidence<'a>,
    pub(crate) components: ObservedComponents<'a>,
    pub(crate) conditions: Vec<MemberCondition>,
    attestations: Vec<Option<&'a Attestation>>,
    default_port: u16,
}

impl<'a> Situation<'a> {
    pub(crate) fn new(case: &RecoveryCase<'a>) -> Self {
        let fold = &case.settings.fold;
        let gathered = gather(case.evidence, case.now, fold);
        let components = find_components(&gathered, fold.settle_time);
        let attestations: Vec<Option<&Attestation>> = gathered
            .nodes
            .iter()
            .map(|facts| {
                let own = case.attestations.iter();
                own.filter(|attestation| facts.is_named(&attestation.node, fold.default_port))
                    .min()
            })
            .collect();
        let conditions = gathered
            .nodes
            .iter()
            .enumerate()
            .map(|(node, facts)| member_condition(node, facts, &components, attestations[node]))
            .collect();
        Self {
            gathered,
            components,
            conditions,
            attestations,
            default_port: fold.default_port,
        }
    }

    /// The nodes that count. Conditions, components and attestations refer to them by index.
    pub(crate) fn nodes(&self) -> &[NodeFacts<'a>] {
        &self.gathered.nodes
    }

    /// Known nodes that are not confirmed as members: nothing that they report is evidence.
    pub(crate) fn unconfirmed(&self) -> &[NodeFacts<'a>] {
        &self.gathered.unconfirmed
    }

    /// The index of the node that has this id, or this other name.
    pub(crate) fn node_named(&self, id: &NodeId) -> Option<usize> {
        let port = self.default_port;
        self.nodes()
            .iter()
            .position(|facts| facts.is_named(id, port))
    }

    pub(crate) fn unconfirmed_node(&self, id: &NodeId) -> Option<&NodeFacts<'a>> {
        self.unconfirmed().iter().find(|facts| facts.id == *id)
    }

    /// Nodes that report Primary.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = usize> {
        self.members_where(|condition| condition == MemberCondition::Primary)
    }

    pub(crate) fn members_where(
        &self,
        is: impl Fn(MemberCondition) -> bool,
    ) -> impl Iterator<Item = usize> {
        let conditions = self.conditions.iter().enumerate();
        conditions
            .filter(move |(_, condition)| is(**condition))
            .map(|(node, _)| node)
    }

    pub(crate) fn has_running_component(&self) -> bool {
        self.members_where(|condition| matches!(condition, MemberCondition::NonPrimary(_)))
            .next()
            .is_some()
    }

    /// Expected members, and every node that shows a sign of life (I4).
    pub(crate) fn accountable_members(&self) -> impl Iterator<Item = usize> {
        self.nodes()
            .iter()
            .enumerate()
            .filter(|(node, facts)| {
                facts.expected
                    || !matches!(self.conditions[*node], MemberCondition::Unknown)
                    || matches!(facts.probe_state, ProbeState::Pending)
                    || facts.registration_after_probe_failure().is_some()
            })
            .map(|(node, _)| node)
    }

    pub(crate) fn attestation(&self, node: usize) -> Option<&'a Attestation> {
        self.attestations[node]
    }

    /// The nodes' labels, joined for a sentence.
    pub(crate) fn join_names(&self, nodes: impl Iterator<Item = usize>) -> String {
        let names: Vec<String> = nodes.map(|node| node_label(&self.nodes()[node])).collect();
        match names.split_last() {
            None => "no node".to_owned(),
            Some((only, [])) => only.clone(),
            Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        }
    }

    /// Whether members that are attested or silent could be Primary together, and which.
    pub(crate) fn unseen_members(&self, case: &RecoveryCase<'_>) -> UnseenMembers {
        self.unseen_members_with(case, |_| false)
    }

    /// The same if an operator attested further members.
    pub(crate) fn unseen_members_with(
        &self,
        case: &RecoveryCase<'_>,
        further: impl Fn(usize) -> bool,
    ) -> UnseenMembers {
        UnseenMembers::of(case.evidence, &self.gathered, &self.components, |node| {
            matches!(self.conditions[node], MemberCondition::Attested(_)) || further(node)
        })
    }

    /// A component's name: its reachable members.
    pub(crate) fn component_name(&self, component: usize) -> String {
        self.join_names(
            self.members_where(|condition| condition == MemberCondition::NonPrimary(component)),
        )
    }
}
