//! Finds out who makes a request, once, ahead of every handler that wants to know.

use std::sync::Arc;

use accounts::NotSignedIn;
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

/// The name for the log's line about a request.
#[derive(Clone, Debug)]
pub(super) struct Recognised(pub(super) Arc<str>);

/// What [`identify`] found out.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    /// No cookie.
    Nobody,
    /// A cookie that counts for nothing.
    Refused(NotSignedIn),
    /// A live session.
    Known(SessionGuard),
}

pub(super) async fn identify(
    State(app): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let identity = match cookie::token(request.headers(), app.is_https()) {
        None => Identity::Nobody,
        Some(token) => match app.authority.recognise(token).await {
            Ok(session) => Identity::Known(session),
            Err(reason) => Identity::Refused(reason),
        },
    };
    let name = match &identity {
        Identity::Known(session) => Some(session.principal.username.clone()),
        _ => None,
    };
    request.extensions_mut().insert(identity);
    let mut response = next.run(request).await;
    if let Some(name) = name {
        response.extensions_mut().insert(Recognised(name));
    }
    response
}

impl From<&NotSignedIn> for ApiError {
    fn from(reason: &NotSignedIn) -> Self {
        match reason {
            NotSignedIn::Expired => Self::unauthorized("session_expired", "The session has expired; sign in again."),
            NotSignedIn::Forged => {
                Self::unauthorized("session_invalid", "The session token was not issued by this console; sign in again.")
            }
            NotSignedIn::Ended => Self::unauthorized("session_ended", "The session was ended; sign in again."),
            NotSignedIn::Unavailable(cause) => Self::unavailable(
                "registry_unavailable",
                "Sessions cannot be checked, because etcd has not been reached; try again in a moment.",
            )
            .source(cause),
        }
    }
}

/// A live session, whatever its roles.
pub(super) struct Session(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Identity>() {
            Some(Identity::Known(session)) => Ok(Self(session.clone())),
            Some(Identity::Refused(reason)) => Err(reason.into()),
            Some(Identity::Nobody) => Err(ApiError::unauthorized(
                "not_signed_in",
                "This needs a session; sign in first.",
            )),
            None => Err(ApiError::internal(
                "a route asks who is there outside of the identity layer",
            )),
        }
    }
}

impl Session {
    /// The person, when they may do `operation`.
    pub(super) fn actor(&self, operation: Operation) -> Result<Actor, ApiError> {
        let principal = &self.0.principal;
        principal.permit(operation)?;
        Ok(Actor {
            name: principal.username.to_string(),
            roles: principal.roles.clone(),
        })
    }
}

/// A live session whose account may look at clusters.
pub(super) struct Viewer(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Session(session) = Session::from_request_parts(parts, state).await?;
        session.principal.permit(Operation::See)?;
        Ok(Self(session))
    }
}
