//! The page of a stop check: a form with the nodes, and the answer.

use axum::response::Response;
use galera::insight::stop_check::{StopAnswer, StopCheck, StopEffect};
use galera::view::{ClusterView, NodeView};
use html_escape::{encode_double_quoted_attribute, encode_text};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::AppState;
use crate::http::plain_page::{FormTarget, plain_page};

pub(super) fn render(app: &AppState, view: &ClusterView, check: Option<&StopCheck>) -> Response {
    let cluster = view.name.as_str();
    let path = utf8_percent_encode(cluster, NON_ALPHANUMERIC);
    let content = format!(
        "<div class=\"page\"><p><a href=\"/clusters/{path}\">{name}</a></p>\
         <h1>May these nodes be stopped?</h1>\
         <p class=\"quiet\">What an orderly stop of all selected nodes together would do now. Nothing is changed.</p>\
         {answer}{form}</div>",
        name = encode_text(cluster),
        answer = check.map(answer).unwrap_or_default(),
        form = form(view, check),
    );
    let title = format!("Stop check · {cluster}");
    plain_page(app, StatusCode::OK, &title, &content, FormTarget::OwnHost)
}

fn form(view: &ClusterView, check: Option<&StopCheck>) -> String {
    let is_selected = |node: &NodeView| check.is_some_and(|check| check.nodes.contains(&node.id));
    let rows: String = view
        .nodes
        .iter()
        .map(|node| {
            let id = node.id.to_string();
            let votes = node
                .votes
                .map_or_else(|| "unknown".to_owned(), |votes| votes.to_string());
            let segment = node
                .segment
                .map_or_else(|| "unknown".to_owned(), |segment| segment.to_string());
            format!(
                "<tr><th scope=\"row\"><label><input type=\"checkbox\" name=\"node\" value=\"{value}\"{checked}> {label}</label></th>\
                 <td>{state}</td><td class=\"n\">{votes}</td><td class=\"n\">{segment}</td></tr>",
                value = encode_double_quoted_attribute(&id),
                checked = if is_selected(node) { " checked" } else { "" },
                label = encode_text(&node.label()),
                state = encode_text(node.state.as_str()),
            )
        })
        .collect();
    format!(
        "<form method=\"get\"><table class=\"ledger\"><caption class=\"vh\">Nodes</caption>\
         <thead><tr><th scope=\"col\">Node</th><th scope=\"col\">State</th>\
         <th scope=\"col\" class=\"n\">Votes</th><th scope=\"col\" class=\"n\">Segment</th></tr></thead>\
         <tbody>{rows}</tbody></table><p><button type=\"submit\">Check</button></p></form>"
    )
}

fn answer(check: &StopCheck) -> String {
    let findings: String = check
        .findings
        .iter()
        .map(|finding| {
            let effect = match finding.effect {
                StopEffect::Blocks => "No",
                StopEffect::Unknown => "Unknown",
                StopEffect::Notice => "Note",
            };
            let message = encode_text(&finding.message);
            format!("<li><strong>{effect}.</strong> {message}</li>")
        })
        .collect();
    let returns: String = check
        .returns
        .iter()
        .map(|forecast| format!("<li>{}</li>", encode_text(&forecast.message)))
        .collect();
    let word = match check.answer {
        StopAnswer::Yes => "Yes",
        StopAnswer::CannotTell => "Cannot tell",
        StopAnswer::No => "No",
    };
    let summary = check.summary.strip_prefix(word).unwrap_or(&check.summary);
    let summary = summary.trim_start_matches(['.', ' ']);
    let list = |title: &str, items: &str| match items {
        "" => String::new(),
        items => format!("<h2>{title}</h2><ul class=\"reasons\">{items}</ul>"),
    };
    format!(
        "<section aria-live=\"polite\"><h2>{word}</h2><p>{summary}</p>{findings}{returns}\
         <p class=\"quiet\">From the view of {at}. An orderly stop is a shutdown (SIGTERM), not a kill.</p></section>",
        summary = encode_text(summary),
        findings = list("What to know before", &findings),
        returns = list("How they return", &returns),
        at = check.observed_at,
    )
}
