//! Help: keyboard shortcuts, states in pictures, and the glossary. Also `docs/glossary.md`.

mod glossary;

use galera::access::{Operation, check_permission};
use galera::publish::api::SessionView;
use galera::view::{NodeState, VerdictState};

use self::glossary::TERMS;
use crate::format::link;
use crate::marks::{node_mark, state_badge, verdict_description, verdict_mark};
use crate::markup::{El, el};

/// A term of the glossary.
pub(super) struct GlossaryTerm {
    pub name: &'static str,
    definition: &'static str,
}

impl GlossaryTerm {
    /// The id of the definition on the page.
    pub(super) fn anchor(&self) -> String {
        self.name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect()
    }
}

/// The terms in alphabetical order.
pub(super) fn terms() -> impl Iterator<Item = GlossaryTerm> {
    TERMS
        .into_iter()
        .map(|(name, definition)| GlossaryTerm { name, definition })
}

/// Keys, what they do, and what an account must be permitted for it; `app/browser/shortcuts.js` has the same keys.
const SHORTCUTS: [(&[&str], &str, Operation); 15] = [
    (
        &["Ctrl", "K"],
        "Search clusters, nodes, pages and terms",
        Operation::View,
    ),
    (&["/"], "Filter this page, or search", Operation::View),
    (&["?"], "Help", Operation::View),
    (&["g", "c"], "All clusters", Operation::View),
    (&["g", "a"], "Actions", Operation::View),
    (&["g", "i"], "Incidents", Operation::View),
    (&["g", "n"], "Notifications", Operation::ViewNotifications),
    (&["g", "u"], "Audit", Operation::View),
    (&["g", "s"], "Status pages", Operation::View),
    (&["g", "p"], "Account", Operation::View),
    (
        &["g", "o"],
        "Overview of the cluster that is shown",
        Operation::View,
    ),
    (&["g", "e"], "Its events", Operation::View),
    (&["g", "t"], "Its timeline", Operation::View),
    (&["g", "f"], "Its findings", Operation::View),
    (&["g", "r"], "Its recovery", Operation::View),
];

const VERDICTS: [(VerdictState, &str); 7] = [
    (
        VerdictState::Healthy,
        "One Primary component, and every expected member is Synced in it.",
    ),
    (
        VerdictState::Degraded,
        verdict_description(VerdictState::Degraded),
    ),
    (
        VerdictState::Unknown,
        "The console does not have enough current evidence for any other status. The cluster may or may not be healthy.",
    ),
    (
        VerdictState::NoPrimary,
        "Nodes run, but none is in a Primary component: no reads, no writes.",
    ),
    (VerdictState::Down, "No node runs."),
    (
        VerdictState::Diverged,
        "Nodes have different histories: some have transactions that others can never receive.",
    ),
    (
        VerdictState::SplitBrain,
        "Two components are Primary at the same time and may both accept writes.",
    ),
];

const STATES: [(NodeState, &str); 10] = [
    (
        NodeState::Synced,
        "Member of a Primary component with every transaction applied or queued.",
    ),
    (
        NodeState::Donor,
        "Sends a state transfer to another node, or is desynced on purpose (wsrep_desync).",
    ),
    (
        NodeState::Joined,
        "Has its state and applies what was committed since.",
    ),
    (NodeState::Joining, "Receives a state transfer."),
    (
        NodeState::Initialized,
        "Runs, but is in no Primary component.",
    ),
    (
        NodeState::Inconsistent,
        "Lost an inconsistency vote: its data differs, and it needs a full state transfer.",
    ),
    (
        NodeState::Stopped,
        "Its agent reports that the server is stopped.",
    ),
    (
        NodeState::Unreachable,
        "Neither the console nor any member reaches it. It may still run.",
    ),
    (NodeState::Absent, "Expected, but nothing is known of it."),
    (
        NodeState::Unknown,
        "It answers or is registered, but its state is not known.",
    ),
];

pub(super) fn page(session: &SessionView) -> El {
    let permitted = |(_, _, operation): &(_, _, Operation)| {
        check_permission(&session.roles, *operation).is_ok()
    };
    let keys = SHORTCUTS
        .into_iter()
        .filter(permitted)
        .map(|(keys, text, _)| {
            let keys = keys.iter().map(|key| el("kbd").child(*key));
            (el("span").child(keys.collect::<Vec<_>>()), text)
        });
    let verdicts = VERDICTS
        .into_iter()
        .map(|(state, text)| (state_badge(verdict_mark(state)), text));
    let states = STATES
        .into_iter()
        .map(|(state, text)| (state_badge(node_mark(state)), text));
    el("div")
        .class("page")
        .child(el("h1").child("Help"))
        .child(section("shortcuts", "Keyboard shortcuts", keys))
        .child(section("verdicts", "Statuses of a cluster", verdicts))
        .child(section("states", "States of a node", states))
        .child(glossary_section())
}

fn section(
    id: &'static str,
    heading: &'static str,
    entries: impl Iterator<Item = (El, &'static str)>,
) -> El {
    let entries = entries.flat_map(|(term, text)| [el("dt").child(term), el("dd").child(text)]);
    el("section")
        .attr("id", id)
        .child(el("h2").child(heading))
        .child(el("dl").class("terms").child(entries.collect::<Vec<_>>()))
}

fn glossary_section() -> El {
    let entries = terms().flat_map(|term| {
        [
            el("dt").attr("id", term.anchor()).child(term.name),
            el("dd").child(term.definition),
        ]
    });
    let manual = link(
        "https://galeracluster.com/library/documentation/".to_owned(),
        "manual of Galera Cluster",
    );
    el("section")
        .attr("id", "glossary")
        .child(el("h2").child("Glossary"))
        .child(el("dl").class("terms").child(entries.collect::<Vec<_>>()))
        .child(
            el("p")
                .class("quiet")
                .child("More in the ")
                .child(manual)
                .child("."),
        )
}

#[cfg(test)]
mod tests;
