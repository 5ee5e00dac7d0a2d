//! Errors for people: a page instead of a problem document where a browser opens an address.

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use galera::publish::api::ProblemDetails;
use html_escape::{encode_double_quoted_attribute, encode_text};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};

use super::plain_page::{FormTarget, plain_page};
use super::problem::MEDIA_TYPE;
use super::{AppState, BODY_BYTES_MAX};

/// Whether the sender of `headers` shows the response as a page: a browser without the interface's script.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Whether errors of `request` are shown as pages. The API's are documents for every client, and a response to HEAD has none.
pub(super) fn shows_pages(request: &Request) -> bool {
    let path = request.uri().path();
    let is_api = path == "/api" || path.starts_with("/api/");
    !is_api && request.method() != Method::HEAD && is_navigation(request.headers())
}

/// Replaces problem documents by pages, except of the API, whose errors are documents for every client.
pub(super) async fn show_as_page(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let is_page = shows_pages(&request);
    let is_get = request.method() == Method::GET;
    let response = next.run(request).await;
    let is_document = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value == MEDIA_TYPE);
    if !is_page || !is_document {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let Ok(problem) = serde_json::from_slice::<ProblemDetails>(&body) else {
        return Response::from_parts(parts, body.into());
    };
    let mut page = problem_page(&app, parts.status, &problem, is_get);
    for (name, value) in &parts.headers {
        if ![CONTENT_TYPE, CONTENT_LENGTH, CONTENT_SECURITY_POLICY].contains(name) {
            page.headers_mut().append(name.clone(), value.clone());
        }
    }
    page.extensions_mut().extend(parts.extensions);
    page
}

fn problem_page(
    app: &AppState,
    status: StatusCode,
    problem: &ProblemDetails,
    is_get: bool,
) -> Response {
    // A visitor can neither choose another method nor succeed by trying again.
    let is_form_address = is_get && status == StatusCode::METHOD_NOT_ALLOWED;
    let detail = if is_form_address {
        "This is the address of a form, not of a page. Go back to the page with the form and send it from there."
    } else {
        &problem.detail
    };
    let [title, detail] = [&problem.title, detail].map(encode_text);
    let [code, id] = [&problem.code, &problem.request_id].map(encode_double_quoted_attribute);
    let request = if id.is_empty() {
        String::new()
    } else {
        format!(", request <code>{id}</code>")
    };
    let retry = if is_get && !is_form_address {
        "<a href=\"\">Try again</a> or go to "
    } else {
        "Go to "
    };
    let content = format!(
        "<section class=\"problem\"><h1>{title}</h1><p>{detail}</p>\
         <p class=\"quiet\">HTTP {status}, <code>{code}</code>{request}</p>\
         <p>{retry}<a href=\"/\">all clusters</a>.</p></section>",
        status = status.as_u16(),
    );
    plain_page(app, status, &problem.title, &content, FormTarget::None)
}
