//! Messages for operators: each names the node, the problem and the evidence.

use super::node_facts::{NodeFacts, ProbeState};
use super::verdict::VerdictContext;
use crate::judge::history_alarms::HistoryFinding;
use crate::judge::service::ServiceLimit;
use crate::observe::observation::ProbeErrorKind;
use crate::observe::registration;
use crate::timestamp::Timestamp;
use crate::view::{NodeState, ReasonCode, VerdictReason};

/// The node's name and address, for messages: `db3 (10.0.0.3)`.
pub(crate) fn node_label(facts: &NodeFacts<'_>) -> String {
    let id = facts.id.to_string();
    match facts.name() {
        Some(name) if name != id => format!("{name} ({id})"),
        _ => id,
    }
}

/// Collects the reasons of a verdict while it is decided.
pub(crate) struct ReasonCollector<'a> {
    nodes: &'a [NodeFacts<'a>],
    now: Timestamp,
    reasons: Vec<VerdictReason>,
}

impl<'a> ReasonCollector<'a> {
    pub(super) fn new(context: &VerdictContext<'a>) -> Self {
        Self {
            nodes: &context.gathered.nodes,
            now: context.now,
            reasons: Vec::new(),
        }
    }

    /// Adds a reason about the whole cluster.
    pub(crate) fn add_for_cluster(&mut self, code: ReasonCode, message: &str) {
        self.reasons.push(VerdictReason {
            code,
            node: None,
            message: message.to_owned(),
        });
    }

    /// Adds a reason about a node.
    pub(crate) fn add_for_node(&mut self, code: ReasonCode, node: usize, message: String) {
        let nodes = self.nodes;
        self.add_for_facts(code, &nodes[node], message);
    }

    /// Adds a reason about a node that need not be among the gathered ones.
    pub(crate) fn add_for_facts(
        &mut self,
        code: ReasonCode,
        facts: &NodeFacts<'_>,
        message: String,
    ) {
        self.reasons.push(VerdictReason {
            code,
            node: Some(facts.id.clone()),
            message,
        });
    }

    /// Adds a reason about unconfirmed nodes, which are not among the gathered ones.
    pub(crate) fn add_for_unconfirmed(&mut self, nodes: &[&NodeFacts<'_>], message: String) {
        self.reasons.push(VerdictReason {
            code: ReasonCode::NodeUnconfirmed,
            node: match nodes {
                [only] => Some(only.id.clone()),
                _ => None,
            },
            message,
        });
    }

    /// Adds an alarm about the data.
    pub(crate) fn add_history_alarm(&mut self, finding: &HistoryFinding) {
        let node = finding.node().cloned();
        self.reasons.push(VerdictReason {
            code: match node {
                Some(_) => ReasonCode::MemberDiverged,
                None => ReasonCode::HistoryAlarm,
            },
            node,
            message: format!(
                "{} Acknowledge this on the recovery page once it is settled.",
                finding.message()
            ),
        });
    }

    /// Adds a node that SQL cannot reach while its registration claims what `claim` says (`reports Primary`).
    pub(crate) fn add_sql_blind(&mut self, node: usize, claim: &str) {
        let facts = &self.nodes[node];
        let why = match facts.probe_state {
            ProbeState::Failing { error, since } => {
                format!(
                    "{} since {}",
                    error.message,
                    since.to_short_string(self.now)
                )
            }
            ProbeState::Pending => "not probed yet".to_owned(),
            ProbeState::Unprobed => "not probed".to_owned(),
            ProbeState::Stale | ProbeState::Fresh(_) => "its last answer is too old".to_owned(),
        };
        let message = format!(
            "The console cannot reach {} ({why}), but its registration {claim}.",
            node_label(facts)
        );
        self.add_for_node(ReasonCode::SqlBlind, node, message);
    }

    /// Adds why a member is not Synced in the Primary component. `listed`: whether its peers list it there anyway.
    pub(crate) fn add_for_member(&mut self, node: usize, listed: bool) {
        let facts = &self.nodes[node];
        let who = node_label(facts);
        let comment = facts
            .fresh_answer()
            .and_then(|answer| answer.status.local_state_comment.as_deref());
        let comment = comment
            .map(|comment| format!(" ({comment})"))
            .unwrap_or_default();
        let (code, message) = match facts.state() {
            NodeState::Unreachable => (
                ReasonCode::MemberUnreachable,
                self.unreachable_message(facts, listed),
            ),
            NodeState::Stopped => (ReasonCode::MemberStopped, stopped_message(facts)),
            _ if facts.displaced_by.is_some() => {
                (ReasonCode::MemberAbsent, displaced_message(facts, &who))
            }
            NodeState::Absent => (
                ReasonCode::MemberAbsent,
                format!("{who} is expected, but it is neither registered nor probed."),
            ),
            NodeState::Joining if facts.rejoining => (
                ReasonCode::MemberNotSynced,
                format!(
                    "{who} has rejoined and is receiving a state transfer; it does not accept connections yet."
                ),
            ),
            _ if facts.fresh_answer().is_none() => self.no_answer_reason(facts, listed),
            NodeState::Inconsistent => (
                ReasonCode::MemberInconsistent,
                format!(
                    "{who} lost an inconsistency vote{comment}: its data differs and it needs a full state transfer."
                ),
            ),
            NodeState::Joining => (
                ReasonCode::MemberNotSynced,
                format!("{who} is receiving a state transfer{comment}."),
            ),
            NodeState::Donor if listed && is_desynced(facts) => (
                ReasonCode::MemberNotSynced,
                format!(
                    "{who} serves, but is desynced on purpose (wsrep_desync is ON), as for a backup{comment}."
                ),
            ),
            NodeState::Donor if listed => (
                ReasonCode::MemberNotSynced,
                format!("{who} is a donor, or was desynced on purpose{comment}."),
            ),
            NodeState::Joined if listed => (
                ReasonCode::MemberNotSynced,
                format!("{who} has received its state and is catching up{comment}."),
            ),
            NodeState::Synced | NodeState::Donor | NodeState::Joined => (
                ReasonCode::MemberNotPrimary,
                not_primary_message(facts, &who),
            ),
            NodeState::Initialized => (
                ReasonCode::MemberNotPrimary,
                format!("{who} is running, but is not in the Primary component{comment}."),
            ),
            NodeState::Unknown if is_off(facts) => (
                ReasonCode::WritesNotReplicated,
                format!("On {who} {}.", ServiceLimit::NotReplicating.explanation()),
            ),
            NodeState::Unknown => (
                ReasonCode::NoEvidence,
                format!("{who} answers, but does not report its state."),
            ),
        };
        self.add_for_node(code, node, message);
    }

    fn unreachable_message(&self, facts: &NodeFacts<'_>, listed: bool) -> String {
        let who = node_label(facts);
        let tail = if listed {
            "; its peers still list it as a member"
        } else {
            ""
        };
        match facts.probe_state {
            ProbeState::Failing { error, since } => format!(
                "{who} has been unreachable since {} ({}){tail}.",
                since.to_short_string(self.now),
                error.message
            ),
            _ => format!("{who} is unreachable{tail}."),
        }
    }

    /// The reason for a member that may be running but gives no usable answer.
    fn no_answer_reason(&self, facts: &NodeFacts<'_>, listed: bool) -> (ReasonCode, String) {
        let who = node_label(facts);
        let tail = match (facts.state(), listed) {
            (NodeState::Unknown, true) => "; its peers list it as a member".to_owned(),
            (NodeState::Unknown, false) => String::new(),
            (state, _) => format!("; its registration reports {}", state.as_str()),
        };
        match facts.probe_state {
            ProbeState::Failing { error, since } => {
                let since = since.to_short_string(self.now);
                if error.kind == ProbeErrorKind::NotAMember {
                    let message = format!(
                        "At the address of {who} a server has answered since {since} that is not a member: it {}{tail}.",
                        error.message
                    );
                    (ReasonCode::SourcesDisagree, message)
                } else if error.kind.refuses_account() {
                    let message = format!(
                        "{who} is running, but has refused the console's account since {since}: {}{tail}.",
                        error.message
                    );
                    (ReasonCode::AccessDenied, message)
                } else {
                    let message = format!(
                        "{who} is running, but probes have failed since {since}: {}{tail}.",
                        error.message
                    );
                    (ReasonCode::NoEvidence, message)
                }
            }
            ProbeState::Pending => (
                ReasonCode::NoEvidence,
                format!("{who} has not been probed yet{tail}."),
            ),
            ProbeState::Unprobed => (
                ReasonCode::NoEvidence,
                format!("{who} is not probed over SQL{tail}."),
            ),
            ProbeState::Stale | ProbeState::Fresh(_) => (
                ReasonCode::NoEvidence,
                format!("The last answer of {who} is too old{tail}."),
            ),
        }
    }

    /// Adds that what reports from a member's address, or used it since the member was seen there, is not the member.
    pub(crate) fn add_reused_address(&mut self, node: usize) {
        let facts = &self.nodes[node];
        let who = node_label(facts);
        let use_of_address = match facts.reported_data() {
            Some(_) => {
                format!(
                    "The address of {who} is used by other data than those of the member, which"
                )
            }
            None => format!(
                "Other data than those of {who} have used its address since it was last seen there, so a closed port does not \
                 show that {who} has stopped; it"
            ),
        };
        self.add_for_node(
            ReasonCode::NoEvidence,
            node,
            format!(
                "{use_of_address} may still be serving, unreachable from the console: start {who} with its former data, or find out whether they are in use."
            ),
        );
    }

    /// The reasons in a fixed order, without repetitions.
    pub(crate) fn into_sorted(mut self) -> Vec<VerdictReason> {
        self.reasons.sort_by(|one, other| {
            priority(one.code)
                .cmp(&priority(other.code))
                .then_with(|| one.node.cmp(&other.node))
                .then_with(|| one.message.cmp(&other.message))
        });
        self.reasons.dedup();
        self.reasons
    }
}

fn stopped_message(facts: &NodeFacts<'_>) -> String {
    let recovered = facts
        .registration
        .as_ref()
        .and_then(|registered| registration::recovered_position(&registered.observation.fields));
    match recovered {
        Some(position) => format!(
            "{} reports that it is stopped, at position {position}.",
            node_label(facts)
        ),
        None => format!("{} reports that it is stopped.", node_label(facts)),
    }
}

/// Whether `wsrep_on` is OFF, with which a server reports no state.
fn is_off(facts: &NodeFacts<'_>) -> bool {
    let answer = facts.fresh_answer();
    answer.is_some_and(|answer| answer.status.service_options.wsrep_on == Some(false))
}

fn is_desynced(facts: &NodeFacts<'_>) -> bool {
    let answer = facts.fresh_answer();
    answer.is_some_and(|answer| answer.status.service_options.desync)
}

fn displaced_message(facts: &NodeFacts<'_>, who: &str) -> String {
    let other = facts.displaced_by.as_ref().map(ToString::to_string);
    format!(
        "The address of {who} leads to the server of {}, so the member itself is not seen. Correct the address, or confirm that the member is removed.",
        other.unwrap_or_default()
    )
}

fn not_primary_message(facts: &NodeFacts<'_>, who: &str) -> String {
    let view = facts
        .fresh_answer()
        .and_then(|answer| answer.status.conf_id);
    match view {
        Some(conf_id) => format!(
            "{who} reports a different view (conf_id {conf_id}), and the Primary component does not list it."
        ),
        None => format!("{who} is not in the Primary component."),
    }
}

/// The order in which reasons are listed, most important first.
const fn priority(code: ReasonCode) -> u8 {
    match code {
        ReasonCode::RivalPrimaries => 0,
        ReasonCode::StateUuidsDiffer => 1,
        ReasonCode::NobodyPrimary => 2,
        ReasonCode::NoPrimaryInSight => 3,
        ReasonCode::EverybodyDown => 4,
        ReasonCode::MemberDiverged => 5,
        ReasonCode::HistoryAlarm => 6,
        ReasonCode::SqlBlind => 7,
        ReasonCode::SourcesDisagree => 8,
        ReasonCode::AllSynced => 9,
        ReasonCode::StatusFrozen => 10,
        ReasonCode::MemberInconsistent => 11,
        ReasonCode::MemberUnreachable => 12,
        ReasonCode::MemberStopped => 13,
        ReasonCode::MemberAbsent => 14,
        ReasonCode::MemberNotPrimary => 15,
        ReasonCode::AccessDenied => 16,
        ReasonCode::MemberNotSynced => 17,
        ReasonCode::QueriesRefused => 18,
        ReasonCode::WritesNotReplicated => 19,
        ReasonCode::WritesRefused => 20,
        ReasonCode::NoEvidence => 21,
        ReasonCode::FlowControl => 22,
        ReasonCode::RegistryUnreachable => 23,
        ReasonCode::RegistrationWithoutNode => 24,
        ReasonCode::NodeWithoutRegistration => 25,
        ReasonCode::UnknownMembers => 26,
        ReasonCode::QuorumIgnored => 27,
        ReasonCode::NodeUnconfirmed => 28,
        ReasonCode::RegistryGarbage => 29,
        ReasonCode::ConsoleBlind => 30,
    }
}
