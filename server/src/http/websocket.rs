//! `GET /api/v1/live`: checks the WebSocket handshake, then hands the connection to [`crate::live`].

use std::sync::Arc;

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::AppState;
use super::identity::ViewerSession;
use super::origin::check_handshake;
use super::problem::{ApiError, ApiResult};
use crate::live::{self, LiveSources};

pub(super) async fn connect(
    app: AppState,
    ViewerSession(session): ViewerSession,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    check_handshake(&headers, &uri, app.public_url.as_ref())?;
    let sources = LiveSources {
        monitor: app.monitor.clone(),
        actions: Some(app.actions.clone()),
        metrics: Arc::clone(&app.metrics),
    };
    match upgrade {
        Ok(upgrade) => Ok(live::upgrade(
            upgrade,
            sources,
            session,
            app.shutdown.child_token(),
        )),
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
