//! The API for signing in and out.

use accounts::{IssuedSession, SignInError, SignInOrigin};
use axum::Extension;
use axum::Json;
use axum::response::{IntoResponse, Response};
use console_core::session::SessionGuard;
use galera::publish::api::{Credentials, SessionView};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};

use super::AppState;
use super::cookie;
use super::extract::JsonBody;
use super::identity::{CurrentSession, RequestUser};
use super::problem::{ApiError, ApiResult};
use super::request_log::ClientAddress;

/// `POST /api/v1/session`.
pub(super) async fn sign_in(
    app: AppState,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    JsonBody(credentials): JsonBody<Credentials>,
) -> ApiResult<Response> {
    let signed_in = app
        .authenticator
        .sign_in(
            &credentials.username,
            &credentials.password,
            sign_in_origin(&app, client, &headers, &credentials.username),
        )
        .await?;
    Ok(set_session_cookie(
        &app,
        &signed_in,
        Json(session_view(&signed_in.session)).into_response(),
    ))
}

/// Where a request that signs in as `username` comes from.
pub(super) fn sign_in_origin<'a>(
    app: &AppState,
    client: ClientAddress,
    headers: &'a HeaderMap,
    username: &str,
) -> SignInOrigin<'a> {
    SignInOrigin {
        address: client.0,
        device: cookie::device(headers, username, app.is_https()),
    }
}

/// `GET /api/v1/session`.
pub(super) async fn show(CurrentSession(session): CurrentSession) -> Json<SessionView> {
    Json(session_view(&session))
}

/// `DELETE /api/v1/session`.
pub(super) async fn sign_out(
    app: AppState,
    CurrentSession(session): CurrentSession,
) -> ApiResult<Response> {
    end_session(&app, &session).await?;
    Ok(clear_session_cookie(
        &app,
        StatusCode::NO_CONTENT.into_response(),
    ))
}

/// Ends a session in every replica.
pub(super) async fn end_session(app: &AppState, session: &SessionGuard) -> ApiResult<()> {
    app.authenticator.sign_out(session).await.map_err(|error| {
        ApiError::unavailable(
            "registry_unavailable",
            "Could not end the session because etcd is unreachable; try again.",
        )
        .with_source(error)
    })
}

/// Sets the cookies of session and device, and the user name for the request log.
pub(super) fn set_session_cookie(
    app: &AppState,
    signed_in: &IssuedSession,
    mut response: Response,
) -> Response {
    let session = &signed_in.session;
    let lifetime = console_core::clock::now().age(session.expires_at);
    if let Some(value) = cookie::set(&signed_in.token, lifetime, app.is_https()) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    let device = app.authenticator.device_token(session);
    if let Some(value) = device.and_then(|device| cookie::set_device(&device, app.is_https())) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
        .extensions_mut()
        .insert(RequestUser(session.principal.username.clone()));
    response
}

/// Removes the session cookie.
pub(super) fn clear_session_cookie(app: &AppState, mut response: Response) -> Response {
    if let Some(value) = cookie::clear(app.is_https()) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

fn session_view(session: &SessionGuard) -> SessionView {
    SessionView {
        username: session.principal.username.to_string(),
        roles: session.principal.roles.clone(),
        expires_at: session.expires_at,
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::InvalidCredentials => Self::unauthorized("invalid_credentials", "Invalid user name or password."),
            SignInError::Disabled => {
                Self::forbidden("account_disabled", "This account is disabled; ask an administrator to enable it.")
            }
            SignInError::Throttled(wait) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                "Too many attempts",
                format!("Too many failed sign-in attempts; try again in {} s.", wait.as_secs() + 1),
            )
            .with_retry_after(wait),
            SignInError::Busy => {
                Self::unavailable("sign_in_busy", "Too many concurrent sign-ins; try again in a moment.")
            }
            SignInError::Unavailable(cause) => Self::unavailable(
                "registry_unavailable",
                "Sign-in is unavailable while etcd is unreachable; existing sessions stay valid. Try again in a moment.",
            )
            .with_source(cause),
            SignInError::Internal(cause) => Self::internal(cause),
        }
    }
}
