//! Status pages for everybody: answered from ready-made bytes, on a path of their own past the console's other layers.
//!
//! Invariant: a page that does not exist, a link that is wrong, revoked or expired, and anything else that leads nowhere
//! get the same answer, byte for byte, after the same work.

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

use super::AppState;
use super::sign_in::{redirect_to_sign_in, see_other};
use crate::status_pages::BadgeSubject;
use page_access::{PageAccess, PageAccessError};
use response::{ContentKind, invalid_badge, not_found, respond};

/// The routes. They come with their own headers and must not pass the layers of the console.
pub(super) fn routes(state: &AppState) -> Router<AppState> {
    Router::new()
        .route("/status/{slug}", get(page))
        .route("/status/{slug}/{part}", get(part))
        .route("/s/{secret}", get(secret_without_slash))
        .route("/s/{secret}/", get(secret_page))
        .route("/s/{secret}/{part}", get(secret_part))
        .layer(from_fn_with_state(state.clone(), record_metrics))
}

/// Counts the request; a line in the log for each would drown the rest.
async fn record_metrics(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let (status, seconds) = (response.status().as_u16(), began.elapsed().as_secs_f64());
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
    let behind = app
        .status_pages
        .rendered_pages()
        .page_for_secret(&key, now())
        .cloned();
    if behind.is_some_and(|print| print.page.value.slug.as_str() == slug) {
        return redirect_to_secret_page(&key);
    }
    match PageAccess::resolve(&app, slug, request.headers()).await {
        Ok(door) => send_page(&app, &door, request.headers()),
        // From there whoever is signed in comes back at once.
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
        Ok(door) => send_part(&app, door, &part, &uri, &headers),
        Err(_) => not_found(),
    }
}

/// `GET /s/{secret}`: relative addresses need the slash.
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

/// Leads to the folder of a secret that fits: hence nothing but letters and digits.
fn redirect_to_secret_page(secret: &str) -> Response {
    see_other(&format!("/s/{secret}/")).unwrap_or_else(|_| not_found())
}

/// The page itself.
fn send_page(app: &AppState, door: &PageAccess, headers: &HeaderMap) -> Response {
    match door.rendered_page(&app.status_pages.rendered_pages()) {
        Some(print) => respond(
            app,
            &print,
            print.html(door.place()),
            ContentKind::Page,
            headers,
        ),
        None => not_found(),
    }
}

/// What belongs to a page.
fn send_part(
    app: &AppState,
    door: PageAccess,
    part: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    let Some(print) = door.rendered_page(&app.status_pages.rendered_pages()) else {
        return not_found();
    };
    match part {
        "summary.json" => respond(app, &print, print.summary(), ContentKind::Data, headers),
        "feed.atom" => {
            let feed = print.feed(door.place());
            respond(app, &print, feed, ContentKind::Embed, headers)
        }
        "badge.svg" => match parse_badge_query(uri) {
            None => invalid_badge(),
            Some(of) => match print.badge(of) {
                Some(badge) => respond(app, &print, &badge, ContentKind::Embed, headers),
                None => not_found(),
            },
        },
        "events" => events::stream(app, door),
        _ => not_found(),
    }
}

#[derive(Default, Deserialize)]
struct BadgeQuery {
    cluster: Option<String>,
    metric: Option<String>,
    days: Option<u32>,
}

/// The badge that is asked for; `None` when there is none like it.
fn parse_badge_query(uri: &Uri) -> Option<BadgeSubject> {
    let Query(query) = Query::<BadgeQuery>::try_from_uri(uri).ok()?;
    let days = match (query.metric.as_deref().unwrap_or("state"), query.days) {
        ("state", None) => None,
        ("uptime", days) => Some(days.unwrap_or(90)).filter(|days| [7, 30, 90].contains(days)),
        _ => return None,
    };
    let asks_for_days = query.metric.as_deref() == Some("uptime");
    (asks_for_days == days.is_some()).then_some(BadgeSubject {
        cluster: query.cluster.filter(|cluster| !cluster.is_empty()),
        days,
    })
}
