//! `GET /api/v1/live`: checks the WebSocket handshake, then hands the connection to [`crate::live`].

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::AppState;
use super::identity::ViewerSession;
use super::origin::check_handshake;
use super::problem::{ApiError, ApiResult};
use super::request_log::ClientAddress;
use crate::live::{self, LiveSources};

/// Opens the WebSocket; docs/asyncapi.json describes its messages.
#[utoipa::path(
    get, path = "/api/v1/live", operation_id = "connect_websocket", tag = "live",
    responses((status = 101, description = "Continues as WebSocket (version 13).")),
    extensions(("x-problems" = json!(["403 cross_origin", "426 upgrade_required", "429 too_many_connections"]))),
)]
pub(super) async fn connect(
    app: AppState,
    ViewerSession(session): ViewerSession,
    uri: Uri,
    headers: HeaderMap,
    Extension(client): Extension<ClientAddress>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    if session.principal.token.is_none() {
        check_handshake(&headers, &uri, &app.allowed_hosts, app.is_https())?;
    }
    let sources = LiveSources {
        monitor: app.monitor.clone(),
        actions: Some(app.actions.clone()),
        topics: app.live_topics.clone(),
        metrics: Arc::clone(&app.metrics),
    };
    match upgrade {
        Ok(upgrade) => {
            let slot = app
                .limits
                .live_connection(&session.principal.audit_actor(), client.0);
            let slot = slot.ok_or_else(too_many_connections)?;
            let stop = app.shutdown.child_token();
            Ok(live::upgrade(upgrade, sources, session, stop, slot))
        }
        Err(rejection) => {
            let error = ApiError::new(
                StatusCode::UPGRADE_REQUIRED,
                "upgrade_required",
                "Not a WebSocket request",
                "This endpoint accepts only WebSocket (version 13) connections.",
            );
            let mut response = error.with_source(rejection).into_response();
            response
                .headers_mut()
                .insert(UPGRADE, HeaderValue::from_static("websocket"));
            Ok(response)
        }
    }
}

fn too_many_connections() -> ApiError {
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_connections",
        "Too many connections",
        "This account or address has too many live connections open; close some.",
    )
    .with_retry_after(Duration::from_secs(10))
}
