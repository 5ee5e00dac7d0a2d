//! An incident for its post-mortem, as one HTML document that needs nothing else: no script, no request, no console.

mod actions;
mod clusters;

use galera::publish::api::RecordedClusterView;
use galera::publish::series::SeriesView;
use galera::publish::status_pages::{Incident, IncidentImpact};
use galera::record::audit::AuditEntry;
use galera::record::history::HistoryEvent;
use galera::recover::action::Action;
use galera::{ClusterName, Timestamp};

use super::audit::{COLUMNS as AUDIT_COLUMNS, entry_cells};
use super::widgets::fact_list;
use crate::format::{absolute, age, code, quiet};
use crate::marks::{incident_mark, state_badge};
use crate::markup::{Content, El, el};
use crate::pages::{data_table, row};

/// The style sheets of the application that a report needs.
const STYLE: &str = concat!(
    include_str!("../../../style/tokens.css"),
    include_str!("../../../style/base.css"),
    include_str!("../../../style/head.css"),
    include_str!("../../../style/ledger.css"),
    include_str!("../../../style/topology.css"),
    include_str!("../../../style/charts.css"),
    include_str!("../../../style/forms.css"),
    include_str!("../../../style/decide.css"),
    include_str!("../../../style/narrow.css"),
    include_str!("../../../style/report.css"),
);
/// A viewer of the file loads nothing and executes nothing, whatever the texts in it are.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Everything that is recorded about an incident.
#[derive(Clone, Debug)]
pub struct IncidentReport {
    pub incident: Incident,
    /// The time that it covers.
    pub from: Timestamp,
    pub to: Timestamp,
    pub exported_at: Timestamp,
    /// In the order of the incident.
    pub clusters: Vec<ClusterReport>,
    /// Actions that were requested or not yet ended in this time, oldest first.
    pub actions: Vec<Action>,
    /// Entries about the incident, its clusters and actions in this time, oldest first.
    pub audit: Vec<AuditEntry>,
    /// What could not be read or was left out, a sentence each.
    pub missing: Vec<String>,
}

/// What is recorded about one cluster.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    pub name: ClusterName,
    /// Oldest first.
    pub events: Vec<HistoryEvent>,
    /// Since when `events` has all of them; `None` if they could not be read.
    pub complete_since: Option<Timestamp>,
    /// Oldest first.
    pub moments: Vec<ReportMoment>,
    /// The figures of its nodes, or why there are none.
    pub series: Result<SeriesView, String>,
}

/// The cluster at one time.
#[derive(Clone, Debug)]
pub struct ReportMoment {
    pub at: Timestamp,
    /// What happened then.
    pub label: String,
    /// The view, or why there is none.
    pub view: Result<RecordedClusterView, String>,
}

impl IncidentReport {
    /// The document. Links lead to the console at `public_url` (without a slash at its end); without one, there are none.
    #[must_use]
    pub fn document(&self, public_url: Option<&str>) -> String {
        let mut body = self.body();
        body.map_links(&|href| match href.as_bytes() {
            [b'/', ..] => public_url.map(|url| format!("{url}{href}")),
            // To another time on the page of the console.
            [b'?', ..] => None,
            _ => Some(href.to_owned()),
        });
        let head = el("head")
            .child(el("meta").attr("charset", "utf-8"))
            .child(
                el("meta")
                    .attr("http-equiv", "Content-Security-Policy")
                    .attr("content", CONTENT_POLICY),
            )
            .child(
                el("meta")
                    .attr("name", "viewport")
                    .attr("content", "width=device-width,initial-scale=1"),
            )
            .child(
                el("meta")
                    .attr("name", "color-scheme")
                    .attr("content", "light dark"),
            )
            .child(el("title").child(format!(
                "Incident: {}",
                self.incident.title.replace('\n', " ")
            )))
            .child(el("style").inner_html(STYLE.into()));
        let document = el("html").attr("lang", "en").child(head).child(body);
        format!(
            "<!DOCTYPE html>\n{}\n",
            document.without_ticking_ages().html()
        )
    }

    fn body(&self) -> El {
        let clusters: Vec<El> = self
            .clusters
            .iter()
            .map(|cluster| cluster.section(self))
            .collect();
        let actions: Vec<El> = self.actions.iter().map(actions::article).collect();
        let main = el("main")
            .class("report page")
            .child(self.header())
            .child(self.missing_section())
            .child(self.updates_section())
            .child(clusters)
            .child(section(
                "Actions",
                "No actions were requested in this period.",
                actions,
            ))
            .child(self.audit_section());
        el("body").child(main)
    }

    fn header(&self) -> El {
        let incident = &self.incident;
        let length = |to: Timestamp| age(to.unix_millis() - incident.opened_at.unix_millis());
        let ended = match incident.resolved_at {
            Some(at) => format!("{}, after {}", absolute(at), length(at)),
            None => format!("open at the export, for {}", length(self.exported_at)),
        };
        let impact = incident.impact.map_or("As measured", IncidentImpact::label);
        let names: Vec<String> = incident
            .clusters
            .iter()
            .map(|cluster| cluster.display_name().into_owned())
            .collect();
        let how = match incident.automatic {
            Some(seconds) => {
                format!("automatically; it is resolved after {seconds} s without problems")
            }
            None => incident.updates.first().map_or_else(
                || "not recorded".to_owned(),
                |first| format!("by {}", first.by),
            ),
        };
        el("header")
            .child(
                el("h1")
                    .child(incident.title.clone())
                    .child(" ")
                    .child(state_badge(incident_mark(incident.state))),
            )
            .child(fact_list(vec![
                ("Clusters", names.join(", ").into()),
                (
                    "Opened",
                    format!("{}, {how}", absolute(incident.opened_at)).into(),
                ),
                ("Resolved", ended.into()),
                (
                    "This report",
                    format!(
                        "{} to {}, exported {}",
                        absolute(self.from),
                        absolute(self.to),
                        absolute(self.exported_at)
                    )
                    .into(),
                ),
                ("Impact", impact.into()),
                ("Incident", code(incident.id.clone()).into()),
            ]))
    }

    fn missing_section(&self) -> Option<El> {
        let items: Vec<El> = self
            .missing
            .iter()
            .map(|text| el("li").child(text.clone()))
            .collect();
        (!items.is_empty()).then(|| {
            el("section")
                .class("error")
                .child(el("h2").child("Not in this report"))
                .child(el("ul").child(items))
        })
    }

    fn updates_section(&self) -> El {
        let items: Vec<El> = self
            .incident
            .updates
            .iter()
            .map(|update| {
                el("li")
                    .child(el("b").child(incident_mark(update.state).label))
                    .child(" ")
                    .child(quiet(format!("{}, {}", absolute(update.at), update.by)))
                    .child(el("p").class("lines").child(update.text.clone()))
            })
            .collect();
        el("section")
            .child(el("h2").child("Updates"))
            .child(el("ol").class("steps").child(items))
    }

    fn audit_section(&self) -> El {
        let rows: Vec<El> = self
            .audit
            .iter()
            .map(|entry| {
                let head = format!("{} {}", entry.sequence, absolute(entry.record.at));
                entry_cells(row(head), entry)
            })
            .collect();
        let table = match rows.is_empty() {
            true => Vec::new(),
            false => vec![data_table(
                "ledger audit",
                "Audit trail",
                &AUDIT_COLUMNS,
                rows,
            )],
        };
        section(
            "Audit trail",
            "The audit trail has no entries about it in this period.",
            table,
        )
    }
}

/// A section, or a sentence in place of its content.
fn section(title: &'static str, none: &'static str, content: Vec<El>) -> El {
    let content: Content = match content.is_empty() {
        true => el("p").class("quiet").child(none).into(),
        false => content.into(),
    };
    el("section").child(el("h2").child(title)).child(content)
}

#[cfg(test)]
mod tests;
