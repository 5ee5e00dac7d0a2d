//! The events of a cluster: what became of its verdict and of its nodes, when, and for how long.

use galera::Timestamp;
use galera::publish::api::EventPage;
use galera::record::history::{Change, Event, GONE, Kind, Subject};
use galera::view::{ClusterView, NodeState, Reason, VerdictState};

use super::answers::Query;
use crate::data::segment;
use crate::format::{absolute, age, code, lasting, link, quiet, sub, ticking, unknown};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, node_href, row};
use crate::words::{Mark, node_mark, state, verdict_mark};

const COLUMNS: [&str; 5] = ["When", "What", "Became", "Lasted", "Why"];

/// What the address asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    kind: String,
    node: String,
    state: String,
    at: String,
    before: String,
    after: String,
}

impl Asked {
    pub(super) fn of(query: &Query) -> Self {
        let text = |name: &str| query.get(name).unwrap_or_default().trim().to_owned();
        Self {
            kind: text("kind"),
            node: text("node"),
            state: text("state"),
            at: text("at"),
            before: text("before"),
            after: text("after"),
        }
    }

    fn filters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("kind", self.kind.clone()),
            ("node", self.node.clone()),
            ("state", self.state.clone()),
        ]
    }

    /// The filters with another place.
    fn query(&self, place: &'static str, value: String) -> String {
        joined(self.filters().into_iter().chain([(place, value)]))
    }

    /// The API's address for it.
    pub(super) fn path(&self, cluster: &str) -> String {
        let places = [
            ("at", whole_time(&self.at)),
            ("before", self.before.clone()),
            ("after", self.after.clone()),
        ];
        let query = joined(self.filters().into_iter().chain(places));
        format!("/api/v1/clusters/{cluster}/events?limit=100&{query}")
    }

    /// The API's address of what came next after `page`, which tells how long its newest states lasted. The state is no
    /// part of it: a state is ended by any other one.
    pub(super) fn path_after(&self, cluster: &str, page: &EventPage) -> String {
        let newest = page.events.first().map_or(0, |event| event.sequence);
        let filters = [("kind", self.kind.clone()), ("node", self.node.clone())];
        let query = joined(filters.into_iter().chain([("after", newest.to_string())]));
        format!("/api/v1/clusters/{cluster}/events?limit=200&{query}")
    }

    fn is_filtered(&self) -> bool {
        self.filters().iter().any(|(_, value)| !value.is_empty())
    }

    /// Whether newer events may exist than those of the page.
    fn is_back(&self) -> bool {
        !(self.at.is_empty() && self.before.is_empty() && self.after.is_empty())
    }
}

fn joined(pairs: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let pairs: Vec<String> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", segment(&value)))
        .collect();
    pairs.join("&")
}

/// A time as forms and people give it, in full: UTC where no zone is named, and the end of what is not named.
fn whole_time(text: &str) -> String {
    let text = text.trim().replace(' ', "T");
    match text.len() {
        10 => format!("{text}T23:59:59.999Z"),
        16 => format!("{text}:59.999Z"),
        19 => format!("{text}.999Z"),
        _ => text,
    }
}

/// What the page is made of.
pub(super) struct Page<'a> {
    pub(super) view: &'a ClusterView,
    pub(super) page: &'a EventPage,
    /// What came after the page, newest first.
    pub(super) newer: &'a [Event],
    pub(super) asked: &'a Asked,
    pub(super) now: Timestamp,
}

impl Page<'_> {
    pub(super) fn markup(&self) -> El {
        let name = self.view.name.as_str();
        let csv = self
            .asked
            .path(name)
            .replace("limit=100", "format=csv&limit=1000");
        let rows: Vec<El> = self
            .page
            .events
            .iter()
            .enumerate()
            .map(|(index, event)| self.line(index, event))
            .collect();
        let content = if rows.is_empty() {
            self.nothing()
        } else {
            ledger("ledger events", "Events, newest first", &COLUMNS, rows)
        };
        el("div")
            .class("page")
            .with(el("h2").class("vh").with("Events"))
            .with(self.filter())
            .with(content)
            .with(self.elsewhere())
            .with(
                el("p").with(
                    link(csv, "Download as CSV")
                        .at("rel", "external")
                        .at("download", format!("{name}-events.csv")),
                ),
            )
    }

    fn here(&self) -> String {
        format!("/clusters/{}/events", self.view.name)
    }

    /// Why there is nothing to see.
    fn nothing(&self) -> El {
        let text = if self.page.next_before.is_some() {
            "No event matches among the newest ones that were searched; older ones may."
        } else if self.asked.is_filtered() || self.asked.is_back() {
            "No event matches."
        } else {
            "Nothing is recorded yet. The first verdict and the first state of each node will be the first events."
        };
        el("p").class("quiet").with(text)
    }

    fn elsewhere(&self) -> Option<El> {
        let page = |label: &'static str, query: String| {
            el("li").with(link(format!("{}?{query}", self.here()), label))
        };
        let newest = self.asked.is_back().then(|| {
            let query = joined(self.asked.filters());
            page("Newest", query)
        });
        let newer = self.page.events.first().filter(|_| self.asked.is_back());
        let newer = newer.map(|event| {
            page(
                "Newer",
                self.asked.query("after", event.sequence.to_string()),
            )
        });
        let older = self
            .page
            .next_before
            .map(|before| page("Older", self.asked.query("before", before.to_string())));
        let places: Vec<El> = [newest, newer, older].into_iter().flatten().collect();
        (!places.is_empty()).then(|| {
            el("nav")
                .at("aria-label", "Other events")
                .with(el("ul").class("tally").with(places))
        })
    }

    fn filter(&self) -> El {
        let asked = self.asked;
        let kinds = Kind::ALL.map(|kind| {
            let label = match kind {
                Kind::Verdict => "the cluster",
                Kind::Node => "its nodes",
            };
            (kind.word().to_owned(), label.to_owned())
        });
        let mut nodes: Vec<(String, String)> = self
            .view
            .nodes
            .iter()
            .map(|node| {
                let id = node.id.to_string();
                let name = node.name.as_ref().map(|name| format!("{name} ({id})"));
                (id.clone(), name.unwrap_or(id))
            })
            .collect();
        if !asked.node.is_empty() && !nodes.iter().any(|(id, _)| *id == asked.node) {
            nodes.push((asked.node.clone(), asked.node.clone()));
        }
        let at = el("input")
            .at("id", "at")
            .at("name", "at")
            .at("autocomplete", "off")
            .at("spellcheck", "false")
            .at("placeholder", "2026-11-24 08:00")
            .at("value", asked.at.clone());
        el("form")
            .class("filter")
            .at("method", "get")
            .at("action", self.here())
            .at("role", "search")
            .with(select("kind", "About", "everything", &kinds, &asked.kind))
            .with(select("node", "Node", "any", &nodes, &asked.node))
            .with(select(
                "state",
                "Became",
                "anything",
                &states(),
                &asked.state,
            ))
            .with(el("label").at("for", "at").with("Until (UTC)"))
            .with(at)
            .with(el("button").at("type", "submit").with("Show"))
    }

    fn line(&self, index: usize, event: &Event) -> El {
        let number = event.sequence.to_string();
        let href = format!("{}?before={}#e{number}", self.here(), event.sequence + 1);
        let when = el("span")
            .with(absolute(event.at))
            .with(sub(Child::Many(vec![
                link(href, format!("#{number}"))
                    .at("title", "A link to this event")
                    .into(),
                ", ".into(),
                ticking(event.at, self.now).into(),
            ])));
        let (what, became, why): (Child, Child, Child) = match &event.change {
            Change::Verdict { from, to, reasons } => (
                "Cluster".into(),
                became(from.map(verdict_mark), Some(verdict_mark(*to))),
                explained(reasons),
            ),
            Change::Node {
                node,
                name,
                from,
                to,
            } => {
                let label = name.clone().unwrap_or_else(|| node.to_string());
                let id = name.as_ref().map(|_| sub(code(node.to_string())));
                let who = link(node_href(&self.view.name, node), label);
                (
                    el("span").with(who).with(id).into(),
                    became(from.map(node_mark), to.map(node_mark)),
                    Child::None,
                )
            }
        };
        row(number.clone(), when)
            .at("id", format!("e{number}"))
            .with(cell(COLUMNS[1], what))
            .with(cell(COLUMNS[2], became))
            .with(cell(COLUMNS[3], self.lasted(index, event)))
            .with(cell(COLUMNS[4], why))
    }

    /// How long it stayed so: until the next event of the same subject.
    fn lasted(&self, index: usize, event: &Event) -> El {
        let (subject, _) = event.change.outcome();
        let page = self.page.events.get(..index).unwrap_or_default();
        // A page that shows some states only does not know what ended them.
        let page = if self.asked.state.is_empty() {
            page
        } else {
            &[]
        };
        let next = |events: &[Event]| {
            let mut events = events.iter().rev();
            events
                .find(|later| {
                    later.sequence > event.sequence && later.change.outcome().0 == subject
                })
                .map(|later| later.at)
        };
        match next(page).or_else(|| next(self.newer)) {
            Some(end) => el("span").with(age(end.unix_millis() - event.at.unix_millis())),
            None if self.is_present(&subject, event) => lasting(event.at, Some(self.now)),
            None => unknown(),
        }
    }

    /// Whether the event led to what is now: nothing newer was left out.
    fn is_present(&self, subject: &Subject, event: &Event) -> bool {
        let word = event.change.to_word();
        self.newer.len() < 200
            && match subject {
                Subject::Verdict => self.view.verdict.state.word() == word,
                Subject::Node(id) => {
                    let node = self.view.nodes.iter().find(|node| node.id == *id);
                    node.map_or(GONE, |node| node.state.word()) == word
                }
            }
    }
}

/// What it was, and what it became.
fn became(from: Option<Mark>, to: Option<Mark>) -> Child {
    let to = to.map_or_else(|| el("span").with("No longer known"), state);
    let from = from.map(|from| sub(format!("was {}", from.word)));
    el("span").with(to).with(from).into()
}

fn explained(reasons: &[Reason]) -> Child {
    let reasons: Vec<El> = reasons
        .iter()
        .map(|reason| el("li").with(reason.message.clone()))
        .collect();
    if reasons.is_empty() {
        return quiet("No reason is recorded.").into();
    }
    el("ul").class("evidence").with(reasons).into()
}

fn states() -> Vec<(String, String)> {
    let verdicts = VerdictState::ALL.map(|verdict| (verdict.word(), verdict_mark(verdict).word));
    let nodes = NodeState::ALL.map(|node| (node.word(), node_mark(node).word));
    let mut states: Vec<(String, String)> = Vec::new();
    for (word, label) in verdicts
        .into_iter()
        .chain(nodes)
        .chain([(GONE, "No longer known")])
    {
        if !states.iter().any(|(known, _)| known == word) {
            states.push((word.to_owned(), label.to_owned()));
        }
    }
    states
}

/// A choice of one, or of none.
fn select(
    name: &'static str,
    label: &'static str,
    none: &'static str,
    options: &[(String, String)],
    chosen: &str,
) -> Child {
    let option = |value: &str, label: String| {
        el("option")
            .at("value", value.to_owned())
            .maybe("selected", (value == chosen).then_some(""))
            .with(label)
    };
    let options: Vec<El> = options
        .iter()
        .map(|(value, label)| option(value, label.clone()))
        .collect();
    let select = el("select")
        .at("id", name)
        .at("name", name)
        .with(option("", none.to_owned()))
        .with(options);
    Child::Many(vec![
        el("label").at("for", name).with(label).into(),
        select.into(),
    ])
}

#[cfg(test)]
mod tests;
