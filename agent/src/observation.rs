//! What the agent knows of its server at this moment, and what of it belongs into the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::Timestamp;
use galera::observe::observation::ProbeError;
use galera::observe::registration::AgentPhase;
use galera::observe::wsrep::{LocalState, WsrepStatus};
use galera::startup::WsrepEvent;
use galera::view::ClusterStatus;
use tokio::time::Instant;

/// The rows of the server's status that are reported, as keys of the node.
pub const REPORTED_VARIABLES: [&str; 9] = [
    "wsrep_local_state_comment",
    "wsrep_last_committed",
    "wsrep_cluster_status",
    "wsrep_cluster_state_uuid",
    "wsrep_cluster_conf_id",
    "wsrep_cluster_size",
    "wsrep_gcomm_uuid",
    "wsrep_incoming_addresses",
    "wsrep_node_name",
];

/// How a server shows that it has received its state.
const JOINED: &str = "Joined";

/// A status older than this is no longer vouched for: the probe itself hangs.
const STATUS_MAX_AGE: Duration = Duration::from_secs(6);

/// One successful reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReading {
    /// The rows of [`REPORTED_VARIABLES`], as the server spelled their values.
    pub rows: BTreeMap<&'static str, String>,
    /// All of it, understood.
    pub status: WsrepStatus,
    /// `read_only`, where it was asked for.
    pub read_only: Option<bool>,
}

/// What the agent itself does before its server answers or after it was told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineStatus {
    /// The phase.
    pub phase: AgentPhase,
    /// What the registry is to hold as `recovered_position`.
    pub recovered_position: Option<String>,
    /// The server's state, as far as the server told it without being asked.
    pub state_comment: Option<&'static str>,
    /// What is waited for or done, in one line.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// When a node that is not plainly Synced may be sent clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailabilityPolicy {
    /// Also while it donates its state.
    pub donor: bool,
    /// Also while it is `read_only`.
    pub read_only: bool,
}

/// The server at this moment.
#[derive(Clone, Debug)]
pub enum ServerState {
    /// Not asked yet.
    Unknown,
    /// It is not started, or does not answer yet; the agent knows why.
    Offline(Box<OfflineStatus>),
    /// It does not answer, but told its state by itself just now.
    Notified {
        /// When it did.
        at: Instant,
        /// What it would show as its state.
        comment: &'static str,
        /// Whether it ever answered this agent.
        answered_before: bool,
    },
    /// It answers.
    Responding {
        /// When it did.
        at: Instant,
        /// What it said.
        reading: Box<StatusReading>,
    },
    /// It does not.
    Unreachable {
        /// Why.
        error: ProbeError,
        /// Whether it ever answered this agent.
        answered_before: bool,
    },
}

impl StatusReading {
    /// Takes the reported rows and the whole status out of rows of name and value.
    #[must_use]
    pub fn from_rows(rows: &[(String, String)]) -> Self {
        let reported = |name: &str| {
            REPORTED_VARIABLES
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(name))
        };
        let kept = rows
            .iter()
            .filter_map(|(name, value)| Some((reported(name)?, value.clone())));
        Self {
            rows: kept.collect(),
            status: WsrepStatus::from_rows(rows.iter().map(|(name, value)| (name, value))),
            read_only: rows
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("read_only"))
                .map(|(_, value)| !value.eq_ignore_ascii_case("OFF")),
        }
    }

    /// Puts a state in the place of the one that was read.
    fn override_state(&mut self, state: LocalState, comment: &str) {
        self.status.local_state = Some(state);
        self.status.local_state_comment = Some(comment.to_owned());
        self.rows
            .insert("wsrep_local_state_comment", comment.to_owned());
    }

    /// `Synced, PrimaryMembership, 3 members`, for messages.
    #[must_use]
    pub fn summary(&self) -> String {
        let row = |name| self.rows.get(name).map_or("unknown", String::as_str);
        let size = self.status.cluster_size.unwrap_or(0);
        format!(
            "{}, {}, {size} member{}",
            row("wsrep_local_state_comment"),
            row("wsrep_cluster_status"),
            if size == 1 { "" } else { "s" }
        )
    }
}

impl ServerState {
    /// The state after a probe.
    #[must_use]
    pub fn after_probe(&self, outcome: Result<StatusReading, ProbeError>) -> Self {
        match outcome {
            Ok(mut reading) => {
                if self.is_joined() && reading.status.local_state == Some(LocalState::Joiner) {
                    reading.override_state(LocalState::Joined, JOINED);
                }
                Self::Responding {
                    at: Instant::now(),
                    reading: Box::new(reading),
                }
            }
            // A server that starts does not answer yet; the agent's own word says more than that.
            Err(_) if matches!(self, Self::Offline(_)) => self.clone(),
            // So does its own word, but nobody would tell that it died since.
            Err(_) if matches!(self, Self::Notified { at, .. } if at.elapsed() < STATUS_MAX_AGE) => {
                self.clone()
            }
            Err(error) => Self::Unreachable {
                error,
                answered_before: self.has_answered(),
            },
        }
    }

    /// The state after the server told `event` by itself: what it says counts until the next answer.
    #[must_use]
    pub fn after_event(&self, event: &WsrepEvent) -> Self {
        let Some((state, comment)) = event.local_state() else {
            return self.clone();
        };
        match self {
            Self::Offline(held) if held.phase != AgentPhase::Stopping => {
                let mut held = held.clone();
                held.phase = AgentPhase::Joining;
                held.state_comment = Some(comment);
                Self::Offline(held)
            }
            Self::Responding { at, reading } => {
                let mut reading = reading.clone();
                reading.override_state(state, comment);
                Self::Responding { at: *at, reading }
            }
            Self::Offline(_) => self.clone(),
            Self::Unknown | Self::Unreachable { .. } | Self::Notified { .. } => Self::Notified {
                at: Instant::now(),
                comment,
                answered_before: self.has_answered(),
            },
        }
    }

    /// Whether it was told that it has its state, which the server's own status shows some milliseconds later.
    fn is_joined(&self) -> bool {
        match self {
            Self::Responding { reading, .. } => {
                reading.status.local_state == Some(LocalState::Joined)
            }
            Self::Offline(held) => held.state_comment == Some(JOINED),
            Self::Notified { comment, .. } => *comment == JOINED,
            Self::Unknown | Self::Unreachable { .. } => false,
        }
    }

    fn has_answered(&self) -> bool {
        match self {
            Self::Unknown | Self::Offline(_) => false,
            Self::Responding { .. } => true,
            Self::Unreachable {
                answered_before, ..
            }
            | Self::Notified {
                answered_before, ..
            } => *answered_before,
        }
    }

    /// What the agent may truthfully say that it is doing.
    #[must_use]
    pub fn phase(&self) -> AgentPhase {
        match self {
            Self::Unknown => AgentPhase::Starting,
            Self::Offline(held) => held.phase,
            Self::Notified { .. } => AgentPhase::Joining,
            Self::Unreachable { .. } if self.has_answered() => AgentPhase::Waiting,
            Self::Unreachable { .. } => AgentPhase::Starting,
            Self::Responding { reading, .. } => match reading.status.local_state {
                Some(LocalState::Joiner | LocalState::Joined) => AgentPhase::Joining,
                _ => AgentPhase::Running,
            },
        }
    }

    /// Every field that the registry is to hold under the node's lease, and no other.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<&'static str, String> {
        let mut fields = match self {
            Self::Responding { reading, .. } => reading.rows.clone(),
            Self::Offline(held) => {
                let recovered = held.recovered_position.clone();
                let recovered = recovered.map(|position| ("recovered_position", position));
                let state = held
                    .state_comment
                    .map(|state| ("wsrep_local_state_comment", state.to_owned()));
                recovered.into_iter().chain(state).collect()
            }
            Self::Notified { comment, .. } => {
                BTreeMap::from([("wsrep_local_state_comment", (*comment).to_owned())])
            }
            Self::Unknown | Self::Unreachable { .. } => BTreeMap::new(),
        };
        fields.insert("phase", self.phase().as_str().to_owned());
        fields
    }

    /// Whether clients may be sent to the server, and in one line why or why not.
    #[must_use]
    pub fn health(&self, available: &AvailabilityPolicy) -> (bool, String) {
        let (at, reading) = match self {
            Self::Offline(held) => {
                return (false, format!("{} (since {})", held.message, held.since));
            }
            Self::Unknown => return (false, "the server was not asked yet".to_owned()),
            Self::Unreachable { error, .. } => return (false, error.message.clone()),
            Self::Notified { comment, .. } => {
                return (false, format!("{comment}, but it does not answer yet"));
            }
            Self::Responding { at, reading } => (at, reading),
        };
        let age = at.elapsed();
        if age > STATUS_MAX_AGE {
            return (false, format!("the last answer is {} s old", age.as_secs()));
        }
        let status = &reading.status;
        let synced = status.local_state == Some(LocalState::Synced);
        let primary = status.cluster_status == Some(ClusterStatus::Primary);
        let donates = available.donor && status.local_state == Some(LocalState::Donor);
        if !primary || !(synced || donates) {
            return (false, reading.summary());
        }
        let word = if synced { "Synced" } else { "Donor/Desynced" };
        if status.ready == Some(false) {
            return (false, format!("{word}, but wsrep_ready is OFF"));
        }
        if reading.read_only == Some(true) && !available.read_only {
            return (false, format!("{word}, but read_only is ON"));
        }
        (true, word.to_owned())
    }
}

#[cfg(test)]
mod tests;
