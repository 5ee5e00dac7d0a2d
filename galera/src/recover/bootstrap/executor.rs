//! Which server may execute a plan's statement.
//!
//! The address of a node may lead to several servers (a virtual IP, a name with several addresses), or to another one than
//! when the plan was computed. What is compared here is read over the connection that sends the statement.

use uuid::Uuid;

use crate::observe::wsrep::WsrepStatus;
use crate::position::parse_uuid;
use crate::recover::plan::PlanTarget;

/// The server that a plan was computed for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedServer {
    /// Its process ([`WsrepStatus::process`]).
    process: Option<Uuid>,
    /// The history of its data: all that is compared where no process is known.
    history: Option<Uuid>,
}

impl PlannedServer {
    /// The server that executes the statement of a plan with this target.
    #[must_use]
    pub fn of(target: &PlanTarget) -> Self {
        Self {
            process: target.process.as_deref().and_then(parse_uuid),
            history: target.position.as_ref().map(|position| position.uuid),
        }
    }

    /// Compares it with the server that reports `status` over the connection.
    ///
    /// # Errors
    /// A phrase that begins with `the connection leads to`, if that is another server or cannot be told.
    pub fn check(&self, status: &WsrepStatus) -> Result<(), String> {
        let (planned, found, what) = match self.process {
            Some(_) => (self.process, status.process(), "process"),
            None => (self.history, status.history(), "history"),
        };
        let Some(found) = found else {
            return Err(format!(
                "the connection leads to a server that does not report its {what} (wsrep_gcomm_uuid): whether it is the planned one is unknown"
            ));
        };
        if planned == Some(found) {
            return Ok(());
        }
        let planned = planned.map_or_else(|| "none".to_owned(), |planned| planned.to_string());
        Err(format!(
            "the connection leads to another server than the plan was computed for ({what} {found} instead of {planned}): its address leads to several servers, or the server was restarted; use an address of the one server, and plan again"
        ))
    }
}
