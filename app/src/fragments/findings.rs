//! What is risky or slow with a cluster besides its verdict.

use galera::insight::findings::{Finding, FindingsReport};
use galera::view::ClusterView;
use galera::{NodeId, Timestamp};

use crate::format::{code, link, pluralize, ticking_age};
use crate::marks::{finding_mark, state_badge};
use crate::markup::{El, el};
use crate::pages::{cell, data_table, node_href, row};

const COLUMNS: [&str; 3] = ["Node", "Name", "Value"];

pub(super) fn page(view: &ClusterView, report: &FindingsReport, now: Timestamp) -> El {
    let intro = "What is risky or slows the cluster, besides its verdict, from the answers of its members. Nothing is \
                 changed. Variables are read every 15 s.";
    let findings: Vec<El> = report
        .findings
        .iter()
        .map(|finding| section(view, finding))
        .collect();
    let none = findings
        .is_empty()
        .then(|| el("p").child("No findings: nothing risky or slow was seen."));
    let unseen: Vec<El> = report
        .unseen
        .iter()
        .map(|sentence| el("li").child(sentence.clone()))
        .collect();
    el("div")
        .class("page")
        .child(el("h2").child("Findings"))
        .child(el("p").class("quiet").child(intro))
        .child(none)
        .child(findings)
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

fn section(view: &ClusterView, finding: &Finding) -> El {
    let rows: Vec<El> = finding
        .evidence
        .iter()
        .map(|evidence| {
            row(
                format!("{} {}", evidence.node, evidence.name),
                node_link(view, &evidence.node),
            )
            .child(cell(COLUMNS[1], code(evidence.name.clone())))
            .child(cell(COLUMNS[2], code(evidence.value.clone())))
        })
        .collect();
    let evidence = (!rows.is_empty()).then(|| {
        let summary = format!("Evidence: {}", pluralize(rows.len(), "value"));
        let caption = format!("Evidence of {}", finding.code.as_str().replace('_', " "));
        el("details")
            .child(el("summary").child(summary))
            .child(data_table("ledger", caption, &COLUMNS, rows))
    });
    let manual = link(finding.manual.to_string(), manual_title(&finding.manual))
        .attr("rel", "external noreferrer");
    // One code may concern several nodes, each with a finding of its own.
    let nodes: Vec<String> = finding.nodes.iter().map(ToString::to_string).collect();
    el("section")
        .key(format!("{} {}", finding.code.as_str(), nodes.join(" ")))
        .child(el("h3").child(state_badge(finding_mark(finding.severity))))
        .child(el("p").child(finding.message.clone()))
        .child(
            el("p")
                .child(finding.remedy.clone())
                .child(" ")
                .child(manual),
        )
        .child(evidence)
}

/// The text of a link to a page of a manual, so that links to different pages differ: `Manual: weighted quorum`.
fn manual_title(url: &str) -> String {
    let page = url.trim_end_matches('/').rsplit('/').next();
    let page = page.unwrap_or_default().trim_end_matches(".html");
    format!("Manual: {}", page.replace('-', " "))
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
    use galera::insight::findings::{FindingCode, FindingEvidence, FindingSeverity};

    use super::*;
    use crate::fixtures;

    fn finding(view: &ClusterView, severity: FindingSeverity, manual: &'static str) -> Finding {
        let node = view.nodes[0].id.clone();
        Finding {
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
        }
    }

    fn html(findings: impl Fn(&ClusterView) -> Vec<Finding>) -> String {
        let view = fixtures::healthy("lab", 90_000);
        let report = FindingsReport {
            cluster: view.name.clone(),
            observed_at: view.observed_at,
            findings: findings(&view),
            unseen: vec!["Tables without a primary key.".to_owned()],
        };
        page(&view, &report, fixtures::fixed_now()).html()
    }

    #[test]
    fn a_finding_has_a_mark_named_nodes_and_a_link_of_its_own() {
        let html = html(|view| {
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
        let html = html(|_| Vec::new());
        assert!(html.contains("No findings"), "{html}");
        assert!(html.contains("Tables without a primary key."), "{html}");
    }
}
