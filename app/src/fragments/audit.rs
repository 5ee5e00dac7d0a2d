//! The audit trail.

use std::collections::BTreeMap;

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{AlarmsView, AuditPage, SessionView};
use galera::record::audit::AuditEntry;

use super::account::proof_field;
use super::api_client::PageQuery;
use super::widgets::{action_link, button, humanize, post_form, role_refusal, textarea};
use crate::data::{encode_segment, query_string};
use crate::format::{absolute, code, link, sub, ticking_age, unknown};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

pub(super) const COLUMNS: [&str; 6] = ["Entry", "Actor", "Event", "Cluster", "Subject", "Details"];

/// Filter and position from the page's query string.
#[derive(Debug, Default)]
pub(super) struct AuditFilter {
    cluster: String,
    actor: String,
    before: String,
}

impl AuditFilter {
    pub(super) fn from_query(query: &PageQuery) -> Self {
        let text = |name: &str| query.get(name).unwrap_or_default().trim().to_owned();
        Self {
            cluster: text("cluster"),
            actor: text("actor"),
            before: text("before"),
        }
    }

    /// The query of this filter, after `parameters` of the request.
    fn query(&self, parameters: &[(&'static str, &str)], before: &str) -> String {
        let filter = [
            ("cluster", self.cluster.as_str()),
            ("actor", &self.actor),
            ("before", before),
        ];
        query_string(parameters.iter().copied().chain(filter))
    }

    pub(super) fn api_path(&self) -> String {
        let query = self.query(&[("limit", "100")], &self.before);
        format!("/api/v1/audit?{query}")
    }
}

pub(super) fn page(
    entries: &AuditPage,
    alarms: &AlarmsView,
    filter: &AuditFilter,
    clusters: &[&str],
    session: &SessionView,
    now: Timestamp,
) -> El {
    let rows = entries
        .entries
        .iter()
        .map(|entry| entry_row(entry, now))
        .collect();
    let csv = format!(
        "/api/v1/audit?{}",
        filter.query(&[("format", "csv"), ("limit", "1000")], "")
    );
    let older = entries.next_before.map(|before| {
        el("p").child(link(
            format!("/audit?{}", filter.query(&[], &before.to_string())),
            "Older entries",
        ))
    });
    let begins = entries.begins_at.map(|first| {
        el("p").class("quiet").child(format!(
            "The trail begins with entry {first}; earlier entries are in the archive."
        ))
    });
    let content = if entries.entries.is_empty() {
        el("p").class("quiet").child("No matching entries.")
    } else {
        data_table("ledger audit", "Audit trail, newest first", &COLUMNS, rows)
    };
    el("div")
        .class("page")
        .child(el("h1").child("Audit"))
        .child(
            el("p")
                .class("quiet")
                .child("Each entry contains the hash of the previous one. ")
                .child(code("galera-console audit verify"))
                .child(" verifies the chain."),
        )
        .child(alarms_section(alarms, session))
        .child(begins)
        .child(filter_form(filter, clusters))
        .child(content)
        .child(older)
        .child(
            el("p").child(
                link(csv, "Download as CSV")
                    .attr("rel", "external")
                    .attr("download", "audit.csv"),
            ),
        )
}

/// What was changed outside the console, and the form that acknowledges it on every replica.
fn alarms_section(alarms: &AlarmsView, session: &SessionView) -> Option<El> {
    if alarms.alarms.is_empty() {
        return None;
    }
    let items: Vec<El> = alarms
        .alarms
        .iter()
        .map(|alarm| {
            el("li")
                .child(absolute(alarm.at))
                .child(format!(" {}", alarm.text))
        })
        .collect();
    let refusal = role_refusal(session, Operation::AcknowledgeAlarms);
    let form = post_form("/audit/acknowledge".to_owned())
        .child(textarea("alarm-reason".to_owned(), "reason", "Reason"))
        .child(proof_field("alarm", "to acknowledge"))
        .child(el("div").class("acts").child(button(
            "Acknowledge on every replica".to_owned(),
            refusal.as_deref(),
        )));
    Some(
        el("section")
            .child(el("h2").child("Alarms"))
            .child(el("ul").child(items))
            .child(form),
    )
}

fn filter_form(filter: &AuditFilter, clusters: &[&str]) -> El {
    let field = |name: &'static str, label: &'static str, value: &str| {
        let input = el("input")
            .attr("id", name)
            .attr("name", name)
            .attr("autocomplete", "off")
            .attr("spellcheck", "false")
            .optional_attr("list", (name == "cluster").then_some("cluster-names"))
            .attr("value", value.to_owned());
        Content::Many(vec![
            el("label").attr("for", name).child(label).into(),
            input.into(),
        ])
    };
    el("form")
        .class("filter")
        .attr("method", "get")
        .attr("action", "/audit")
        .attr("role", "search")
        .child(field("cluster", "Cluster", &filter.cluster))
        .child(field("actor", "Actor", &filter.actor))
        .child(datalist("cluster-names", clusters))
        .child(el("button").attr("type", "submit").child("Filter"))
}

/// Proposals for the field that names it.
fn datalist(id: &'static str, values: &[&str]) -> El {
    let option = |value: &&str| el("option").attr("value", (*value).to_owned());
    let options: Vec<El> = values.iter().map(option).collect();
    el("datalist").attr("id", id).child(options)
}

fn entry_row(entry: &AuditEntry, now: Timestamp) -> El {
    let record = &entry.record;
    let head = el("span")
        .child(absolute(record.at))
        .child(sub(Content::Many(vec![
            format!("{}, ", entry.sequence).into(),
            ticking_age(record.at, now).into(),
        ])));
    entry_cells(row(head), entry)
}

/// Adds the content of `entry` to a row.
pub(super) fn entry_cells(row: El, entry: &AuditEntry) -> El {
    let record = &entry.record;
    let cluster: Content = match &record.cluster {
        Some(name) => link(
            format!("/clusters/{name}"),
            name.display_name().into_owned(),
        )
        .into(),
        None => unknown().into(),
    };
    let subject: Content = match &record.subject {
        Some(id) if record.event.is_about_action() => {
            action_link(&encode_segment(id), id.get(..8).unwrap_or(id).to_owned()).into()
        }
        Some(subject) => subject.clone().into(),
        None => unknown().into(),
    };
    let detail: Vec<El> = record
        .detail
        .iter()
        .map(|(name, value)| {
            el("li")
                .child(format!("{}: ", humanize(name)))
                .child(list_text(name, value))
        })
        .collect();
    let hash = el("li")
        .class("quiet")
        .child(code(entry.hash.get(..12).unwrap_or_default().to_owned()));
    row.child(cell(COLUMNS[1], record.actor.clone()))
        .child(cell(COLUMNS[2], humanize(record.event.as_str())))
        .child(cell(COLUMNS[3], cluster))
        .child(cell(COLUMNS[4], subject))
        .child(cell(
            COLUMNS[5],
            el("ul").class("evidence").child(detail).child(hash),
        ))
}

/// The value of a detail; lists of names are recorded without spaces, and switches as an object.
pub(super) fn list_text(name: &str, value: &str) -> String {
    if name == "show"
        && let Ok(switches) = serde_json::from_str::<BTreeMap<String, bool>>(value)
    {
        let on = switches.into_iter().filter(|(_, on)| *on);
        let on: Vec<String> = on.map(|(name, _)| name).collect();
        return list_text("", &on.join(", "));
    }
    match name {
        _ if value.is_empty() => "none".to_owned(),
        "roles" | "before" | "clusters" | "pages" => value.replace(',', ", "),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
