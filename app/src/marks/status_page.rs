//! Marks of status pages; server-side only.

use galera::publish::status_pages::{IncidentState, PublicPage, PublicState};

use super::{
    ARROW, CHECKED_DISC, HALF_DIAMOND, HALF_DISC, INVERTED_TRIANGLE, QUESTION, RING, StateMark,
    TRIANGLE, mark,
};

pub(crate) const fn public_state_mark(state: PublicState) -> StateMark {
    match state {
        PublicState::Operational => mark(state.label(), "ok", CHECKED_DISC),
        PublicState::Maintenance => mark(state.label(), "busy", HALF_DISC),
        PublicState::Unknown => mark(state.label(), "off", QUESTION),
        PublicState::Degraded => mark(state.label(), "warn", HALF_DIAMOND),
        PublicState::Outage => mark(state.label(), "bad", INVERTED_TRIANGLE),
    }
}

/// The mark of the headline: not that of a page without trouble while an incident is open.
pub(crate) fn headline_mark(page: &PublicPage) -> StateMark {
    match page.headline_state() {
        PublicState::Operational if page.open_incidents().next().is_some() => {
            mark("Open incident", "warn", TRIANGLE)
        }
        state => public_state_mark(state),
    }
}

pub(crate) const fn incident_mark(state: IncidentState) -> StateMark {
    match state {
        IncidentState::Investigating => mark("Investigating", "bad", TRIANGLE),
        IncidentState::Identified => mark("Identified", "warn", ARROW),
        IncidentState::Monitoring => mark("Monitoring", "busy", RING),
        IncidentState::Resolved => mark("Resolved", "ok", CHECKED_DISC),
    }
}
