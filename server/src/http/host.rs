//! Refuses requests that name a host which is not the console's.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::AppState;
use super::plain_page::self_contained_page;
use super::problem::{self, ApiError};
use super::problem_page::shows_pages;

/// Paths that orchestrators and Prometheus request by address. They use no session and link to nothing.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

pub(super) async fn require_allowed_host(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let refused = app
        .allowed_hosts
        .refused_host(request.headers(), request.uri());
    match refused {
        Some(host) if !OPEN_PATHS.contains(&request.uri().path()) => {
            page_for_browser(&request, &host)
                .unwrap_or_else(|| host_not_allowed(&host).into_response())
        }
        _ => next.run(request).await,
    }
}

/// The same for status pages, whose responses are not rendered by [`problem::render`].
pub(super) async fn require_allowed_host_of_page(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    match app
        .allowed_hosts
        .refused_host(request.headers(), request.uri())
    {
        Some(host) => page_for_browser(&request, &host)
            .unwrap_or_else(|| problem::document(host_not_allowed(&host))),
        None => next.run(request).await,
    }
}

/// The refusal as a page without a style sheet, which this host would be refused as well.
fn page_for_browser(request: &Request, host: &str) -> Option<Response> {
    let error = host_not_allowed(host);
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
