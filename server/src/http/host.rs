//! Refuses requests that name a host which is not the console's, or what decides about trust more than once, and all of them
//! while the state secret of this replica is older than the one in use.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::ambiguous_headers;
use super::plain_page::self_contained_page;
use super::problem::{self, ApiError};
use super::problem_page::shows_pages;
use super::{AppContext, AppState};

/// Paths that orchestrators and Prometheus request by address. They use no session and link to nothing.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

pub(super) async fn require_allowed_host(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(&app, &request) {
        Some(error) => page_for_browser(&request, &error).unwrap_or_else(|| error.into_response()),
        None => next.run(request).await,
    }
}

/// The same for status pages, whose responses are not rendered by [`problem::render`].
pub(super) async fn require_allowed_host_of_page(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(&app, &request) {
        Some(error) => {
            page_for_browser(&request, &error).unwrap_or_else(|| problem::document(error))
        }
        None => next.run(request).await,
    }
}

/// Why the request is not answered, if it is not.
fn refusal(app: &AppContext, request: &Request) -> Option<ApiError> {
    if let Some(error) = ambiguous_headers::refusal(app, request) {
        return Some(error);
    }
    if OPEN_PATHS.contains(&request.uri().path()) {
        return None;
    }
    let hosts = &app.allowed_hosts;
    if let Some(host) = hosts.refused_host(request.headers(), request.uri()) {
        return Some(host_not_allowed(&host));
    }
    // Accounts and sessions cannot be read; other replicas can.
    let outdated = app.registry.outdated_secret()?;
    Some(ApiError::state_secret_outdated(&outdated))
}

/// The refusal as a page without a style sheet, for which the browser would send the same headers.
fn page_for_browser(request: &Request, error: &ApiError) -> Option<Response> {
    shows_pages(request).then(|| self_contained_page(error.status(), error.title(), error.detail()))
}

fn host_not_allowed(host: &str) -> ApiError {
    ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host_not_allowed",
        "Unknown host",
        format!(
            "The console is not served as {host:?}; use the address of --public-url, or add this host to --allowed-hosts."
        ),
    )
}
