//! The public status page: a small separate document, complete without scripts.
//!
//! It shares marks, style tokens and escaping with the application but none of the WebAssembly module. A small script
//! (`app/status/live.js`) keeps an open page up to date.

mod incidents;
mod uptime_bars;

use galera::Timestamp;
use galera::publish::status_pages::{
    DataInconsistency, PublicCluster, PublicNode, PublicPage, PublicState,
};
use galera::view::VerdictState;

use crate::format::{absolute, link, number, visually_hidden};
use crate::marks::{
    StateMark, glyph, headline_mark, node_mark, public_state_mark, state_badge, tone_class,
};
use crate::markup::{Content, El, el};
use crate::sides::mark_under;

/// A status page to be rendered.
#[derive(Clone, Copy, Debug)]
pub struct StatusPage<'a> {
    pub status: &'a PublicPage,
    /// Identifies the content: a new version means different content.
    pub version: &'a str,
    /// When the content was last confirmed.
    pub as_of: Timestamp,
    /// Prefix of relative links to the page's resources: empty, or `slug/`.
    pub base_path: &'a str,
    pub css: &'a str,
    pub js: &'a str,
    /// Whether search engines may index it.
    pub listed: bool,
}

impl StatusPage<'_> {
    /// Renders the document.
    #[must_use]
    pub fn html(&self) -> String {
        let page = self.status;
        let title = format!("{} · {}", page.summary(), page.title);
        let robots = (!self.listed).then(|| meta("robots", "noindex"));
        let head = el("head")
            .child(el("meta").attr("charset", "utf-8"))
            .child(meta("viewport", "width=device-width, initial-scale=1"))
            .child(meta("color-scheme", "light dark"))
            .child(robots)
            .child(el("title").child(title))
            .child(link_element("stylesheet", self.css.to_owned()))
            .child(link_element("icon", "/favicon.svg".to_owned()).attr("type", "image/svg+xml"))
            .child(
                link_element("alternate", format!("{}feed.atom", self.base_path))
                    .attr("type", "application/atom+xml")
                    .attr("title", page.title.clone()),
            )
            .child(
                el("script")
                    .attr("type", "module")
                    .attr("src", self.js.to_owned()),
            );
        let live_region = el("p")
            .attr("id", "spoken")
            .class("vh")
            .attr("role", "status");
        let body = el("body").child(self.content()).child(live_region);
        let document = el("html").attr("lang", "en").child(head).child(body);
        format!("<!DOCTYPE html>{}", document.html())
    }

    /// The part that the script replaces when something changes.
    fn content(&self) -> El {
        let page = self.status;
        let mark = headline_mark(page);
        let overall = el("p")
            .class(tone_class("overall", mark))
            .child(glyph(mark))
            .child(page.summary());
        let header = el("header")
            .child(el("h1").child(page.title.clone()))
            .child(overall)
            .child(self.age())
            .child(page.stale_since.map(unread_notice));
        let main = el("main")
            .child(incidents::announcements(page))
            .child(incidents::open_incidents(page))
            .child(incidents::maintenance(page))
            .child(clusters(page))
            .child(incidents::past_incidents(page));
        el("div")
            .attr("id", "page")
            .attr("data-version", self.version.to_owned())
            .attr("data-events", format!("{}events", self.base_path))
            .child(header)
            .child(main)
            .child(self.footer())
    }

    /// Age of the data, kept current by the script.
    fn age(&self) -> El {
        let changed = self.status.changed_at().map(|at| {
            el("span")
                .child("Last change ")
                .child(absolute_time(at))
                .child(". ")
        });
        let as_of = el("time")
            .attr("id", "as-of")
            .attr("datetime", self.as_of.to_string())
            .child(absolute(self.as_of));
        el("p")
            .class("age")
            .child(changed)
            .child("As of ")
            .child(as_of)
            .child(el("span").attr("id", "age"))
            .child(".")
    }

    fn footer(&self) -> El {
        let to = |name: &str, text: &'static str| link(format!("{}{name}", self.base_path), text);
        el("footer")
            .child(
                el("p").child("Times are UTC. Days without data are left empty and not counted."),
            )
            .child(
                el("p")
                    .child(to("feed.atom", "Atom feed"))
                    .child(" ")
                    .child(to("summary.json", "JSON"))
                    .child(" ")
                    .child(to("badge.svg", "Badge")),
            )
    }
}

fn meta(name: &'static str, content: &'static str) -> El {
    el("meta").attr("name", name).attr("content", content)
}

fn link_element(rel: &'static str, href: String) -> El {
    el("link").attr("rel", rel).attr("href", href)
}

fn unread_notice(since: Timestamp) -> El {
    el("p")
        .class("notice")
        .child("Incidents, maintenance and announcements are as of ")
        .child(absolute_time(since))
        .child("; later ones cannot be loaded right now. The states below are measured and up to date.")
}

fn clusters(page: &PublicPage) -> El {
    let each: Vec<El> = page
        .clusters
        .iter()
        .enumerate()
        .map(|(index, shown)| cluster(index, shown))
        .collect();
    el("section")
        .class("clusters")
        .child(el("h2").class("vh").child("Databases"))
        .child(each)
}

fn cluster(index: usize, shown: &PublicCluster) -> El {
    let head = el("div")
        .class("line")
        .child(el("h3").child(shown.name.clone()))
        .child(state_badge(public_state_mark(shown.state)));
    let since = shown.since.map(|at| {
        el("span")
            .child(" Since ")
            .child(absolute_time(at))
            .child(".")
    });
    el("section")
        .class("cluster")
        .child(head)
        .child(
            el("p")
                .class("quiet")
                .child(state_description(shown))
                .child(since),
        )
        .child(nodes(shown))
        .child(uptime_bars::bars(index, shown))
        .child(uptime_bars::uptime_figures(shown))
}

/// What the state means to users of the database.
fn state_description(shown: &PublicCluster) -> &'static str {
    match (shown.state, shown.state_without_maintenance) {
        (PublicState::Maintenance, PublicState::Operational) => {
            "Maintenance in progress; accepting reads and writes."
        }
        (PublicState::Maintenance, PublicState::Degraded) => {
            "Maintenance in progress; accepting reads and writes with reduced redundancy."
        }
        (PublicState::Maintenance, PublicState::Unknown) => {
            "Maintenance in progress; current state unknown."
        }
        (PublicState::Maintenance, _) => match shown.inconsistency {
            Some(DataInconsistency::SplitBrain) => {
                "Maintenance in progress; parts of it accept writes independently of each other. Do not rely on it."
            }
            Some(DataInconsistency::Diverged) => {
                "Maintenance in progress; parts of it hold different data. Do not rely on it."
            }
            None => "Maintenance in progress; unavailable.",
        },
        (PublicState::Operational, _) => "Accepting reads and writes.",
        (PublicState::Degraded, _) => "Accepting reads and writes with reduced redundancy.",
        (PublicState::Outage, _) => match shown.inconsistency {
            Some(DataInconsistency::SplitBrain) => {
                "Parts of it accept writes independently of each other. Do not rely on it until this is resolved."
            }
            Some(DataInconsistency::Diverged) => {
                "Parts of it hold different data. Do not rely on it until this is resolved."
            }
            None => "Unavailable: no reads or writes are accepted.",
        },
        (PublicState::Unknown, _) => {
            "Monitoring data is missing. The database itself may be working."
        }
    }
}

fn nodes(shown: &PublicCluster) -> Option<El> {
    let rows: Vec<El> = shown.nodes.iter().map(|one| node(shown, one)).collect();
    let list = el("ul").class("nodes").child(rows);
    (!shown.nodes.is_empty()).then_some(list)
}

/// A Synced node of a cluster whose parts hold different data has the mark of that, as on the pages of the console.
fn node_state_mark(shown: &PublicCluster, node: &PublicNode) -> StateMark {
    match shown.inconsistency {
        Some(DataInconsistency::SplitBrain) => mark_under(VerdictState::SplitBrain, node.state),
        Some(DataInconsistency::Diverged) => mark_under(VerdictState::Diverged, node.state),
        None => node_mark(node.state),
    }
}

fn node(shown: &PublicCluster, node: &PublicNode) -> El {
    let more = |text: Option<String>| text.map(|text| el("span").class("quiet").child(text));
    let position = node.position.map(|seqno| {
        el("span")
            .class("quiet")
            .child(visually_hidden("last committed "))
            .child(number(seqno))
    });
    let cells: Vec<Content> = vec![
        el("b").child(node.name.clone()).into(),
        state_badge(node_state_mark(shown, node)).into(),
        more(node.address.clone()).into(),
        more(node.version.clone()).into(),
        position.into(),
    ];
    el("li").child(Content::Many(cells))
}

fn absolute_time(at: Timestamp) -> El {
    el("time")
        .attr("datetime", at.to_string())
        .child(absolute(at))
}

#[cfg(test)]
mod tests;
