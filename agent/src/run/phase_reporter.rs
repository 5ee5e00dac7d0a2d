//! Publishes the agent's phase while the server does not respond: to the registry, the health endpoint and the log.

use galera::observe::registration::{AgentPhase, HeldData, MembersSeen, NO_POSITION};
use galera::startup::DataState;
use tokio::sync::watch;

use crate::clock::now;
use crate::observation::{OfflineStatus, ServerState};

/// Publishes the phase; logs a message when it changes.
#[derive(Debug)]
pub(super) struct PhaseReporter {
    server: watch::Sender<ServerState>,
    /// Published while the node waits.
    members_seen: Option<MembersSeen>,
}

impl PhaseReporter {
    #[must_use]
    pub(super) const fn new(server: watch::Sender<ServerState>) -> Self {
        Self {
            server,
            members_seen: None,
        }
    }

    /// Also publishes `seen` while the node waits.
    #[must_use]
    pub(super) fn with_members_seen(mut self, seen: MembersSeen) -> Self {
        self.members_seen = Some(seen).filter(|seen| seen.members().is_some());
        self
    }

    /// Publishes `phase` with the reason `message`; `data` determines the recovered position.
    pub(super) fn report(&self, phase: AgentPhase, data: &DataState, message: &str) {
        self.report_held(phase, data, message, None);
    }

    /// The same for a node that waits because of `held`.
    pub(super) fn report_held(
        &self,
        phase: AgentPhase,
        data: &DataState,
        message: &str,
        held: Option<&HeldData>,
    ) {
        let held = held.map(HeldData::to_value);
        let recovered = match (phase, data) {
            // Only a waiting node is done with its data.
            (AgentPhase::Waiting, DataState::AtPosition(position)) => Some(position.to_string()),
            (AgentPhase::Waiting, DataState::Unrecovered { .. }) => None,
            (AgentPhase::Waiting, _) => Some(NO_POSITION.to_owned()),
            _ => None,
        };
        let members_seen = self
            .members_seen
            .as_ref()
            .filter(|_| phase == AgentPhase::Waiting);
        let members_seen = members_seen.map(MembersSeen::to_value);
        let (before, same) = match &*self.server.borrow() {
            ServerState::Offline(offline) => (
                Some((offline.message.clone(), offline.since)),
                offline.phase == phase
                    && offline.message == message
                    && offline.recovered_position == recovered
                    && offline.held == held,
            ),
            _ => (None, false),
        };
        if same {
            return;
        }
        let since = before
            .filter(|(previous, _)| previous == message)
            .map(|(_, since)| since);
        if since.is_none() {
            tracing::info!(phase = phase.as_str(), "{message}");
        }
        self.server
            .send_replace(ServerState::Offline(Box::new(OfflineStatus {
                phase,
                recovered_position: recovered,
                members_seen,
                held,
                state_comment: None,
                message: message.to_owned(),
                since: since.unwrap_or_else(now),
            })));
    }
}
