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

async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready once users can sign in and see clusters. A replica that loses etcd later is still useful and stays ready.
async fn readyz(app: AppState) -> ApiResult<&'static str> {
    let mut missing = Vec::new();
    let accounts = app.authenticator.cache();
    if let Some(reason) = accounts.unready_reason() {
        missing.push(reason);
        // The endpoints are only logged: this route needs no sign-in.
        missing.extend(accounts.etcd_error().map(|_| "etcd is unreachable"));
    }
    if !app.monitor.is_ready() {
        missing.push("clusters have not been loaded");
    }
    if !app.history.is_loaded() {
        missing.push("the event history has not been loaded");
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
