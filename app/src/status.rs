//! The status page: a document of its own, complete without script, and small.
//!
//! It shares marks, style tokens and escaping with the interface, but nothing of it is in the browser's module. A script of
//! its own (`app/status/live.js`) keeps an open page true.

mod days;
mod telling;

use galera::Timestamp;
use galera::publish::status_pages::{Apart, Told, ToldCluster, ToldNode, ToldState};

use crate::format::{absolute, hidden, link, number};
use crate::markup::{Child, El, el};
use crate::words::{glyph, node_mark, state, told_mark, tone_class};

/// A status page as it is served.
#[derive(Clone, Copy, Debug)]
pub struct StatusPage<'a> {
    /// What it says.
    pub told: &'a Told,
    /// Names what it says: another version says something else.
    pub version: &'a str,
    /// When that was found to be so.
    pub as_of: Timestamp,
    /// What leads from the page's address to what belongs to it: nothing, or `slug/`.
    pub base: &'a str,
    /// The URL of its style sheet.
    pub css: &'a str,
    /// The URL of its script.
    pub js: &'a str,
    /// Whether search engines may list it.
    pub listed: bool,
}

impl StatusPage<'_> {
    /// The document.
    #[must_use]
    pub fn html(&self) -> String {
        let told = self.told;
        let title = format!("{} · {}", told.sentence(), told.title);
        let robots = (!self.listed).then(|| meta("robots", "noindex"));
        let head = el("head")
            .with(el("meta").at("charset", "utf-8"))
            .with(meta("viewport", "width=device-width, initial-scale=1"))
            .with(meta("color-scheme", "light dark"))
            .with(robots)
            .with(el("title").with(title))
            .with(relation("stylesheet", self.css.to_owned()))
            .with(relation("icon", "/favicon.svg".to_owned()).at("type", "image/svg+xml"))
            .with(
                relation("alternate", format!("{}feed.atom", self.base))
                    .at("type", "application/atom+xml")
                    .at("title", told.title.clone()),
            )
            .with(
                el("script")
                    .at("type", "module")
                    .at("src", self.js.to_owned()),
            );
        let spoken = el("p").at("id", "spoken").class("vh").at("role", "status");
        let body = el("body").with(self.content()).with(spoken);
        let document = el("html").at("lang", "en").with(head).with(body);
        format!("<!DOCTYPE html>{}", document.html())
    }

    /// What is put in place of the same part of an open page when something changes.
    fn content(&self) -> El {
        let told = self.told;
        let mark = told_mark(told.overall);
        let overall = el("p")
            .class(tone_class("overall", mark))
            .with(glyph(mark))
            .with(told.sentence());
        let header = el("header")
            .with(el("h1").with(told.title.clone()))
            .with(overall)
            .with(self.age())
            .with(told.unread_since.map(unread));
        let main = el("main")
            .with(telling::announcements(told))
            .with(telling::open(told))
            .with(telling::maintenance(told))
            .with(clusters(told))
            .with(telling::past(told));
        el("div")
            .at("id", "page")
            .at("data-version", self.version.to_owned())
            .at("data-events", format!("{}events", self.base))
            .with(header)
            .with(main)
            .with(self.footer())
    }

    /// How old all of this is. The script lets the age tick.
    fn age(&self) -> El {
        let changed = self
            .told
            .changed_at()
            .map(|at| el("span").with("Last change ").with(moment(at)).with(". "));
        let as_of = el("time")
            .at("id", "as-of")
            .at("datetime", self.as_of.to_string())
            .with(absolute(self.as_of));
        el("p")
            .class("age")
            .with(changed)
            .with("As of ")
            .with(as_of)
            .with(el("span").at("id", "age"))
            .with(".")
    }

    fn footer(&self) -> El {
        let to = |name: &str, text: &'static str| link(format!("{}{name}", self.base), text);
        el("footer")
            .with(
                el("p")
                    .with("Times are UTC. Days without data are empty, not counted as up or down."),
            )
            .with(
                el("p")
                    .with(to("feed.atom", "Atom feed"))
                    .with(" ")
                    .with(to("summary.json", "JSON"))
                    .with(" ")
                    .with(to("badge.svg", "Badge")),
            )
    }
}

fn meta(name: &'static str, content: &'static str) -> El {
    el("meta").at("name", name).at("content", content)
}

fn relation(rel: &'static str, href: String) -> El {
    el("link").at("rel", rel).at("href", href)
}

fn unread(since: Timestamp) -> El {
    el("p")
        .class("notice")
        .with("Incidents, maintenance and announcements are as of ")
        .with(moment(since))
        .with(": what was written since cannot be read at the moment. The states below are measured and up to date.")
}

fn clusters(told: &Told) -> El {
    let each: Vec<El> = told
        .clusters
        .iter()
        .enumerate()
        .map(|(place, shown)| cluster(place, shown))
        .collect();
    el("section")
        .class("clusters")
        .with(el("h2").class("vh").with("Databases"))
        .with(each)
}

fn cluster(place: usize, shown: &ToldCluster) -> El {
    let head = el("div")
        .class("line")
        .with(el("h3").with(shown.name.clone()))
        .with(state(told_mark(shown.state)));
    let since = shown
        .since
        .map(|at| el("span").with(" Since ").with(moment(at)).with("."));
    el("section")
        .class("cluster")
        .with(head)
        .with(el("p").class("quiet").with(meaning(shown)).with(since))
        .with(nodes(shown))
        .with(days::bars(place, shown))
        .with(days::uptime(&shown.uptime))
}

/// What a state means to somebody who uses the database.
fn meaning(shown: &ToldCluster) -> &'static str {
    match (shown.state, shown.actual) {
        (ToldState::Maintenance, ToldState::Operational) => "Planned work; it works meanwhile.",
        (ToldState::Maintenance, ToldState::Degraded) => {
            "Planned work; it works meanwhile, with fewer members."
        }
        (ToldState::Maintenance, ToldState::Unknown) => {
            "Planned work; its state is not known at the moment."
        }
        (ToldState::Maintenance, _) => match shown.apart {
            Some(_) => {
                "Planned work; parts of it hold different data meanwhile. Do not rely on it."
            }
            None => "Planned work; it is not available meanwhile.",
        },
        (ToldState::Operational, _) => "It takes reads and writes.",
        (ToldState::Degraded, _) => "It takes reads and writes, with fewer members than planned.",
        (ToldState::Outage, _) => match shown.apart {
            Some(Apart::Writing) => {
                "Parts of it take writes apart from each other. Do not rely on it until this is resolved."
            }
            Some(Apart::Holding) => {
                "Parts of it hold different data. Do not rely on it until this is resolved."
            }
            None => "It takes no reads or writes.",
        },
        (ToldState::Unknown, _) => {
            "It cannot be measured at the moment. That says nothing about the database."
        }
    }
}

/// The nodes, where the page shows them.
fn nodes(shown: &ToldCluster) -> Option<El> {
    let rows: Vec<El> = shown.nodes.iter().map(node).collect();
    let list = el("ul").class("nodes").with(rows);
    (!shown.nodes.is_empty()).then_some(list)
}

fn node(node: &ToldNode) -> El {
    let more = |text: Option<String>| text.map(|text| el("span").class("quiet").with(text));
    let position = node.position.map(|seqno| {
        el("span")
            .class("quiet")
            .with(hidden("last committed "))
            .with(number(seqno))
    });
    let cells: Vec<Child> = vec![
        el("b").with(node.name.clone()).into(),
        state(node_mark(node.state)).into(),
        more(node.address.clone()).into(),
        more(node.version.clone()).into(),
        position.into(),
    ];
    el("li").with(Child::Many(cells))
}

/// A point in time in full.
fn moment(at: Timestamp) -> El {
    el("time").at("datetime", at.to_string()).with(absolute(at))
}

#[cfg(test)]
mod tests;
