//! Sentences for people on call: each names the node, what is the matter, and the evidence.

use super::facts::{Facts, Sql};
use super::verdict::Case;
use crate::observe::observation::ProbeFailure;
use crate::observe::registration;
use crate::timestamp::Timestamp;
use crate::view::{NodeState, Reason, ReasonCode};

/// A node as people call it: its name and its address.
pub(crate) fn label(facts: &Facts<'_>) -> String {
    let id = facts.id.to_string();
    match facts.name() {
        Some(name) if name != id => format!("{name} ({id})"),
        _ => id,
    }
}

/// The reasons of one verdict in the making.
pub(crate) struct Reasons<'a> {
    nodes: &'a [Facts<'a>],
    now: Timestamp,
    found: Vec<Reason>,
}

impl<'a> Reasons<'a> {
    pub(super) fn new(case: &Case<'a>) -> Self {
        Self {
            nodes: &case.gathered.nodes,
            now: case.now,
            found: Vec::new(),
        }
    }

    /// A reason about the whole cluster.
    pub(crate) fn cluster(&mut self, code: ReasonCode, message: &str) {
        self.found.push(Reason {
            code,
            node: None,
            message: message.to_owned(),
        });
    }

    /// A reason about a node.
    pub(crate) fn node(&mut self, code: ReasonCode, node: usize, message: String) {
        self.found.push(Reason {
            code,
            node: Some(self.nodes[node].id.clone()),
            message,
        });
    }

    /// The registration of a node speaks of life where SQL is blind.
    pub(crate) fn blind(&mut self, node: usize, what: &str) {
        let facts = &self.nodes[node];
        let why = match facts.sql {
            Sql::Failing { error, since } => {
                format!("{} since {}", error.message, since.since_text(self.now))
            }
            Sql::Pending => "it has not been asked yet".to_owned(),
            Sql::Unprobed => "it is not asked".to_owned(),
            Sql::Stale | Sql::Fresh(_) => "its last answer is too old".to_owned(),
        };
        let message = format!(
            "The console gets no answer from {} ({why}), but its registration {what}.",
            label(facts)
        );
        self.node(ReasonCode::SqlBlind, node, message);
    }

    /// Why a member is not Synced in the Primary component; `listed` when its peers list it there all the same.
    pub(crate) fn member(&mut self, node: usize, listed: bool) {
        let facts = &self.nodes[node];
        let who = label(facts);
        let comment = facts
            .answer()
            .and_then(|answer| answer.status.local_state_comment.as_deref());
        let said = comment
            .map(|comment| format!(" ({comment})"))
            .unwrap_or_default();
        let (code, message) = match facts.state() {
            NodeState::Unreachable => (ReasonCode::MemberUnreachable, self.silent(facts, listed)),
            NodeState::Stopped => (ReasonCode::MemberStopped, stopped(facts)),
            NodeState::Absent => (
                ReasonCode::MemberAbsent,
                format!(
                    "{who} is expected, but nobody knows it: it is neither registered nor asked."
                ),
            ),
            NodeState::Joining if facts.returning => (
                ReasonCode::MemberNotSynced,
                format!(
                    "{who} is back among its peers and receives its state; it accepts no connection yet."
                ),
            ),
            _ if facts.answer().is_none() => self.untold(facts, listed),
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
            NodeState::Synced | NodeState::Donor | NodeState::Joined => {
                (ReasonCode::MemberNotPrimary, outside(facts, &who))
            }
            NodeState::Initialized => (
                ReasonCode::MemberNotPrimary,
                format!("{who} runs, but is not in the Primary component{said}."),
            ),
            NodeState::Unknown => (
                ReasonCode::NoEvidence,
                format!("{who} answers, but does not say in which state it is."),
            ),
        };
        self.node(code, node, message);
    }

    fn silent(&self, facts: &Facts<'_>, listed: bool) -> String {
        let mut message = format!("{} does not answer", label(facts));
        if let Sql::Failing { error, since } = facts.sql {
            message.push_str(&format!(
                ": {} since {}",
                error.message,
                since.since_text(self.now)
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
    fn untold(&self, facts: &Facts<'_>, listed: bool) -> (ReasonCode, String) {
        let who = label(facts);
        let tail = match (facts.state(), listed) {
            (NodeState::Unknown, true) => "; its peers list it as a member".to_owned(),
            (NodeState::Unknown, false) => String::new(),
            (state, _) => format!("; its registration says {}", state.word()),
        };
        match facts.sql {
            Sql::Failing { error, since } => {
                let since = since.since_text(self.now);
                if error.kind == ProbeFailure::AccessDenied {
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
            Sql::Pending => (
                ReasonCode::NoEvidence,
                format!("{who} has not been asked yet{tail}."),
            ),
            Sql::Unprobed => (
                ReasonCode::NoEvidence,
                format!("{who} is not asked by SQL{tail}."),
            ),
            Sql::Stale | Sql::Fresh(_) => (
                ReasonCode::NoEvidence,
                format!("The last answer of {who} is too old to count{tail}."),
            ),
        }
    }

    /// The reasons in a fixed order, without repetitions.
    pub(crate) fn sorted(mut self) -> Vec<Reason> {
        self.found.sort_by(|one, other| {
            rank(one.code)
                .cmp(&rank(other.code))
                .then_with(|| one.node.cmp(&other.node))
                .then_with(|| one.message.cmp(&other.message))
        });
        self.found.dedup();
        self.found
    }
}

fn stopped(facts: &Facts<'_>) -> String {
    let recovered = facts
        .registered
        .as_ref()
        .and_then(|registered| registration::recovered_position(&registered.seen.fields));
    match recovered {
        Some(position) => format!(
            "{} reports that it is stopped, at position {position}.",
            label(facts)
        ),
        None => format!("{} reports that it is stopped.", label(facts)),
    }
}

fn outside(facts: &Facts<'_>, who: &str) -> String {
    let view = facts.answer().and_then(|answer| answer.status.conf_id);
    match view {
        Some(conf_id) => format!(
            "{who} reports another view (conf_id {conf_id}) than the Primary component, which does not list it."
        ),
        None => format!("{who} is not in the Primary component."),
    }
}

/// What to read first.
const fn rank(code: ReasonCode) -> u8 {
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
