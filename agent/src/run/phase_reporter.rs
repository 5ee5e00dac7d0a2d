//! What the agent says of itself while no server answers: to the registry, the health endpoint and the log.

use galera::observe::registration::{AgentPhase, NO_POSITION};
use galera::startup::DataState;
use tokio::sync::watch;

use crate::clock::now;
use crate::observation::{OfflineStatus, ServerState};

/// Publishes it; a line is logged when it changes.
#[derive(Debug)]
pub(super) struct PhaseReporter {
    server: watch::Sender<ServerState>,
}

impl PhaseReporter {
    /// Publishes to `server`.
    #[must_use]
    pub(super) const fn new(server: watch::Sender<ServerState>) -> Self {
        Self { server }
    }

    /// Does `phase` for the reason `message`, with `data` as they are.
    pub(super) fn report(&self, phase: AgentPhase, data: &DataState, line: &str) {
        let recovered = match (phase, data) {
            // Only who waits has nothing to do with its data any more.
            (AgentPhase::Waiting, DataState::AtPosition(position)) => Some(position.to_string()),
            (AgentPhase::Waiting, DataState::Unrecovered { .. }) => None,
            (AgentPhase::Waiting, _) => Some(NO_POSITION.to_owned()),
            _ => None,
        };
        let (before, same) = match &*self.server.borrow() {
            ServerState::Offline(held) => (
                Some((held.message.clone(), held.since)),
                held.phase == phase && held.message == line && held.recovered_position == recovered,
            ),
            _ => (None, false),
        };
        if same {
            return;
        }
        let since = before
            .filter(|(said, _)| said == line)
            .map(|(_, since)| since);
        if since.is_none() {
            tracing::info!(phase = phase.as_str(), "{line}");
        }
        self.server
            .send_replace(ServerState::Offline(Box::new(OfflineStatus {
                phase,
                recovered_position: recovered,
                state_comment: None,
                message: line.to_owned(),
                since: since.unwrap_or_else(now),
            })));
    }
}
