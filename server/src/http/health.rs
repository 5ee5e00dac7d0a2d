//! Health checks and metrics; no sign-in.

use std::convert::Infallible;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{ApiError, ApiResult};
use super::{AppState, metrics};

const BEARER: &[u8] = b"Bearer ";

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

pub(super) fn metrics_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(render_metrics))
}

/// Shows that the console runs.
#[utoipa::path(
    get, path = "/healthz", operation_id = "show_health", tag = "health",
    security(()),
    responses((status = 200, description = "`ok`.", body = String, content_type = "text/plain; charset=utf-8")),
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Shows whether the replica has loaded the console's state and can use it. An etcd alarm, under which sign-in fails, does not change that.
#[utoipa::path(
    get, path = "/readyz", operation_id = "show_readiness", tag = "health",
    security(()),
    responses((status = 200, description = "`ok`.", body = String, content_type = "text/plain; charset=utf-8")),
    extensions(("x-problems" = json!(["503 not_ready"]))),
)]
async fn readyz(app: AppState) -> ApiResult<&'static str> {
    let mut missing = Vec::new();
    let accounts = app.authenticator.cache();
    if let Some(reason) = accounts.unready_reason() {
        missing.push(reason);
        // The endpoints are only logged: this route needs no sign-in.
        missing.extend(accounts.etcd_error().map(|_| "etcd is unreachable"));
    }
    if app.registry.outdated_secret().is_some() {
        missing.push("the state secret file is older than the one in use; copy the file of the other replicas and restart");
    } else if app.registry.holds_writes() {
        missing.push("the records in etcd have not been checked, or a newer console has changed their format");
    }
    if !app.monitor.is_ready() {
        missing.push("clusters have not been loaded");
    }
    if !app.history.is_loaded() {
        missing.push("the event history has not been loaded");
    }
    // An alarm of etcd is not among them: it concerns every replica, and would take all of them out of service while pages
    // show the remedy.
    if missing.is_empty() {
        return Ok("ok\n");
    }
    Err(ApiError::unavailable(
        "not_ready",
        format!("Not ready: {}.", missing.join("; ")),
    ))
}

/// Lists metrics in the OpenMetrics format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "list_metrics", tag = "health",
    security((), ("metrics_token" = [])),
    responses((status = 200, description = "The metrics.", body = String, content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8")),
    extensions(("x-problems" = json!(["401 metrics_token_required"]))),
)]
async fn render_metrics(app: AppState, headers: HeaderMap) -> Response {
    if let Some(token) = &app.metrics_token
        && !has_token(&headers, token)
    {
        let error = ApiError::unauthorized(
            "metrics_token_required",
            "Requires the token of --metrics-token-file as Authorization: Bearer.",
        );
        let mut response = error.into_response();
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    // Others run between two pieces, and a slow reader keeps none but the current one in memory.
    let pieces = stream::unfold(metrics::pieces(&app), |mut pieces| async move {
        tokio::task::yield_now().await;
        let piece = pieces.next()?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    // A compressed body polls once more after the end.
    let body = Body::from_stream(pieces.fuse());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], body).into_response()
}

/// Whether a request has the bearer token. The time does not depend on where a wrong one differs.
fn has_token(headers: &HeaderMap, token: &registry::Secret) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .map(HeaderValue::as_bytes)
        .and_then(|value| value.split_at_checked(BEARER.len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
        .map_or(&b""[..], |(_, token)| token.trim_ascii());
    let digest = |text: &[u8]| Sha256::digest(text);
    verify_slices_are_equal(&digest(given), &digest(token.expose().as_bytes())).is_ok()
}
