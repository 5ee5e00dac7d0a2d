//! What the agents of members report, and whether it is about the members' data (I34).

use super::{MemberCondition, Situation};
use crate::judge::cluster::node_facts::NodeFacts;
use crate::judge::cluster::reasons::node_label;
use crate::observe::fork;
use crate::observe::registration::{
    self, AgentPhase, MembersSeen, NO_ORDER_KEYS, ReportedData, is_plain_id,
};
use crate::recover::attestation::AttestedState;

use crate::recover::plan::AgentReason;
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// What an agent publishes about the orders that it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderTerms {
    /// Nothing: an agent that verifies no signature.
    Older,
    /// It accepts orders for these data that one of these keys signed.
    Verifies { data_id: String, keys: Vec<String> },
    /// Only one of its two keys, or an unreadable value.
    Incomplete,
}

impl Situation<'_> {
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

    /// What the node's agent publishes about the orders that it accepts.
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

    /// How many members the data of a stopped node last had around them.
    pub(crate) fn members_seen(&self, node: usize) -> Option<MembersSeen> {
        let seen = self.nodes()[node].fresh_registration()?;
        MembersSeen::parse(seen.observation.fields.get("members_seen")?)
    }
}

/// How an operator gives up data that no longer exist.
pub(crate) fn removal_remedy(name: &str) -> String {
    format!(
        "If those data are gone for good, confirm that {name} is permanently removed: they count as lost."
    )
}
