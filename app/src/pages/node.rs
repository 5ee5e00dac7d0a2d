//! The node page: every fact, where it comes from and how old it is.

use galera::Timestamp;
use galera::publish::api::Problem;
use galera::view::{ClusterView, NodeView};
use leptos::prelude::*;

use super::head::{cluster_href, node_href, registry_notice};
use super::node_facts::{facts, sources};
use super::problem::problem_markup;
use super::registry::{Keys, key_table};
use super::scope::{cluster_scope, param};
use crate::data;
use crate::format::{ago, link, quiet, rate};
use crate::live::use_live;
use crate::markup::{Child, El, el};
use crate::reactive::{all, live, title};
use crate::sparkline::{sparkline, top};
use crate::words::{glyph, node_mark, status_word, tone_class};

/// The page.
pub(crate) fn node_page() -> AnyView {
    let (keys, id, state) = (Keys::of_address(), param("node"), use_live());
    cluster_scope(move |shown| {
        keys.follow(shown);
        if find(&shown.read_untracked(), &id.get_untracked()).is_none() {
            data::set_status(404);
        }
        let title_text = move || {
            let view = shown.read();
            id.with(|id| match find(&view, id) {
                Some(node) => [
                    node_mark(node.state).word,
                    " · ",
                    &label(node),
                    " · ",
                    view.name.as_str(),
                ]
                .concat(),
                None => "No such node".to_owned(),
            })
        };
        let page = move || id.with(|id| page(&shown.read(), id, state.now.get()));
        let own_keys = move |view: &galera::view::RegistryView, now| {
            let own = id.with(|id| {
                let own: Vec<_> = view
                    .keys
                    .iter()
                    .filter(|key| {
                        key.node
                            .as_ref()
                            .is_some_and(|node| node.to_string() == *id)
                    })
                    .collect();
                key_table(&own, id)
            });
            let read = el("p")
                .class("quiet")
                .with("Read ")
                .with(ago(view.observed_at, now))
                .with(".");
            el("section")
                .with(el("h2").with("Registry keys"))
                .with(own)
                .with(read)
        };
        all(vec![title(title_text), live(page), keys.show(own_keys)])
    })
}

fn find<'a>(view: &'a ClusterView, id: &str) -> Option<&'a NodeView> {
    view.nodes.iter().find(|node| node.id.to_string() == id)
}

fn page(view: &ClusterView, id: &str, now: Option<Timestamp>) -> El {
    let page = el("div").class("page");
    let Some(node) = find(view, id) else {
        return page.with(problem_markup(&unknown_node(view, id)));
    };
    let section = |heading: &'static str, content: Child| {
        el("section").with(el("h2").with(heading)).with(content)
    };
    page.with(head(node))
        .with(registry_notice(&view.registry, now))
        .with(siblings(view, node))
        .with(
            el("div")
                .class("columns")
                .with(section("What each source says", sources(node, now).into()))
                .with(section("Facts", facts(node, now).into())),
        )
        .with(section("Commits per second", rates(node).into()))
}

fn unknown_node(view: &ClusterView, id: &str) -> Problem {
    let detail = [
        "The cluster ",
        view.name.as_str(),
        " has no node ",
        id,
        ". It may have been removed, or the address is mistyped.",
    ];
    Problem {
        status: 404,
        ..data::problem("unknown_node", "There is no such node", &detail.concat())
    }
}

fn label(node: &NodeView) -> String {
    node.name.clone().unwrap_or_else(|| node.id.to_string())
}

fn head(node: &NodeView) -> El {
    let mark = node_mark(node.state);
    let status = node
        .cluster_status
        .map(|status| ["in a ", status_word(status), " component"].concat());
    let expected = if node.expected {
        "expected member"
    } else {
        "not an expected member"
    };
    let comment = node
        .state_comment
        .clone()
        .filter(|comment| comment != mark.word);
    let remarks = [
        Some(node.id.to_string()),
        comment,
        status,
        Some(expected.to_owned()),
    ];
    let remarks: Vec<String> = remarks.into_iter().flatten().collect();
    let verdict = el("p")
        .class(tone_class("verdict", mark))
        .with(el("span").class("word").with(mark.word))
        .with(glyph(mark));
    let line = el("div")
        .class("name-and-verdict")
        .with(el("h1").with(label(node)))
        .with(verdict);
    el("div")
        .class("head")
        .with(line.with(el("p").class("quiet").with(remarks.join(" · "))))
}

/// The way to the other nodes of the cluster.
fn siblings(view: &ClusterView, here: &NodeView) -> El {
    let sibling = |node: &NodeView| {
        let current = (node.id == here.id).then_some("page");
        el("li")
            .with(link(node_href(&view.name, &node.id), label(node)).maybe("aria-current", current))
    };
    let list = el("ul").with(el("li").with(link(cluster_href(&view.name), "All nodes")));
    let list = list.with(view.nodes.iter().map(sibling).collect::<Vec<_>>());
    el("nav")
        .class("tabs")
        .at("aria-label", "Nodes of the cluster")
        .with(list)
}

fn rates(node: &NodeView) -> El {
    if node.recent_rates.is_empty() {
        return el("p")
            .class("quiet")
            .with("No rate is known yet; it takes two readings by SQL.");
    }
    let highest = top(std::iter::once(node.recent_rates.as_slice()));
    let count = node.recent_rates.len().to_string();
    let now = node.commit_rate.map_or_else(|| "none".to_owned(), rate);
    let text = [
        &now,
        " now, at most ",
        &rate(highest),
        " in the last ",
        &count,
        " readings",
    ]
    .concat();
    el("p")
        .class("rates")
        .with(sparkline(&node.recent_rates, highest, 480, 64))
        .with(quiet(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn both_sources_stand_side_by_side_with_every_fact() {
        let html = page(
            &fixtures::transfer("lab", 90_000),
            "127.0.0.3",
            Some(fixtures::at()),
        )
        .html();
        for expected in [
            "Joining",
            "SQL (the console&#39;s own probe)"
                .replace("&#39;", "'")
                .as_str(),
            "Registry (the node's registration)",
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
    fn an_unknown_node_is_named() {
        let html = page(&fixtures::healthy("lab", 90_000), "<b>", None).html();
        assert!(html.contains("has no node &lt;b&gt;."), "{html}");
    }
}
