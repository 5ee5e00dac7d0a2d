//! What is risky or slow with a cluster besides its verdict.

use galera::access::Operation;
use galera::insight::finding_record::{FindingAcknowledgement, FindingView, FindingsView};
use galera::insight::findings::Finding;
use galera::publish::api::SessionView;
use galera::view::ClusterView;
use galera::{NodeId, Timestamp};

use super::{form_fields, widgets};
use crate::format::{absolute, code, link, pluralize, ticking_age, visually_hidden};
use crate::links::node_href;
use crate::marks::{finding_mark, state_badge};
use crate::markup::{El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 3] = ["Node", "Name", "Value"];

/// For how long a finding can be acknowledged, in days.
const DAYS: [(&str, &str); 5] = [
    ("1", "1 day"),
    ("7", "7 days"),
    ("30", "30 days"),
    ("90", "90 days"),
    ("365", "1 year"),
];

pub(super) fn page(
    view: &ClusterView,
    report: &FindingsView,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let intro = "Risks and performance problems, seen in settings and status variables of the members. Nothing is \
                 changed. Variables are read every 15 s.";
    let refusal = widgets::role_refusal(session, Operation::AcknowledgeFinding);
    let (acknowledged, open): (Vec<&FindingView>, Vec<&FindingView>) = report
        .findings
        .iter()
        .partition(|finding| finding.acknowledged.is_some());
    let sections = |findings: &[&FindingView]| -> Vec<El> {
        let sections = findings.iter();
        sections
            .map(|finding| section(view, finding, refusal.as_deref()))
            .collect()
    };
    let none = open.is_empty().then(|| {
        el("p").child(match acknowledged.is_empty() {
            true => "No findings: nothing risky or slow was seen.",
            false => "No other findings: all of them are acknowledged.",
        })
    });
    let unseen: Vec<El> = report
        .unseen
        .iter()
        .map(|sentence| el("li").child(sentence.clone()))
        .collect();
    let acknowledged = (!acknowledged.is_empty()).then(|| {
        let count = pluralize(acknowledged.len(), "acknowledged finding");
        el("section")
            .attr("id", "acknowledged")
            .child(el("h2").child(count))
            .child(sections(&acknowledged))
    });
    el("div")
        .class("page")
        .child(el("h2").child("Findings"))
        .child(el("p").class("quiet").child(intro))
        .child(none)
        .child(sections(&open))
        .child(acknowledged)
        .child(
            el("section")
                .child(el("h3").child("Not seen"))
                .child(el("ul").class("reasons").child(unseen)),
        )
        .child(
            el("p")
                .class("quiet")
                .child("As of ")
                .child(ticking_age(report.observed_at, now))
                .child("."),
        )
}

fn section(view: &ClusterView, shown: &FindingView, refusal: Option<&str>) -> El {
    let finding = &shown.finding;
    let manual = link(finding.manual.to_string(), manual_title(&finding.manual))
        .attr("rel", "external noreferrer");
    let since = shown.since.map(|since| {
        el("p")
            .class("quiet")
            .child(format!("Open since {}.", absolute(since)))
    });
    let decision = match &shown.acknowledged {
        Some(acknowledgement) => reopen_form(view, finding, acknowledgement, refusal),
        None => acknowledge_form(view, finding, refusal),
    };
    el("section")
        .child(
            el("h3")
                .child(widgets::sentence_case(&finding_name(finding)))
                .child(" ")
                .child(state_badge(finding_mark(finding.severity))),
        )
        .child(el("p").child(finding.message.clone()))
        .child(
            el("p")
                .child(finding.remedy.clone())
                .child(" ")
                .child(manual),
        )
        .child(since)
        .child(evidence_table(view, finding))
        .child(decision)
}

/// One code may concern several nodes or variables, each with a finding of its own.
fn finding_key(finding: &Finding) -> String {
    let nodes: Vec<String> = finding.nodes.iter().map(ToString::to_string).collect();
    let subject = finding.subject.as_deref().unwrap_or_default();
    format!("{} {subject} {}", finding.code.as_str(), nodes.join(" "))
}

/// What a person sees who does not see the section: `configuration drift of wsrep_slave_threads`.
fn finding_name(finding: &Finding) -> String {
    let code = finding.code.as_str().replace('_', " ");
    match &finding.subject {
        Some(subject) => format!("{code} of {subject}"),
        None => code,
    }
}

fn evidence_table(view: &ClusterView, finding: &Finding) -> Option<El> {
    let rows: Vec<El> = finding
        .evidence
        .iter()
        .map(|evidence| {
            row(node_link(view, &evidence.node))
                .child(cell(COLUMNS[1], code(evidence.name.clone())))
                .child(cell(COLUMNS[2], code(evidence.value.clone())))
        })
        .collect();
    (!rows.is_empty()).then(|| {
        let summary = format!("Evidence: {}", pluralize(rows.len(), "value"));
        let caption = format!("Evidence of {}", finding_name(finding));
        el("details")
            .child(el("summary").child(summary))
            .child(data_table("ledger", caption, &COLUMNS, rows))
    })
}

/// The form to `path` of the cluster's findings, with what names the finding.
fn topic_form(view: &ClusterView, finding: &Finding, path: &str) -> El {
    let subject = finding.subject.clone().unwrap_or_default();
    widgets::post_form(format!("/clusters/{}/findings/{path}", view.name))
        .child(widgets::hidden_field(
            "code",
            finding.code.as_str().to_owned(),
        ))
        .child(widgets::hidden_field("subject", subject))
}

fn acknowledge_form(view: &ClusterView, finding: &Finding, refusal: Option<&str>) -> El {
    let id = finding_key(finding).replace([' ', '.', ':', '[', ']'], "-");
    let nodes: Vec<String> = finding.nodes.iter().map(ToString::to_string).collect();
    let form = topic_form(view, finding, "acknowledge")
        .child(widgets::hidden_field("nodes", nodes.join(" ")))
        .child(widgets::text_input(
            format!("reason-{id}"),
            "reason",
            "Reason for accepting it (audited)",
        ))
        .child(form_fields::select_field(
            format!("days-{id}"),
            "days",
            "For",
            &DAYS,
            "30",
        ))
        .child(widgets::button("Acknowledge".to_owned(), refusal));
    let summary = el("summary")
        .child("Acknowledge")
        .child(visually_hidden(format!(" {}", finding_name(finding))));
    el("details").child(summary).child(form)
}

fn reopen_form(
    view: &ClusterView,
    finding: &Finding,
    acknowledgement: &FindingAcknowledgement,
    refusal: Option<&str>,
) -> El {
    let text = format!(
        "Acknowledged by {} until {}: {}",
        acknowledgement.by,
        absolute(acknowledgement.until),
        acknowledgement.reason
    );
    topic_form(view, finding, "reopen")
        .child(el("p").child(text))
        .child(widgets::button(
            format!("Reopen {}", finding_name(finding)),
            refusal,
        ))
}

/// The text of a link to a page of a manual, so that links to different pages differ: `Manual: weighted quorum`.
fn manual_title(url: &str) -> String {
    let page = url.trim_end_matches('/').rsplit('/').next();
    let page = page.unwrap_or_default().trim_end_matches(".html");
    let word = |word| match word {
        "mariadb" => "MariaDB",
        "galera" => "Galera",
        "mysql" => "MySQL",
        other => other,
    };
    let words: Vec<&str> = page.split('-').map(word).collect();
    format!("Manual: {}", words.join(" "))
}

/// A node by its name, linked to its page.
pub(super) fn node_link(view: &ClusterView, id: &NodeId) -> El {
    let node = view.nodes.iter().find(|node| node.id == *id);
    let name = node.and_then(|node| node.name.clone());
    let text = name.unwrap_or_else(|| id.to_string());
    link(node_href(&view.name, id), text)
}

#[cfg(test)]
mod tests {
    use galera::access::Role;
    use galera::insight::finding_record::FindingTopic;
    use galera::insight::findings::{FindingCode, FindingEvidence, FindingSeverity};

    use super::*;
    use crate::fixtures;

    fn finding(view: &ClusterView, severity: FindingSeverity, manual: &'static str) -> FindingView {
        let node = view.nodes[0].id.clone();
        let finding = Finding {
            code: FindingCode::EvenVotes,
            severity,
            nodes: vec![node.clone()],
            message: "Half of the votes may be lost at once.".to_owned(),
            evidence: vec![FindingEvidence {
                node,
                name: "binlog_format".to_owned(),
                value: "<b>MIXED</b>".to_owned(),
            }],
            remedy: "Add a member.".to_owned(),
            manual: manual.into(),
            subject: None,
        };
        FindingView {
            finding,
            since: None,
            acknowledged: None,
        }
    }

    fn html(role: Role, findings: impl Fn(&ClusterView) -> Vec<FindingView>) -> String {
        let view = fixtures::healthy("lab", 90_000);
        let report = FindingsView {
            cluster: view.name.clone(),
            observed_at: view.observed_at,
            findings: findings(&view),
            seen: view.nodes.iter().map(|node| node.id.clone()).collect(),
            unseen: vec!["Tables without a primary key.".to_owned()],
        };
        let session = fixtures::session("ann", &[role]);
        page(&view, &report, &session, fixtures::fixed_now()).html()
    }

    #[test]
    fn a_finding_has_a_mark_named_nodes_and_a_link_of_its_own() {
        let html = html(Role::Operator, |view| {
            vec![
                finding(
                    view,
                    FindingSeverity::Critical,
                    "https://example.net/weighted-quorum.html",
                ),
                finding(view, FindingSeverity::Notice, "https://example.net/status/"),
            ]
        });
        for expected in [
            "Critical<svg",
            "Notice<svg",
            ">n1</a>",
            "Manual: weighted quorum<",
            "Manual: status<",
            "data-label=\"Value\"",
            "Evidence: 1 value<",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("<b>MIXED"), "{html}");
    }

    #[test]
    fn a_report_without_findings_says_what_was_not_seen() {
        let html = html(Role::Viewer, |_| Vec::new());
        assert!(html.contains("No findings"), "{html}");
        assert!(html.contains("Tables without a primary key."), "{html}");
    }

    #[test]
    fn an_acknowledged_finding_is_listed_apart_with_the_person_the_end_and_the_reason() {
        let acknowledged = |view: &ClusterView| {
            let mut shown = finding(view, FindingSeverity::Warning, "https://example.net/x");
            let now = fixtures::fixed_now();
            shown.since = Some(now);
            shown.acknowledged = Some(FindingAcknowledgement {
                topic: FindingTopic::of(&shown.finding),
                nodes: shown.finding.nodes.iter().cloned().collect(),
                by: "otto".to_owned(),
                at: now,
                reason: "two <b>sites</b>".to_owned(),
                until: now.plus(std::time::Duration::from_secs(86_400)),
            });
            vec![shown]
        };
        let html_of_operator = html(Role::Operator, acknowledged);
        for expected in [
            "1 acknowledged finding<",
            "No other findings",
            "Acknowledged by otto until ",
            "two &lt;b&gt;sites",
            "Open since ",
            "/clusters/lab/findings/reopen",
        ] {
            assert!(
                html_of_operator.contains(expected),
                "{expected} in {html_of_operator}"
            );
        }
        assert!(!html_of_operator.contains("Requires the"));
        let of_viewer = html(Role::Viewer, acknowledged);
        assert!(
            of_viewer.contains("Requires the operator role."),
            "{of_viewer}"
        );
    }
}
