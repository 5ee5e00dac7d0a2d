//! The overview: one row per cluster, worst first.

use galera::Timestamp;
use galera::view::{ClusterSummary, LabelMap, NodeState, VerdictState, label_texts};
use leptos::prelude::*;

use super::{cell, data_table};
use crate::format::{
    elapsed, link, number_or_unknown, or_unknown, pluralize, rate, sub, visually_hidden,
};
use crate::links::{cluster_href, cluster_label};
use crate::live::LiveState;
use crate::marks::{glyph, node_mark, state_badge, tone_class, verdict_mark};
use crate::markup::{Content, El, el};
use crate::overview_window::{OverviewSelection, OverviewWindow, PAGE_ROWS};
use crate::sides::mark_under;

/// Labels of a cluster that its row shows; its page has all of them.
const MARKS_MAX: usize = 5;
const COLUMNS: [&str; 7] = [
    "Cluster",
    "Status",
    "Reason",
    "Synced",
    "Last committed",
    "Commits per second",
    "Nodes",
];

/// Heading and counts.
pub(crate) fn overview_head(live: LiveState) -> Option<El> {
    let window = live.overview.get()?;
    Some(head(&window, &live.url.with(OverviewSelection::of)))
}

/// The selected clusters.
pub(crate) fn overview_table(live: LiveState) -> Option<El> {
    let window = live.overview.get()?;
    let selection = live.url.with(OverviewSelection::of);
    Some(table(&window, &selection, live.clock()))
}

/// Window title.
pub(crate) fn overview_title(window: &OverviewWindow) -> String {
    let total = window.total();
    match (total, total - window.count(VerdictState::Healthy)) {
        (0, _) => "No clusters".to_owned(),
        (_, 0) => "All healthy".to_owned(),
        (all, some) => [
            &some.to_string(),
            " of ",
            &pluralize(all, "cluster"),
            " not healthy",
        ]
        .concat(),
    }
}

/// Heading and counts.
fn head(window: &OverviewWindow, selection: &OverviewSelection) -> El {
    let clusters = window.total();
    el("div")
        .class("page")
        .child(el("h1").child("Clusters"))
        .child(registry_notice(window))
        .child((clusters > 0).then(|| tally(window, selection)))
}

fn table(window: &OverviewWindow, selection: &OverviewSelection, now: Option<Timestamp>) -> El {
    let rows: Vec<El> = window
        .clusters
        .iter()
        .map(|cluster| cluster_row(cluster, selection, now))
        .collect();
    let table =
        (!rows.is_empty()).then(|| data_table("ledger clusters", "Clusters", &COLUMNS, rows));
    // Without any cluster the served part shows the first steps.
    let none = table.is_none() && window.total() > 0;
    el("div")
        .class("page")
        .child(table)
        .child(none.then(|| el("p").class("quiet").child("No matching clusters.")))
        .child((window.matched > PAGE_ROWS).then(|| page_links(window, selection)))
}

/// Where the rows are among the matching ones, and the way to the others.
fn page_links(window: &OverviewWindow, selection: &OverviewSelection) -> El {
    let from = selection.from();
    let position = [
        &(from + 1).to_string(),
        "–",
        &(from + window.clusters.len()).to_string(),
        " of ",
        &window.matched.to_string(),
    ]
    .concat();
    let entry = |page: usize, label: &'static str| {
        el("li").child(link(selection.with("page", &page.to_string()), label))
    };
    let previous = (from > 0).then(|| entry(selection.page - 1, "Previous"));
    let next = (from + PAGE_ROWS < window.matched).then(|| entry(selection.page + 1, "Next"));
    el("nav")
        .class("tabs")
        .attr("aria-label", "Pages of the table")
        .child(
            el("ul")
                .child(el("li").class("quiet").child(position))
                .child(previous)
                .child(next),
        )
}

/// Number of clusters per verdict, worst first. Each is a filter.
fn tally(window: &OverviewWindow, selection: &OverviewSelection) -> El {
    let entry = |verdict: Option<VerdictState>| {
        let count = verdict.map_or_else(|| window.total(), |verdict| window.count(verdict));
        let (name, label) = match verdict {
            Some(verdict) => (verdict.as_str(), state_badge(verdict_mark(verdict))),
            None => ("", el("span").child("All")),
        };
        let here = (selection.verdict == verdict).then_some("true");
        let link = link(selection.with("verdict", name), count.to_string())
            .optional_attr("aria-current", here)
            .child(" ")
            .child(label);
        (count > 0).then(|| el("li").child(link))
    };
    let verdicts = VerdictState::ALL.into_iter().rev().map(Some);
    let entries: Vec<_> = [None].into_iter().chain(verdicts).map(entry).collect();
    el("ul").class("tally").child(entries)
}

/// The console's other notices are on every page.
fn registry_notice(window: &OverviewWindow) -> Option<El> {
    let blind = window
        .clusters
        .iter()
        .any(|cluster| !cluster.registry_reachable);
    let text = "Registry unreachable; SQL monitoring continues.";
    blind.then(|| el("p").class("notice").child(text))
}

fn cluster_row(
    cluster: &ClusterSummary,
    selection: &OverviewSelection,
    now: Option<Timestamp>,
) -> El {
    let verdict = cluster.verdict.state;
    let since = sub(elapsed(cluster.verdict.since, now));
    // Nothing of two rival components adds up.
    let torn = verdict == VerdictState::SplitBrain;
    let synced = (!torn).then(|| {
        [
            &cluster.synced.to_string(),
            " / ",
            &cluster.expected.to_string(),
        ]
        .concat()
    });
    let position = cluster.position.as_ref().filter(|_| !torn);
    let seqno = number_or_unknown(position.map(|position| position.seqno));
    let commits = cluster.commit_rate.filter(|_| !torn).map(rate);
    let id = ["row-", cluster.name.as_str()].concat();
    let name: Content = [
        Some(link(
            cluster_href(&cluster.name),
            cluster_label(&cluster.name),
        )),
        label_marks(&cluster.labels, selection),
    ]
    .into();
    super::row(name)
        .attr("id", id)
        .child(cell(COLUMNS[1], state_badge(verdict_mark(verdict))).child(since))
        .child(cell(COLUMNS[2], reason_cell(cluster)).class("why"))
        .child(cell(COLUMNS[3], or_unknown(synced)).class("n"))
        .child(cell(COLUMNS[4], seqno).class("n"))
        .child(cell(COLUMNS[5], or_unknown(commits)).class("n"))
        .child(cell(COLUMNS[6], node_strip(cluster)))
}

fn reason_cell(cluster: &ClusterSummary) -> Content {
    let reasons = &cluster.verdict.reasons;
    let first = reasons
        .first()
        .map(|reason| el("span").child(reason.message.clone()));
    [first, and_more(reasons.len(), 1)].into()
}

/// How many of `count` are not shown.
fn and_more(count: usize, shown: usize) -> Option<El> {
    let more = count.saturating_sub(shown);
    (more > 0).then(|| sub(["and ", &more.to_string(), " more"].concat()))
}

/// The first labels of a cluster, each a link to the clusters of the selection that have it.
fn label_marks(labels: &LabelMap, selection: &OverviewSelection) -> Option<El> {
    (!labels.is_empty()).then(|| {
        let mut marks = el("span").class("sub strip");
        for label in label_texts(labels).take(MARKS_MAX) {
            marks = marks.child(link(selection.with("label", &label), label).class("quiet"));
        }
        marks.child(and_more(labels.len(), MARKS_MAX))
    })
}

/// One shape per node, and the number of nodes per state.
fn node_strip(cluster: &ClusterSummary) -> Content {
    let shape = |node: &galera::view::NodeSummary| {
        let mark = mark_under(cluster.verdict.state, node.state);
        let name = node.name.clone().unwrap_or_else(|| node.id.to_string());
        let label = [&name, ": ", mark.label].concat();
        let item = el("li").class(tone_class("node", mark));
        item.attr("title", label.clone())
            .child(glyph(mark))
            .child(visually_hidden(label))
    };
    let count = |state: NodeState| {
        let count = cluster
            .nodes
            .iter()
            .filter(|node| node.state == state)
            .count();
        (count > 0).then(|| [&count.to_string(), " ", node_mark(state).label].concat())
    };
    let counts: Vec<String> = NodeState::ALL.into_iter().filter_map(count).collect();
    [
        el("ul")
            .class("strip")
            .child(cluster.nodes.iter().map(shape).collect::<Vec<_>>()),
        sub(counts.join(", ")).attr("aria-hidden", "true"),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_cluster_is_summarized_in_one_row() {
        let summary = fixtures::state_transfer("lab", 90_000).summary();
        let selection = OverviewSelection::default();
        let html = cluster_row(&summary, &selection, Some(fixtures::fixed_now())).html();
        assert!(!html.contains("Labels"), "{html}");
        for expected in [
            "Degraded",
            "127.0.0.4 is unreachable",
            "and 2 more",
            "1 / 4",
            "n4: Unreachable",
            "1 Synced, 1 Donor",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }

    #[test]
    fn the_nodes_of_a_split_brain_are_not_green() {
        let selection = OverviewSelection::default();
        let row = |view: &galera::view::ClusterView| {
            cluster_row(&view.summary(), &selection, Some(fixtures::fixed_now())).html()
        };
        let mut view = fixtures::split_brain("lab", 90_000);
        assert!(row(&view).contains("n1: Synced") && !row(&view).contains("t-ok"));
        view.verdict.state = VerdictState::Diverged;
        assert!(row(&view).contains("n1: Synced") && !row(&view).contains("t-ok"));
        assert!(row(&fixtures::healthy("lab", 90_000)).contains("node t-ok"));
    }

    #[test]
    fn labels_are_marks_that_keep_the_selection() {
        let mut summary = fixtures::healthy("lab", 1_000).summary();
        let mut add = |key: &str, value: &str| {
            summary.labels.insert(key.to_owned(), value.to_owned());
        };
        add("env", "production");
        // Settings permit none of these, but the texts come from the server.
        add("a", "<b onclick=x>&\"");
        add("b", "ראשי\u{202e}");
        let selection = OverviewSelection::of(&crate::page_url::PageUrl {
            path: "/".to_owned(),
            query: "q=la&verdict=healthy&sort=name&page=3&label=team%3Dweb".to_owned(),
        });
        let shown = |summary: &ClusterSummary| cluster_row(summary, &selection, None).html();
        let html = shown(&summary);
        for expected in [
            "href=\"/?q=la&amp;label=env%3Dproduction&amp;verdict=healthy&amp;sort=name\"",
            ">env=production</a>",
            ">a=&lt;b onclick=x&gt;&amp;&quot;</a>",
            "label=a%3D%3Cb%20onclick%3Dx%3E%26%22&amp;",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("more"), "{html}");
        for index in 0..20 {
            summary.labels.insert(format!("k{index}"), "v".repeat(63));
        }
        let html = shown(&summary);
        assert_eq!(html.matches(" class=\"quiet\">").count(), MARKS_MAX);
        assert!(html.contains("and 18 more"), "{html}");
    }

    #[test]
    fn the_title_counts_unhealthy_clusters() {
        let of = |views: &[galera::view::ClusterView]| {
            let clusters = views
                .iter()
                .map(galera::view::ClusterView::summary)
                .collect();
            let overview = galera::publish::api::Overview {
                clusters,
                notices: Vec::new(),
            };
            overview_title(&OverviewWindow::of(
                &overview,
                &OverviewSelection::default(),
            ))
        };
        assert_eq!(of(&[]), "No clusters");
        assert_eq!(of(&[fixtures::healthy("a", 1_000)]), "All healthy");
        assert_eq!(
            of(&[
                fixtures::healthy("a", 1_000),
                fixtures::split_brain("b", 1_000)
            ]),
            "1 of 2 clusters not healthy"
        );
    }
}
