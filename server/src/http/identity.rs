//! Identifies the user of a request, once, before any handler that needs to know.

use std::sync::Arc;

use accounts::SessionError;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use console_core::session::SessionGuard;
use galera::access::Operation;
use galera::recover::action::Actor;
use http::request::Parts;

use super::AppState;
use super::cookie;
use super::problem::ApiError;
use super::request_slots;

/// The user name for the request log.
#[derive(Clone, Debug)]
pub(super) struct RequestUser(pub(super) Arc<str>);

/// The result of [`identify`].
#[derive(Clone, Debug)]
pub(super) enum RequestIdentity {
    /// No session cookie.
    Anonymous,
    /// A cookie without a live session.
    Invalid(SessionError),
    Authenticated(SessionGuard),
}

pub(super) async fn identify(
    State(app): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let identity = match cookie::token(request.headers(), app.is_https()) {
        None => RequestIdentity::Anonymous,
        Some(token) => match app.authenticator.resolve_session(token).await {
            Ok(session) => {
                note_use(&app, &session, &request);
                RequestIdentity::Authenticated(session)
            }
            Err(error) => RequestIdentity::Invalid(error),
        },
    };
    let session = match &identity {
        RequestIdentity::Authenticated(session) => Some(session.clone()),
        _ => None,
    };
    request.extensions_mut().insert(identity);
    let Some(session) = session else {
        return next.run(request).await;
    };
    let mut response = request_slots::handle(&app, &session, request, next).await;
    let name = session.principal.username;
    response.extensions_mut().insert(RequestUser(name));
    response
}

/// Marks requests that the console sends to its own API on behalf of another request.
#[derive(Clone, Copy, Debug)]
pub(super) struct InProcessRequest;

/// Notes that the user of `session` does something, unless an open page only updates itself.
fn note_use(app: &AppState, session: &SessionGuard, request: &Request) {
    let path = request.uri().path();
    if request.extensions().get::<InProcessRequest>().is_some() || path == "/api/v1/live" {
        return;
    }
    if path.starts_with("/fragments/") {
        app.authenticator.note_page(session, path);
    } else {
        app.authenticator.note_use(session);
    }
}

impl From<&SessionError> for ApiError {
    fn from(reason: &SessionError) -> Self {
        match reason {
            SessionError::Expired => Self::unauthorized("session_expired", "The session has expired; sign in again."),
            SessionError::Forged => {
                Self::unauthorized("session_invalid", "The session token was not issued by this console; sign in again.")
            }
            SessionError::KeyReplaced => Self::unauthorized(
                "session_ended",
                "The session has ended, because the key that signed it was replaced; sign in again.",
            ),
            SessionError::Ended => Self::unauthorized("session_ended", "The session has ended; sign in again."),
            SessionError::Unavailable(cause) => Self::unavailable(
                "registry_unavailable",
                "Sessions cannot be checked because etcd has not been reachable; try again in a moment.",
            )
            .with_source(cause),
        }
    }
}

/// A live session, also of an account that must enrol a second factor before anything else.
pub(super) struct OwnSession(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for OwnSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<RequestIdentity>() {
            Some(RequestIdentity::Authenticated(session)) => Ok(Self(session.clone())),
            Some(RequestIdentity::Invalid(reason)) => Err(reason.into()),
            Some(RequestIdentity::Anonymous) => Err(ApiError::unauthorized(
                "not_signed_in",
                "Authentication required; sign in first.",
            )),
            None => Err(ApiError::internal(
                "a route outside the identity layer requires a session",
            )),
        }
    }
}

/// A live session with any roles.
pub(super) struct CurrentSession(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for CurrentSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let OwnSession(session) = OwnSession::from_request_parts(parts, state).await?;
        if session.principal.must_enrol {
            return Err(ApiError::forbidden(
                "second_factor_enrolment_required",
                "A role of this account requires a second factor; enrol one at /account or with POST /api/v1/me/factor.",
            ));
        }
        Ok(Self(session))
    }
}

impl CurrentSession {
    /// Checks that the user proved recently to be the account's owner.
    pub(super) async fn require_recent_proof(&self, app: &AppState) -> Result<(), ApiError> {
        Ok(app.authenticator.require_recent_proof(&self.0).await?)
    }

    /// Checks the permission for `operation` and returns the user as an actor.
    pub(super) fn authorize(&self, operation: Operation) -> Result<Actor, ApiError> {
        let principal = &self.0.principal;
        principal.permit(operation)?;
        Ok(Actor {
            name: principal.username.to_string(),
            roles: principal.roles.clone(),
            credential: principal.credential.clone(),
        })
    }
}

/// A live session whose account may view clusters.
pub(super) struct ViewerSession(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for ViewerSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let CurrentSession(session) = CurrentSession::from_request_parts(parts, state).await?;
        session.principal.permit(Operation::View)?;
        Ok(Self(session))
    }
}
