//! The condition of every member: what is known about it now, and from which source.

use super::RecoveryCase;
use crate::id::NodeId;
use crate::judge::cluster::components::{ObservedComponents, find_components};
use crate::judge::cluster::gather::{GatheredEvidence, gather};
use crate::judge::cluster::node_facts::{NodeFacts, ProbeAnswer, ProbeState};
use crate::judge::cluster::reasons::node_label;
use crate::judge::cluster::unseen::UnseenMembers;
use crate::observe::fork;
use crate::observe::observation::ProbeErrorKind;
use crate::observe::registration::{
    self, AgentPhase, CleanStop, MembersSeen, NO_ORDER_KEYS, ReportedData, is_plain_id,
};
use crate::position::Position;
use crate::recover::attestation::{Attestation, AttestedState};
use crate::recover::plan::digest::fact;
use crate::recover::plan::{AgentReason, CheckEvidence, EvidenceSource};
use crate::timestamp::Timestamp;
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

/// A position with its source.
#[derive(Clone, Debug)]
pub(crate) struct SourcedPosition {
    pub(crate) position: Position,
    pub(crate) source: EvidenceSource,
    pub(crate) at: Option<Timestamp>,
    /// The flag in grastate.dat, if the file was pasted.
    pub(crate) safe_to_bootstrap: Option<bool>,
}

/// All members with their conditions. Nodes and components are indices.
pub(crate) struct Situation<'a> {
    gathered: GatheredEvidence<'a>,
    pub(crate) components: ObservedComponents<'a>,
    pub(crate) conditions: Vec<MemberCondition>,
    attestations: Vec<Option<&'a Attestation>>,
    default_port: u16,
}

/// What an agent publishes about the orders that it obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderTerms {
    /// Nothing: an agent that verifies no signature.
    Older,
    /// It obeys orders for these data that one of these keys signed.
    Verifies { data_id: String, keys: Vec<String> },
    /// Only one of its two keys, or an unreadable value.
    Incomplete,
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

    /// Whether a live registration reports Primary that is newer than the probe's failure, or to which the agent need not
    /// have written since (I1, I3).
    pub(crate) fn registered_primary(&self, node: usize, now: Timestamp) -> bool {
        let facts = &self.nodes()[node];
        facts
            .registration_after_probe_failure()
            .or_else(|| facts.registration_before_heartbeat(now))
            .is_some_and(|registered| {
                registered.status.cluster_status == Some(ClusterStatus::Primary)
            })
    }

    /// The agent's phase in a live registration.
    pub(crate) fn phase(&self, node: usize) -> Option<AgentPhase> {
        let registered = self.nodes()[node].fresh_registration()?;
        AgentPhase::from_fields(&registered.observation.fields)
    }

    /// Whether the agent of the node's own data waits with a position, and so for an order.
    pub(crate) fn agent_waits(&self, node: usize) -> bool {
        self.phase(node) == Some(AgentPhase::Waiting) && self.report_counts(node)
    }

    /// What the node's agent publishes about the orders that it obeys.
    pub(crate) fn order_terms(&self, node: usize) -> OrderTerms {
        let fields = self.nodes()[node]
            .fresh_registration()
            .map(|registered| &registered.observation.fields);
        let field = |name: &str| fields.and_then(|fields| fields.get(name));
        match (field("data_id"), field("order_keys")) {
            (None, None) => OrderTerms::Older,
            (Some(data_id), Some(keys)) if is_plain_id(data_id) => OrderTerms::Verifies {
                data_id: data_id.clone(),
                keys: keys
                    .split(',')
                    .map(str::trim)
                    .filter(|key| *key != NO_ORDER_KEYS && is_plain_id(key))
                    .map(ToOwned::to_owned)
                    .collect(),
            },
            _ => OrderTerms::Incomplete,
        }
    }

    /// The position of a clean stop that the node's agent recorded, and withdraws before the server starts again. A
    /// record that etcd restored from a backup may be outdated, so it counts only for a node that an operator declares
    /// stopped, or whose port is closed.
    fn recorded_stop(&self, node: usize) -> Option<&CleanStop> {
        let stopped = matches!(
            self.conditions[node],
            MemberCondition::ReportedStopped | MemberCondition::Attested(AttestedState::Stopped)
        );
        self.nodes()[node].clean_stop().filter(|_| stopped)
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

    /// Where the registered data of a node stopped cleanly that an operator declares permanently removed: they are given up, so
    /// the position is no candidate, but counts as a loss.
    pub(crate) fn given_up_stop(&self, node: usize) -> Option<&CleanStop> {
        let removed = MemberCondition::Attested(AttestedState::Decommissioned);
        self.nodes()[node]
            .clean_stop()
            .filter(|_| self.conditions[node] == removed)
    }

    /// A stopped node's position: recovered by its agent, recorded when it stopped cleanly, or pasted by an operator. Only of
    /// the registered data (I34), or of those that replace them once an operator declares them permanently removed.
    pub(crate) fn stopped_position(&self, node: usize) -> Option<SourcedPosition> {
        let seen = self.nodes()[node].registration.as_ref();
        let sourced = |position| {
            Some(SourcedPosition {
                position,
                source: EvidenceSource::Registry,
                at: seen.and_then(|seen| seen.observation.last_put_at),
                safe_to_bootstrap: None,
            })
        };
        let recovered = seen
            .filter(|_| self.report_counts(node))
            .and_then(|seen| registration::recovered_position(&seen.observation.fields))
            .and_then(sourced);
        let recorded = || sourced(self.recorded_stop(node)?.position.clone());
        recovered.or_else(recorded).or_else(|| {
            let pasted = self.attestations[node]?.parse_saved_state()?.ok()?;
            Some(SourcedPosition {
                position: pasted.position?,
                source: EvidenceSource::Attestation,
                at: None,
                safe_to_bootstrap: pasted.safe_to_bootstrap,
            })
        })
    }

    /// The position in what an operator pasted for a node.
    pub(crate) fn pasted_position(&self, node: usize) -> Option<Position> {
        self.attestations[node]?.parse_saved_state()?.ok()?.position
    }

    /// Whether a stopped node's agent reports, under a live lease, that its data have no position, so that it is never a
    /// candidate (I6). Not if these are other data than the registered ones: what those had is unknown.
    pub(crate) fn has_no_data(&self, node: usize) -> bool {
        let stopped = match self.conditions[node] {
            MemberCondition::ReportedStopped => true,
            MemberCondition::Attested(_) => self.report_counts(node),
            _ => false,
        };
        stopped
            && self.reported_data(node) != Some(ReportedData::Other)
            && self.nodes()[node].clean_stop().is_none()
            && self.nodes()[node]
                .fresh_registration()
                .is_some_and(|seen| registration::reports_no_position(&seen.observation.fields))
    }

    /// Whether the node's agent waits, under a live lease, and has no data.
    pub(crate) fn waits_without_data(&self, node: usize) -> bool {
        self.phase(node) == Some(AgentPhase::Waiting)
            && self.nodes()[node]
                .fresh_registration()
                .is_some_and(|seen| registration::reports_no_position(&seen.observation.fields))
    }

    /// Which data the node's agent reports on; `None` without a live report.
    pub(crate) fn reported_data(&self, node: usize) -> Option<ReportedData> {
        self.nodes()[node].reported_data()
    }

    /// Whether what the agent reports about its data is about the member's data, or an operator declared so: that the
    /// registered data are gone for good, or that the node of an older agent, which names no data, is stopped.
    pub(crate) fn report_counts(&self, node: usize) -> bool {
        let stated = self.attestations[node].map(|attestation| attestation.statement);
        match self.reported_data(node) {
            Some(ReportedData::Registered | ReportedData::Unregistered) => true,
            Some(ReportedData::Other) => stated == Some(AttestedState::Decommissioned),
            Some(ReportedData::Unnamed) => {
                matches!(
                    stated,
                    Some(AttestedState::Stopped | AttestedState::Decommissioned)
                )
            }
            None => self.nodes()[node]
                .registration
                .as_ref()
                .is_some_and(|seen| seen.observation.fields.reported_data() != ReportedData::Other),
        }
    }

    /// Whether a server runs at the member's address, in a component that the console sees, on other data than the
    /// registered ones, which did not stop cleanly and may be in use elsewhere (I34).
    pub(crate) fn runs_on_other_data(&self, node: usize) -> bool {
        matches!(
            self.conditions[node],
            MemberCondition::NonPrimary(_) | MemberCondition::Listed(_)
        ) && self.nodes()[node].has_other_data()
    }

    /// Why the agent that reports from a member's address does not show that the member is stopped, and what to do.
    pub(crate) fn unproven_report(&self, node: usize) -> Option<String> {
        let facts = &self.nodes()[node];
        let name = node_label(facts);
        let Some(seen) = facts.fresh_registration() else {
            return facts.has_other_data().then(|| {
                format!(
                    "Other data used the address of {name} since it was last seen there; its own data have not been reported \
                     stopped. {}",
                    removal_remedy(&name)
                )
            });
        };
        let fields = &seen.observation.fields;
        let empty = registration::reports_no_position(fields);
        match fields.reported_data() {
            ReportedData::Registered => facts.has_other_data().then(|| {
                format!(
                    "The agent of {name} reports other data than those that {name} had as a member, although they are registered \
                     there, as after a restore of etcd; those have not been reported stopped. {}",
                    removal_remedy(&name)
                )
            }),
            ReportedData::Other => {
                let kind = if empty { "other, empty" } else { "other" };
                Some(format!(
                    "The address of {name} is used by {kind} data; the data that were registered there have not been \
                     reported stopped. {}",
                    removal_remedy(&name)
                ))
            }
            ReportedData::Unnamed if registration::reports_stopped(fields) => Some(format!(
                "The agent of {name} is older and does not publish which data it reports on: update it."
            )),
            ReportedData::Unregistered if empty => Some(format!(
                "{name} reports no data, and no registration shows that no other data belong to it. {}",
                removal_remedy(&name)
            )),
            ReportedData::Unnamed | ReportedData::Unregistered => None,
        }
    }

    /// Why agents of members wait, as they say.
    pub(crate) fn agent_reasons(&self) -> Vec<AgentReason> {
        let reason = |facts: &NodeFacts<'_>| {
            let seen = facts.fresh_registration()?;
            let waiting_for = registration::waiting_reason(&seen.observation.fields)?;
            let node = facts.id.clone();
            Some(AgentReason { node, waiting_for })
        };
        self.nodes().iter().filter_map(reason).collect()
    }

    /// The newest fork that the data of a node continued, as its agent reports; `None` without a live report.
    pub(crate) fn fork_epoch(&self, node: usize) -> Option<u64> {
        let seen = self.nodes()[node]
            .fresh_registration()
            .filter(|seen| seen.observation.leased)?;
        let epoch = seen.observation.fields.get("fork_epoch");
        Some(epoch.map_or(0, |epoch| fork::parse_epoch(epoch)))
    }

    /// The same, unless the node's position is that of other data than its agent reports on.
    pub(crate) fn reported_epoch(&self, node: usize) -> Option<u64> {
        let answers = self.nodes()[node].fresh_answer().is_some();
        self.fork_epoch(node)
            .filter(|_| answers || self.report_counts(node))
    }

    /// The newest fork that the data of a node continued which stopped cleanly, as its agent recorded.
    pub(crate) fn epoch_of_stop(&self, node: usize) -> Option<u64> {
        self.recorded_stop(node)?.fork_epoch
    }

    /// How many members the data of a stopped node last had around them.
    pub(crate) fn members_seen(&self, node: usize) -> Option<MembersSeen> {
        let seen = self.nodes()[node].fresh_registration()?;
        MembersSeen::parse(seen.observation.fields.get("members_seen")?)
    }

    /// The last position known of a node's data, from any source and time.
    pub(crate) fn last_known_position(&self, node: usize) -> Option<SourcedPosition> {
        let facts = &self.nodes()[node];
        let reported = facts.probe.and_then(|probe| probe.status.as_ref());
        let reported = reported.and_then(|(at, status)| {
            Some(SourcedPosition {
                position: status.position()?,
                source: EvidenceSource::Sql,
                at: Some(*at),
                safe_to_bootstrap: None,
            })
        });
        if facts.fresh_answer().is_some() {
            return reported;
        }
        self.stopped_position(node).or(reported)
    }

    /// A node's condition as evidence.
    pub(crate) fn evidence(&self, node: usize) -> CheckEvidence {
        let facts = &self.nodes()[node];
        let (source, at, value) = match self.conditions[node] {
            MemberCondition::Attested(statement) => (
                EvidenceSource::Attestation,
                None,
                statement.as_str().to_owned(),
            ),
            MemberCondition::ReportedStopped => (
                EvidenceSource::Registry,
                facts
                    .registration
                    .as_ref()
                    .and_then(|registered| registered.observation.last_put_at),
                match facts.clean_stop() {
                    Some(_) => "stopped cleanly, as recorded in etcd".to_owned(),
                    None => "stopped, as its agent reports".to_owned(),
                },
            ),
            MemberCondition::Listed(component) => (
                EvidenceSource::Sql,
                None,
                format!(
                    "listed by the component of {}",
                    self.component_name(component)
                ),
            ),
            MemberCondition::Unknown => (
                EvidenceSource::Sql,
                last_probe_at(facts),
                describe_no_answer(facts),
            ),
            _ => match facts.fresh_answer() {
                Some(answer) => (
                    EvidenceSource::Sql,
                    Some(answer.at),
                    describe_answer(&answer),
                ),
                None => (EvidenceSource::Sql, None, "no answer".to_owned()),
            },
        };
        fact(Some(&facts.id), source, at, value)
    }

    /// A component's name: its reachable members.
    pub(crate) fn component_name(&self, component: usize) -> String {
        self.join_names(
            self.members_where(|condition| condition == MemberCondition::NonPrimary(component)),
        )
    }
}

/// How an operator gives up data that no longer exist.
pub(crate) fn removal_remedy(name: &str) -> String {
    format!(
        "If those data are gone for good, confirm that {name} is permanently removed: they count as lost."
    )
}

fn member_condition(
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

fn last_probe_at(facts: &NodeFacts<'_>) -> Option<Timestamp> {
    let probe = facts.probe?;
    let failed = probe.error.as_ref().map(|(at, _)| *at);
    failed.or_else(|| probe.status.as_ref().map(|(at, _)| *at))
}

/// Coarse on purpose: the exact kind of failure must not change the digest.
fn describe_no_answer(facts: &NodeFacts<'_>) -> String {
    match facts.probe_state {
        ProbeState::Failing { error, .. } if error.kind.proves_running() => {
            format!("running, but rejects the console ({})", error.kind.as_str())
        }
        ProbeState::Failing { error, .. } if error.kind.proves_stopped() => {
            "refuses connections".to_owned()
        }
        ProbeState::Unprobed => match &facts.displaced_by {
            Some(other) => format!("its address leads to the server of {other}"),
            None => "not probed".to_owned(),
        },
        ProbeState::Pending => "not probed yet".to_owned(),
        _ => "no answer".to_owned(),
    }
}

/// What a node reports, as far as a decision depends on it.
fn describe_answer(answer: &ProbeAnswer<'_>) -> String {
    let status = answer.status;
    let cluster_status = match status.cluster_status {
        Some(ClusterStatus::Primary) => "Primary",
        Some(ClusterStatus::NonPrimary) => "non-Primary",
        Some(ClusterStatus::Disconnected) => "Disconnected",
        None => "no cluster status",
    };
    let state = status.local_state_comment.as_deref().unwrap_or("no state");
    // A Primary's position changes with every commit and must not change the digest.
    match status.position() {
        Some(position) if status.cluster_status != Some(ClusterStatus::Primary) => {
            format!("{cluster_status}, {state}, {position}")
        }
        None if status.cluster_status != Some(ClusterStatus::Primary) => {
            format!("{cluster_status}, {state}, position undefined")
        }
        _ => format!("{cluster_status}, {state}"),
    }
}
