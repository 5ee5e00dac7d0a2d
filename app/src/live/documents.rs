//! Version 2 of the WebSocket protocol (docs/live-protocol-2.md): keeps the document of each topic, applies patches, and
//! reads what pages show from it.
//!
//! Read by hand from a generic value: code derived by serde for the same types takes a third of the WebAssembly module.
//! Numbers stay exact, which those of JavaScript are not above 2^53. Unknown members and messages of newer servers are
//! ignored.

use galera::view::{
    ArbitratorState, ArbitratorView, ClusterStatus, ClusterSummary, ClusterView, Component,
    LabelMap, NodeState, NodeSummary, NodeView, ReasonCode, RegistryHealth, SourceKind, SourceView,
    TransferView, Verdict, VerdictReason, VerdictState, add_label,
};
use galera::{Position, Timestamp};
use miniserde::json::{self, Number, Object, Value};

use crate::overview_window::OverviewWindow;

/// The version that the application speaks.
const VERSION: u64 = 2;

/// The documents of a connection's topics.
#[derive(Default)]
pub(super) struct LiveDocuments {
    topics: Vec<TopicState>,
}

struct TopicState {
    topic: String,
    revision: u64,
    document: Object,
    /// Whether the document has changed since [`LiveDocuments::next_change`] read it.
    changed: bool,
    /// Whether it has been read before.
    known: bool,
}

/// The meaning of a single message.
#[derive(Debug, PartialEq)]
pub(super) enum LiveArrival {
    /// The connection is open. `None` from a server that does not speak [`VERSION`].
    Hello(Option<Timestamp>),
    /// The document of a topic with this name has changed.
    Document(String),
    /// The server refuses a topic: why, and what helps.
    Error(String),
    /// Not a message of this protocol.
    Unreadable,
}

/// What the document of a topic says.
#[derive(Debug, PartialEq)]
pub(super) enum DocumentContent {
    /// Selected clusters, or those that are not healthy.
    Overview(OverviewWindow),
    Cluster(Box<ClusterView>),
    /// The number of actions that wait for approval.
    Pending(usize),
    /// A document that a page of this version cannot read.
    Unreadable,
}

/// The present document of a topic.
#[derive(Debug, PartialEq)]
pub(super) struct TopicContent {
    pub(super) topic: String,
    /// Whether it is the first one of the topic on this connection.
    pub(super) is_first: bool,
    pub(super) content: DocumentContent,
}

impl LiveDocuments {
    /// Applies a message; `None` if it changes nothing: an unknown one, or a patch of another revision, whose topic the
    /// server sends again on request.
    pub(super) fn accept(&mut self, text: &str) -> Option<LiveArrival> {
        let Ok(mut frame) = json::from_str::<Object>(text) else {
            return Some(LiveArrival::Unreadable);
        };
        match Row(&frame).text("type")?.as_str() {
            "hello" => {
                self.topics.clear();
                Some(LiveArrival::Hello(hello(Row(&frame))))
            }
            "error" => Row(&frame).text("detail").map(LiveArrival::Error),
            kind @ ("full" | "patch") => {
                let is_full = kind == "full";
                self.publish(&mut frame, is_full)
            }
            _ => None,
        }
    }

    /// The next topic whose document has changed. Several changes of it are read at once, so that a browser which shows
    /// them more slowly than they arrive does not fall behind.
    pub(super) fn next_change(&mut self) -> Option<TopicContent> {
        let state = self.topics.iter_mut().find(|state| state.changed)?;
        state.changed = false;
        Some(TopicContent {
            topic: state.topic.clone(),
            is_first: !std::mem::replace(&mut state.known, true),
            content: read_document(Row(&state.document)).unwrap_or(DocumentContent::Unreadable),
        })
    }

    fn publish(&mut self, frame: &mut Object, is_full: bool) -> Option<LiveArrival> {
        let (topic, revision) = (Row(frame).text("topic")?, Row(frame).whole("revision")?);
        let base = Row(frame).whole("base");
        let Some(Value::Object(rows)) = frame.remove("rows") else {
            return None;
        };
        let index = self.topics.iter().position(|known| known.topic == topic);
        let state = match index {
            Some(index) => self.topics.get_mut(index)?,
            None if is_full => {
                self.topics.push(TopicState {
                    topic: topic.clone(),
                    revision,
                    document: Object::new(),
                    changed: true,
                    known: false,
                });
                self.topics.last_mut()?
            }
            None => return None,
        };
        if is_full {
            state.document = rows;
        } else if base == Some(state.revision) {
            patch(&mut state.document, rows);
        } else {
            return None;
        }
        (state.revision, state.changed) = (revision, true);
        Some(LiveArrival::Document(topic))
    }
}

/// The server's clock.
fn hello(frame: Row<'_>) -> Option<Timestamp> {
    let mut versions = frame.list("versions").iter();
    versions
        .any(|version| matches!(version, Value::Number(Number::U64(VERSION))))
        .then_some(())?;
    frame.time("server_time")
}

/// Applies a JSON merge patch (RFC 7396).
fn patch(target: &mut Object, changes: Object) {
    for (name, change) in changes {
        match (target.get_mut(&name), change) {
            (Some(Value::Object(nested)), Value::Object(change)) => patch(nested, change),
            (_, Value::Null) => {
                target.remove(&name);
            }
            (_, Value::Object(change)) => {
                let mut nested = Object::new();
                patch(&mut nested, change);
                target.insert(name, Value::Object(nested));
            }
            (_, value) => {
                target.insert(name, value);
            }
        }
    }
}

fn read_document(document: Row<'_>) -> Option<DocumentContent> {
    if document.has("nodes") {
        return cluster_view(document).map(|view| DocumentContent::Cluster(Box::new(view)));
    }
    if document.has("actions") {
        let actions = document.rows("actions")?.into_iter();
        let pending = actions.filter(|(_, row)| row.text("state").as_deref() == Some("pending"));
        return Some(DocumentContent::Pending(pending.count()));
    }
    let clusters = document.rows("clusters")?.into_iter();
    let clusters = clusters
        .map(|(_, row)| cluster_summary(row))
        .collect::<Option<Vec<_>>>()?;
    let counts = document.row("verdicts")?;
    let verdicts = VerdictState::ALL.into_iter().filter_map(|state| {
        let count = counts.whole(state.as_str())?;
        Some((state, usize::try_from(count).ok()?))
    });
    let matched = document
        .whole("matched")
        .and_then(|count| usize::try_from(count).ok());
    Some(DocumentContent::Overview(OverviewWindow {
        matched: matched.unwrap_or(clusters.len()),
        clusters,
        verdicts: verdicts.collect(),
        notices: document.texts("notices"),
    }))
}

/// The browser shows messages alone.
const UNREAD_CODE: ReasonCode = ReasonCode::NoEvidence;

fn cluster_view(row: Row<'_>) -> Option<ClusterView> {
    let components = row.objects("components");
    let nodes = row.rows("nodes")?.into_iter();
    Some(ClusterView {
        name: row.parsed("name")?,
        labels: LabelMap::default(),
        revision: row.whole("revision")?,
        observed_at: row.time("observed_at")?,
        verdict: verdict(row.row("verdict")?)?,
        expected_members: row.parsed_list("expected_members")?,
        components: components.map(component).collect::<Option<_>>()?,
        nodes: nodes
            .map(|(id, row)| node_view(&id, row))
            .collect::<Option<_>>()?,
        registry: registry_health(row.row("registry")?)?,
        quorum: None,
        arbitrators: row
            .objects("arbitrators")
            .map(arbitrator_view)
            .collect::<Option<_>>()?,
        last_transfer: None,
    })
}

/// What its tile shows.
fn arbitrator_view(row: Row<'_>) -> Option<ArbitratorView> {
    let states = &ArbitratorState::ALL;
    Some(ArbitratorView {
        name: row.text("name"),
        state: named(states, ArbitratorState::as_str, row.str("state")?)?,
        address: row.text("address"),
        since: None,
        message: String::new(),
    })
}

fn verdict(row: Row<'_>) -> Option<Verdict> {
    let reason = |row: Row<'_>| {
        Some(VerdictReason {
            code: UNREAD_CODE,
            node: row.parsed("node"),
            message: row.text("message")?,
        })
    };
    Some(Verdict {
        state: named(&VerdictState::ALL, VerdictState::as_str, row.str("state")?)?,
        reasons: row.objects("reasons").map(reason).collect::<Option<_>>()?,
        since: row.time("since")?,
    })
}

fn component(row: Row<'_>) -> Option<Component> {
    Some(Component {
        status: cluster_status(row.str("status")?)?,
        members: row.parsed_list("members")?,
        state_uuid: row.text("state_uuid"),
        conf_id: row.whole("conf_id"),
        size: row.whole("size"),
    })
}

fn registry_health(row: Row<'_>) -> Option<RegistryHealth> {
    Some(RegistryHealth {
        reachable: row.flag("reachable")?,
        since: row.time("since")?,
        error: row.text("error"),
    })
}

fn node_view(id: &str, row: Row<'_>) -> Option<NodeView> {
    let sources = row.row("sources")?;
    // In the order of `SourceKind`, as in a view.
    let kinds = [("sql", SourceKind::Sql), ("registry", SourceKind::Registry)];
    let sources = kinds.into_iter().filter_map(|(name, kind)| {
        let row = sources.row(name)?;
        Some(source_view(kind, row))
    });
    let cluster_status = match row.str("cluster_status") {
        Some(status) => Some(cluster_status(status)?),
        None => None,
    };
    Some(NodeView {
        id: id.parse().ok()?,
        name: row.text("name"),
        state: named(&NodeState::ALL, NodeState::as_str, row.str("state")?)?,
        state_comment: row.text("state_comment"),
        cluster_status,
        position: row.row("position").and_then(position),
        position_fresh: row.flag("position_fresh")?,
        behind: row.whole("behind"),
        commit_rate: row.number("commit_rate"),
        recent_rates: row.list("recent_rates").iter().filter_map(number).collect(),
        recv_queue: row.whole("recv_queue"),
        send_queue: row.whole("send_queue"),
        flow_control_paused: row.number("flow_control_paused"),
        ready: row.flag("ready"),
        connected: row.flag("connected"),
        segment: row.whole("segment"),
        votes: None,
        cached_from: None,
        version: row.text("version"),
        gcomm_uuid: row.text("gcomm_uuid"),
        evs_state: row.text("evs_state"),
        expected: row.flag("expected")?,
        registered: row.flag("registered")?,
        unconfirmed: row.flag("unconfirmed").unwrap_or_default(),
        names: Vec::new(),
        findings: Vec::new(),
        transfer: row.row("transfer").and_then(transfer_view),
        sources: sources.collect::<Option<_>>()?,
    })
}

/// Its text, and the one number that is shown beside it.
fn transfer_view(row: Row<'_>) -> Option<TransferView> {
    Some(TransferView {
        summary: row.text("summary")?,
        percent: row
            .whole("percent")
            .and_then(|percent| percent.try_into().ok()),
        ..TransferView::default()
    })
}

fn source_view(kind: SourceKind, row: Row<'_>) -> Option<SourceView> {
    Some(SourceView {
        kind,
        observed_at: row.time("observed_at"),
        stale: row.flag("stale")?,
        error: row.text("error"),
        error_code: None,
        failing_since: row.time("failing_since"),
        state: row.text("state"),
        cluster_status: row.text("cluster_status"),
        seqno: row.whole("seqno"),
        phase: row.text("phase"),
    })
}

/// A row of `overview`, or one of `head`, which has the verdict alone.
fn cluster_summary(row: Row<'_>) -> Option<ClusterSummary> {
    let verdict = verdict(row.row("verdict")?)?;
    let node = |(id, row): (String, Row<'_>)| {
        Some(NodeSummary {
            id: id.parse().ok()?,
            name: row.text("name"),
            state: named(&NodeState::ALL, NodeState::as_str, row.str("state")?)?,
        })
    };
    let nodes = row.rows("nodes").unwrap_or_default().into_iter();
    let count = |name: &str| usize::try_from(row.whole(name).unwrap_or_default()).ok();
    Some(ClusterSummary {
        name: row.parsed("name")?,
        labels: row.row("labels").map(labels).unwrap_or_default(),
        revision: row.whole("revision").unwrap_or_default(),
        observed_at: row.time("observed_at").unwrap_or(verdict.since),
        expected: count("expected")?,
        synced: count("synced")?,
        position: row.row("position").and_then(position),
        commit_rate: row.number("commit_rate"),
        nodes: nodes.map(node).collect::<Option<_>>()?,
        registry_reachable: row.flag("registry_reachable").unwrap_or(true),
        verdict,
    })
}

fn labels(row: Row<'_>) -> LabelMap {
    let mut labels = LabelMap::default();
    for (key, value) in row.0 {
        if let Value::String(value) = value {
            add_label(&mut labels, key, value);
        }
    }
    labels
}

fn position(row: Row<'_>) -> Option<Position> {
    let seqno = row.whole("seqno")?.to_string();
    [row.str("uuid")?, ":", &seqno].concat().parse().ok()
}

fn cluster_status(name: &str) -> Option<ClusterStatus> {
    match name {
        "primary" => Some(ClusterStatus::Primary),
        "non_primary" => Some(ClusterStatus::NonPrimary),
        "disconnected" => Some(ClusterStatus::Disconnected),
        _ => None,
    }
}

/// The variant with this name.
fn named<T: Copy>(all: &[T], name_of: fn(T) -> &'static str, name: &str) -> Option<T> {
    all.iter()
        .copied()
        .find(|variant| name_of(*variant) == name)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(Number::F64(number)) => Some(*number),
        Value::Number(Number::U64(number)) => Some(*number as f64),
        Value::Number(Number::I64(number)) => Some(*number as f64),
        _ => None,
    }
}

/// An object whose members are read by name; `None` for a member that is absent or of another type.
#[derive(Clone, Copy)]
struct Row<'a>(&'a Object);

// Not generic where it can be avoided, because every instance is downloaded.
impl<'a> Row<'a> {
    fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn str(self, name: &str) -> Option<&'a str> {
        match self.0.get(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    fn text(self, name: &str) -> Option<String> {
        self.str(name).map(str::to_owned)
    }

    fn time(self, name: &str) -> Option<Timestamp> {
        Timestamp::parse(self.str(name)?)
    }

    fn parsed<T: std::str::FromStr>(self, name: &str) -> Option<T> {
        self.str(name)?.parse().ok()
    }

    fn whole(self, name: &str) -> Option<u64> {
        match self.0.get(name)? {
            Value::Number(Number::U64(number)) => Some(*number),
            _ => None,
        }
    }

    fn number(self, name: &str) -> Option<f64> {
        number(self.0.get(name)?)
    }

    fn flag(self, name: &str) -> Option<bool> {
        match self.0.get(name)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    fn row(self, name: &str) -> Option<Self> {
        match self.0.get(name)? {
            Value::Object(row) => Some(Self(row)),
            _ => None,
        }
    }

    fn list(self, name: &str) -> &'a [Value] {
        match self.0.get(name) {
            Some(Value::Array(list)) => list,
            _ => &[],
        }
    }

    fn objects(self, name: &str) -> impl Iterator<Item = Row<'a>> {
        self.list(name).iter().filter_map(|value| match value {
            Value::Object(row) => Some(Row(row)),
            _ => None,
        })
    }

    fn texts(self, name: &str) -> Vec<String> {
        let texts = self.list(name).iter().filter_map(|value| match value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }

    fn parsed_list<T: std::str::FromStr>(self, name: &str) -> Option<Vec<T>> {
        self.texts(name)
            .iter()
            .map(|text| text.parse().ok())
            .collect()
    }

    /// The rows of the member `name` in the order of the member `order`.
    fn rows(self, name: &str) -> Option<Vec<(String, Self)>> {
        let rows = self.row(name)?;
        let order = self.texts("order").into_iter();
        order
            .map(|key| rows.row(&key).map(|row| (key, row)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
