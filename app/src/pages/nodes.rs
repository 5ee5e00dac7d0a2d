//! The table of a cluster's nodes.

use galera::Timestamp;
use galera::view::{ClusterView, NodeView, SourceKind, SourceView};

use super::{cell, data_table, row};
use crate::format::{
    ago, elapsed, lag_text, link, number, number_or_unknown, or_unknown, percent, quiet, rate, sub,
    unknown,
};
use crate::links::{cluster_label, node_href};
use crate::marks::{node_mark, state_badge};
use crate::markup::{Content, El, el};
use crate::sides::{mark_of, side_label, side_of};
use crate::sparkline::{max_rate, sparkline};

const COLUMNS: [&str; 9] = [
    "Node",
    "State",
    "Last committed",
    "Commits per second",
    "Receive queue",
    "Flow control",
    "SQL",
    "Registry",
    "Version",
];

pub(crate) fn node_table(view: &ClusterView, now: Option<Timestamp>) -> El {
    if view.nodes.is_empty() {
        return el("p")
            .class("quiet")
            .child("No known nodes: none are configured and none are registered.");
    }
    let highest = max_rate(view.nodes.iter().map(|node| node.recent_rates.as_slice()));
    let rows = view
        .nodes
        .iter()
        .map(|node| node_row(view, node, highest, now))
        .collect();
    data_table(
        "ledger nodes",
        ["Nodes of ", &cluster_label(&view.name)].concat(),
        &COLUMNS,
        rows,
    )
}

fn node_row(view: &ClusterView, node: &NodeView, highest: f64, now: Option<Timestamp>) -> El {
    let id = node.id.to_string();
    let href = node_href(&view.name, &node.id);
    let head: Content = match &node.name {
        Some(name) => [link(href, name.clone()), sub(id.clone())].into(),
        None => link(href, id.clone()).into(),
    };
    let line = sparkline(&node.recent_rates, highest, 88, 20);
    // Without a current rate the sparkline shows the past.
    let line = if node.commit_rate.is_some() {
        line
    } else {
        el("span").class("past").child(line)
    };
    let side = side_of(view, &node.id);
    let rates = [line, or_unknown(node.commit_rate.map(rate))];
    row(head)
        .attr("id", ["row-", &id].concat())
        .child(
            cell(COLUMNS[1], state_badge(mark_of(view, node)))
                .child(side.map(|side| sub(side_label(side))))
                .child(server_comment(node))
                .child(transfer_line(node))
                .child(node.unconfirmed.then(|| sub("unconfirmed"))),
        )
        .child(cell(COLUMNS[2], position_cell(node, side)).class("n"))
        .child(cell(COLUMNS[3], rates).class("n rate"))
        .child(cell(COLUMNS[4], number_or_unknown(node.recv_queue)).class("n"))
        .child(
            cell(
                COLUMNS[5],
                or_unknown(node.flow_control_paused.map(percent)),
            )
            .class("n"),
        )
        .child(cell(COLUMNS[6], source_cell(node, SourceKind::Sql, now)).class("source"))
        .child(cell(COLUMNS[7], source_cell(node, SourceKind::Registry, now)).class("source"))
        .child(cell(COLUMNS[8], or_unknown(node.version.clone())).class("version"))
}

/// The server's state comment, if it differs from our label.
fn server_comment(node: &NodeView) -> Option<El> {
    let comment = node.state_comment.as_ref()?;
    (comment != node_mark(node.state).label).then(|| sub(comment.clone()))
}

/// How far its state transfer is.
fn transfer_line(node: &NodeView) -> Option<El> {
    let transfer = node.transfer.as_ref()?;
    Some(sub(transfer.summary.clone()))
}

/// The sequence number and how far it is behind the most advanced member.
fn position_cell(node: &NodeView, side: Option<usize>) -> Content {
    let Some(position) = &node.position else {
        return unknown().into();
    };
    // Rival histories are not behind each other.
    let behind = node.behind.filter(|_| side.is_none()).map(|count| {
        let class = if count > 0 { "sub lags" } else { "sub" };
        el("span").class(class).child(lag_text(count))
    });
    let old = (!node.position_fresh).then(|| sub("last known"));
    [Some(number(position.seqno)), behind, old].into()
}

/// A source's last report, its age, and the current error.
fn source_cell(node: &NodeView, kind: SourceKind, now: Option<Timestamp>) -> Content {
    match node.sources.iter().find(|source| source.kind == kind) {
        Some(source) => [Some(last_report(source, now)), failure(source, now)].into(),
        None => quiet("no data").into(),
    }
}

/// The last report of a source and its age, marked if stale.
fn last_report(source: &SourceView, now: Option<Timestamp>) -> El {
    let Some(at) = source.observed_at else {
        return quiet(match source.kind {
            SourceKind::Sql => "no response yet",
            SourceKind::Registry => "not registered",
        });
    };
    let state = source.state.as_ref().or(source.phase.as_ref());
    let state = state.map_or("no state reported", String::as_str).to_owned();
    // What a failing source reported last may no longer hold.
    let state = if source.stale || source.error.is_some() {
        quiet(["was ", &state].concat())
    } else {
        el("span").child(state)
    };
    let stale = source
        .stale
        .then(|| el("span").class("stale-word").child("stale"));
    let when = sub(stale)
        .child(source.stale.then_some(" "))
        .child(ago(at, now));
    el("span").child(state).child(" ").child(when)
}

/// Why a source is failing and for how long.
fn failure(source: &SourceView, now: Option<Timestamp>) -> Option<El> {
    let error = source.error.clone()?;
    let text = el("span")
        .class("sub failure")
        .attr("title", error.clone())
        .child(error);
    Some(match source.failing_since {
        Some(at) => text.child(", failing ").child(elapsed(at, now)),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn row(view: &ClusterView, id: &str) -> String {
        let node = view
            .nodes
            .iter()
            .find(|node| node.id == fixtures::id(id))
            .unwrap();
        node_row(view, node, 20.0, Some(fixtures::fixed_now())).html()
    }

    #[test]
    fn a_synced_node_shows_both_sources_with_their_age() {
        let html = row(&fixtures::healthy("lab", 2_881), "127.0.0.1");
        for expected in [
            "n1",
            "127.0.0.1",
            "Synced",
            "2881",
            "up to date",
            "0.4 s ago",
            "2.0 s ago",
            "0 %",
            "10.11.19-MariaDB",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("stale"), "{html}");
    }

    #[test]
    fn an_unreachable_node_keeps_its_last_report_and_shows_the_error() {
        let html = row(&fixtures::state_transfer("lab", 90_000), "127.0.0.4");
        for expected in [
            "Unreachable",
            "<span class=\"quiet\">was Synced</span>",
            "last known",
            "stale",
            "3 min 5 s ago",
            "connection refused by 127.0.0.4:3306",
            "failing <span>for ",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }

    #[test]
    fn a_lagging_node_shows_its_lag() {
        let html = row(&fixtures::state_transfer("lab", 90_000), "127.0.0.3");
        assert!(
            html.contains("900 behind") && html.contains("Joining: receiving State Transfer"),
            "{html}"
        );
    }

    #[test]
    fn a_state_transfer_is_shown_in_one_line() {
        let mut view = fixtures::state_transfer("lab", 90_000);
        view.nodes[2].transfer = Some(fixtures::transfer());
        let html = row(&view, "127.0.0.3");
        let line = "SST from n2: 3.2 of about 40 GB, 110 MB/s, about 6 min left";
        assert!(html.contains(line), "{html}");
        let page = crate::pages::node::page(&view, "127.0.0.3", None).html();
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn an_absent_node_shows_no_values() {
        let html = row(&fixtures::no_primary("lab", 90_000), "127.0.0.3");
        for expected in ["Absent", "not known", "no response yet", "not registered"] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }

    #[test]
    fn escapes_untrusted_values_and_uses_no_inline_styles() {
        let mut view = fixtures::healthy("lab", 2_881);
        view.nodes[0].name = Some("<script>alert(1)</script>".to_owned());
        view.nodes[0].version = Some("\"><img src=x>".to_owned());
        view.nodes[0].sources[0].error = Some("<b>\" onmouseover=\"x</b>".to_owned());
        let html = row(&view, "127.0.0.1");
        assert!(
            !html.contains("<script") && !html.contains("<img") && !html.contains("<b>"),
            "{html}"
        );
        assert!(!html.contains("\" onmouseover=\"x"), "{html}");
        assert!(!html.contains(" style="), "{html}");
    }

    #[test]
    fn times_are_absolute_without_a_clock() {
        let view = fixtures::healthy("lab", 2_881);
        let html = node_row(&view, &view.nodes[0], 20.0, None).html();
        assert!(
            html.contains("2026-11-23 07:59:59 UTC") && !html.contains(" ago"),
            "{html}"
        );
    }
}
