//! What the agent currently knows about its server, and the part of it that is published in the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::Timestamp;
use galera::judge::service::{ServiceLimit, service_limits};
use galera::observe::observation::{FROZEN_AFTER, ProbeError};
use galera::observe::registration::{self, AgentPhase};
use galera::observe::wsrep::{LocalState, WsrepStatus};
use galera::startup::WsrepEvent;
use galera::view::ClusterStatus;
use tokio::time::Instant;

/// The status variables that are published as keys of the node.
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

/// `wsrep_local_state_comment` of a node that has received its state.
const JOINED: &str = "Joined";

/// Why a server that reports Primary is not.
const FROZEN: &str = "the server reports Primary, but its group counts no vote (wsrep_cluster_weight 0): it is not Primary, and \
     its status is frozen by a lock such as FLUSH TABLES WITH READ LOCK; run UNLOCK TABLES in that session, or find it with SHOW \
     PROCESSLIST and KILL it";

/// A status older than this is stale: the probe itself hangs.
const STATUS_MAX_AGE: Duration = Duration::from_secs(6);

/// The result of one successful probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReading {
    /// The values of [`REPORTED_VARIABLES`] as the server returned them.
    pub rows: BTreeMap<&'static str, String>,
    pub status: WsrepStatus,
    /// Since when every reading has reported Primary without a vote.
    pub contradictory_since: Option<Instant>,
}

/// What the agent does before its server responds or after the server was asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineStatus {
    pub phase: AgentPhase,
    /// Value to publish as `recovered_position`.
    pub recovered_position: Option<String>,
    /// Value to publish as `members_seen`.
    pub members_seen: Option<String>,
    /// Value to publish as `held`.
    pub held: Option<String>,
    /// The server's state from its notifications, if there were any.
    pub state_comment: Option<&'static str>,
    /// What the agent is doing or waiting for, in one line.
    pub message: String,
    pub since: Timestamp,
}

/// Whether nodes that are not plainly Synced count as healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailabilityPolicy {
    /// Donors do.
    pub donor: bool,
    /// Read-only nodes do.
    pub read_only: bool,
}

/// The server's current state.
#[derive(Clone, Debug)]
pub enum ServerState {
    /// Not probed yet.
    Unknown,
    /// Not started, not responding yet, or stopping; the agent knows why.
    Offline(Box<OfflineStatus>),
    /// Not responding, but it has just sent a notification.
    Notified {
        at: Instant,
        /// Its `wsrep_local_state_comment` according to the notification.
        comment: &'static str,
        /// Whether it has ever responded to this agent.
        answered_before: bool,
    },
    Responding {
        /// Time of the response.
        at: Instant,
        reading: Box<StatusReading>,
    },
    Unreachable {
        error: ProbeError,
        /// Whether it has ever responded to this agent.
        answered_before: bool,
    },
}

impl StatusReading {
    /// Extracts the published values and the full status from rows of name and value.
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
            contradictory_since: None,
        }
    }

    /// Discards a view that is proven to be frozen, as a console does (I42): a node that is not Primary must neither be
    /// joined nor get clients. `before` is the reading before this one, without interruption.
    fn discard_frozen_view(&mut self, before: Option<&Self>, now: Instant) {
        if !self.status.contradicts_its_group() {
            return;
        }
        let since = before.and_then(|before| before.contradictory_since);
        let since = since.unwrap_or(now);
        self.contradictory_since = Some(since);
        if now.duration_since(since) < FROZEN_AFTER {
            return;
        }
        self.status.discard_frozen_view();
        for row in [
            "wsrep_cluster_conf_id",
            "wsrep_cluster_size",
            "wsrep_incoming_addresses",
        ] {
            self.rows.remove(row);
        }
        let corrected = [
            ("wsrep_cluster_status", "non-Primary"),
            ("wsrep_local_state_comment", "Initialized"),
        ];
        for (row, value) in corrected {
            self.rows.insert(row, value.to_owned());
        }
    }

    /// Replaces the state that was read.
    fn override_state(&mut self, state: LocalState, comment: &str) {
        self.status.local_state = Some(state);
        self.status.local_state_comment = Some(comment.to_owned());
        self.rows
            .insert("wsrep_local_state_comment", comment.to_owned());
    }

    /// For messages, for example `Synced, Primary, 3 members`.
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
                let now = Instant::now();
                reading.discard_frozen_view(self.reading(), now);
                if self.is_joined() && reading.status.local_state == Some(LocalState::Joiner) {
                    reading.override_state(LocalState::Joined, JOINED);
                }
                Self::Responding {
                    at: now,
                    reading: Box::new(reading),
                }
            }
            // A starting server does not respond yet; the agent's phase is more specific than the error. But one that denies
            // access runs.
            Err(error)
                if matches!(self, Self::Offline(offline)
                    if !error.kind.proves_running() || offline.phase == AgentPhase::Stopping) =>
            {
                self.clone()
            }
            // The same holds for a recent notification; but after a while the server may have died.
            Err(_) if matches!(self, Self::Notified { at, .. } if at.elapsed() < STATUS_MAX_AGE) => {
                self.clone()
            }
            Err(error) => Self::Unreachable {
                error,
                answered_before: self.has_answered(),
            },
        }
    }

    /// The reading of the last probe, if that succeeded.
    fn reading(&self) -> Option<&StatusReading> {
        match self {
            Self::Responding { reading, .. } => Some(reading),
            _ => None,
        }
    }

    /// The state after a notification, which applies until the next probe.
    #[must_use]
    pub fn after_event(&self, event: &WsrepEvent) -> Self {
        let Some((state, comment)) = event.local_state() else {
            return self.clone();
        };
        match self {
            Self::Offline(offline) if offline.phase != AgentPhase::Stopping => {
                let mut offline = offline.clone();
                offline.phase = AgentPhase::Joining;
                offline.state_comment = Some(comment);
                Self::Offline(offline)
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

    /// Whether a notification reported Joined. The server's status shows it some milliseconds later.
    fn is_joined(&self) -> bool {
        match self {
            Self::Responding { reading, .. } => {
                reading.status.local_state == Some(LocalState::Joined)
            }
            Self::Offline(offline) => offline.state_comment == Some(JOINED),
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

    /// The phase to publish.
    #[must_use]
    pub fn phase(&self) -> AgentPhase {
        match self {
            Self::Unknown => AgentPhase::Starting,
            Self::Offline(offline) => offline.phase,
            Self::Notified { .. } => AgentPhase::Joining,
            Self::Unreachable { .. } if self.has_answered() => AgentPhase::Waiting,
            Self::Unreachable { .. } => AgentPhase::Starting,
            Self::Responding { reading, .. } => match reading.status.local_state {
                Some(LocalState::Joiner | LocalState::Joined) => AgentPhase::Joining,
                _ => AgentPhase::Running,
            },
        }
    }

    /// Every field to publish under the node's lease.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<&'static str, String> {
        let mut fields = match self {
            Self::Responding { reading, .. } if reading.status.frozen => {
                let mut rows = reading.rows.clone();
                rows.insert("waiting_for", registration::bounded_reason(FROZEN));
                rows
            }
            Self::Responding { reading, .. } => reading.rows.clone(),
            Self::Offline(offline) => {
                let state = offline.state_comment.map(ToOwned::to_owned);
                let waiting = (offline.phase == AgentPhase::Waiting)
                    .then(|| registration::bounded_reason(&offline.message));
                [
                    ("recovered_position", offline.recovered_position.clone()),
                    ("members_seen", offline.members_seen.clone()),
                    ("held", offline.held.clone()),
                    ("waiting_for", waiting),
                    ("wsrep_local_state_comment", state),
                ]
                .into_iter()
                .filter_map(|(field, value)| Some((field, value?)))
                .collect()
            }
            Self::Notified { comment, .. } => {
                BTreeMap::from([("wsrep_local_state_comment", (*comment).to_owned())])
            }
            // The server runs, and what keeps its state unknown needs a person.
            Self::Unreachable { error, .. } if error.kind.proves_running() => {
                BTreeMap::from([("waiting_for", registration::bounded_reason(&error.message))])
            }
            Self::Unknown | Self::Unreachable { .. } => BTreeMap::new(),
        };
        fields.insert("phase", self.phase().as_str().to_owned());
        fields
    }

    /// Whether the server should receive clients, and the reason in one line.
    #[must_use]
    pub fn health(&self, available: &AvailabilityPolicy) -> (bool, String) {
        let (at, reading) = match self {
            Self::Offline(offline) => {
                return (
                    false,
                    format!("{} (since {})", offline.message, offline.since),
                );
            }
            Self::Unknown => return (false, "the server has not been probed yet".to_owned()),
            Self::Unreachable { error, .. } => return (false, error.message.clone()),
            Self::Notified { comment, .. } => {
                return (
                    false,
                    format!("{comment}, but the server does not respond yet"),
                );
            }
            Self::Responding { at, reading } => (at, reading),
        };
        let age = at.elapsed();
        if age > STATUS_MAX_AGE {
            return (
                false,
                format!("the last successful probe was {} s ago", age.as_secs()),
            );
        }
        let status = &reading.status;
        if status.frozen {
            return (false, FROZEN.to_owned());
        }
        let synced = status.local_state == Some(LocalState::Synced);
        let primary = status.cluster_status == Some(ClusterStatus::Primary);
        let donor = available.donor && status.local_state == Some(LocalState::Donor);
        if !primary || !(synced || donor) {
            return (false, reading.summary());
        }
        let state_name = if synced { "Synced" } else { "Donor/Desynced" };
        let keeps_clients_away = |limit: &ServiceLimit| match limit {
            ServiceLimit::ReadOnly => !available.read_only,
            // It follows from the state of a donor, which has its own setting.
            ServiceLimit::Desynced => false,
            ServiceLimit::NotReady
            | ServiceLimit::QueriesRejected
            | ServiceLimit::Offline
            | ServiceLimit::NotReplicating
            | ServiceLimit::Maintenance => true,
        };
        if let Some(limit) = service_limits(status)
            .iter()
            .find(|limit| keeps_clients_away(limit))
        {
            return (false, format!("{state_name}, but {}", limit.explanation()));
        }
        (true, state_name.to_owned())
    }
}

#[cfg(test)]
mod tests;
