//! The page of findings.

use axum::response::Response;
use galera::insight::findings::{Finding, FindingSeverity, FindingsReport};
use html_escape::{encode_double_quoted_attribute, encode_text};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::AppState;
use crate::http::plain_page::{FormTarget, plain_page};

pub(super) fn render(app: &AppState, report: &FindingsReport) -> Response {
    let cluster = report.cluster.as_str();
    let path = utf8_percent_encode(cluster, NON_ALPHANUMERIC);
    let findings: String = match &report.findings[..] {
        [] => "<p>No findings.</p>".to_owned(),
        findings => findings.iter().map(section).collect(),
    };
    let unseen: String = report
        .unseen
        .iter()
        .map(|sentence| format!("<li>{}</li>", encode_text(sentence)))
        .collect();
    let content = format!(
        "<div class=\"page\"><p><a href=\"/clusters/{path}\">{name}</a></p><h1>Findings</h1>\
         <p class=\"quiet\">What is risky or slows the cluster, besides its verdict. From the answers of its members; \
         variables are read every 15 s.</p>{findings}\
         <section><h2>Not seen</h2><ul class=\"reasons\">{unseen}</ul>\
         <p class=\"quiet\">From the view of {at}.</p></section></div>",
        name = encode_text(cluster),
        at = report.observed_at,
    );
    let title = format!("Findings · {cluster}");
    plain_page(app, StatusCode::OK, &title, &content, FormTarget::OwnHost)
}

fn section(finding: &Finding) -> String {
    let severity = match finding.severity {
        FindingSeverity::Critical => "Critical",
        FindingSeverity::Warning => "Warning",
        FindingSeverity::Notice => "Notice",
    };
    let rows: String = finding
        .evidence
        .iter()
        .map(|evidence| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
                encode_text(&evidence.node.to_string()),
                encode_text(&evidence.name),
                encode_text(&evidence.value),
            )
        })
        .collect();
    let evidence = match rows.as_str() {
        "" => String::new(),
        rows => format!(
            "<details><summary>Evidence</summary><table class=\"ledger\"><caption class=\"vh\">Evidence</caption>\
             <thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Name</th><th scope=\"col\">Value</th></tr></thead>\
             <tbody>{rows}</tbody></table></details>"
        ),
    };
    format!(
        "<section id=\"{code}\"><h2>{severity}</h2><p>{message}</p><p>{remedy} \
         <a href=\"{manual}\" rel=\"noreferrer\">Manual</a></p>{evidence}</section>",
        code = finding.code.as_str(),
        message = encode_text(&finding.message),
        remedy = encode_text(&finding.remedy),
        manual = encode_double_quoted_attribute(finding.manual),
    )
}
