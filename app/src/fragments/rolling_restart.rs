//! A rolling restart: how far it is, and which member is next.

use galera::Timestamp;
use galera::insight::rolling_restart::{RestartState, RestartStep, RollingRestart};
use galera::view::ClusterView;

use super::findings::node_link;
use super::widgets::{post_form, primary_button};
use crate::data::encode_segment;
use crate::format::{link, number_or_unknown, ticking_age, time_element, unknown};
use crate::marks::{restart_mark, state_badge};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 5] = [
    "Node",
    "Progress",
    "Server started",
    "Client connections",
    "Note",
];

/// The page of `view`'s cluster; `restart` is the one that the address names.
pub(super) fn page(view: &ClusterView, restart: Option<&RollingRestart>, now: Timestamp) -> El {
    let page = el("div")
        .class("page")
        .child(el("h2").child("Rolling restart"));
    match restart {
        None => page.child(beginning(view)),
        Some(restart) => page.child(progress(view, restart, now)),
    }
}

fn path_of(view: &ClusterView, page: &str) -> String {
    format!("/clusters/{}/{page}", encode_segment(view.name.as_str()))
}

fn beginning(view: &ClusterView) -> Vec<El> {
    let intro = "Restart the members one after the other, for an upgrade or a changed configuration. This page names the \
                 next one once all others are Synced and the stop check allows it; restart it yourself. The console changes \
                 nothing.";
    let kept = "When it began is part of the address: bookmark or share it to continue later.";
    vec![
        el("p").child(intro),
        el("p").class("quiet").child(kept),
        post_form(path_of(view, "rolling-restart"))
            .child(primary_button("Begin restart".to_owned(), None)),
        el("p").child(link(
            path_of(view, "stop-check"),
            "Check what stopping other nodes would do",
        )),
    ]
}

fn progress(view: &ClusterView, restart: &RollingRestart, now: Timestamp) -> Vec<El> {
    let done = restart
        .steps
        .iter()
        .filter(|step| step.state == RestartState::Restarted)
        .count();
    let current = restart
        .steps
        .iter()
        .find(|step| !matches!(step.state, RestartState::Restarted | RestartState::Later));
    let headline = match (restart.complete, current) {
        (true, _) => "Complete: every member was restarted and is Synced.".to_owned(),
        (false, Some(step)) => step.message.clone(),
        (false, None) => {
            "No member is expected: configure the members of the cluster, or admit a registered node."
                .to_owned()
        }
    };
    let rows = restart.steps.iter().map(|step| {
        // The headline is its message.
        let is_current = current.is_some_and(|current| current.node == step.node);
        step_row(view, step, is_current, now)
    });
    let count = format!("{done} of {} restarted since ", restart.steps.len());
    let again = link(path_of(view, "rolling-restart"), "Begin another restart");
    vec![
        el("section")
            .class("answer")
            .attr("aria-live", "polite")
            .child(el("h3").class("headline").child(headline))
            .child(
                el("p")
                    .child(count)
                    .child(time_element(restart.since, None, ""))
                    .child("."),
            ),
        data_table("ledger restart", "Members", &COLUMNS, rows.collect()),
        el("p")
            .class("quiet")
            .child("As of ")
            .child(ticking_age(restart.observed_at, now))
            .child(". Restart servers by a clean shutdown (SIGTERM), never by a kill (SIGKILL)."),
        el("p").child(again),
    ]
}

fn step_row(view: &ClusterView, step: &RestartStep, is_current: bool, now: Timestamp) -> El {
    let started = step
        .started_at
        .map_or_else(unknown, |at| ticking_age(at, now));
    // What the word beside it says already.
    let is_plain = matches!(step.state, RestartState::Restarted | RestartState::Later);
    let message = (!is_current && !is_plain).then_some(&step.message);
    let findings = step.stop_check.iter().flat_map(|check| &check.findings);
    let node = view.nodes.iter().find(|node| node.id == step.node);
    let transfer = node.and_then(|node| node.transfer.as_ref());
    let notes: Vec<El> = message
        .into_iter()
        .chain(transfer.map(|transfer| &transfer.summary))
        .chain(findings.map(|finding| &finding.message))
        .map(|note| el("p").child(note.clone()))
        .collect();
    row(node_link(view, &step.node))
        .child(cell(COLUMNS[1], state_badge(restart_mark(step.state))))
        .child(cell(COLUMNS[2], started))
        .child(cell(COLUMNS[3], number_or_unknown(step.connections)).class("n"))
        .child(cell(COLUMNS[4], Content::from(notes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn step(view: &ClusterView, index: usize, state: RestartState, message: &str) -> RestartStep {
        RestartStep {
            node: view.nodes[index].id.clone(),
            state,
            started_at: Some(fixtures::fixed_now()),
            connections: Some(7),
            message: message.to_owned(),
            stop_check: None,
        }
    }

    fn html(restart: impl Fn(&ClusterView) -> Option<RollingRestart>) -> String {
        let view = fixtures::healthy("lab", 90_000);
        page(&view, restart(&view).as_ref(), fixtures::fixed_now()).html()
    }

    #[test]
    fn only_a_form_begins_a_restart() {
        let html = html(|_| None);
        assert!(html.contains("method=\"post\""), "{html}");
        assert!(!html.contains("since="), "{html}");
    }

    #[test]
    fn the_headline_is_not_repeated_in_the_table() {
        let restart = |view: &ClusterView| RollingRestart {
            cluster: view.name.clone(),
            since: view.observed_at,
            observed_at: view.observed_at,
            complete: false,
            steps: vec![
                step(view, 0, RestartState::Restarted, "n1 was restarted."),
                step(view, 1, RestartState::Next, "Restart n2 now."),
                step(view, 2, RestartState::Later, "n3 has not been restarted."),
            ],
        };
        let html = html(|view| Some(restart(view)));
        assert_eq!(html.matches("Restart n2 now.").count(), 1, "{html}");
        for expected in [
            "1 of 3 restarted",
            ">n2</a>",
            "Next<svg",
            "data-label=\"Note\"",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }
}
