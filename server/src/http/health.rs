//! Health checks and metrics; no sign-in.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;

use super::AppState;
use super::problem::{ApiError, ApiResult};
use crate::metrics;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
}

pub(super) fn metrics_routes() -> Router<AppState> {
    Router::new().route("/metrics", get(measured))
}

/// The process answers.
async fn alive() -> &'static str {
    "ok\n"
}

/// People can sign in and see clusters. Losing etcd later does not make a replica useless, so it stays ready.
async fn ready(app: AppState) -> ApiResult<&'static str> {
    let mut missing = Vec::new();
    let directory = app.authority.directory();
    if let Some(reason) = directory.not_ready() {
        missing.push(reason);
        // Which etcd that is stands in the log: anybody may ask here.
        missing.extend(directory.unreachable().map(|_| "etcd cannot be reached"));
    }
    if !app.hub.ready() {
        missing.push("the clusters were not read yet");
    }
    if !app.chronicle.is_read() {
        missing.push("the events were not read yet");
    }
    if missing.is_empty() {
        return Ok("ok\n");
    }
    Err(ApiError::unavailable(
        "not_ready",
        format!("Not ready: {}.", missing.join("; ")),
    ))
}

async fn measured(app: AppState) -> Response {
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics::render(&app),
    )
        .into_response()
}
