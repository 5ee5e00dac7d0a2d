//! Tables of the node page: both sources side by side, and every property with its source and age.

use galera::Timestamp;
use galera::view::{NodeView, SourceKind, SourceView};

use super::{cell, data_table, row};
use crate::format::{ago, elapsed, number, number_or_unknown, or_unknown, percent, quiet, unknown};
use crate::marks::source_label;
use crate::markup::{El, el};

const SOURCE_KINDS: [SourceKind; 2] = [SourceKind::Sql, SourceKind::Registry];

fn find_source(node: &NodeView, kind: SourceKind) -> Option<&SourceView> {
    node.sources.iter().find(|source| source.kind == kind)
}

/// Both sources side by side.
pub(super) fn source_table(node: &NodeView, now: Option<Timestamp>) -> El {
    type RenderFact = fn(&SourceView, Option<Timestamp>) -> El;
    let lines: [(&'static str, RenderFact); 8] = [
        ("State", |s, _| or_unknown(s.state.clone())),
        ("Component", |s, _| or_unknown(s.cluster_status.clone())),
        ("Last committed", |s, _| number_or_unknown(s.seqno)),
        ("Phase", |s, _| or_unknown(s.phase.clone())),
        ("Last update", |s, now| {
            s.observed_at.map_or_else(unknown, |at| ago(at, now))
        }),
        ("Freshness", |s, _| freshness(s)),
        ("Error", |s, _| {
            s.error
                .clone()
                .map_or_else(none, |error| el("span").class("failure").child(error))
        }),
        ("Failing", |s, now| {
            s.failing_since.map_or_else(none, |at| elapsed(at, now))
        }),
    ];
    let line = |(label, show): (&'static str, RenderFact)| {
        let value_of =
            |kind| find_source(node, kind).map_or_else(unknown, |source| show(source, now));
        let [sql, registry] = SOURCE_KINDS.map(value_of);
        row(label)
            .child(cell("SQL", sql))
            .child(cell("Registry", registry))
    };
    let columns = [
        "Property",
        "SQL (console probe)",
        "Registry (node registration)",
    ];
    data_table(
        "ledger pairs",
        "Values reported by each source",
        &columns,
        lines.into_iter().map(line).collect(),
    )
}

fn none() -> El {
    quiet("none")
}

fn freshness(source: &SourceView) -> El {
    match (source.observed_at, source.stale) {
        (None, _) => unknown(),
        (Some(_), true) => el("span").class("stale-word").child("stale"),
        (Some(_), false) => el("span").child("fresh"),
    }
}

/// All other properties with their source and age.
pub(super) fn fact_table(node: &NodeView, now: Option<Timestamp>) -> El {
    let yes_no = |value: Option<bool>| {
        or_unknown(value.map(|value| if value { "yes" } else { "no" }.to_owned()))
    };
    let behind = node.behind.map(|behind| match behind {
        0 => "up to date".to_owned(),
        count => [&count.to_string(), " transactions"].concat(),
    });
    let position = position_source(node);
    let sql = Some(SourceKind::Sql);
    let uuid = node
        .position
        .as_ref()
        .map(|position| position.uuid.to_string());
    let seqno = node
        .position
        .as_ref()
        .map_or_else(unknown, |position| number(position.seqno));
    let identity = node.gcomm_uuid.as_ref().and(preferred_source(node));
    let lines = vec![
        ("State UUID", or_unknown(uuid), position),
        ("Last committed", seqno, position),
        ("Behind", or_unknown(behind), position),
        ("Receive queue", number_or_unknown(node.recv_queue), sql),
        ("Send queue", number_or_unknown(node.send_queue), sql),
        (
            "Flow control paused",
            or_unknown(node.flow_control_paused.map(percent)),
            sql,
        ),
        ("Ready for queries", yes_no(node.ready), sql),
        ("Connected to the group", yes_no(node.connected), sql),
        ("Segment", number_or_unknown(node.segment), sql),
        ("Group view state", or_unknown(node.evs_state.clone()), sql),
        (
            "Group identity",
            or_unknown(node.gcomm_uuid.clone()),
            identity,
        ),
        ("Version", or_unknown(node.version.clone()), sql),
        (
            "Registered",
            yes_no(Some(node.registered)),
            Some(SourceKind::Registry),
        ),
    ];
    let line = |(label, value, kind): (&'static str, El, Option<SourceKind>)| {
        row(label)
            .child(cell("Value", value))
            .child(cell("Source and age", origin(node, kind, now)))
    };
    let columns = ["Property", "Value", "Source and age"];
    data_table(
        "ledger pairs",
        "Properties with their source and age",
        &columns,
        lines.into_iter().map(line).collect(),
    )
}

fn origin(node: &NodeView, kind: Option<SourceKind>, now: Option<Timestamp>) -> El {
    let Some(source) = kind.and_then(|kind| find_source(node, kind)) else {
        return unknown();
    };
    let Some(at) = source.observed_at else {
        return unknown();
    };
    let stale = source
        .stale
        .then(|| el("span").class("stale-word").child("stale "));
    el("span")
        .child(source_label(source.kind))
        .child(" ")
        .child(stale)
        .child(ago(at, now))
}

/// The source of the position: the one that reports the same sequence number, SQL first.
fn position_source(node: &NodeView) -> Option<SourceKind> {
    let seqno = node.position.as_ref()?.seqno;
    SOURCE_KINDS
        .into_iter()
        .find(|kind| find_source(node, *kind).is_some_and(|source| source.seqno == Some(seqno)))
}

/// The source of a property that both may report: SQL if it has ever answered.
fn preferred_source(node: &NodeView) -> Option<SourceKind> {
    SOURCE_KINDS
        .into_iter()
        .find(|kind| find_source(node, *kind).is_some_and(|source| source.observed_at.is_some()))
}
