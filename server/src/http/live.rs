//! `GET /api/v1/live`: the door to the WebSocket. Whoever passes is served by [`crate::live`].

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::{IntoResponse, Response};
use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::AppState;
use super::identity::Viewer;
use super::origin::check_handshake;
use super::problem::{ApiError, ApiResult};

pub(super) async fn connect(
    app: AppState,
    Viewer(session): Viewer,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    check_handshake(&headers, &uri, app.public_url.as_ref())?;
    match upgrade {
        Ok(upgrade) => Ok(crate::live::upgrade(
            upgrade,
            app.hub.clone(),
            Some(app.actions.clone()),
            session,
            app.shutdown.child_token(),
        )),
        Err(rejection) => {
            let error = ApiError::new(
                StatusCode::UPGRADE_REQUIRED,
                "upgrade_required",
                "Not a WebSocket request",
                "This address speaks WebSocket (version 13) only.",
            );
            let mut response = error.source(rejection).into_response();
            response
                .headers_mut()
                .insert(UPGRADE, HeaderValue::from_static("websocket"));
            Ok(response)
        }
    }
}
