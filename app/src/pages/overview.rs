//! The overview: one row per cluster, worst first.

use std::sync::Arc;

use galera::publish::api::Overview;
use galera::view::{ClusterSummary, NodeState, VerdictState};
use galera::{ClusterName, Timestamp};
use leptos::prelude::*;

use super::cluster_header::cluster_href;
use super::{cell, data_table};
use crate::format::{
    code, elapsed, link, number_or_unknown, or_unknown, pluralize, rate, sub, visually_hidden,
};
use crate::live::{LiveState, use_live};
use crate::marks::{glyph, node_mark, state_badge, tone_class, verdict_mark};
use crate::markup::{Content, El, el};
use crate::reactive::{dynamic_view, effect, join_views, load, loaded_page, page_title};

const COLUMNS: [&str; 7] = [
    "Cluster",
    "Status",
    "Reason",
    "Synced",
    "Last committed",
    "Commits per second",
    "Nodes",
];

pub(crate) fn overview_page() -> AnyView {
    let state = use_live();
    let overview = load(|| "/api/v1/clusters".to_owned());
    loaded_page(overview, move |overview| content(state, overview))
}

fn content(state: LiveState, overview: Overview) -> AnyView {
    let shown = RwSignal::new(Arc::new(overview));
    effect(move || {
        if let Some(overview) = state.overview.get() {
            shown.set(overview);
        }
    });
    announce_verdicts(state, shown);
    join_views(vec![
        page_title(move || title_text(&shown.read())),
        dynamic_view(move || page(&shown.read(), state.now.get())),
    ])
}

/// Announces changed verdicts to screen readers.
fn announce_verdicts(live: LiveState, shown: RwSignal<Arc<Overview>>) {
    let mut before: Option<Vec<(ClusterName, VerdictState)>> = None;
    effect(move || {
        let overview = shown.read();
        let verdicts = overview
            .clusters
            .iter()
            .map(|c| (c.name.clone(), c.verdict.state))
            .collect();
        let before = before.replace(verdicts);
        let changed = |name: &ClusterName, verdict: VerdictState| {
            before
                .as_ref()
                .is_some_and(|before| !before.iter().any(|(n, v)| n == name && *v == verdict))
        };
        let news: Vec<String> = overview
            .clusters
            .iter()
            .filter(|c| changed(&c.name, c.verdict.state))
            .map(|c| [c.name.as_str(), " is ", verdict_mark(c.verdict.state).label].concat())
            .collect();
        if !news.is_empty() {
            live.status_message.set(news.join(". "));
        }
    });
}

fn title_text(overview: &Overview) -> String {
    let unhealthy = overview
        .clusters
        .iter()
        .filter(|c| c.verdict.state != VerdictState::Healthy)
        .count();
    match (overview.clusters.len(), unhealthy) {
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

fn page(overview: &Overview, now: Option<Timestamp>) -> El {
    let page = el("div")
        .class("page")
        .child(el("h1").child("Clusters"))
        .child(registry_notice(overview));
    if overview.clusters.is_empty() {
        return page.child(empty_state());
    }
    let rows = overview
        .clusters
        .iter()
        .map(|cluster| cluster_row(cluster, now))
        .collect();
    page.child(tally(overview)).child(data_table(
        "ledger clusters",
        "Clusters, worst status first",
        &COLUMNS,
        rows,
    ))
}

/// Number of clusters per verdict, worst first.
fn tally(overview: &Overview) -> El {
    let entry = |verdict: VerdictState| {
        let count = overview
            .clusters
            .iter()
            .filter(|c| c.verdict.state == verdict)
            .count();
        (count > 0).then(|| {
            el("li")
                .child(count.to_string())
                .child(" ")
                .child(state_badge(verdict_mark(verdict)))
        })
    };
    el("ul").class("tally").child(
        VerdictState::ALL
            .into_iter()
            .rev()
            .map(entry)
            .collect::<Vec<_>>(),
    )
}

/// The console's other notices are on every page.
fn registry_notice(overview: &Overview) -> Option<El> {
    let blind = overview
        .clusters
        .iter()
        .any(|cluster| !cluster.registry_reachable);
    let text = "Registry unreachable; SQL monitoring continues.";
    blind.then(|| el("p").class("notice").child(text))
}

fn cluster_row(cluster: &ClusterSummary, now: Option<Timestamp>) -> El {
    let verdict = cluster.verdict.state;
    let since = sub(elapsed(cluster.verdict.since, now));
    let synced = [
        &cluster.synced.to_string(),
        " / ",
        &cluster.expected.to_string(),
    ]
    .concat();
    let seqno = number_or_unknown(cluster.position.as_ref().map(|position| position.seqno));
    let name = cluster.name.as_str().to_owned();
    super::row(name.clone(), link(cluster_href(&cluster.name), name))
        .child(cell(COLUMNS[1], state_badge(verdict_mark(verdict))).child(since))
        .child(cell(COLUMNS[2], reason_cell(cluster)).class("why"))
        .child(cell(COLUMNS[3], synced).class("n"))
        .child(cell(COLUMNS[4], seqno).class("n"))
        .child(cell(COLUMNS[5], or_unknown(cluster.commit_rate.map(rate))).class("n"))
        .child(cell(COLUMNS[6], node_strip(cluster)))
}

fn reason_cell(cluster: &ClusterSummary) -> Content {
    let reasons = &cluster.verdict.reasons;
    let first = reasons
        .first()
        .map(|reason| el("span").child(reason.message.clone()));
    let more = reasons.len().saturating_sub(1);
    let more = (more > 0).then(|| sub(["and ", &more.to_string(), " more"].concat()));
    [first, more].into()
}

/// One shape per node, and the number of nodes per state.
fn node_strip(cluster: &ClusterSummary) -> Content {
    let shape = |node: &galera::view::NodeSummary| {
        let mark = node_mark(node.state);
        let name = node.name.clone().unwrap_or_else(|| node.id.to_string());
        let label = [&name, ": ", mark.label].concat();
        let item = el("li")
            .key(node.id.to_string())
            .class(tone_class("node", mark));
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

/// Shown while there are no clusters: how to add some.
fn empty_state() -> El {
    let registry = el("dd")
        .child("Clusters are discovered from keys under the registry prefix in etcd (")
        .child(code("--registry-prefix"))
        .child(", default ")
        .child(code("/galera"))
        .child("). Run ")
        .child(code("galera-agent report"))
        .child(" next to each node, with the same etcd in ")
        .child(code("DISCOVERY_SERVICE"))
        .child(" and the cluster name in ")
        .child(code("CLUSTER_NAME"))
        .child(".");
    let configuration = el("dd")
        .child("Start the console with ")
        .child(code("--cluster NAME=HOST,HOST,HOST"))
        .child(". This also pins the expected members.");
    el("section")
        .class("empty")
        .child(el("h2").child("No clusters found yet"))
        .child(el("p").child(
            "There are two ways to add clusters. Either way they appear here automatically.",
        ))
        .child(
            el("dl")
                .child(el("dt").child("From the registry"))
                .child(registry)
                .child(el("dt").child("From the configuration"))
                .child(configuration),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_cluster_is_summarized_in_one_row() {
        let summary = fixtures::state_transfer("lab", 90_000).summary();
        let html = cluster_row(&summary, Some(fixtures::fixed_now())).html();
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
    fn the_title_counts_unhealthy_clusters() {
        let of = |views: &[galera::view::ClusterView]| {
            let clusters = views
                .iter()
                .map(galera::view::ClusterView::summary)
                .collect();
            title_text(&Overview {
                clusters,
                notices: Vec::new(),
            })
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

    #[test]
    fn an_empty_overview_explains_how_to_add_clusters() {
        let html = empty_state().html();
        assert!(
            html.contains("galera-agent report") && html.contains("--cluster NAME=HOST"),
            "{html}"
        );
    }
}
