//! The stop check of a cluster: which nodes to stop, and what that would do.

use galera::insight::stop_check::{StopAnswer, StopCheck, StopEffect, stop_check};
use galera::view::{ClusterView, NodeView};
use galera::{NodeId, Timestamp};

use super::api_client::PageQuery;
use crate::format::{or_unknown, ticking_age};
use crate::marks::{StateMark, check_mark, state_badge};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};
use crate::sides::mark_of;

const COLUMNS: [&str; 4] = ["Node", "State", "Votes", "Segment"];

pub(super) fn page(view: &ClusterView, query: &PageQuery, now: Timestamp) -> El {
    let (selected, unknown): (Vec<_>, Vec<_>) = query
        .all("node")
        .map(|text| {
            view.node_named(text)
                .map(|node| node.id.clone())
                .ok_or(text)
        })
        .partition(Result::is_ok);
    let selected: Vec<NodeId> = selected.into_iter().flatten().collect();
    let unknown = unknown.into_iter().filter_map(Result::err).map(|text| {
        let shown: String = text.chars().take(80).collect();
        let text = format!("{} has no node {shown:?}; it is left out.", view.name);
        el("p").class("notice").child(text)
    });
    let answer = (!selected.is_empty()).then(|| answer(&stop_check(view, &selected), now));
    let intro =
        "What a clean shutdown of all selected nodes together would do now. Nothing is changed.";
    el("div")
        .class("page")
        .child(el("h2").child("Can these nodes be stopped?"))
        .child(el("p").class("quiet").child(intro))
        .child(unknown.collect::<Vec<_>>())
        .child(answer)
        .child(form(view, &selected))
}

fn form(view: &ClusterView, selected: &[NodeId]) -> El {
    let rows = view.nodes.iter().map(|node| node_row(view, node, selected));
    el("form")
        .class("sheet wide")
        .attr("method", "get")
        .child(data_table("ledger", "Nodes", &COLUMNS, rows.collect()))
        .child(
            el("p").class("act").child(
                el("button")
                    .attr("type", "submit")
                    .class("main")
                    .child("Check"),
            ),
        )
}

fn node_row(view: &ClusterView, node: &NodeView, selected: &[NodeId]) -> El {
    let id = node.id.to_string();
    let input = el("input")
        .attr("type", "checkbox")
        .attr("name", "node")
        .attr("value", id.clone())
        .optional_attr("checked", selected.contains(&node.id).then_some(""));
    let label = el("label")
        .class("tick")
        .child(input)
        .child(" ")
        .child(node.label());
    let votes = node.votes.map(|votes| votes.to_string());
    let segment = node.segment.map(|segment| segment.to_string());
    row(label)
        .child(cell(COLUMNS[1], state_badge(mark_of(view, node))))
        .child(cell(COLUMNS[2], or_unknown(votes)))
        .child(cell(COLUMNS[3], or_unknown(segment)))
}

fn answer(check: &StopCheck, now: Timestamp) -> El {
    let (word, status) = match check.answer {
        StopAnswer::Yes => ("Yes", galera::recover::plan::CheckStatus::Pass),
        StopAnswer::CannotTell => ("Cannot tell", galera::recover::plan::CheckStatus::Unknown),
        StopAnswer::No => ("No", galera::recover::plan::CheckStatus::Fail),
    };
    let mark = StateMark {
        label: word,
        ..check_mark(status)
    };
    let summary = check.summary.strip_prefix(word).unwrap_or(&check.summary);
    let summary = summary.trim_start_matches(['.', ' ']).to_owned();
    let findings = check.findings.iter().map(|finding| {
        let effect = match finding.effect {
            StopEffect::Blocks => "Blocks",
            StopEffect::Unknown => "Unknown",
            StopEffect::Notice => "Note",
        };
        el("li")
            .child(el("strong").child(effect))
            .child(format!(": {}", finding.message))
    });
    let returns = check
        .returns
        .iter()
        .map(|forecast| el("li").child(forecast.message.clone()));
    el("section")
        .class("answer")
        .attr("aria-live", "polite")
        .child(el("h3").child(state_badge(mark)))
        .child(el("p").child(summary))
        .child(list("Before you stop them", findings.collect()))
        .child(list("How they return", returns.collect()))
        .child(
            el("p")
                .class("quiet")
                .child("As of ")
                .child(ticking_age(check.observed_at, now))
                .child(". A clean shutdown (SIGTERM) is assumed, not a kill (SIGKILL)."),
        )
}

fn list(title: &'static str, items: Vec<El>) -> Content {
    (!items.is_empty())
        .then(|| {
            el("div")
                .child(el("h4").child(title))
                .child(el("ul").class("reasons").child(items))
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn html(query: &str) -> String {
        let uri = format!("/clusters/lab/stop-check?{query}").parse().unwrap();
        let view = fixtures::healthy("lab", 90_000);
        page(&view, &PageQuery::from_uri(&uri), fixtures::fixed_now()).html()
    }

    #[test]
    fn nodes_are_selected_by_id_or_name_and_stay_selected() {
        assert!(!html("").contains("class=\"answer\""));
        for query in ["node=127.0.0.1", "node=n1"] {
            let html = html(query);
            assert!(html.contains("class=\"answer\""), "{html}");
            assert_eq!(html.matches(" checked=").count(), 1, "{html}");
        }
        assert_eq!(html("node=n1&node=n2").matches(" checked=").count(), 2);
    }

    #[test]
    fn nodes_of_a_split_brain_are_not_green() {
        let form = form(&fixtures::split_brain("lab", 90_000), &[]).html();
        assert!(
            form.contains("state t-bad") && form.contains("state t-rival"),
            "{form}"
        );
        assert!(!form.contains("t-ok"), "{form}");
    }

    #[test]
    fn an_unknown_node_is_named_and_escaped() {
        let html = html("node=%3Cb%3E");
        assert!(
            html.contains("has no node &quot;&lt;b&gt;&quot;")
                || html.contains("has no node \"&lt;b&gt;\""),
            "{html}"
        );
        assert!(!html.contains("class=\"answer\""), "{html}");
    }
}
