//! The words of status pages; only the server writes them.

use galera::publish::status_pages::{IncidentState, ToldState};

use super::{
    ARROW, CHECKED_DISC, FALLEN, HALF_DIAMOND, HALF_DISC, Mark, QUESTION, RING, TRIANGLE, mark,
};

/// A cluster's state as a status page shows it.
pub(crate) const fn told_mark(state: ToldState) -> Mark {
    match state {
        ToldState::Operational => mark(state.word(), "ok", CHECKED_DISC),
        ToldState::Maintenance => mark(state.word(), "busy", HALF_DISC),
        ToldState::Unknown => mark(state.word(), "off", QUESTION),
        ToldState::Degraded => mark(state.word(), "warn", HALF_DIAMOND),
        ToldState::Outage => mark(state.word(), "bad", FALLEN),
    }
}

/// How far an incident is.
pub(crate) const fn incident_mark(state: IncidentState) -> Mark {
    match state {
        IncidentState::Investigating => mark("Investigating", "bad", TRIANGLE),
        IncidentState::Identified => mark("Identified", "warn", ARROW),
        IncidentState::Monitoring => mark("Monitoring", "busy", RING),
        IncidentState::Resolved => mark("Resolved", "ok", CHECKED_DISC),
    }
}
