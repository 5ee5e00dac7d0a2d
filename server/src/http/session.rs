//! Signing in and out through the API.

use accounts::{SignInError, SignedIn};
use axum::Extension;
use axum::Json;
use axum::response::{IntoResponse, Response};
use console_core::session::SessionGuard;
use galera::publish::api::{Credentials, SessionView};
use http::StatusCode;
use http::header::SET_COOKIE;

use super::AppState;
use super::cookie;
use super::extract::JsonBody;
use super::identity::{Recognised, Session};
use super::observe::ClientAddress;
use super::problem::{ApiError, ApiResult};

/// `POST /api/v1/session`.
pub(super) async fn sign_in(
    app: AppState,
    Extension(client): Extension<ClientAddress>,
    JsonBody(credentials): JsonBody<Credentials>,
) -> ApiResult<Response> {
    let signed_in = app
        .authority
        .sign_in(&credentials.username, &credentials.password, client.0)
        .await?;
    Ok(with_cookie(
        &app,
        &signed_in,
        Json(view(&signed_in.session)).into_response(),
    ))
}

/// `GET /api/v1/session`.
pub(super) async fn show(Session(session): Session) -> Json<SessionView> {
    Json(view(&session))
}

/// `DELETE /api/v1/session`.
pub(super) async fn sign_out(app: AppState, Session(session): Session) -> ApiResult<Response> {
    end(&app, &session).await?;
    Ok(without_cookie(&app, StatusCode::NO_CONTENT.into_response()))
}

/// Ends a session everywhere.
pub(super) async fn end(app: &AppState, session: &SessionGuard) -> ApiResult<()> {
    app.authority.sign_out(session).await.map_err(|error| {
        ApiError::unavailable(
            "registry_unavailable",
            "The session could not be ended, because etcd cannot be reached; try again.",
        )
        .source(error)
    })
}

/// Adds the session's cookie, and its name for the log.
pub(super) fn with_cookie(
    app: &AppState,
    signed_in: &SignedIn,
    mut response: Response,
) -> Response {
    let session = &signed_in.session;
    let lifetime = console_core::clock::now().age(session.expires_at);
    if let Some(value) = cookie::set(&signed_in.token, lifetime, app.is_https()) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
        .extensions_mut()
        .insert(Recognised(session.principal.username.clone()));
    response
}

/// Takes the session's cookie away.
pub(super) fn without_cookie(app: &AppState, mut response: Response) -> Response {
    if let Some(value) = cookie::clear(app.is_https()) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

fn view(session: &SessionGuard) -> SessionView {
    SessionView {
        username: session.principal.username.to_string(),
        roles: session.principal.roles.clone(),
        expires_at: session.expires_at,
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => Self::unauthorized("invalid_credentials", "The name or the password is wrong."),
            SignInError::Disabled => {
                Self::forbidden("account_disabled", "This account is disabled; ask an administrator to enable it.")
            }
            SignInError::Throttled(wait) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                "Too many attempts",
                format!("Too many attempts to sign in failed; try again in {} s.", wait.as_secs() + 1),
            )
            .retry_after(wait),
            SignInError::Busy => {
                Self::unavailable("sign_in_busy", "Too many people sign in at the same moment; try again in a moment.")
            }
            SignInError::Unavailable(cause) => Self::unavailable(
                "registry_unavailable",
                "Nobody can sign in while etcd cannot be reached; whoever is signed in stays signed in. Try again in a moment.",
            )
            .source(cause),
            SignInError::Internal(cause) => Self::internal(cause),
        }
    }
}
