//! Search for clusters, labels, nodes, pages and terms: the page `/search` and the dialog that Ctrl-K opens.

use std::collections::BTreeSet;

use galera::access::{Operation, check_permission};
use galera::publish::api::{Overview, SessionView};
use galera::view::label_texts;

use super::help;
use crate::data::encode_segment;
use crate::format::{link, quiet, sub};
use crate::links::{cluster_href, node_href};
use crate::marks::{state_badge, verdict_mark};
use crate::markup::{El, el};
use crate::pages::{tab_label, tab_segments};
use crate::sides::mark_under;

/// Results that are shown.
const LIMIT: usize = 20;
/// Labels of a cluster that are shown, as in its row of the overview.
const LABELS_SHOWN: usize = 5;

/// Pages beside those of clusters, with what an account must be permitted to open them.
const PAGES: [(&str, &str, Operation); 10] = [
    ("/", "Clusters", Operation::View),
    ("/actions", "Actions", Operation::View),
    ("/incidents", "Incidents", Operation::View),
    (
        "/notifications",
        "Notifications",
        Operation::ViewNotifications,
    ),
    ("/audit", "Audit", Operation::View),
    ("/status-pages", "Status pages", Operation::View),
    ("/account", "Account", Operation::View),
    ("/accounts", "Accounts", Operation::ManageAccounts),
    ("/settings", "Settings", Operation::ManageAccounts),
    ("/help", "Help", Operation::View),
];

/// Something that was found.
struct SearchResult {
    href: String,
    /// The text of the link; searched.
    text: String,
    /// Labels of a cluster; searched, and shown after the link.
    labels: Vec<String>,
    /// What it is, or its state.
    detail: El,
}

impl SearchResult {
    /// The rank of its text and labels among all results; `None` unless these have all words.
    fn rank(&self, words: &[String]) -> Option<usize> {
        if self.labels.is_empty() {
            return rank(&self.text, words);
        }
        rank(&format!("{} {}", self.text, self.labels.join(" ")), words)
    }
}

pub(super) fn page(overview: &Overview, session: &SessionView, query: &str) -> El {
    let input = el("input")
        .attr("id", "search")
        .attr("name", "q")
        .attr("type", "search")
        .attr("value", query.to_owned())
        .attr("autocomplete", "off")
        .attr("spellcheck", "false")
        .attr("maxlength", "200");
    let form = el("form")
        .class("filter")
        .attr("role", "search")
        .attr("action", "/search")
        .child(
            el("div")
                .class("field")
                .child(
                    el("label")
                        .attr("for", "search")
                        .child("Cluster, node, page or term"),
                )
                .child(input),
        )
        .child(el("button").attr("type", "submit").child("Search"));
    el("div")
        .class("page")
        .child(el("h1").child("Search"))
        .child(form)
        .child(results(overview, session, query))
}

fn results(overview: &Overview, session: &SessionView, query: &str) -> El {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let mut found: Vec<(usize, SearchResult)> = candidates(overview, session)
        .filter_map(|result| Some((result.rank(&words)?, result)))
        .collect();
    // Stable: within a rank the order of the candidates remains, clusters with the worst verdict first.
    found.sort_by_key(|(rank, _)| *rank);
    let count = found.len();
    let place = el("div").attr("id", "results").attr("role", "status");
    if found.is_empty() {
        return place.child(el("p").child("Nothing found. Names of clusters and nodes, labels, pages and terms of the glossary are searched."));
    }
    let items = found.into_iter().take(LIMIT).map(|(_, result)| {
        el("li")
            .child(link(result.href, result.text))
            .child(" ")
            .child(result.detail)
            .child(label_line(&result.labels))
    });
    let more = (count > LIMIT).then(|| {
        el("p").class("quiet").child(format!(
            "The first {LIMIT} of {count} results. Type more to narrow them down."
        ))
    });
    place
        .child(el("ul").class("found").child(items.collect::<Vec<_>>()))
        .child(more)
}

/// The labels of a cluster: the first ones, and how many more there are.
fn label_line(labels: &[String]) -> Option<El> {
    let shown = labels.len().min(LABELS_SHOWN);
    let more = labels.len() - shown;
    (shown > 0).then(|| {
        let mut text = labels[..shown].join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        sub(text)
    })
}

/// The different labels of all clusters, sorted.
fn labels(overview: &Overview) -> BTreeSet<String> {
    let clusters = overview.clusters.iter();
    clusters
        .flat_map(|cluster| label_texts(&cluster.labels))
        .collect()
}

/// Everything that can be found: clusters, labels, their nodes, pages, pages of clusters, terms.
fn candidates<'a>(
    overview: &'a Overview,
    session: &'a SessionView,
) -> impl Iterator<Item = SearchResult> + 'a {
    let clusters = overview.clusters.iter().map(|cluster| SearchResult {
        href: cluster_href(&cluster.name),
        text: cluster.name.display_name().into_owned(),
        labels: label_texts(&cluster.labels).collect(),
        detail: state_badge(verdict_mark(cluster.verdict.state)),
    });
    let nodes = overview.clusters.iter().flat_map(|cluster| {
        cluster.nodes.iter().map(|node| {
            let id = node.id.to_string();
            let name = match &node.name {
                Some(name) if *name != id => format!("{name} ({id})"),
                _ => id,
            };
            SearchResult {
                href: node_href(&cluster.name, &node.id),
                text: format!("{} / {name}", cluster.name.display_name()),
                labels: Vec::new(),
                detail: state_badge(mark_under(cluster.verdict.state, node.state)),
            }
        })
    });
    let may_open = |(_, _, operation): &(_, _, Operation)| {
        check_permission(&session.roles, *operation).is_ok()
    };
    let pages = PAGES
        .into_iter()
        .filter(may_open)
        .map(|(href, label, _)| SearchResult {
            href: href.to_owned(),
            text: label.to_owned(),
            labels: Vec::new(),
            detail: quiet("page"),
        });
    let tabs = overview.clusters.iter().flat_map(|cluster| {
        tab_segments().filter_map(|segment| {
            Some(SearchResult {
                href: format!("{}/{segment}", cluster_href(&cluster.name)),
                text: format!("{} / {}", cluster.name.display_name(), tab_label(segment)?),
                labels: Vec::new(),
                detail: quiet("page of the cluster"),
            })
        })
    });
    let terms = help::terms().map(|term| SearchResult {
        href: format!("/help#{}", term.anchor()),
        text: term.name.to_owned(),
        labels: Vec::new(),
        detail: quiet("glossary"),
    });
    let labels = labels(overview).into_iter().map(|label| SearchResult {
        href: format!("/?label={}", encode_segment(&label)),
        text: label,
        labels: Vec::new(),
        detail: quiet("label: all its clusters"),
    });
    let clusters = clusters.chain(labels);
    (clusters.chain(pages).chain(nodes))
        .chain(tabs)
        .chain(terms)
}

/// How well `text` matches: 0 if it begins with the first of `words`, 1 if a word of it does, 2 if it has it anywhere. `None` unless it has all
/// words.
fn rank(text: &str, words: &[String]) -> Option<usize> {
    let text = text.to_lowercase();
    let Some(first) = words.first() else {
        return Some(0);
    };
    words
        .iter()
        .all(|word| text.contains(word.as_str()))
        .then(|| {
            let begins = |part: &str| part.starts_with(first.as_str());
            match text.split(|c: char| !c.is_alphanumeric()).any(begins) {
                _ if begins(&text) => 0,
                true => 1,
                false => 2,
            }
        })
}

#[cfg(test)]
mod tests;
