//! What the agent knows of its server at this moment, and what of it belongs into the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::Timestamp;
use galera::observe::observation::ProbeError;
use galera::observe::registration::Phase;
use galera::observe::wsrep::{LocalState, WsrepStatus};
use galera::startup::Event;
use galera::view::ClusterStatus;
use tokio::time::Instant;

/// The rows of the server's status that are reported, as keys of the node.
pub const REPORTED: [&str; 9] = [
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
const FRESH: Duration = Duration::from_secs(6);

/// One successful reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The rows of [`REPORTED`], as the server spelled their values.
    pub rows: BTreeMap<&'static str, String>,
    /// All of it, understood.
    pub status: WsrepStatus,
    /// `read_only`, where it was asked for.
    pub read_only: Option<bool>,
}

/// What the agent itself does before its server answers or after it was told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The phase.
    pub phase: Phase,
    /// What the registry is to hold as `recovered_position`.
    pub recovered: Option<String>,
    /// The server's state, as far as the server told it without being asked.
    pub state: Option<&'static str>,
    /// What is waited for or done, in one line.
    pub line: String,
    /// Since when.
    pub since: Timestamp,
}

/// When a node that is not plainly Synced may be sent clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// Also while it donates its state.
    pub donor: bool,
    /// Also while it is `read_only`.
    pub read_only: bool,
}

/// The server at this moment.
#[derive(Clone, Debug)]
pub enum Server {
    /// Not asked yet.
    Unknown,
    /// It is not started, or does not answer yet; the agent knows why.
    Held(Box<Held>),
    /// It does not answer, but told its state by itself just now.
    Tells {
        /// When it did.
        at: Instant,
        /// What it would show as its state.
        comment: &'static str,
        /// Whether it ever answered this agent.
        answered_before: bool,
    },
    /// It answers.
    Answers {
        /// When it did.
        at: Instant,
        /// What it said.
        reading: Box<Reading>,
    },
    /// It does not.
    Silent {
        /// Why.
        error: ProbeError,
        /// Whether it ever answered this agent.
        answered_before: bool,
    },
}

impl Reading {
    /// Takes the reported rows and the whole status out of rows of name and value.
    #[must_use]
    pub fn from_rows(rows: &[(String, String)]) -> Self {
        let reported = |name: &str| {
            REPORTED
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
    fn tell(&mut self, state: LocalState, comment: &str) {
        self.status.local_state = Some(state);
        self.status.local_state_comment = Some(comment.to_owned());
        self.rows
            .insert("wsrep_local_state_comment", comment.to_owned());
    }

    /// `Synced, Primary, 3 members`, for messages.
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

impl Server {
    /// The state after a probe.
    #[must_use]
    pub fn after(&self, outcome: Result<Reading, ProbeError>) -> Self {
        match outcome {
            Ok(mut reading) => {
                if self.is_joined() && reading.status.local_state == Some(LocalState::Joiner) {
                    reading.tell(LocalState::Joined, JOINED);
                }
                Self::Answers {
                    at: Instant::now(),
                    reading: Box::new(reading),
                }
            }
            // A server that starts does not answer yet; the agent's own word says more than that.
            Err(_) if matches!(self, Self::Held(_)) => self.clone(),
            // So does its own word, but nobody would tell that it died since.
            Err(_) if matches!(self, Self::Tells { at, .. } if at.elapsed() < FRESH) => {
                self.clone()
            }
            Err(error) => Self::Silent {
                error,
                answered_before: self.answered(),
            },
        }
    }

    /// The state after the server told `event` by itself: what it says counts until the next answer.
    #[must_use]
    pub fn told(&self, event: &Event) -> Self {
        let Some((state, comment)) = event.local_state() else {
            return self.clone();
        };
        match self {
            Self::Held(held) if held.phase != Phase::Stopping => {
                let mut held = held.clone();
                held.phase = Phase::Joining;
                held.state = Some(comment);
                Self::Held(held)
            }
            Self::Answers { at, reading } => {
                let mut reading = reading.clone();
                reading.tell(state, comment);
                Self::Answers { at: *at, reading }
            }
            Self::Held(_) => self.clone(),
            Self::Unknown | Self::Silent { .. } | Self::Tells { .. } => Self::Tells {
                at: Instant::now(),
                comment,
                answered_before: self.answered(),
            },
        }
    }

    /// Whether it was told that it has its state, which the server's own status shows some milliseconds later.
    fn is_joined(&self) -> bool {
        match self {
            Self::Answers { reading, .. } => reading.status.local_state == Some(LocalState::Joined),
            Self::Held(held) => held.state == Some(JOINED),
            Self::Tells { comment, .. } => *comment == JOINED,
            Self::Unknown | Self::Silent { .. } => false,
        }
    }

    fn answered(&self) -> bool {
        match self {
            Self::Unknown | Self::Held(_) => false,
            Self::Answers { .. } => true,
            Self::Silent {
                answered_before, ..
            }
            | Self::Tells {
                answered_before, ..
            } => *answered_before,
        }
    }

    /// What the agent may truthfully say that it is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Unknown => Phase::Starting,
            Self::Held(held) => held.phase,
            Self::Tells { .. } => Phase::Joining,
            Self::Silent { .. } if self.answered() => Phase::Waiting,
            Self::Silent { .. } => Phase::Starting,
            Self::Answers { reading, .. } => match reading.status.local_state {
                Some(LocalState::Joiner | LocalState::Joined) => Phase::Joining,
                _ => Phase::Running,
            },
        }
    }

    /// Every field that the registry is to hold under the node's lease, and no other.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<&'static str, String> {
        let mut fields = match self {
            Self::Answers { reading, .. } => reading.rows.clone(),
            Self::Held(held) => {
                let recovered = held.recovered.clone();
                let recovered = recovered.map(|position| ("recovered_position", position));
                let state = held
                    .state
                    .map(|state| ("wsrep_local_state_comment", state.to_owned()));
                recovered.into_iter().chain(state).collect()
            }
            Self::Tells { comment, .. } => {
                BTreeMap::from([("wsrep_local_state_comment", (*comment).to_owned())])
            }
            Self::Unknown | Self::Silent { .. } => BTreeMap::new(),
        };
        fields.insert("phase", self.phase().word().to_owned());
        fields
    }

    /// Whether clients may be sent to the server, and in one line why or why not.
    #[must_use]
    pub fn health(&self, available: &Availability) -> (bool, String) {
        let (at, reading) = match self {
            Self::Held(held) => {
                return (false, format!("{} (since {})", held.line, held.since));
            }
            Self::Unknown => return (false, "the server was not asked yet".to_owned()),
            Self::Silent { error, .. } => return (false, error.message.clone()),
            Self::Tells { comment, .. } => {
                return (false, format!("{comment}, but it does not answer yet"));
            }
            Self::Answers { at, reading } => (at, reading),
        };
        let age = at.elapsed();
        if age > FRESH {
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
