//! The audit trail: who did what, when, with what outcome.

use galera::Timestamp;
use galera::publish::api::AuditPage;
use galera::record::audit::Entry;

use super::answers::Query;
use super::parts::{action_link, check_title};
use crate::data::segment;
use crate::format::{absolute, code, link, sub, ticking, unknown};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, row};

const COLUMNS: [&str; 6] = ["Entry", "Who", "What", "Cluster", "Subject", "Detail"];

/// What the address asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    cluster: String,
    actor: String,
    before: String,
}

impl Asked {
    pub(super) fn of(query: &Query) -> Self {
        let text = |name: &str| query.get(name).unwrap_or_default().trim().to_owned();
        Self {
            cluster: text("cluster"),
            actor: text("actor"),
            before: text("before"),
        }
    }

    fn query(&self, before: &str) -> String {
        let pairs = [
            ("cluster", self.cluster.as_str()),
            ("actor", &self.actor),
            ("before", before),
        ];
        let pairs: Vec<String> = pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", segment(value)))
            .collect();
        pairs.join("&")
    }

    /// The API's address for it.
    pub(super) fn path(&self) -> String {
        format!("/api/v1/audit?limit=100&{}", self.query(&self.before))
    }
}

/// The page.
pub(super) fn audit(entries: &AuditPage, asked: &Asked, now: Timestamp) -> El {
    let rows = entries
        .entries
        .iter()
        .map(|entry| line(entry, now))
        .collect();
    let csv = format!("/api/v1/audit?format=csv&limit=1000&{}", asked.query(""));
    let older = entries.next_before.map(|before| {
        el("p").with(link(
            format!("/audit?{}", asked.query(&before.to_string())),
            "Older entries",
        ))
    });
    let content = if entries.entries.is_empty() {
        el("p").class("quiet").with("No entry matches.")
    } else {
        ledger("ledger audit", "Audit trail, newest first", &COLUMNS, rows)
    };
    el("div")
        .class("page")
        .with(el("h1").with("Audit"))
        .with(
            el("p")
                .class("quiet")
                .with("Every entry carries the hash of the one before. ")
                .with(code("galera-console audit verify"))
                .with(" checks the whole chain."),
        )
        .with(filter(asked))
        .with(content)
        .with(older)
        .with(
            el("p").with(
                link(csv, "Download as CSV")
                    .at("rel", "external")
                    .at("download", "audit.csv"),
            ),
        )
}

fn filter(asked: &Asked) -> El {
    let field = |name: &'static str, label: &'static str, value: &str| {
        let input = el("input")
            .at("id", name)
            .at("name", name)
            .at("autocomplete", "off")
            .at("spellcheck", "false")
            .at("value", value.to_owned());
        Child::Many(vec![
            el("label").at("for", name).with(label).into(),
            input.into(),
        ])
    };
    el("form")
        .class("filter")
        .at("method", "get")
        .at("action", "/audit")
        .at("role", "search")
        .with(field("cluster", "Cluster", &asked.cluster))
        .with(field("actor", "Who", &asked.actor))
        .with(el("button").at("type", "submit").with("Filter"))
}

fn line(entry: &Entry, now: Timestamp) -> El {
    let record = &entry.record;
    let head = el("span")
        .with(absolute(record.at))
        .with(sub(Child::Many(vec![
            format!("{}, ", entry.sequence).into(),
            ticking(record.at, now).into(),
        ])));
    let cluster: Child = match &record.cluster {
        Some(name) => link(format!("/clusters/{name}"), name.to_string()).into(),
        None => unknown().into(),
    };
    let subject: Child = match &record.subject {
        Some(id) if record.event.starts_with("action") || record.event == "cleanup_undone" => {
            action_link(&segment(id), id.get(..8).unwrap_or(id).to_owned()).into()
        }
        Some(subject) => subject.clone().into(),
        None => unknown().into(),
    };
    let detail: Vec<El> = record
        .detail
        .iter()
        .map(|(name, value)| {
            el("li")
                .with(format!("{}: ", check_title(name)))
                .with(value.clone())
        })
        .collect();
    let hash = el("li")
        .class("quiet")
        .with(code(entry.hash.get(..12).unwrap_or_default().to_owned()));
    row(entry.sequence.to_string(), head)
        .with(cell(COLUMNS[1], record.actor.clone()))
        .with(cell(COLUMNS[2], check_title(&record.event)))
        .with(cell(COLUMNS[3], cluster))
        .with(cell(COLUMNS[4], subject))
        .with(cell(
            COLUMNS[5],
            el("ul").class("evidence").with(detail).with(hash),
        ))
}
