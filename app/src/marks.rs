//! Labels, shapes and colors of states. Label and shape alone identify a state.

use galera::view::{ArbitratorState, ClusterStatus, NodeState, SourceKind, VerdictState};

use crate::markup::{El, el};

/// How a state is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateMark {
    pub(crate) label: &'static str,
    /// Suffix of the CSS class that sets the color.
    pub(crate) tone: &'static str,
    /// SVG path in a 16 × 16 box, filled by the even-odd rule.
    pub(crate) shape: &'static str,
}

const DISC: &str = "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12z";
const HALF_DISC: &str = "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12zM8 3.5v9a4.5 4.5 0 0 0 0-9z";
const RING: &str =
    "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12zM8 3.7a4.3 4.3 0 1 0 0 8.6a4.3 4.3 0 1 0 0-8.6z";
const ARROW: &str = "M1.5 6.8h6.2V3L14 8l-6.3 5V9.2H1.5z";
const ARROW_AT_BAR: &str = "M1 6.9h5V3.2L11.4 8L6 12.8V9.1H1zM12.8 2.8h2v10.4h-2z";
const TRIANGLE: &str = "M8 1.6L15 14H1zM7.1 6v4.2h1.8V6zM7.1 11.2h1.8v1.6H7.1z";
const SQUARE: &str = "M3 3h10v10H3z";
const CROSS: &str =
    "M3.6 2.1L8 6.5l4.4-4.4l1.5 1.5L9.5 8l4.4 4.4l-1.5 1.5L8 9.5l-4.4 4.4l-1.5-1.5L6.5 8L2.1 3.6z";
const DASHED: &str =
    "M2 2h4v1.7H3.7V6H2zM10 2h4v4h-1.7V3.7H10zM2 10h1.7v2.3H6V14H2zM12.3 10H14v4h-4v-1.7h2.3z";
const QUESTION: &str = "M4.8 5.7C4.8 3.7 6.2 2.4 8.1 2.4c2 0 3.2 1.2 3.2 2.9c0 1.4-.7 2-1.6 2.7c-.7.5-.9.8-.9 1.6v.4H7.1\
    v-.7c0-1.3.6-1.9 1.4-2.5c.6-.5.9-.8.9-1.4c0-.8-.5-1.3-1.3-1.3c-.9 0-1.5.6-1.5 1.6zM7 11.5h1.9v2H7z";
const CHECKED_DISC: &str =
    "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 1 1 0-13zM4.3 8.3l3 2.9L12 6L10.8 4.8L7.3 8.8L5.5 7.1z";
const HALF_DIAMOND: &str = "M8 .8L15.2 8L8 15.2L.8 8zM8 3.2v9.6L12.8 8z";
const BARRED_RING: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 1 1 0-13zM8 3.3a4.7 4.7 0 1 0 0 9.4a4.7 4.7 0 1 0 0-9.4zM4.6 7h6.8v2H4.6z";
const INVERTED_TRIANGLE: &str = "M1.8 3h12.4L8 13.8z";
const FORK: &str = "M7 14.5V9.2L2 3.6L3.5 2.2L8 7.2l4.5-5L14 3.6L9 9.2v5.3z";
const SPLIT_DISC: &str = "M6.9 1.6v12.8a6.5 6.5 0 0 1 0-12.8zM9.1 1.6a6.5 6.5 0 0 1 0 12.8z";

#[cfg(feature = "ssr")]
mod operations;
#[cfg(feature = "ssr")]
mod status_page;

#[cfg(feature = "ssr")]
pub(crate) use operations::{
    NOT_PLANNED, action_kind_label, action_mark, check_mark, delivery_mark, finding_mark,
    plan_mark, restart_mark, step_mark, target_mark, verdict_description,
};
#[cfg(feature = "ssr")]
pub(crate) use status_page::{headline_mark, incident_mark, public_state_mark};

const fn mark(label: &'static str, tone: &'static str, shape: &'static str) -> StateMark {
    StateMark { label, tone, shape }
}

pub(crate) const fn node_mark(state: NodeState) -> StateMark {
    match state {
        NodeState::Synced => mark("Synced", "ok", DISC),
        NodeState::Donor => mark("Donor", "busy", HALF_DISC),
        NodeState::Joined => mark("Joined", "busy", ARROW_AT_BAR),
        NodeState::Joining => mark("Joining", "busy", ARROW),
        NodeState::Initialized => mark("Initialized", "warn", RING),
        NodeState::Inconsistent => mark("Inconsistent", "bad", TRIANGLE),
        NodeState::Stopped => mark("Stopped", "off", SQUARE),
        NodeState::Unreachable => mark("Unreachable", "bad", CROSS),
        NodeState::Absent => mark("Absent", "off", DASHED),
        NodeState::Unknown => mark("Unknown", "off", QUESTION),
    }
}

pub(crate) const fn arbitrator_mark(state: ArbitratorState) -> StateMark {
    match state {
        ArbitratorState::Member => mark("Votes", "ok", DISC),
        ArbitratorState::Inferred => mark("Inferred", "off", QUESTION),
        ArbitratorState::Elsewhere => mark("Elsewhere", "warn", TRIANGLE),
        ArbitratorState::NonPrimary => mark("No quorum", "bad", SQUARE),
        ArbitratorState::Connecting => mark("Connecting", "busy", ARROW),
        ArbitratorState::Waiting => mark("Waiting", "off", RING),
    }
}

pub(crate) const fn verdict_mark(state: VerdictState) -> StateMark {
    match state {
        VerdictState::Healthy => mark("Healthy", "ok", CHECKED_DISC),
        VerdictState::Degraded => mark("Degraded", "warn", HALF_DIAMOND),
        VerdictState::Unknown => mark("Unknown", "off", QUESTION),
        VerdictState::NoPrimary => mark("No Primary", "bad", BARRED_RING),
        VerdictState::Down => mark("Down", "bad", INVERTED_TRIANGLE),
        VerdictState::Diverged => mark("Diverged", "bad", FORK),
        VerdictState::SplitBrain => mark("Split brain", "bad", SPLIT_DISC),
    }
}

pub(crate) const fn status_label(status: ClusterStatus) -> &'static str {
    match status {
        ClusterStatus::Primary => "Primary",
        ClusterStatus::NonPrimary => "non-Primary",
        ClusterStatus::Disconnected => "Disconnected",
    }
}

pub(crate) const fn source_label(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Sql => "SQL",
        SourceKind::Registry => "Registry",
    }
}

/// The shape of a state, hidden from screen readers.
pub(crate) fn glyph(mark: StateMark) -> El {
    let shape = el("path")
        .attr("fill", "currentColor")
        .attr("fill-rule", "evenodd")
        .attr("d", mark.shape);
    let size = |el: El| el.attr("width", "12").attr("height", "12");
    size(el("svg").class("glyph").attr("viewBox", "0 0 16 16"))
        .attr("aria-hidden", "true")
        .child(shape)
}

/// A state's label and shape in its color.
pub(crate) fn state_badge(mark: StateMark) -> El {
    el("span")
        .class(tone_class("state", mark))
        .child(mark.label)
        .child(glyph(mark))
}

/// A class combined with the tone of `mark`.
pub(crate) fn tone_class(class: &str, mark: StateMark) -> String {
    [class, " t-", mark.tone].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use galera::insight::findings::FindingSeverity;
    use galera::insight::rolling_restart::RestartState;

    use super::*;

    #[test]
    fn states_differ_in_label_and_shape() {
        let nodes: Vec<StateMark> = NodeState::ALL.into_iter().map(node_mark).collect();
        let verdicts: Vec<StateMark> = VerdictState::ALL.into_iter().map(verdict_mark).collect();
        let findings = FindingSeverity::ALL.into_iter().map(finding_mark).collect();
        let restarts = RestartState::ALL.into_iter().map(restart_mark).collect();
        for marks in [nodes, verdicts, findings, restarts] {
            let labels: HashSet<_> = marks.iter().map(|m| m.label).collect();
            let shapes: HashSet<_> = marks.iter().map(|m| m.shape).collect();
            assert_eq!((labels.len(), shapes.len()), (marks.len(), marks.len()));
        }
    }
}
