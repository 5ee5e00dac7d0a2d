//! Header of a cluster's pages: name, verdict, reasons, key figures, tabs.

use galera::Timestamp;
use galera::view::{ClusterView, Component, RegistryHealth, VerdictReason, VerdictState};
use leptos::prelude::*;

use crate::format::{
    code, elapsed, just_now_or_ago, link, number_or_unknown, or_unknown, pluralize, quiet, rate,
};
use crate::links::{cluster_href, cluster_label, node_href};
use crate::live::LiveState;
use crate::marks::{glyph, tone_class, verdict_mark};
use crate::markup::{Content, El, el};
use crate::sides::{side_label, side_tone, sides};

/// Window title. The verdict comes first, so that it is visible in background tabs.
pub(crate) fn cluster_title(view: &ClusterView) -> String {
    [
        verdict_mark(view.verdict.state).label,
        " · ",
        &cluster_label(&view.name),
    ]
    .concat()
}

/// The header of the page's cluster.
pub(crate) fn cluster_summary(live: LiveState) -> Option<El> {
    let view = live.cluster.get()?;
    let here = live.url.with(|url| url.tab()).unwrap_or_default();
    let stale = live.stale_since.get().is_some();
    let header = cluster_header(&view, &here, live.clock(), stale);
    Some(el("div").class("page").child(header))
}

/// The header with the tab `here` selected. `stale`: the console sends no updates.
fn cluster_header(view: &ClusterView, here: &str, now: Option<Timestamp>, stale: bool) -> El {
    let mark = verdict_mark(view.verdict.state);
    let verdict = el("p")
        .class(tone_class("verdict", mark))
        .child(el("span").class("word").child(mark.label))
        .child(glyph(mark));
    let times = el("p")
        .class("quiet")
        .child(elapsed(view.verdict.since, now))
        .child(if stale {
            " · stale, last update "
        } else {
            " · updated "
        })
        .child(just_now_or_ago(view.observed_at, now));
    // Below the nodes, which it would push down; most of all on a phone.
    let next = (here.is_empty() && view.verdict.state > VerdictState::Degraded)
        .then(|| link("#served".to_owned(), "Next step").class("next"));
    let reasons: Vec<El> = view
        .verdict
        .reasons
        .iter()
        .map(|reason| reason_item(view, reason))
        .collect();
    el("div")
        .class("head of-cluster")
        .child(
            el("div")
                .class("name-and-verdict")
                .child(el("h1").child(cluster_label(&view.name)))
                .child(verdict)
                .child(next)
                .child(times),
        )
        .child(
            // It scrolls where it has more than fits, for which it needs the keyboard focus.
            el("ul")
                .class("reasons")
                .attr("tabindex", "0")
                .attr("aria-label", "Reasons of the status")
                .child(reasons),
        )
        .child(key_figures(view))
        .child(registry_notice(&view.registry, now))
        .child(tabs(view, here))
}

/// A neutral notice: an unreachable registry is not a failure of the cluster.
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
        .child("Registry unreachable ")
        .child(elapsed(registry.since, now));
    Some(notice.child("; SQL monitoring continues.").child(error))
}

/// A reason, with the node it mentions as a link.
pub(crate) fn reason_item(view: &ClusterView, reason: &VerdictReason) -> El {
    let Some(id) = &reason.node else {
        return el("li").child(reason.message.clone());
    };
    let href = node_href(&view.name, id);
    let node = view.nodes.iter().find(|node| node.id == *id);
    let text = id.to_string();
    let name = node.and_then(|node| node.name.as_deref());
    for label in name.into_iter().chain([text.as_str()]) {
        if let Some((before, after)) = split_at_word(&reason.message, label) {
            return el("li")
                .child(before.to_owned())
                .child(link(href, label.to_owned()))
                .child(after.to_owned());
        }
    }
    el("li")
        .child(reason.message.clone())
        .child(" ")
        .child(link(href, text))
}

/// The text before and after the first whole-word occurrence of `word`.
fn split_at_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(word).find_map(|(start, _)| {
        let (before, rest) = text.split_at(start);
        let after = rest.get(word.len()..)?;
        // A dot or colon ends a word, unless a letter or digit follows.
        let continues = match after.strip_prefix(['.', ':']) {
            Some(tail) => tail.starts_with(part),
            None => after.starts_with(part),
        };
        let begins = !before.ends_with(|c: char| part(c) || c == '.' || c == ':');
        (begins && !continues).then_some((before, after))
    })
}

pub(crate) fn key_figures(view: &ClusterView) -> El {
    let sides = sides(view);
    if !sides.is_empty() {
        let figures: Vec<El> = sides
            .into_iter()
            .enumerate()
            .map(|(index, side)| side_figure(view, index, side))
            .collect();
        return el("dl").class("figures").child(figures);
    }
    let summary = view.summary();
    let synced = [
        &summary.synced.to_string(),
        " of ",
        &pluralize(summary.expected, "expected member"),
    ]
    .concat();
    let uuid = summary
        .position
        .as_ref()
        .map(|position| code(position.uuid.to_string()));
    let seqno = number_or_unknown(summary.position.map(|position| position.seqno));
    let figure = |label: &'static str, value: Content| {
        el("div")
            .child(el("dt").child(label))
            .child(el("dd").child(value))
    };
    el("dl")
        .class("figures")
        .child(figure("Synced", synced.into()))
        .child(figure("Last committed", seqno.into()))
        .child(figure(
            "Commits per second",
            or_unknown(summary.commit_rate.map(rate)).into(),
        ))
        .child(uuid.map(|uuid| figure("State UUID", uuid.into())))
}

/// A side of a split brain: sums of both would describe a cluster that does not exist.
fn side_figure(view: &ClusterView, index: usize, side: &Component) -> El {
    let members = view.nodes.iter();
    let members = members.filter(|node| side.members.contains(&node.id));
    let seqno = members
        .filter_map(|node| node.position.as_ref())
        .map(|position| position.seqno)
        .max();
    el("div").child(el("dt").child(side_label(index))).child(
        el("dd")
            .class(["t-", side_tone(index)].concat())
            .child(
                [
                    &pluralize(side.members.len(), "member"),
                    ", last committed ",
                ]
                .concat(),
            )
            .child(number_or_unknown(seqno)),
    )
}

/// The tabs of a cluster: the last segment of the path, and the label.
const TABS: [(&str, &str); 9] = [
    ("", "Nodes"),
    ("series", "Charts"),
    ("timeline", "Timeline"),
    ("events", "Events"),
    ("findings", "Findings"),
    ("registry", "Registry"),
    ("stop-check", "Stop check"),
    ("rolling-restart", "Rolling restart"),
    ("recovery", "Recovery"),
];

/// The last segments of the paths of the tabs beside the first one.
#[cfg(feature = "ssr")]
pub fn tab_segments() -> impl Iterator<Item = &'static str> {
    TABS.into_iter().map(|(segment, _)| segment).skip(1)
}

/// The label of the tab with this segment.
#[cfg(feature = "ssr")]
pub(crate) fn tab_label(segment: &str) -> Option<&'static str> {
    let tab = TABS.iter().find(|(tab, _)| *tab == segment);
    tab.map(|(_, label)| *label)
}

fn tabs(view: &ClusterView, here: &str) -> El {
    let cluster = cluster_href(&view.name);
    let tabs: Vec<El> = TABS
        .into_iter()
        .map(|(segment, label)| {
            let slash = if segment.is_empty() { "" } else { "/" };
            let current = (segment == here).then_some("page");
            let href = [cluster.as_str(), slash, segment].concat();
            el("li").child(link(href, label).optional_attr("aria-current", current))
        })
        .collect();
    el("nav")
        .class("tabs")
        .attr("aria-label", "Views of the cluster")
        .child(el("ul").child(tabs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_words_only() {
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
    fn header_shows_the_verdict_and_links_nodes_in_reasons() {
        let view = crate::fixtures::state_transfer("lab", 90_000);
        let html = cluster_header(&view, "", Some(crate::fixtures::fixed_now()), false).html();
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
    fn the_sides_of_a_split_brain_are_never_added_up() {
        let view = crate::fixtures::split_brain("lab", 90_000);
        let html = cluster_header(&view, "", Some(crate::fixtures::fixed_now()), false).html();
        for expected in [
            "side A",
            "2 members, last committed",
            "side B",
            "1 member, last",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("expected members"), "{html}");
    }

    #[test]
    fn an_unreachable_registry_is_a_neutral_notice() {
        let view = crate::fixtures::registry_unreachable("lab", 90_000);
        let html = cluster_header(&view, "", Some(crate::fixtures::fixed_now()), false).html();
        for expected in [
            "Healthy",
            "Registry unreachable ",
            ">42 s<",
            "SQL monitoring continues",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("t-bad"), "{html}");
    }
}
