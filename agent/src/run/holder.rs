//! What the agent says of itself while no server answers: to the registry, the health endpoint and the log.

use galera::observe::registration::{NO_POSITION, Phase};
use galera::startup::Data;
use tokio::sync::watch;

use crate::clock::now;
use crate::observation::{Held, Server};

/// Publishes it; a line is logged when it changes.
#[derive(Debug)]
pub(super) struct Holder {
    server: watch::Sender<Server>,
}

impl Holder {
    /// Publishes to `server`.
    #[must_use]
    pub(super) const fn new(server: watch::Sender<Server>) -> Self {
        Self { server }
    }

    /// Does `phase` for the reason `line`, with `data` as they are.
    pub(super) fn say(&self, phase: Phase, data: &Data, line: &str) {
        let recovered = match (phase, data) {
            // Only who waits has nothing to do with its data any more.
            (Phase::Waiting, Data::At(position)) => Some(position.to_string()),
            (Phase::Waiting, Data::Unrecovered { .. }) => None,
            (Phase::Waiting, _) => Some(NO_POSITION.to_owned()),
            _ => None,
        };
        let (before, same) = match &*self.server.borrow() {
            Server::Held(held) => (
                Some((held.line.clone(), held.since)),
                held.phase == phase && held.line == line && held.recovered == recovered,
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
            tracing::info!(phase = phase.word(), "{line}");
        }
        self.server.send_replace(Server::Held(Box::new(Held {
            phase,
            recovered,
            state: None,
            line: line.to_owned(),
            since: since.unwrap_or_else(now),
        })));
    }
}
