//! The overview: every cluster in one line, worst first.

use std::sync::Arc;

use galera::publish::api::Overview;
use galera::view::{ClusterSummary, NodeState, VerdictState};
use galera::{ClusterName, Timestamp};
use leptos::prelude::*;

use super::head::cluster_href;
use super::{cell, ledger};
use crate::format::{
    code, counted, hidden, lasting, link, number_or_unknown, or_unknown, rate, sub,
};
use crate::live::{Live, use_live};
use crate::markup::{Child, El, el};
use crate::reactive::{all, live, load, loaded_page, title, watch};
use crate::words::{glyph, node_mark, state, tone_class, verdict_mark, verdict_meaning};

const COLUMNS: [&str; 7] = [
    "Cluster",
    "Verdict",
    "Why",
    "Synced",
    "Last committed",
    "Commits per second",
    "Nodes",
];

/// The page.
pub(crate) fn overview_page() -> AnyView {
    let state = use_live();
    let overview = load(|| "/api/v1/clusters".to_owned());
    loaded_page(overview, move |overview| content(state, overview))
}

fn content(state: Live, overview: Overview) -> AnyView {
    let shown = RwSignal::new(Arc::new(overview));
    watch(move || {
        if let Some(overview) = state.overview.get() {
            shown.set(overview);
        }
    });
    announce(state, shown);
    all(vec![
        title(move || worst(&shown.read())),
        live(move || page(&shown.read(), state.now.get())),
    ])
}

/// Tells screen readers about changed verdicts.
fn announce(live: Live, shown: RwSignal<Arc<Overview>>) {
    let mut before: Option<Vec<(ClusterName, VerdictState)>> = None;
    watch(move || {
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
            .map(|c| [c.name.as_str(), " is ", verdict_mark(c.verdict.state).word].concat())
            .collect();
        if !news.is_empty() {
            live.spoken.set(news.join(". "));
        }
    });
}

fn worst(overview: &Overview) -> String {
    let troubled = overview
        .clusters
        .iter()
        .filter(|c| c.verdict.state != VerdictState::Healthy)
        .count();
    match (overview.clusters.len(), troubled) {
        (0, _) => "No clusters".to_owned(),
        (_, 0) => "All healthy".to_owned(),
        (all, some) => [
            &some.to_string(),
            " of ",
            &counted(all, "cluster"),
            " not healthy",
        ]
        .concat(),
    }
}

fn page(overview: &Overview, now: Option<Timestamp>) -> El {
    let page = el("div")
        .class("page")
        .with(el("h1").with("Clusters"))
        .with(notices(overview));
    if overview.clusters.is_empty() {
        return page.with(nothing_found());
    }
    let rows = overview
        .clusters
        .iter()
        .map(|cluster| row(cluster, now))
        .collect();
    page.with(tally(overview)).with(ledger(
        "ledger clusters",
        "Clusters, worst verdict first",
        &COLUMNS,
        rows,
    ))
}

/// How many clusters have which verdict, worst first.
fn tally(overview: &Overview) -> El {
    let entry = |verdict: VerdictState| {
        let count = overview
            .clusters
            .iter()
            .filter(|c| c.verdict.state == verdict)
            .count();
        (count > 0).then(|| {
            el("li")
                .with(count.to_string())
                .with(" ")
                .with(state(verdict_mark(verdict)))
        })
    };
    el("ul").class("tally").with(
        VerdictState::ALL
            .into_iter()
            .rev()
            .map(entry)
            .collect::<Vec<_>>(),
    )
}

fn notices(overview: &Overview) -> Child {
    let blind = overview
        .clusters
        .iter()
        .any(|cluster| !cluster.registry_reachable);
    let blind = blind.then(|| "Registry unreachable; facts below come from SQL.".to_owned());
    let texts = blind.into_iter().chain(overview.notices.iter().cloned());
    texts
        .map(|text| el("p").class("notice").with(text))
        .collect::<Vec<_>>()
        .into()
}

fn row(cluster: &ClusterSummary, now: Option<Timestamp>) -> El {
    let verdict = cluster.verdict.state;
    let since = sub(lasting(cluster.verdict.since, now));
    let synced = [
        &cluster.synced.to_string(),
        " / ",
        &cluster.expected.to_string(),
    ]
    .concat();
    let seqno = number_or_unknown(cluster.position.as_ref().map(|position| position.seqno));
    let name = cluster.name.as_str().to_owned();
    super::row(name.clone(), link(cluster_href(&cluster.name), name))
        .with(
            cell(COLUMNS[1], state(verdict_mark(verdict)))
                .at("title", verdict_meaning(verdict))
                .with(since),
        )
        .with(cell(COLUMNS[2], why(cluster)).class("why"))
        .with(cell(COLUMNS[3], synced).class("n"))
        .with(cell(COLUMNS[4], seqno).class("n"))
        .with(cell(COLUMNS[5], or_unknown(cluster.commit_rate.map(rate))).class("n"))
        .with(cell(COLUMNS[6], strip(cluster)))
}

fn why(cluster: &ClusterSummary) -> Child {
    let reasons = &cluster.verdict.reasons;
    let first = reasons
        .first()
        .map(|reason| el("span").with(reason.message.clone()));
    let more = reasons.len().saturating_sub(1);
    let more = (more > 0).then(|| sub(["and ", &more.to_string(), " more"].concat()));
    [first, more].into()
}

/// Every node as a shape, and how many are in which state in words.
fn strip(cluster: &ClusterSummary) -> Child {
    let shape = |node: &galera::view::NodeSummary| {
        let mark = node_mark(node.state);
        let name = node.name.clone().unwrap_or_else(|| node.id.to_string());
        let label = [&name, ": ", mark.word].concat();
        let item = el("li")
            .key(node.id.to_string())
            .class(tone_class("node", mark));
        item.at("title", label.clone())
            .with(glyph(mark))
            .with(hidden(label))
    };
    let count = |state: NodeState| {
        let count = cluster
            .nodes
            .iter()
            .filter(|node| node.state == state)
            .count();
        (count > 0).then(|| [&count.to_string(), " ", node_mark(state).word].concat())
    };
    let counts: Vec<String> = NodeState::ALL.into_iter().filter_map(count).collect();
    [
        el("ul")
            .class("strip")
            .with(cluster.nodes.iter().map(shape).collect::<Vec<_>>()),
        sub(counts.join(", ")).at("aria-hidden", "true"),
    ]
    .into()
}

/// What to do when there is nothing to see.
fn nothing_found() -> El {
    let registry = el("dd")
        .with("Every cluster with a key under the registry prefix in etcd (")
        .with(code("--registry-prefix"))
        .with(", by default ")
        .with(code("/galera"))
        .with(") appears. Run ")
        .with(code("galera-agent report"))
        .with(" beside each node, with the same etcd in ")
        .with(code("DISCOVERY_SERVICE"))
        .with(" and the cluster's name in ")
        .with(code("CLUSTER_NAME"))
        .with(".");
    let configuration = el("dd")
        .with("Start the console with ")
        .with(code("--cluster NAME=HOST,HOST,HOST"))
        .with(". That also fixes which members are expected.");
    el("section")
        .class("empty")
        .with(el("h2").with("No cluster has been found yet"))
        .with(el("p").with("The console finds clusters in two ways. Both show up here by themselves, without a reload."))
        .with(
            el("dl")
                .with(el("dt").with("From the registry"))
                .with(registry)
                .with(el("dt").with("From the configuration"))
                .with(configuration),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_cluster_in_one_line() {
        let summary = fixtures::transfer("lab", 90_000).summary();
        let html = row(&summary, Some(fixtures::at())).html();
        for expected in [
            "Degraded",
            "127.0.0.4 does not answer SQL",
            "and 2 more",
            "1 / 4",
            "n4: Unreachable",
            "1 Synced, 1 Donor",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }

    #[test]
    fn the_title_counts_what_needs_attention() {
        let of = |views: &[galera::view::ClusterView]| {
            let clusters = views
                .iter()
                .map(galera::view::ClusterView::summary)
                .collect();
            worst(&Overview {
                clusters,
                notices: Vec::new(),
            })
        };
        assert_eq!(of(&[]), "No clusters");
        assert_eq!(of(&[fixtures::healthy("a", 1_000)]), "All healthy");
        assert_eq!(
            of(&[fixtures::healthy("a", 1_000), fixtures::split("b", 1_000)]),
            "1 of 2 clusters not healthy"
        );
    }

    #[test]
    fn an_empty_overview_explains_how_clusters_are_found() {
        let html = nothing_found().html();
        assert!(
            html.contains("galera-agent report") && html.contains("--cluster NAME=HOST"),
            "{html}"
        );
    }
}
