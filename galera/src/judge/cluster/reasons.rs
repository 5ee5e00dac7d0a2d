//! Sentences for people on call: each names the node, what is the matter, and the evidence.

use super::node_facts::{NodeFacts, ProbeState};
use super::verdict::VerdictContext;
use crate::observe::observation::ProbeErrorKind;
use crate::observe::registration;
use crate::timestamp::Timestamp;
use crate::view::{NodeState, ReasonCode, VerdictReason};

/// A node as people call it: its name and its address.
pub(crate) fn node_label(facts: &NodeFacts<'_>) -> String {
    let id = facts.id.to_string();
    match facts.name() {
        Some(name) if name != id => format!("{name} ({id})"),
        _ => id,
    }
}

/// The reasons of one verdict in the making.
pub(crate) struct ReasonCollector<'a> {
    nodes: &'a [NodeFacts<'a>],
    now: Timestamp,
    reasons: Vec<VerdictReason>,
}

impl<'a> ReasonCollector<'a> {
    pub(super) fn new(case: &VerdictContext<'a>) -> Self {
        Self {
            nodes: &case.gathered.nodes,
            now: case.now,
            reasons: Vec::new(),
        }
    }

    /// A reason about the whole cluster.
    pub(crate) fn add_for_cluster(&mut self, code: ReasonCode, message: &str) {
        self.reasons.push(VerdictReason {
            code,
            node: None,
            message: message.to_owned(),
        });
    }

    /// A reason about a node.
    pub(crate) fn add_for_node(&mut self, code: ReasonCode, node: usize, message: String) {
        self.reasons.push(VerdictReason {
            code,
            node: Some(self.nodes[node].id.clone()),
            message,
        });
    }

    /// The registration of a node speaks of life where SQL is blind.
    pub(crate) fn add_sql_blind(&mut self, node: usize, what: &str) {
        let facts = &self.nodes[node];
        let why = match facts.probe_state {
            ProbeState::Failing { error, since } => {
                format!(
                    "{} since {}",
                    error.message,
                    since.to_short_string(self.now)
                )
            }
            ProbeState::Pending => "it has not been asked yet".to_owned(),
            ProbeState::Unprobed => "it is not asked".to_owned(),
            ProbeState::Stale | ProbeState::Fresh(_) => "its last answer is too old".to_owned(),
        };
        let message = format!(
            "The console gets no answer from {} ({why}), but its registration {what}.",
            node_label(facts)
        );
        self.add_for_node(ReasonCode::SqlBlind, node, message);
    }

    /// Why a member is not Synced in the Primary component; `listed` when its peers list it there all the same.
    pub(crate) fn add_for_member(&mut self, node: usize, listed: bool) {
        let facts = &self.nodes[node];
        let who = node_label(facts);
        let comment = facts
            .fresh_answer()
            .and_then(|answer| answer.status.local_state_comment.as_deref());
        let said = comment
            .map(|comment| format!(" ({comment})"))
            .unwrap_or_default();
        let (code, message) = match facts.state() {
            NodeState::Unreachable => (
                ReasonCode::MemberUnreachable,
                self.unreachable_message(facts, listed),
            ),
            NodeState::Stopped => (ReasonCode::MemberStopped, stopped_message(facts)),
            NodeState::Absent => (
                ReasonCode::MemberAbsent,
                format!(
                    "{who} is expected, but nobody knows it: it is neither registered nor asked."
                ),
            ),
            NodeState::Joining if facts.rejoining => (
                ReasonCode::MemberNotSynced,
                format!(
                    "{who} is back among its peers and receives its state; it accepts no connection yet."
                ),
            ),
            _ if facts.fresh_answer().is_none() => self.no_answer_reason(facts, listed),
            NodeState::Inconsistent => (
                ReasonCode::MemberInconsistent,
                format!(
                    "{who} lost an inconsistency vote{said}: its data differs and it needs a full state transfer."
                ),
            ),
            NodeState::Joining => (
                ReasonCode::MemberNotSynced,
                format!("{who} receives its state{said}."),
            ),
            NodeState::Donor if listed => (
                ReasonCode::MemberNotSynced,
                format!("{who} donates its state or is desynchronised on purpose{said}."),
            ),
            NodeState::Joined if listed => (
                ReasonCode::MemberNotSynced,
                format!("{who} has received its state and catches up{said}."),
            ),
            NodeState::Synced | NodeState::Donor | NodeState::Joined => (
                ReasonCode::MemberNotPrimary,
                not_primary_message(facts, &who),
            ),
            NodeState::Initialized => (
                ReasonCode::MemberNotPrimary,
                format!("{who} runs, but is not in the Primary component{said}."),
            ),
            NodeState::Unknown => (
                ReasonCode::NoEvidence,
                format!("{who} answers, but does not say in which state it is."),
            ),
        };
        self.add_for_node(code, node, message);
    }

    fn unreachable_message(&self, facts: &NodeFacts<'_>, listed: bool) -> String {
        let mut message = format!("{} does not answer", node_label(facts));
        if let ProbeState::Failing { error, since } = facts.probe_state {
            message.push_str(&format!(
                ": {} since {}",
                error.message,
                since.to_short_string(self.now)
            ));
        }
        message.push_str(if listed {
            "; its peers still list it as a member."
        } else {
            "."
        });
        message
    }

    /// A member whose server is there, or may be there, but tells nothing.
    fn no_answer_reason(&self, facts: &NodeFacts<'_>, listed: bool) -> (ReasonCode, String) {
        let who = node_label(facts);
        let tail = match (facts.state(), listed) {
            (NodeState::Unknown, true) => "; its peers list it as a member".to_owned(),
            (NodeState::Unknown, false) => String::new(),
            (state, _) => format!("; its registration says {}", state.as_str()),
        };
        match facts.probe_state {
            ProbeState::Failing { error, since } => {
                let since = since.to_short_string(self.now);
                if error.kind == ProbeErrorKind::AccessDenied {
                    let message = format!(
                        "{who} refuses the console's account: {} since {since}{tail}.",
                        error.message
                    );
                    (ReasonCode::AccessDenied, message)
                } else {
                    let message = format!(
                        "{who} runs but tells nothing: {} since {since}{tail}.",
                        error.message
                    );
                    (ReasonCode::NoEvidence, message)
                }
            }
            ProbeState::Pending => (
                ReasonCode::NoEvidence,
                format!("{who} has not been asked yet{tail}."),
            ),
            ProbeState::Unprobed => (
                ReasonCode::NoEvidence,
                format!("{who} is not asked by SQL{tail}."),
            ),
            ProbeState::Stale | ProbeState::Fresh(_) => (
                ReasonCode::NoEvidence,
                format!("The last answer of {who} is too old to count{tail}."),
            ),
        }
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

fn not_primary_message(facts: &NodeFacts<'_>, who: &str) -> String {
    let view = facts
        .fresh_answer()
        .and_then(|answer| answer.status.conf_id);
    match view {
        Some(conf_id) => format!(
            "{who} reports another view (conf_id {conf_id}) than the Primary component, which does not list it."
        ),
        None => format!("{who} is not in the Primary component."),
    }
}

/// What to read first.
const fn priority(code: ReasonCode) -> u8 {
    match code {
        ReasonCode::RivalPrimaries => 0,
        ReasonCode::StateUuidsDiffer => 1,
        ReasonCode::NobodyPrimary => 2,
        ReasonCode::EverybodyDown => 3,
        ReasonCode::SqlBlind => 4,
        ReasonCode::SourcesDisagree => 5,
        ReasonCode::AllSynced => 6,
        ReasonCode::MemberInconsistent => 7,
        ReasonCode::MemberUnreachable => 8,
        ReasonCode::MemberStopped => 9,
        ReasonCode::MemberAbsent => 10,
        ReasonCode::MemberNotPrimary => 11,
        ReasonCode::AccessDenied => 12,
        ReasonCode::MemberNotSynced => 13,
        ReasonCode::NoEvidence => 14,
        ReasonCode::RegistryUnreachable => 15,
        ReasonCode::RegistrationWithoutNode => 16,
        ReasonCode::NodeWithoutRegistration => 17,
        ReasonCode::UnknownMembers => 18,
        ReasonCode::RegistryGarbage => 19,
        ReasonCode::ConsoleBlind => 20,
    }
}
