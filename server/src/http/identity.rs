//! Identifies the user of a request, once, before the access table (`access`) and any handler.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use accounts::SessionError;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use console_core::audit::{TokenActor, acting_via};
use console_core::session::SessionGuard;
use console_core::trace_context::TraceContext;
use galera::access::Operation;
use galera::recover::action::Actor;
use http::request::Parts;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::AppState;
use super::access::check_operation;
use super::bearer;
use super::cookie;
use super::problem::ApiError;
use super::request_log::ClientAddress;
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
    /// An `Authorization` header that is no API token.
    Refused(ApiError),
    Authenticated(SessionGuard),
}

pub(super) async fn identify(
    State(app): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let presented = match token_client(&request) {
        Some(address) => bearer::resolve(&app, request.headers(), address).await,
        None => Ok(None),
    };
    let identity = match presented {
        Ok(Some(session)) => RequestIdentity::Authenticated(session),
        Ok(None) => match cookie::token(request.headers(), app.is_https()) {
            None => RequestIdentity::Anonymous,
            Some(token) => match app.authenticator.resolve_session(token).await {
                Ok(session) => {
                    note_use(&app, &session, &request);
                    RequestIdentity::Authenticated(session)
                }
                Err(error) => RequestIdentity::Invalid(error),
            },
        },
        // A page behind a proxy that asks for its own credentials has no session before the sign-in.
        Err(error) if error.code() == "unsupported_authorization" => {
            RequestIdentity::Refused(error)
        }
        Err(error) => return error.into_response(),
    };
    let session = match &identity {
        RequestIdentity::Authenticated(session) => Some(session.clone()),
        _ => None,
    };
    request.extensions_mut().insert(identity);
    let Some(session) = session else {
        return next.run(request).await;
    };
    let name = session.principal.audit_actor();
    let changes = !request.method().is_safe();
    let tracker = app.tracker.clone();
    let handled = handle_as(app, session, request, next);
    let mut response = if changes {
        run_to_end(&tracker, handled).await
    } else {
        handled.await
    };
    response.extensions_mut().insert(RequestUser(name));
    response
}

/// Handles the request of `session`.
async fn handle_as(app: AppState, session: SessionGuard, request: Request, next: Next) -> Response {
    let handled = request_slots::handle(&app, &session, request, next);
    let principal = &session.principal;
    match &principal.token {
        Some(token) => {
            let actor = TokenActor {
                account: Arc::clone(&principal.username),
                token: token.name.as_str().into(),
            };
            acting_via(actor, handled).await
        }
        None => handled.await,
    }
}

/// Runs `handled` in a task of its own: the server drops the future of a request whose client disconnects, and a change that
/// takes several writes would stop between two of them.
async fn run_to_end(
    tracker: &TaskTracker,
    handled: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let handled = handled.in_current_span();
    let task = match TraceContext::current() {
        Some(trace) => tracker.spawn(trace.scope(handled)),
        None => tracker.spawn(handled),
    };
    match task.await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => ApiError::internal(error.to_string()).into_response(),
        },
    }
}

/// The client's address, if the request may carry an API token: only the API accepts them, and what the console requests from
/// itself carries the credential of the request that it belongs to.
fn token_client(request: &Request) -> Option<IpAddr> {
    let is_api = request.uri().path().starts_with("/api/");
    if !is_api || request.extensions().get::<InProcessRequest>().is_some() {
        return None;
    }
    let address = request.extensions().get::<ClientAddress>();
    Some(address.map_or(IpAddr::from(Ipv4Addr::LOCALHOST), |client| client.0))
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

/// A live session or a valid API token, also of an account that must enrol a second factor before anything else.
pub(super) struct AnyCredential(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for AnyCredential {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<RequestIdentity>() {
            Some(RequestIdentity::Authenticated(session)) => Ok(Self(session.clone())),
            Some(RequestIdentity::Invalid(reason)) => Err(reason.into()),
            Some(RequestIdentity::Refused(error)) => Err(error.clone()),
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

/// A live session, also of an account that must enrol a second factor before anything else.
pub(super) struct OwnSession(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for OwnSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AnyCredential(session) = AnyCredential::from_request_parts(parts, state).await?;
        match session.principal.token {
            None => Ok(Self(session)),
            Some(_) => Err(ApiError::internal("a route of sessions is open to tokens")),
        }
    }
}

/// A live session or a valid API token, with any roles.
pub(super) struct CurrentSession(pub(super) SessionGuard);

impl<S: Sync> FromRequestParts<S> for CurrentSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AnyCredential(session) = AnyCredential::from_request_parts(parts, state).await?;
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
    /// Checks that the user proved recently to be the account's owner. A token cannot; what it may do without is decided by
    /// [`check_operation`].
    pub(super) async fn require_recent_proof(&self, app: &AppState) -> Result<(), ApiError> {
        if self.0.principal.token.is_some() {
            return Ok(());
        }
        Ok(app.authenticator.require_recent_proof(&self.0).await?)
    }

    /// Checks the permission for `operation` and returns the user as an actor.
    pub(super) fn authorize(&self, operation: Operation) -> Result<Actor, ApiError> {
        let principal = &self.0.principal;
        check_operation(principal, operation)?;
        Ok(Actor {
            name: principal.username.to_string(),
            roles: principal.roles.clone(),
            credential: principal.credential.clone(),
            groups: principal.groups.to_vec(),
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
