//! What is known about a member's server.

use crate::judge::cluster::components::ObservedComponents;
use crate::judge::cluster::node_facts::{NodeFacts, ProbeState};
use crate::observe::observation::ProbeErrorKind;
use crate::observe::registration::{self, ReportedData};
use crate::recover::attestation::{Attestation, AttestedState};
use crate::view::ClusterStatus;

/// What is known about a member's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberCondition {
    /// It reports Primary.
    Primary,
    /// It reports non-Primary, in this component.
    NonPrimary(usize),
    /// It runs, but is connected to no group (I15).
    Disconnected,
    /// It answers, but its cluster status or component is not known.
    Indeterminate,
    /// It does not answer, but is in the member list of this component.
    Listed(usize),
    /// It refuses connections, and its agent reports it stopped.
    ReportedStopped,
    /// Unreachable; an operator attested its state.
    Attested(AttestedState),
    /// Nothing is known, which does not mean that it is stopped (I2).
    Unknown,
}

pub(super) fn member_condition(
    node: usize,
    facts: &NodeFacts<'_>,
    components: &ObservedComponents<'_>,
    attested: Option<&Attestation>,
) -> MemberCondition {
    let home = components.observed.iter().position(|seen| {
        seen.members.contains(&node) && seen.view.status == ClusterStatus::NonPrimary
    });
    if let Some(answer) = facts.fresh_answer() {
        return match (answer.status.cluster_status, home) {
            (Some(ClusterStatus::Primary), _) => MemberCondition::Primary,
            (Some(ClusterStatus::NonPrimary), Some(home)) => MemberCondition::NonPrimary(home),
            (Some(ClusterStatus::Disconnected), _) => MemberCondition::Disconnected,
            _ => MemberCondition::Indeterminate,
        };
    }
    if let Some(home) = home {
        return MemberCondition::Listed(home);
    }
    let is_given_up = attested
        .is_some_and(|attestation| attestation.statement == AttestedState::Decommissioned)
        && facts.clean_stop().is_some();
    if is_confirmed_stopped(facts) && !is_given_up {
        return MemberCondition::ReportedStopped;
    }
    match attested {
        Some(attestation) => MemberCondition::Attested(attestation.statement),
        None => MemberCondition::Unknown,
    }
}

/// A refused connection alone proves nothing, because a firewall may refuse too; with the agent's report on the registered
/// data, or their recorded clean stop, it does (I2, I34).
fn is_confirmed_stopped(facts: &NodeFacts<'_>) -> bool {
    let reported = facts.fresh_registration().is_some_and(|registered| {
        let fields = &registered.observation.fields;
        let proves = match fields.reported_data() {
            ReportedData::Registered => !facts.has_other_data(),
            ReportedData::Unregistered => !registration::reports_no_position(fields),
            ReportedData::Other | ReportedData::Unnamed => false,
        };
        proves && registration::reports_stopped(fields)
    });
    match facts.probe_state {
        ProbeState::Failing { error, .. } if error.kind == ProbeErrorKind::Refused => {
            reported || facts.left_in_order()
        }
        ProbeState::Unprobed => reported,
        _ => false,
    }
}
