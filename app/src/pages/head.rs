//! The head of a cluster's pages: name, verdict, reasons, figures, tabs.

use galera::Timestamp;
use galera::view::{ClusterStatus, ClusterView, Reason, RegistryHealth};
use leptos::prelude::*;

use super::scope::Shown;
use crate::data::segment;
use crate::format::{
    ago, code, counted, lasting, link, number_or_unknown, or_unknown, quiet, rate,
};
use crate::markup::{Child, El, el};
use crate::reactive::title;
use crate::words::{glyph, tone_class, verdict_mark, verdict_meaning};

/// The address of a cluster's page.
pub(crate) fn cluster_href(name: &galera::ClusterName) -> String {
    ["/clusters/", name.as_str()].concat()
}

/// The address of a node's page.
pub(crate) fn node_href(cluster: &galera::ClusterName, node: &galera::NodeId) -> String {
    [
        "/clusters/",
        cluster.as_str(),
        "/nodes/",
        &segment(&node.to_string()),
    ]
    .concat()
}

/// The title of the window; the verdict comes first, so that a tab in the background shows it.
pub(super) fn cluster_title(shown: Shown) -> AnyView {
    title(move || {
        let view = shown.read();
        [
            verdict_mark(view.verdict.state).word,
            " · ",
            view.name.as_str(),
        ]
        .concat()
    })
}

/// The head with the tab `here` marked. `stale` says that the console sends nothing new.
pub(super) fn cluster_head(
    view: &ClusterView,
    here: &str,
    now: Option<Timestamp>,
    stale: bool,
) -> El {
    let mark = verdict_mark(view.verdict.state);
    let verdict = el("p")
        .class(tone_class("verdict", mark))
        .at("title", verdict_meaning(view.verdict.state))
        .with(el("span").class("word").with(mark.word))
        .with(glyph(mark));
    let times = el("p")
        .class("quiet")
        .with(lasting(view.verdict.since, now))
        .with(if stale {
            " · stale, as of "
        } else {
            " · as of "
        })
        .with(ago(view.observed_at, now));
    let reasons: Vec<El> = view
        .verdict
        .reasons
        .iter()
        .map(|reason| why(view, reason))
        .collect();
    el("div")
        .class("head")
        .with(
            el("div")
                .class("name-and-verdict")
                .with(el("h1").with(view.name.as_str().to_owned()))
                .with(verdict)
                .with(times),
        )
        .with(el("ul").class("reasons").with(reasons))
        .with(registry_notice(&view.registry, now))
        .with(figures(view))
        .with(tabs(view, here))
}

/// Calm, because the console's own blindness is no failure of the cluster.
pub(super) fn registry_notice(registry: &RegistryHealth, now: Option<Timestamp>) -> Option<El> {
    if registry.reachable {
        return None;
    }
    let error = registry
        .error
        .as_ref()
        .map(|error| quiet([" (", error, ")"].concat()));
    let notice = el("p")
        .class("notice")
        .with("Registry unreachable since ")
        .with(ago(registry.since, now));
    Some(notice.with("; facts below come from SQL.").with(error))
}

/// A reason, with the node in it made a link.
fn why(view: &ClusterView, reason: &Reason) -> El {
    let Some(id) = &reason.node else {
        return el("li").with(reason.message.clone());
    };
    let href = node_href(&view.name, id);
    let node = view.nodes.iter().find(|node| node.id == *id);
    let text = id.to_string();
    let name = node.and_then(|node| node.name.as_deref());
    for label in name.into_iter().chain([text.as_str()]) {
        if let Some((before, after)) = split_at_word(&reason.message, label) {
            return el("li")
                .with(before.to_owned())
                .with(link(href, label.to_owned()))
                .with(after.to_owned());
        }
    }
    el("li")
        .with(reason.message.clone())
        .with(" ")
        .with(link(href, text))
}

/// What stands before and after the first whole occurrence of `word`.
fn split_at_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(word).find_map(|(start, _)| {
        let (before, rest) = text.split_at(start);
        let after = rest.get(word.len()..)?;
        // A dot or colon ends a word, but followed by a letter or digit it belongs to a longer name.
        let goes_on = match after.strip_prefix(['.', ':']) {
            Some(tail) => tail.starts_with(part),
            None => after.starts_with(part),
        };
        let begins = !before.ends_with(|c: char| part(c) || c == '.' || c == ':');
        (begins && !goes_on).then_some((before, after))
    })
}

fn figures(view: &ClusterView) -> El {
    let summary = view.summary();
    let primaries = view
        .components
        .iter()
        .filter(|c| c.status == ClusterStatus::Primary)
        .count();
    let others = view.components.len() - primaries;
    let components = [
        &primaries.to_string(),
        " Primary, ",
        &others.to_string(),
        " other",
    ]
    .concat();
    let synced = [
        &summary.synced.to_string(),
        " of ",
        &counted(summary.expected, "expected member"),
    ]
    .concat();
    let uuid = summary
        .position
        .as_ref()
        .map(|position| code(position.uuid.to_string()));
    let seqno = number_or_unknown(summary.position.map(|position| position.seqno));
    let figure = |label: &'static str, value: Child| {
        el("div")
            .with(el("dt").with(label))
            .with(el("dd").with(value))
    };
    el("dl")
        .class("figures")
        .with(figure("Synced", synced.into()))
        .with(figure("Components", components.into()))
        .with(figure("Last committed", seqno.into()))
        .with(figure(
            "Commits per second",
            or_unknown(summary.commit_rate.map(rate)).into(),
        ))
        .with(uuid.map(|uuid| figure("State UUID", uuid.into())))
}

fn tabs(view: &ClusterView, here: &str) -> El {
    let nodes = cluster_href(&view.name);
    let registry = [&nodes, "/registry"].concat();
    let events = [&nodes, "/events"].concat();
    let recovery = [&nodes, "/recovery"].concat();
    let tab = |key: &str, href: String, label: &'static str| {
        el("li").with(link(href, label).maybe("aria-current", (key == here).then_some("page")))
    };
    let list = el("ul").with([
        tab("nodes", nodes, "Nodes"),
        tab("events", events, "Events"),
        tab("registry", registry, "Registry"),
        tab("recovery", recovery, "Recovery"),
    ]);
    el("nav")
        .class("tabs")
        .at("aria-label", "Views of the cluster")
        .with(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_names_only() {
        assert_eq!(
            split_at_word("127.0.0.1 is gone", "127.0.0.1"),
            Some(("", " is gone"))
        );
        assert_eq!(
            split_at_word("lost 127.0.0.1.", "127.0.0.1"),
            Some(("lost ", "."))
        );
        assert_eq!(
            split_at_word("127.0.0.11 and 127.0.0.1", "127.0.0.1"),
            Some(("127.0.0.11 and ", ""))
        );
        assert_eq!(split_at_word("db1.example is gone", "db1"), None);
        assert_eq!(split_at_word("h:3307 is gone", "h"), None);
        assert_eq!(
            split_at_word("n1 (127.0.0.1) is gone", "127.0.0.1"),
            Some(("n1 (", ") is gone"))
        );
        assert_eq!(split_at_word("n1: refused", "n1"), Some(("", ": refused")));
        assert_eq!(split_at_word("no name here", "n1"), None);
    }

    #[test]
    fn the_head_says_the_verdict_and_leads_to_the_nodes_in_its_reasons() {
        let view = crate::fixtures::transfer("lab", 90_000);
        let html = cluster_head(&view, "nodes", Some(crate::fixtures::at()), false).html();
        for expected in [
            "Degraded",
            "for <time",
            ">4 min<",
            "2026-11-23 07:56:00 UTC",
            "1 of 4 expected members",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        for node in ["127.0.0.4", "127.0.0.3", "127.0.0.2"] {
            assert!(
                html.contains(&format!("href=\"/clusters/lab/nodes/{node}\"")),
                "{node} in {html}"
            );
        }
    }

    #[test]
    fn an_unreachable_registry_is_a_calm_notice() {
        let view = crate::fixtures::blind("lab", 90_000);
        let html = cluster_head(&view, "nodes", Some(crate::fixtures::at()), false).html();
        for expected in [
            "Healthy",
            "Registry unreachable since",
            "42 s ago",
            "facts below come from SQL",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("t-bad"), "{html}");
    }
}
