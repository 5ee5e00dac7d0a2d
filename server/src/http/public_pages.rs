//! Public status pages: served from pre-rendered bytes, outside the console's other layers.
//!
//! Invariant: unknown pages, wrong, revoked or expired links, and any other unknown path get the same response, byte for
//! byte, after the same work.

mod events;
mod page_access;
mod response;

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use console_core::clock::now;
use http::{HeaderMap, Uri};
use serde::Deserialize;

use super::sign_in::{redirect_to_sign_in, see_other};
use super::{AppState, host};
use crate::status_pages::BadgeSubject;
use page_access::{PageAccess, PageAccessError};
use response::{ContentKind, invalid_badge, not_found, respond};

/// The routes. They set their own headers and must not pass the console's layers.
pub(super) fn routes(state: &AppState) -> Router<AppState> {
    Router::new()
        .route("/status/{slug}", get(page))
        .route("/status/{slug}/{part}", get(part))
        .route("/s/{secret}", get(secret_without_slash))
        .route("/s/{secret}/", get(secret_page))
        .route("/s/{secret}/{part}", get(secret_part))
        .layer(from_fn_with_state(
            state.clone(),
            host::require_allowed_host_of_page,
        ))
        .layer(from_fn_with_state(state.clone(), record_metrics))
}

/// Measures the request. It is not logged: a line for each would flood the log.
async fn record_metrics(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let (status, seconds) = (response.status().as_u16(), start.elapsed().as_secs_f64());
    let metrics = &app.metrics;
    metrics.http_request(method.as_str(), route, status, seconds);
    response
}

#[derive(Default, Deserialize)]
struct SecretQuery {
    #[serde(default)]
    key: String,
}

/// `GET /status/{slug}`, also with `?key=` of a secret link.
async fn page(app: AppState, Path(slug): Path<String>, request: Request) -> Response {
    let key = Query::<SecretQuery>::try_from_uri(request.uri()).map(|Query(key)| key.key);
    let key = key.unwrap_or_default();
    // Looked up whether the page exists or not, so that both take the same time.
    let secret_page = app
        .status_pages
        .rendered_pages()
        .page_for_secret(&key, now())
        .cloned();
    if secret_page.is_some_and(|page| page.page.value.slug.as_str() == slug) {
        return redirect_to_secret_page(&key);
    }
    match PageAccess::resolve(&app, slug, request.headers()).await {
        Ok(access) => send_page(&app, &access, request.headers()),
        // The sign-in page redirects signed-in users straight back.
        Err(PageAccessError::SignInRequired) => redirect_to_sign_in(&request, None),
        Err(PageAccessError::NotFound) => not_found(),
    }
}

/// `GET /status/{slug}/{part}`.
async fn part(
    app: AppState,
    Path((slug, part)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match PageAccess::resolve(&app, slug, &headers).await {
        Ok(access) => send_part(&app, access, &part, &uri, &headers),
        Err(_) => not_found(),
    }
}

/// `GET /s/{secret}`: redirects, because relative URLs need the trailing slash.
async fn secret_without_slash(app: AppState, Path(secret): Path<String>) -> Response {
    match app
        .status_pages
        .rendered_pages()
        .page_for_secret(&secret, now())
    {
        Some(_) => redirect_to_secret_page(&secret),
        None => not_found(),
    }
}

/// `GET /s/{secret}/`.
async fn secret_page(app: AppState, Path(secret): Path<String>, headers: HeaderMap) -> Response {
    send_page(&app, &PageAccess::SecretLink(secret), &headers)
}

/// `GET /s/{secret}/{part}`.
async fn secret_part(
    app: AppState,
    Path((secret, part)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    send_part(&app, PageAccess::SecretLink(secret), &part, &uri, &headers)
}

/// Redirects to the page of a valid secret, which consists of letters and digits only.
fn redirect_to_secret_page(secret: &str) -> Response {
    see_other(&format!("/s/{secret}/")).unwrap_or_else(|_| not_found())
}

fn send_page(app: &AppState, access: &PageAccess, headers: &HeaderMap) -> Response {
    match access.rendered_page(&app.status_pages.rendered_pages()) {
        Some(page) => respond(
            app,
            &page,
            page.html(access.location()),
            ContentKind::Page,
            headers,
        ),
        None => not_found(),
    }
}

/// A resource that belongs to a page.
fn send_part(
    app: &AppState,
    access: PageAccess,
    part: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    let Some(page) = access.rendered_page(&app.status_pages.rendered_pages()) else {
        return not_found();
    };
    match part {
        "summary.json" => respond(app, &page, page.summary(), ContentKind::Data, headers),
        "feed.atom" => {
            let feed = page.feed(access.location());
            respond(app, &page, feed, ContentKind::Embed, headers)
        }
        "badge.svg" => match parse_badge_query(uri) {
            None => invalid_badge(),
            Some(subject) => match page.badge(subject) {
                Some(badge) => respond(app, &page, &badge, ContentKind::Embed, headers),
                None => not_found(),
            },
        },
        "events" => events::stream(app, access),
        _ => not_found(),
    }
}

#[derive(Default, Deserialize)]
struct BadgeQuery {
    cluster: Option<String>,
    metric: Option<String>,
    days: Option<u32>,
}

/// The requested badge; `None` if the parameters are invalid.
fn parse_badge_query(uri: &Uri) -> Option<BadgeSubject> {
    let Query(query) = Query::<BadgeQuery>::try_from_uri(uri).ok()?;
    let days = match (query.metric.as_deref().unwrap_or("state"), query.days) {
        ("state", None) => None,
        ("uptime", days) => Some(days.unwrap_or(90)).filter(|days| [7, 30, 90].contains(days)),
        _ => return None,
    };
    let is_uptime = query.metric.as_deref() == Some("uptime");
    (is_uptime == days.is_some()).then_some(BadgeSubject {
        cluster: query.cluster.filter(|cluster| !cluster.is_empty()),
        days,
    })
}
