//! What the agent knows of its server at this moment, and what of it belongs into the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::Timestamp;
use galera::observation::ProbeError;
use galera::registration::Phase;
use galera::startup::Event;
use galera::view::ClusterStatus;
use galera::wsrep::{LocalState, WsrepStatus};
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
mod tests {
    use galera::observation::ProbeFailure;

    use super::*;

    fn answers(state: &str, comment: &str, cluster: &str, ready: &str) -> Server {
        let rows = [
            ("WSREP_LOCAL_STATE", state),
            ("wsrep_local_state_comment", comment),
            ("wsrep_cluster_status", cluster),
            ("wsrep_cluster_size", "3"),
            ("wsrep_ready", ready),
            ("wsrep_protocol_version", "10"),
        ];
        let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Server::Unknown.after(Ok(Reading::from_rows(&rows)))
    }

    fn refused() -> ProbeError {
        ProbeError {
            kind: ProbeFailure::Refused,
            message: "connection refused".to_owned(),
        }
    }

    #[test]
    fn only_a_synced_ready_primary_server_is_healthy() {
        for (server, healthy, line) in [
            (answers("4", "Synced", "Primary", "ON"), true, "Synced"),
            (
                answers("4", "Synced", "Primary", "OFF"),
                false,
                "Synced, but wsrep_ready is OFF",
            ),
            (
                answers("4", "Synced", "non-Primary", "ON"),
                false,
                "Synced, non-Primary, 3 members",
            ),
            (
                answers("2", "Donor/Desynced", "Primary", "ON"),
                false,
                "Donor/Desynced, Primary, 3 members",
            ),
            (
                answers("0", "Initialized", "non-Primary", "OFF"),
                false,
                "Initialized, non-Primary, 3 members",
            ),
            (answers("", "", "", ""), false, ", , 3 members"),
            (
                Server::Unknown.after(Err(refused())),
                false,
                "connection refused",
            ),
            (Server::Unknown, false, "the server was not asked yet"),
        ] {
            assert_eq!(
                server.health(&Availability::default()),
                (healthy, line.to_owned())
            );
        }
    }

    #[test]
    fn donors_and_read_only_servers_are_healthy_where_that_is_wanted() {
        let donor = answers("2", "Donor/Desynced", "Primary", "ON");
        let mut read_only = answers("4", "Synced", "Primary", "ON");
        if let Server::Answers { reading, .. } = &mut read_only {
            reading.read_only = Some(true);
        }
        let healthy =
            |server: &Server, donor, read_only| server.health(&Availability { donor, read_only }).0;
        assert!(healthy(&donor, true, false) && !healthy(&donor, false, true));
        assert!(healthy(&read_only, false, true) && !healthy(&read_only, true, false));
        let apart = answers("2", "Donor/Desynced", "non-Primary", "ON");
        assert!(!healthy(&apart, true, true));
    }

    #[test]
    fn what_the_server_tells_counts_until_it_is_asked() {
        let event = |status| Event::from_arguments(["--status", status]);
        let running = answers("4", "Synced", "Primary", "ON");
        let told = running.told(&event("donor"));
        assert_eq!(told.fields()["wsrep_local_state_comment"], "Donor/Desynced");
        assert_eq!(running.told(&event("connected")).fields(), running.fields());
        // The status lags behind what the server tells, but not for more than one answer of another kind.
        let joining = answers("1", "Joining: receiving State Transfer", "Primary", "OFF");
        let read = |server: &Server| match server {
            Server::Answers { reading, .. } => reading.as_ref().clone(),
            _ => panic!("{server:?}"),
        };
        let joined = joining.told(&event("joined")).after(Ok(read(&joining)));
        assert_eq!(joined.fields()["wsrep_local_state_comment"], "Joined");
        let synced = joined.after(Ok(read(&running)));
        assert_eq!(synced.fields()["wsrep_local_state_comment"], "Synced");
        let again = synced.after(Ok(read(&joining)));
        assert_ne!(again.fields()["wsrep_local_state_comment"], "Joined");
        let held = |phase| {
            Server::Held(Box::new(Held {
                phase,
                recovered: None,
                state: None,
                line: "waiting".to_owned(),
                since: Timestamp::default(),
            }))
        };
        let joined = held(Phase::Starting).told(&event("joined"));
        assert_eq!(joined.phase(), Phase::Joining);
        assert_eq!(joined.fields()["wsrep_local_state_comment"], "Joined");
        // It does not answer yet, which is no news; once it is told to stop, nothing it says counts.
        assert_eq!(joined.after(Err(refused())).fields(), joined.fields());
        let stopping = held(Phase::Stopping).told(&event("synced"));
        assert_eq!(
            stopping.fields(),
            BTreeMap::from([("phase", "stopping".to_owned())])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_yet_may_tell_but_not_for_long() {
        let event = |status| Event::from_arguments(["--status", status]);
        let silent = answers("4", "Synced", "Primary", "ON").after(Err(refused()));
        for server in [silent, Server::Unknown] {
            let told = server.told(&event("joined"));
            let expected = [
                ("phase", "joining"),
                ("wsrep_local_state_comment", "Joined"),
            ];
            let expected = expected.map(|(name, value)| (name, value.to_owned()));
            assert_eq!(told.fields(), BTreeMap::from(expected));
            assert_eq!(told.after(Err(refused())).fields(), told.fields());
            assert!(!told.health(&Availability::default()).0);
            let silent = server.after(Err(refused())).fields();
            tokio::time::advance(FRESH).await;
            // Whoever told may have died since.
            assert_eq!(told.after(Err(refused())).fields(), silent);
        }
        assert_eq!(
            Server::Unknown.told(&event("connected")).fields(),
            Server::Unknown.fields()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_is_no_health() {
        let server = answers("4", "Synced", "Primary", "ON");
        tokio::time::advance(FRESH + Duration::from_secs(1)).await;
        assert_eq!(
            server.health(&Availability::default()),
            (false, "the last answer is 7 s old".to_owned())
        );
    }

    #[test]
    fn phases_are_truthful() {
        let running = answers("4", "Synced", "Primary", "ON");
        for (server, phase) in [
            (Server::Unknown, Phase::Starting),
            (Server::Unknown.after(Err(refused())), Phase::Starting),
            (
                answers("1", "Joining: receiving State Transfer", "Primary", "OFF"),
                Phase::Joining,
            ),
            (answers("3", "Joined", "Primary", "ON"), Phase::Joining),
            (
                answers("0", "Initialized", "non-Primary", "OFF"),
                Phase::Running,
            ),
            (running.after(Err(refused())), Phase::Waiting),
            (
                running.after(Err(refused())).after(Err(refused())),
                Phase::Waiting,
            ),
            (running, Phase::Running),
        ] {
            assert_eq!(server.phase(), phase, "{server:?}");
        }
    }

    #[test]
    fn a_silent_server_leaves_no_status_behind() {
        let running = answers("4", "Synced", "Primary", "ON");
        let keys: Vec<_> = running.fields().into_keys().collect();
        let expected = [
            "phase",
            "wsrep_cluster_size",
            "wsrep_cluster_status",
            "wsrep_local_state_comment",
        ];
        assert_eq!(
            keys, expected,
            "only what is reported, under its lower-case name"
        );
        let silent = running.after(Err(refused())).fields();
        assert_eq!(silent, BTreeMap::from([("phase", "waiting".to_owned())]));
    }
}
