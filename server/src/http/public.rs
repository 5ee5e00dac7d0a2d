//! Status pages for everybody: answered from ready-made bytes, on a path of their own past the console's other layers.
//!
//! Invariant: a page that does not exist, a link that is wrong, revoked or expired, and anything else that leads nowhere
//! get the same answer, byte for byte, after the same work.

mod answer;
mod door;
mod events;

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
use super::sign_in::{see_other, to_sign_in};
use crate::status::BadgeOf;
use answer::{Kind, bad_badge, nowhere, send};
use door::{Door, Shut};

/// The routes. They come with their own headers and must not pass the layers of the console.
pub(super) fn routes(state: &AppState) -> Router<AppState> {
    Router::new()
        .route("/status/{slug}", get(page))
        .route("/status/{slug}/{part}", get(part))
        .route("/s/{secret}", get(to_folder))
        .route("/s/{secret}/", get(secret_page))
        .route("/s/{secret}/{part}", get(secret_part))
        .layer(from_fn_with_state(state.clone(), count))
}

/// Counts the request; a line in the log for each would drown the rest.
async fn count(State(app): State<AppState>, request: Request, next: Next) -> Response {
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
struct Key {
    #[serde(default)]
    key: String,
}

/// `GET /status/{slug}`, also with `?key=` of a secret link.
async fn page(app: AppState, Path(slug): Path<String>, request: Request) -> Response {
    let key = Query::<Key>::try_from_uri(request.uri()).map(|Query(key)| key.key);
    let key = key.unwrap_or_default();
    // Looked up whether the page exists or not, so that both take the same time.
    let behind = app.status.prints().behind(&key, now()).cloned();
    if behind.is_some_and(|print| print.page.value.slug.as_str() == slug) {
        return folder(&key);
    }
    match Door::at(&app, slug, request.headers()).await {
        Ok(door) => whole(&app, &door, request.headers()),
        // From there whoever is signed in comes back at once.
        Err(Shut::ToStrangers) => to_sign_in(&request, None),
        Err(Shut::ToAll) => nowhere(),
    }
}

/// `GET /status/{slug}/{part}`.
async fn part(
    app: AppState,
    Path((slug, part)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match Door::at(&app, slug, &headers).await {
        Ok(door) => piece(&app, door, &part, &uri, &headers),
        Err(_) => nowhere(),
    }
}

/// `GET /s/{secret}`: relative addresses need the slash.
async fn to_folder(app: AppState, Path(secret): Path<String>) -> Response {
    match app.status.prints().behind(&secret, now()) {
        Some(_) => folder(&secret),
        None => nowhere(),
    }
}

/// `GET /s/{secret}/`.
async fn secret_page(app: AppState, Path(secret): Path<String>, headers: HeaderMap) -> Response {
    whole(&app, &Door::Secret(secret), &headers)
}

/// `GET /s/{secret}/{part}`.
async fn secret_part(
    app: AppState,
    Path((secret, part)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    piece(&app, Door::Secret(secret), &part, &uri, &headers)
}

/// Leads to the folder of a secret that fits: hence nothing but letters and digits.
fn folder(secret: &str) -> Response {
    see_other(&format!("/s/{secret}/")).unwrap_or_else(|_| nowhere())
}

/// The page itself.
fn whole(app: &AppState, door: &Door, headers: &HeaderMap) -> Response {
    match door.print(&app.status.prints()) {
        Some(print) => send(app, &print, print.html(door.place()), Kind::Page, headers),
        None => nowhere(),
    }
}

/// What belongs to a page.
fn piece(app: &AppState, door: Door, part: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    let Some(print) = door.print(&app.status.prints()) else {
        return nowhere();
    };
    match part {
        "summary.json" => send(app, &print, print.summary(), Kind::Data, headers),
        "feed.atom" => {
            let feed = print.feed(door.place());
            send(app, &print, feed, Kind::Picture, headers)
        }
        "badge.svg" => match badge_of(uri) {
            None => bad_badge(),
            Some(of) => match print.badge(of) {
                Some(badge) => send(app, &print, &badge, Kind::Picture, headers),
                None => nowhere(),
            },
        },
        "events" => events::stream(app, door),
        _ => nowhere(),
    }
}

#[derive(Default, Deserialize)]
struct BadgeQuery {
    cluster: Option<String>,
    metric: Option<String>,
    days: Option<u32>,
}

/// The badge that is asked for; `None` when there is none like it.
fn badge_of(uri: &Uri) -> Option<BadgeOf> {
    let Query(query) = Query::<BadgeQuery>::try_from_uri(uri).ok()?;
    let days = match (query.metric.as_deref().unwrap_or("state"), query.days) {
        ("state", None) => None,
        ("uptime", days) => Some(days.unwrap_or(90)).filter(|days| [7, 30, 90].contains(days)),
        _ => return None,
    };
    let asks_for_days = query.metric.as_deref() == Some("uptime");
    (asks_for_days == days.is_some()).then_some(BadgeOf {
        cluster: query.cluster.filter(|cluster| !cluster.is_empty()),
        days,
    })
}
