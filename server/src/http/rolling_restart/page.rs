//! The page of a rolling restart.

use axum::response::Response;
use galera::insight::rolling_restart::{RestartState, RestartStep, RollingRestart};
use galera::{ClusterName, Timestamp};
use html_escape::encode_text;
use http::{HeaderValue, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::AppState;
use crate::http::plain_page::{FormTarget, plain_page};

/// After how many seconds the page is loaded again while it waits for a server.
const RELOAD: HeaderValue = HeaderValue::from_static("5");

pub(super) fn render(
    app: &AppState,
    cluster: &ClusterName,
    begun: Option<&RollingRestart>,
) -> Response {
    let name = cluster.as_str();
    let path = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let body = match begun {
        None => "<p>Restart the members one after the other, for an upgrade or a changed configuration. The page names the next \
             one once all others are Synced and the stop check allows it; restart it yourself. Nothing is changed by the \
             console.</p><form method=\"get\"><input type=\"hidden\" name=\"since\" value=\"now\">\
             <p><button type=\"submit\">Begin</button></p></form>"
            .to_owned(),
        Some(restart) => progress(restart),
    };
    let content = format!(
        "<div class=\"page\"><p><a href=\"/clusters/{path}\">{}</a></p><h1>Rolling restart</h1>{body}</div>",
        encode_text(name)
    );
    let title = format!("Rolling restart · {name}");
    let mut response = plain_page(app, StatusCode::OK, &title, &content, FormTarget::OwnHost);
    if begun.is_some_and(|restart| !restart.complete) {
        response.headers_mut().insert("refresh", RELOAD);
    }
    response
}

fn progress(restart: &RollingRestart) -> String {
    let rows: String = restart
        .steps
        .iter()
        .map(|step| row(step, restart.observed_at))
        .collect();
    let done = restart
        .steps
        .iter()
        .filter(|step| step.state == RestartState::Restarted)
        .count();
    let current = restart
        .steps
        .iter()
        .find(|step| !matches!(step.state, RestartState::Restarted | RestartState::Later));
    let headline = match (restart.complete, current) {
        (true, _) => "Complete: every member was restarted and is Synced.".to_owned(),
        (false, Some(step)) => step.message.clone(),
        (false, None) => "No member is expected: configure the members of the cluster, or admit a registered node.".to_owned(),
    };
    format!(
        "<section aria-live=\"polite\"><h2>{headline}</h2><p>{done} of {all} restarted since {since}.</p>\
         <table class=\"ledger\"><caption class=\"vh\">Members</caption><thead><tr><th scope=\"col\">Node</th>\
         <th scope=\"col\">Progress</th><th scope=\"col\">Server started</th>\
         <th scope=\"col\" class=\"n\">Connections</th><th scope=\"col\">Note</th></tr></thead><tbody>{rows}</tbody></table>\
         <p class=\"quiet\">From the view of {at}; loaded again every 5 s until it is complete.</p></section>",
        headline = encode_text(&headline),
        all = restart.steps.len(),
        since = restart.since.to_short_string(restart.observed_at),
        at = restart.observed_at.to_short_string(restart.observed_at),
    )
}

fn row(step: &RestartStep, now: Timestamp) -> String {
    let word = match step.state {
        RestartState::Restarted => "Restarted",
        RestartState::Returning => "Waiting",
        RestartState::Next => "Next",
        RestartState::Blocked => "Blocked",
        RestartState::Later => "Later",
    };
    let started = step
        .started_at
        .map_or_else(|| "unknown".to_owned(), |at| at.to_short_string(now));
    let connections = step
        .connections
        .map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let findings = step.stop_check.iter().flat_map(|check| &check.findings);
    let notes: String = std::iter::once(&step.message)
        .chain(findings.map(|finding| &finding.message))
        .map(|note| format!("<p>{}</p>", encode_text(note)))
        .collect();
    format!(
        "<tr><th scope=\"row\">{node}</th><td>{word}</td><td>{started}</td><td class=\"n\">{connections}</td><td>{notes}</td></tr>",
        node = encode_text(&step.node.to_string()),
    )
}
