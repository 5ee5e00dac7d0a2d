//! What happened meanwhile: changes of state, actions and incidents, marked in the charts by number and listed once.

use galera::publish::api::{ActionList, HistoryPage};
use galera::publish::status_pages::IncidentList;
use galera::record::history::StateChange;
use galera::{ClusterName, Timestamp};

use crate::data::encode_segment;
use crate::format::{absolute, link};
use crate::fragments::api_client::ApiClient;
use crate::fragments::widgets::humanize;
use crate::marks::{node_mark, verdict_mark};
use crate::markup::{Content, El, el};

/// Annotations that are marked; of more, the newest.
const SHOWN_MAX: usize = 20;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::fragments) struct Annotation {
    pub(in crate::fragments) at: Timestamp,
    pub(in crate::fragments) text: String,
    /// Where it is described; `None` for a change of state.
    pub(in crate::fragments) href: Option<String>,
}

/// What happened in the range, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::fragments) struct Annotations {
    pub(super) shown: Vec<Annotation>,
    /// How many older ones are left out.
    pub(super) older: usize,
    /// Whether there are still older ones, which were not read.
    pub(super) more: bool,
    /// Whether some could not be read.
    pub(super) incomplete: bool,
}

/// Reads what happened since `from`: to the cluster, or to one node and by actions and incidents. Nothing that fails here
/// hides the charts.
pub(super) async fn read(
    client: &ApiClient<'_>,
    cluster: &str,
    node: Option<&str>,
    from: Timestamp,
) -> Annotations {
    let of_what = node.map_or_else(|| "kind=verdict".to_owned(), |node| format!("node={node}"));
    let events = format!("/api/v1/clusters/{cluster}/events?limit=200&{of_what}");
    let actions = format!("/api/v1/actions?cluster={cluster}&limit=50");
    let (events, actions, incidents) = futures::join!(
        client.get::<HistoryPage>(&events),
        client.get::<ActionList>(&actions),
        client.get::<IncidentList>("/api/v1/status/incidents"),
    );
    let more = events.as_ref().is_ok_and(|page| {
        let times = page.events.iter().map(|event| event.at);
        is_cut_off(page.next_before.is_some(), times, from)
    }) || actions.as_ref().is_ok_and(|list| {
        let times = list.actions.iter().map(|view| view.action.requested_at);
        is_cut_off(list.next_before.is_some(), times, from)
    });
    let incomplete = events.is_err() || actions.is_err() || incidents.is_err();
    let name = leptos_router::location::Url::unescape(cluster);
    let mut all: Vec<Annotation> = Vec::new();
    for event in events.map(|page| page.events).unwrap_or_default() {
        all.push(Annotation {
            at: event.at,
            text: change_text(&event.change),
            href: None,
        });
    }
    for view in actions.map(|list| list.actions).unwrap_or_default() {
        let action = view.action;
        all.push(Annotation {
            at: action.requested_at,
            text: format!(
                "{} requested by {}",
                humanize(action.kind.as_str()),
                action.requested_by
            ),
            href: Some(format!("/actions/{}", encode_segment(action.id.as_str()))),
        });
    }
    for incident in incidents.map(|list| list.incidents).unwrap_or_default() {
        if incident.clusters.iter().any(|of| of.as_str() == name) {
            all.push(Annotation {
                at: incident.opened_at,
                text: format!("Incident: {}", incident.title),
                href: Some("/incidents".to_owned()),
            });
        }
    }
    Annotations {
        more,
        ..Annotations::new(all, from, incomplete)
    }
}

/// Whether a page of what happened at `times` ends within the range since `from`, although another page follows.
pub(super) fn is_cut_off(
    continues: bool,
    mut times: impl Iterator<Item = Timestamp>,
    from: Timestamp,
) -> bool {
    continues && times.all(|at| at >= from)
}

fn change_text(change: &StateChange) -> String {
    match change {
        StateChange::Verdict { to, .. } => format!("Status {}", verdict_mark(*to).label),
        StateChange::Node { node, name, to, .. } => {
            let label = name.clone().unwrap_or_else(|| node.to_string());
            let state = to.map_or("No longer known", |state| node_mark(state).label);
            format!("{label} {state}")
        }
    }
}

impl Annotations {
    pub(in crate::fragments) fn new(
        mut all: Vec<Annotation>,
        from: Timestamp,
        incomplete: bool,
    ) -> Self {
        all.retain(|annotation| annotation.at >= from);
        all.sort_by_key(|annotation| annotation.at);
        let older = all.len().saturating_sub(SHOWN_MAX);
        Self {
            shown: all.split_off(older),
            older,
            more: false,
            incomplete,
        }
    }

    /// The list that explains the numbers in the charts.
    pub(super) fn list(&self, cluster: &ClusterName, now: Timestamp) -> Content {
        if self.shown.is_empty() {
            return Content::None;
        }
        let items = self.shown.iter().map(|annotation| {
            let text = format!("{} {}", absolute(annotation.at.min(now)), annotation.text);
            el("li").child(match &annotation.href {
                Some(href) => link(href.clone(), text),
                None => el("span").child(text),
            })
        });
        let older = (self.older > 0 || self.more).then(|| {
            let count = match (self.older, self.more) {
                (0, _) => "Some earlier ones".to_owned(),
                (older, true) => format!("{older} or more earlier ones"),
                (older, false) => format!("{older} earlier ones"),
            };
            let events = format!("/clusters/{}/events", encode_segment(cluster.as_str()));
            el("p")
                .child(format!("{count} are not marked. "))
                .child(link(events, "Show all events"))
        });
        let list: El = el("ol").class("marks").child(items.collect::<Vec<_>>());
        el("details")
            .child(el("summary").child(format!("Marked: {}", summary(self.shown.len()))))
            .child(list)
            .child(older)
            .into()
    }
}

fn summary(count: usize) -> String {
    match count {
        1 => "1 event".to_owned(),
        count => format!("{count} events"),
    }
}
