//! What a node's agent says that it is doing, and what follows for its server.

use std::collections::BTreeMap;

use crate::position::Position;

/// What a node's agent says it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentPhase {
    /// The agent starts.
    Starting,
    /// The agent waits before it starts the server.
    Waiting,
    /// The server starts and receives its state.
    Joining,
    /// The server runs.
    Running,
    /// The server stops or has stopped.
    Stopping,
}

impl AgentPhase {
    /// Every phase.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Waiting,
        Self::Joining,
        Self::Running,
        Self::Stopping,
    ];

    /// The phase's word in the registry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Joining => "joining",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }

    /// Reads the value of `phase`; `None` when it is no known word.
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

/// What an agent registers as `recovered_position` when its data have none to offer, as a server says it.
pub const NO_POSITION: &str = "00000000-0000-0000-0000-000000000000:-1";

/// Whether the agent has said what its data hold, be it nothing.
fn has_reported_data(fields: &BTreeMap<String, String>) -> bool {
    recovered_position(fields).is_some()
        || fields
            .get("recovered_position")
            .is_some_and(|value| value.trim() == NO_POSITION)
}

/// Whether the node's agent says that its server is stopped.
#[must_use]
pub fn reports_stopped(fields: &BTreeMap<String, String>) -> bool {
    match AgentPhase::from_fields(fields) {
        Some(AgentPhase::Stopping) => true,
        Some(AgentPhase::Running | AgentPhase::Joining) => false,
        Some(AgentPhase::Starting | AgentPhase::Waiting) | None => {
            has_reported_data(fields) && !fields.contains_key("wsrep_local_state_comment")
        }
    }
}

/// Whether the registration says that the server runs.
#[must_use]
pub fn reports_running(fields: &BTreeMap<String, String>) -> bool {
    match AgentPhase::from_fields(fields) {
        Some(AgentPhase::Running | AgentPhase::Joining) => true,
        Some(AgentPhase::Stopping | AgentPhase::Starting | AgentPhase::Waiting) => false,
        None => fields.contains_key("wsrep_local_state_comment"),
    }
}
