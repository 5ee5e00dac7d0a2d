//! Events of a cluster: changes of its verdict and of its nodes, with time and duration.

use galera::publish::api::HistoryPage;
use galera::record::history::{ChangeKind, GONE, HistoryEvent, HistorySubject, StateChange};
use galera::view::{ClusterView, NodeState, VerdictReason, VerdictState};
use galera::{NodeId, Timestamp};

use super::api_client::PageQuery;
use crate::data::query_string;
use crate::format::{absolute, age, code, elapsed, link, quiet, sub, ticking_age, unknown};
use crate::links::node_href;
use crate::marks::{StateMark, node_mark, state_badge, verdict_mark};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 5] = ["Time", "Object", "New state", "Duration", "Reason"];

/// Filter and position from the page's query string.
#[derive(Debug, Default)]
pub(super) struct EventsFilter {
    kind: String,
    node: String,
    state: String,
    at: String,
    before: String,
    after: String,
}

impl EventsFilter {
    pub(super) fn from_query(query: &PageQuery) -> Self {
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

    /// A query string with the same filters at another position.
    fn page_query(&self, position: &'static str, value: String) -> String {
        query_string(self.filters().into_iter().chain([(position, value)]))
    }

    pub(super) fn api_path(&self, cluster: &str) -> String {
        let positions = [
            ("at", complete_timestamp(&self.at)),
            ("before", self.before.clone()),
            ("after", self.after.clone()),
        ];
        let limit = [("limit", "100".to_owned())];
        let query = query_string(limit.into_iter().chain(self.filters()).chain(positions));
        format!("/api/v1/clusters/{cluster}/events?{query}")
    }

    /// API path of the events after `page`. They determine how long its newest states lasted. Any other state ends a
    /// state, so the state filter is left out.
    pub(super) fn newer_api_path(&self, cluster: &str, page: &HistoryPage) -> String {
        let newest = page.events.first().map_or(0, |event| event.sequence);
        let filters = [("kind", self.kind.clone()), ("node", self.node.clone())];
        let query = query_string(filters.into_iter().chain([("after", newest.to_string())]));
        format!("/api/v1/clusters/{cluster}/events?limit=200&{query}")
    }

    fn is_filtered(&self) -> bool {
        self.filters().iter().any(|(_, value)| !value.is_empty())
    }

    /// Whether the page was reached by paging or by a time, so that there may be newer events.
    fn is_paged_back(&self) -> bool {
        !(self.at.is_empty() && self.before.is_empty() && self.after.is_empty())
    }
}

/// Completes a partial timestamp: UTC unless a zone is given, rounded up to the end of the given day, minute or second.
fn complete_timestamp(text: &str) -> String {
    let text = text.trim().replace(' ', "T");
    match text.len() {
        10 => format!("{text}T23:59:59.999Z"),
        16 => format!("{text}:59.999Z"),
        19 => format!("{text}.999Z"),
        _ => text,
    }
}

pub(super) struct EventsPage<'a> {
    pub(super) view: &'a ClusterView,
    pub(super) page: &'a HistoryPage,
    /// Events after the page, newest first.
    pub(super) newer: &'a [HistoryEvent],
    pub(super) filter: &'a EventsFilter,
    pub(super) now: Timestamp,
}

impl EventsPage<'_> {
    pub(super) fn markup(&self) -> El {
        let name = self.view.name.as_str();
        let csv = self
            .filter
            .api_path(name)
            .replace("limit=100", "format=csv&limit=1000");
        let rows: Vec<El> = self
            .page
            .events
            .iter()
            .enumerate()
            .map(|(index, event)| self.event_row(index, event))
            .collect();
        let content = if rows.is_empty() {
            self.empty_message()
        } else {
            data_table("ledger events", "Events, newest first", &COLUMNS, rows)
        };
        el("div")
            .class("page")
            .child(el("h2").class("vh").child("Events"))
            .child(self.filter_form())
            .child(content)
            .child(self.pagination())
            .child(
                el("p").child(
                    link(csv, "Download as CSV")
                        .attr("rel", "external")
                        .attr("download", format!("{name}-events.csv")),
                ),
            )
    }

    fn page_path(&self) -> String {
        format!("/clusters/{}/events", self.view.name)
    }

    fn empty_message(&self) -> El {
        let text = if self.page.next_before.is_some() {
            "No matches among the newest events searched; there may be older ones."
        } else if self.filter.is_filtered() || self.filter.is_paged_back() {
            "No matching events."
        } else {
            "No events yet. Changes of the cluster's status and of node states will be listed here."
        };
        el("p").class("quiet").child(text)
    }

    fn pagination(&self) -> Option<El> {
        let page = |label: &'static str, query: String| {
            el("li").child(link(format!("{}?{query}", self.page_path()), label))
        };
        let newest = self.filter.is_paged_back().then(|| {
            let query = query_string(self.filter.filters());
            page("Newest", query)
        });
        let newer = self
            .page
            .events
            .first()
            .filter(|_| self.filter.is_paged_back());
        let newer = newer.map(|event| {
            page(
                "Newer",
                self.filter.page_query("after", event.sequence.to_string()),
            )
        });
        let older = self.page.next_before.map(|before| {
            page(
                "Older",
                self.filter.page_query("before", before.to_string()),
            )
        });
        let positions: Vec<El> = [newest, newer, older].into_iter().flatten().collect();
        (!positions.is_empty()).then(|| {
            el("nav")
                .attr("aria-label", "Other events")
                .child(el("ul").class("tally").child(positions))
        })
    }

    fn filter_form(&self) -> El {
        let filter = self.filter;
        let kinds = ChangeKind::ALL.map(|kind| {
            let label = match kind {
                ChangeKind::Verdict => "cluster",
                ChangeKind::Node => "nodes",
            };
            (kind.as_str().to_owned(), label.to_owned())
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
        if !filter.node.is_empty() && !nodes.iter().any(|(id, _)| *id == filter.node) {
            nodes.push((filter.node.clone(), filter.node.clone()));
        }
        let at = el("input")
            .attr("id", "at")
            .attr("name", "at")
            .attr("autocomplete", "off")
            .attr("spellcheck", "false")
            .attr("placeholder", "2026-11-24 08:00")
            .attr("value", filter.at.clone());
        el("form")
            .class("filter")
            .attr("method", "get")
            .attr("action", self.page_path())
            .attr("role", "search")
            .child(filter_select("kind", "Object", "any", &kinds, &filter.kind))
            .child(filter_select("node", "Node", "any", &nodes, &filter.node))
            .child(filter_select(
                "state",
                "New state",
                "any",
                &state_options(),
                &filter.state,
            ))
            .child(el("label").attr("for", "at").child("Until (UTC)"))
            .child(at)
            .child(el("button").attr("type", "submit").child("Filter"))
    }

    fn event_row(&self, index: usize, event: &HistoryEvent) -> El {
        let number = event.sequence.to_string();
        let href = format!(
            "{}?before={}#e{number}",
            self.page_path(),
            event.sequence + 1
        );
        let when = el("span")
            .child(absolute(event.at))
            .child(sub(Content::Many(vec![
                link(href, format!("#{number}"))
                    .attr("title", "Link to this event")
                    .into(),
                ", ".into(),
                ticking_age(event.at, self.now).into(),
            ])));
        let change = ChangeCells::of(&event.change, |node, label| {
            link(node_href(&self.view.name, node), label)
        });
        row(when)
            .attr("id", format!("e{number}"))
            .child(cell(COLUMNS[1], change.object))
            .child(cell(COLUMNS[2], change.state))
            .child(cell(COLUMNS[3], self.duration_cell(index, event)))
            .child(cell(COLUMNS[4], change.reason))
    }

    /// Time until the next event of the same subject.
    fn duration_cell(&self, index: usize, event: &HistoryEvent) -> El {
        let (subject, _) = event.change.subject_and_state();
        let page = self.page.events.get(..index).unwrap_or_default();
        // With a state filter, the events that ended the listed states may be missing from the page.
        let page = if self.filter.state.is_empty() {
            page
        } else {
            &[]
        };
        let next = |events: &[HistoryEvent]| {
            let mut events = events.iter().rev();
            events
                .find(|later| {
                    later.sequence > event.sequence && later.change.subject_and_state().0 == subject
                })
                .map(|later| later.at)
        };
        match next(page).or_else(|| next(self.newer)) {
            Some(end) => el("span").child(age(end.unix_millis() - event.at.unix_millis())),
            None if self.is_current(&subject, event) => elapsed(event.at, Some(self.now)),
            None => unknown(),
        }
    }

    /// Whether the event's state is the current one and no newer event was left out.
    fn is_current(&self, subject: &HistorySubject, event: &HistoryEvent) -> bool {
        let state = event.change.new_state_str();
        self.newer.len() < 200
            && match subject {
                HistorySubject::Verdict => self.view.verdict.state.as_str() == state,
                HistorySubject::Node(id) => {
                    let node = self.view.nodes.iter().find(|node| node.id == *id);
                    node.map_or(GONE, |node| node.state.as_str()) == state
                }
            }
    }
}

/// What a row shows of a change.
pub(super) struct ChangeCells {
    pub(super) object: Content,
    pub(super) state: Content,
    pub(super) reason: Content,
}

impl ChangeCells {
    /// `name_node` renders the label of a node.
    pub(super) fn of(change: &StateChange, name_node: impl Fn(&NodeId, String) -> El) -> Self {
        match change {
            StateChange::Verdict { from, to, reasons } => Self {
                object: "Cluster".into(),
                state: state_change(from.map(verdict_mark), Some(verdict_mark(*to))),
                reason: reason_list(reasons),
            },
            StateChange::Node {
                node,
                name,
                from,
                to,
            } => {
                let label = name.clone().unwrap_or_else(|| node.to_string());
                let id = name.as_ref().map(|_| sub(code(node.to_string())));
                Self {
                    object: el("span").child(name_node(node, label)).child(id).into(),
                    state: state_change(from.map(node_mark), to.map(node_mark)),
                    reason: Content::None,
                }
            }
        }
    }
}

/// The new state and the previous one.
fn state_change(from: Option<StateMark>, to: Option<StateMark>) -> Content {
    let to = to.map_or_else(|| el("span").child("No longer known"), state_badge);
    let from = from.map(|from| sub(format!("was {}", from.label)));
    el("span").child(to).child(from).into()
}

fn reason_list(reasons: &[VerdictReason]) -> Content {
    let reasons: Vec<El> = reasons
        .iter()
        .map(|reason| el("li").child(reason.message.clone()))
        .collect();
    if reasons.is_empty() {
        return quiet("No reason recorded.").into();
    }
    el("ul").class("evidence").child(reasons).into()
}

fn state_options() -> Vec<(String, String)> {
    let verdicts = VerdictState::ALL.map(|verdict| (verdict.as_str(), verdict_mark(verdict).label));
    let nodes = NodeState::ALL.map(|node| (node.as_str(), node_mark(node).label));
    let mut states: Vec<(String, String)> = Vec::new();
    for (value, label) in verdicts
        .into_iter()
        .chain(nodes)
        .chain([(GONE, "No longer known")])
    {
        if !states.iter().any(|(known, _)| known == value) {
            states.push((value.to_owned(), label.to_owned()));
        }
    }
    states
}

/// A select with an option for no filter.
fn filter_select(
    name: &'static str,
    label: &'static str,
    none: &'static str,
    options: &[(String, String)],
    chosen: &str,
) -> Content {
    let option = |value: &str, label: String| {
        el("option")
            .attr("value", value.to_owned())
            .optional_attr("selected", (value == chosen).then_some(""))
            .child(label)
    };
    let options: Vec<El> = options
        .iter()
        .map(|(value, label)| option(value, label.clone()))
        .collect();
    let select = el("select")
        .attr("id", name)
        .attr("name", name)
        .child(option("", none.to_owned()))
        .child(options);
    Content::Many(vec![
        el("label").attr("for", name).child(label).into(),
        select.into(),
    ])
}

#[cfg(test)]
mod tests;
