//! The node page: every property with its source and age.

use galera::Timestamp;
use galera::publish::api::ProblemDetails;
use galera::view::{ClusterView, NodeView};
use leptos::prelude::*;

use super::cluster_header::registry_notice;
use super::node_facts::{fact_table, source_table};
use super::problem::problem_markup;
use crate::data;
use crate::format::{link, pluralize, quiet, rate};
use crate::links::{cluster_href, cluster_label, node_href, node_label};
use crate::live::LiveState;
use crate::marks::{glyph, node_mark, status_label, tone_class, verdict_mark};
use crate::markup::{Content, El, el};
use crate::sides::{is_overruled, mark_of, side_label, side_of};
use crate::sparkline::{max_rate, sparkline};

/// Window title of a node's page. The state comes first.
pub(crate) fn node_title(view: &ClusterView, id: &str) -> String {
    let verdict = view.verdict.state;
    match find_node(view, id) {
        Some(node) => [
            if is_overruled(verdict, node.state) {
                verdict_mark(verdict).label
            } else {
                node_mark(node.state).label
            },
            " · ",
            &node_label(node),
            " · ",
            &cluster_label(&view.name),
        ]
        .concat(),
        None => "Node not found".to_owned(),
    }
}

/// Everything that is known of the node in the URL.
pub(crate) fn node_details(live: LiveState) -> Option<El> {
    let view = live.cluster.get()?;
    let node = live.url.with(|url| url.node()).unwrap_or_default();
    Some(page(&view, &node, live.clock()))
}

pub(crate) fn find_node<'a>(view: &'a ClusterView, id: &str) -> Option<&'a NodeView> {
    view.nodes.iter().find(|node| node.id.to_string() == id)
}

pub(super) fn page(view: &ClusterView, id: &str, now: Option<Timestamp>) -> El {
    let page = el("div").class("page");
    let Some(node) = find_node(view, id) else {
        return page.child(problem_markup(&unknown_node(view, id)));
    };
    let section = |heading: &'static str, content: Content| {
        el("section").child(el("h2").child(heading)).child(content)
    };
    page.child(node_header(view, node))
        .child(registry_notice(&view.registry, now))
        .child(siblings(view, node))
        .child(
            el("div")
                .class("columns")
                .child(section("Sources", source_table(node, now).into()))
                .child(section("Properties", fact_table(node, now).into())),
        )
        .child(section("Commits per second", rate_chart(node).into()))
}

fn unknown_node(view: &ClusterView, id: &str) -> ProblemDetails {
    let detail = [
        "The cluster ",
        &cluster_label(&view.name),
        " has no node ",
        id,
        ". It may have been removed, or the address is mistyped.",
    ];
    ProblemDetails {
        status: 404,
        ..data::local_problem("unknown_node", "Node not found", &detail.concat())
    }
}

fn node_header(view: &ClusterView, node: &NodeView) -> El {
    let mark = mark_of(view, node);
    let status = node
        .cluster_status
        .map(|status| ["in a ", status_label(status), " component"].concat());
    let expected = if node.expected {
        "expected member"
    } else {
        "not an expected member"
    };
    let comment = node
        .state_comment
        .clone()
        .filter(|comment| comment != mark.label);
    let remarks = [
        Some(node.id.to_string()),
        side_of(view, &node.id).map(|side| side_label(side).to_owned()),
        comment,
        node.transfer
            .as_ref()
            .map(|transfer| transfer.summary.clone()),
        status,
        Some(expected.to_owned()),
    ];
    let remarks: Vec<String> = remarks.into_iter().flatten().collect();
    let verdict = el("p")
        .class(tone_class("verdict", mark))
        .child(el("span").class("word").child(mark.label))
        .child(glyph(mark));
    let line = el("div")
        .class("name-and-verdict")
        .child(el("h1").child(node_label(node)))
        .child(verdict);
    el("div")
        .class("head")
        .child(line.child(el("p").class("quiet").child(remarks.join(" · "))))
}

/// Navigation to the other nodes of the cluster.
fn siblings(view: &ClusterView, here: &NodeView) -> El {
    let sibling = |node: &NodeView| {
        let current = (node.id == here.id).then_some("page");
        el("li").child(
            link(node_href(&view.name, &node.id), node_label(node))
                .optional_attr("aria-current", current),
        )
    };
    let list = el("ul").child(el("li").child(link(cluster_href(&view.name), "All nodes")));
    let list = list.child(view.nodes.iter().map(sibling).collect::<Vec<_>>());
    el("nav")
        .class("tabs")
        .attr("aria-label", "Nodes of the cluster")
        .child(list)
}

fn rate_chart(node: &NodeView) -> El {
    if node.recent_rates.is_empty() {
        return el("p")
            .class("quiet")
            .child("No commit rate yet; it takes two SQL polls.");
    }
    let highest = max_rate(std::iter::once(node.recent_rates.as_slice()));
    let current = node.commit_rate.map_or_else(
        || "no current rate".to_owned(),
        |current| [&rate(current), "/s now"].concat(),
    );
    let text = [
        &current,
        "; peak ",
        &rate(highest),
        "/s over the last ",
        &pluralize(node.recent_rates.len(), "poll"),
    ]
    .concat();
    el("p")
        .class("rates")
        .child(sparkline(&node.recent_rates, highest, 480, 64))
        .child(quiet(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn shows_both_sources_side_by_side() {
        let html = page(
            &fixtures::state_transfer("lab", 90_000),
            "127.0.0.3",
            Some(fixtures::fixed_now()),
        )
        .html();
        for expected in [
            "Joining",
            "SQL (console probe)".replace("&#39;", "'").as_str(),
            "Registry (node registration)",
            "89100",
            "89080",
            "900 transactions",
            "0.4 s ago",
            "2.0 s ago",
            fixtures::UUID,
        ] {
            let plain = html.replace("</span><span>", "");
            assert!(plain.contains(expected), "{expected} in {html}");
        }
    }

    #[test]
    fn a_node_of_a_split_brain_has_the_mark_of_its_side() {
        let view = fixtures::split_brain("lab", 90_000);
        let header = |view: &ClusterView, id: &str| {
            let html = page(view, id, Some(fixtures::fixed_now())).html();
            html.split("<nav").next().unwrap().to_owned()
        };
        let (one, other) = (header(&view, "127.0.0.1"), header(&view, "127.0.0.3"));
        assert!(
            one.contains("verdict t-bad") && one.contains("side A"),
            "{one}"
        );
        assert!(
            other.contains("verdict t-rival") && other.contains("side B"),
            "{other}"
        );
        assert_eq!(node_title(&view, "127.0.0.1"), "Split brain · n1 · lab");
        let mut view = fixtures::healthy("lab", 90_000);
        assert_eq!(node_title(&view, "127.0.0.1"), "Synced · n1 · lab");
        assert!(header(&view, "127.0.0.1").contains("verdict t-ok"));
        view.verdict.state = galera::view::VerdictState::Diverged;
        assert_eq!(node_title(&view, "127.0.0.1"), "Diverged · n1 · lab");
        assert!(header(&view, "127.0.0.1").contains("verdict t-bad"));
    }

    #[test]
    fn reports_an_unknown_node_by_id() {
        let html = page(&fixtures::healthy("lab", 90_000), "<b>", None).html();
        assert!(html.contains("has no node &lt;b&gt;."), "{html}");
    }
}
