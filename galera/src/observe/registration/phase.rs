//! The phase that a node's agent reports, and what it implies for the server.

use std::collections::BTreeMap;

use super::{RegisteredFields, ReportedData};
use crate::position::Position;

/// The phase of a node's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentPhase {
    /// The agent is starting.
    Starting,
    /// The agent waits before it starts the server.
    Waiting,
    /// The server is starting and receives its state.
    Joining,
    /// The server is running.
    Running,
    /// The server is stopping or has stopped.
    Stopping,
}

named_variants!(AgentPhase {
    Starting => "starting",
    Waiting => "waiting",
    Joining => "joining",
    Running => "running",
    Stopping => "stopping",
});

impl AgentPhase {
    /// Parses the value of `phase`; `None` if it is unknown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|phase| text.trim().eq_ignore_ascii_case(phase.as_str()))
    }

    /// The registered phase of a node.
    #[must_use]
    pub fn from_fields(fields: &BTreeMap<String, String>) -> Option<Self> {
        fields.get("phase").and_then(|text| Self::parse(text))
    }
}

/// The position that a stopped node's agent recovered.
#[must_use]
pub fn recovered_position(fields: &BTreeMap<String, String>) -> Option<Position> {
    fields.get("recovered_position")?.parse().ok()
}

/// The `recovered_position` of a node without a position, in a server's own notation.
pub const NO_POSITION: &str = "00000000-0000-0000-0000-000000000000:-1";

/// Whether the agent reports that its data have no position.
#[must_use]
pub fn reports_no_position(fields: &BTreeMap<String, String>) -> bool {
    fields
        .get("recovered_position")
        .is_some_and(|value| value.trim() == NO_POSITION)
}

/// Whether the agent has reported a position, or that there is none.
fn has_reported_data(fields: &BTreeMap<String, String>) -> bool {
    recovered_position(fields).is_some() || reports_no_position(fields)
}

/// Whether the agent reports the server of the registered data as stopped. About other data it may report anything: that
/// proves nothing about the registered ones (I34).
#[must_use]
pub fn reports_stopped(fields: &RegisteredFields) -> bool {
    if fields.reported_data() == ReportedData::Other {
        return false;
    }
    match AgentPhase::from_fields(fields) {
        Some(AgentPhase::Stopping) => true,
        Some(AgentPhase::Running | AgentPhase::Joining) => false,
        Some(AgentPhase::Starting | AgentPhase::Waiting) | None => {
            has_reported_data(fields) && !fields.contains_key("wsrep_local_state_comment")
        }
    }
}

/// Whether the agent reports its server as running.
#[must_use]
pub fn reports_running(fields: &BTreeMap<String, String>) -> bool {
    match AgentPhase::from_fields(fields) {
        Some(AgentPhase::Running | AgentPhase::Joining) => true,
        Some(AgentPhase::Stopping | AgentPhase::Starting | AgentPhase::Waiting) => false,
        None => fields.contains_key("wsrep_local_state_comment"),
    }
}
