//! Health checks and metrics; no sign-in.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;

use super::problem::{ApiError, ApiResult};
use super::{AppState, metrics};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
}

pub(super) fn metrics_routes() -> Router<AppState> {
    Router::new().route("/metrics", get(render_metrics))
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// People can sign in and see clusters. Losing etcd later does not make a replica useless, so it stays ready.
async fn readyz(app: AppState) -> ApiResult<&'static str> {
    let mut missing = Vec::new();
    let directory = app.authenticator.cache();
    if let Some(reason) = directory.unready_reason() {
        missing.push(reason);
        // Which etcd that is stands in the log: anybody may ask here.
        missing.extend(directory.etcd_error().map(|_| "etcd cannot be reached"));
    }
    if !app.monitor.is_ready() {
        missing.push("the clusters were not read yet");
    }
    if !app.history.is_loaded() {
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

async fn render_metrics(app: AppState) -> Response {
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics::render(&app),
    )
        .into_response()
}
