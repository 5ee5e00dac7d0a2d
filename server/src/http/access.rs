//! The access table: for every route of the API, which operations and credentials it needs, and which clusters it concerns.
//! It is enforced here, before any handler runs, for sessions and API tokens alike.
//!
//! Invariant: a route without an entry is not served.

mod table;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use console_core::session::{Principal, SessionGuard};
use galera::ClusterName;
use galera::access::{GrantTarget, Operation};
use http::request::Parts;
use http::{Method, StatusCode};

use super::AppState;
use super::extract::unknown_cluster;
use super::identity::{AnyCredential, CurrentSession, RequestIdentity};
use super::problem::{ApiError, ApiResult};
use crate::actions::ActionError;

pub use table::access_table;
use table::route_access;

/// What one route needs.
#[derive(Clone, Copy, Debug)]
pub struct RouteAccess {
    /// The method; GET also stands for HEAD.
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub requirement: AccessRequirement,
    /// With which credentials.
    pub credentials: CredentialRule,
    /// What it concerns.
    pub reach: RouteReach,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRequirement {
    /// Everyone.
    Public,
    /// Every account, also one that must enrol a second factor first.
    Own,
    /// Accounts that may do any of these; the handler decides by the body which it is.
    Operations(&'static [Operation]),
    /// As [`operation_of_verb`] says for the parameter `verb`.
    ActionVerb,
}

/// With which credentials a route may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialRule {
    /// Sessions and API tokens.
    Any,
    /// Sessions only: what decides about credentials and accounts, or needs a person.
    Session,
}

/// What a route concerns, which decides what an API token that is limited to clusters gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteReach {
    /// The cluster in the parameter `cluster`; any other is unknown to the token.
    Cluster,
    /// The action in the parameter `id`; one of another cluster is unknown to the token.
    Action,
    /// Several clusters: the handler leaves out the others.
    Filtered,
    /// The whole console: refused to such a token.
    Console,
}

/// The operation of `POST /api/v1/actions/{id}/{verb}`; `None` for an unknown verb.
#[must_use]
pub fn operation_of_verb(verb: &str) -> Option<Operation> {
    Some(match verb {
        "approve" => Operation::ApproveAction,
        "reject" => Operation::RejectAction,
        "cancel" => Operation::CancelAction,
        "comment" => Operation::CommentAction,
        "execute" => Operation::ExecuteAction,
        "undo" => Operation::RequestAction,
        _ => return None,
    })
}

/// Refuses requests that the table does not permit.
pub(super) async fn enforce(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(path) = parts.extensions.get::<MatchedPath>().cloned() else {
        return undecided("a request without a route").into_response();
    };
    let method = match &parts.method {
        &Method::HEAD => Method::GET,
        method => method.clone(),
    };
    let Some(access) = route_access(&method, path.as_str()) else {
        // Without an identity, so that no handler but the one for unsupported methods serves it.
        parts.extensions.remove::<RequestIdentity>();
        let response = next.run(Request::from_parts(parts, body)).await;
        return match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => response,
            _ => undecided(&format!("{method} {}", path.as_str())).into_response(),
        };
    };
    match check(&app, access, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

fn undecided(what: &str) -> ApiError {
    ApiError::internal(format!("{what} has no entry in the access table"))
}

async fn check(app: &AppState, access: &RouteAccess, parts: &mut Parts) -> ApiResult<()> {
    if access.requirement == AccessRequirement::Public {
        return match parts.extensions.get::<RequestIdentity>() {
            Some(RequestIdentity::Authenticated(session)) => {
                check_credential(access, &session.principal)
            }
            _ => Ok(()),
        };
    }
    let AnyCredential(session) = AnyCredential::from_request_parts(parts, &()).await?;
    check_credential(access, &session.principal)?;
    if access.requirement == AccessRequirement::Own {
        return Ok(());
    }
    let CurrentSession(session) = CurrentSession::from_request_parts(parts, &()).await?;
    let principal = &session.principal;
    let parameters = RawPathParams::from_request_parts(parts, &()).await;
    let parameter = |name: &str| {
        let found = parameters
            .as_ref()
            .ok()?
            .iter()
            .find(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_owned())
    };
    let verb: [Operation; 1];
    let operations = match access.requirement {
        AccessRequirement::Operations(operations) => operations,
        // The handler refuses an unknown verb.
        _ => {
            let operation = operation_of_verb(&parameter("verb").unwrap_or_default());
            verb = [operation.unwrap_or(Operation::View)];
            &verb
        }
    };
    if principal.grants.is_empty() {
        check_any(principal, operations)?;
        return check_reach(app, access.reach, principal, parameter).await;
    }
    let principal = narrow(app, access.reach, principal, operations, parameter).await?;
    check_any(&principal, operations)?;
    // The handler sees only what counts here.
    let narrowed = SessionGuard {
        principal,
        ..session
    };
    parts
        .extensions
        .insert(RequestIdentity::Authenticated(narrowed));
    Ok(())
}

/// `principal`, whose roles count on some clusters only, with those that count for this request.
async fn narrow(
    app: &AppState,
    reach: RouteReach,
    principal: &Principal,
    operations: &[Operation],
    parameter: impl Fn(&str) -> Option<String>,
) -> ApiResult<Principal> {
    check_reach_of_grants(app, reach, principal, &parameter).await?;
    let cluster: Option<ClusterName>;
    let target = match reach {
        RouteReach::Cluster => {
            cluster = parameter("cluster").and_then(|name| name.parse().ok());
            cluster.as_ref().map(GrantTarget::Cluster)
        }
        RouteReach::Action => {
            let id = parameter("id").unwrap_or_default();
            let action = app.actions.get(&id).await?;
            cluster = Some(action.value.action.cluster.clone());
            cluster.as_ref().map(GrantTarget::Cluster)
        }
        RouteReach::Console => Some(GrantTarget::Console),
        RouteReach::Filtered => None,
    };
    // The handler refuses an invalid name of a cluster.
    let target = target.unwrap_or(GrantTarget::Permitted(operations));
    let narrowed = principal.narrowed(target);
    match (narrowed, reach) {
        (Some(narrowed), _) => Ok(narrowed),
        (None, RouteReach::Console) => Err(ApiError::forbidden(
            "limited_to_clusters",
            format!(
                "Your roles are limited to the clusters {}, and this concerns the whole console.",
                principal.clusters
            ),
        )),
        (None, _) => {
            let without = Principal {
                roles: Vec::new(),
                ..principal.clone()
            };
            check_any(&without, operations)?;
            Err(ApiError::internal("a request without a role was permitted"))
        }
    }
}

/// As [`check_reach`]; what concerns the whole console needs roles that count there.
async fn check_reach_of_grants(
    app: &AppState,
    reach: RouteReach,
    principal: &Principal,
    parameter: impl Fn(&str) -> Option<String>,
) -> ApiResult<()> {
    let token = principal.token.as_ref();
    match reach {
        RouteReach::Console if token.is_none_or(|token| token.clusters.is_all()) => Ok(()),
        reach => check_reach(app, reach, principal, parameter).await,
    }
}

fn check_credential(access: &RouteAccess, principal: &Principal) -> ApiResult<()> {
    if principal.token.is_some() && access.credentials == CredentialRule::Session {
        return Err(session_required());
    }
    Ok(())
}

fn session_required() -> ApiError {
    ApiError::forbidden(
        "session_required",
        "An API token does not permit this; sign in and do it in a session.",
    )
}

/// Checks that the user of a request may do any of `operations`.
fn check_any(principal: &Principal, operations: &[Operation]) -> ApiResult<()> {
    let mut first = Ok(());
    for &operation in operations {
        match check_operation(principal, operation) {
            Ok(()) => return Ok(()),
            Err(error) => first = first.and(Err(error)),
        }
    }
    first
}

/// Checks that the user of a request may do `operation` with its credential.
pub(super) fn check_operation(principal: &Principal, operation: Operation) -> ApiResult<()> {
    let Some(token) = &principal.token else {
        return Ok(principal.permit(operation)?);
    };
    principal.permit(operation).map_err(|denied| {
        ApiError::forbidden(
            "missing_role",
            format!(
                "Requires the {} role, which this API token or its account does not have.",
                denied.missing_role
            ),
        )
    })?;
    match operation {
        Operation::BreakGlass => Err(session_required()),
        Operation::ApproveAction if token.may_approve => Ok(()),
        Operation::ApproveAction if token.is_service => Err(ApiError::forbidden(
            "service_approval_refused",
            "A service account may not approve actions; a person with the approver role must, or --service-approval allow must be set.",
        )),
        Operation::ApproveAction => Err(ApiError::forbidden(
            "session_required",
            "Approvals need a second factor or a recent proof, which an API token cannot give; sign in and approve in a session.",
        )),
        _ => Ok(()),
    }
}

async fn check_reach(
    app: &AppState,
    reach: RouteReach,
    principal: &Principal,
    parameter: impl Fn(&str) -> Option<String>,
) -> ApiResult<()> {
    if principal.clusters.is_all() {
        return Ok(());
    }
    match reach {
        RouteReach::Filtered => Ok(()),
        RouteReach::Cluster => {
            let name = parameter("cluster").unwrap_or_default();
            match name.parse::<ClusterName>() {
                Ok(cluster) if !principal.clusters.permits(&cluster) => {
                    Err(unknown_cluster(cluster.as_str()))
                }
                // An invalid name is unknown to the handler.
                _ => Ok(()),
            }
        }
        RouteReach::Action => {
            let id = parameter("id").unwrap_or_default();
            match app.actions.get(&id).await {
                Ok(action) if !principal.clusters.permits(&action.value.action.cluster) => {
                    Err(ActionError::UnknownAction(id).into())
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        RouteReach::Console => Err(ApiError::forbidden(
            "token_limited_to_clusters",
            format!(
                "This API token is limited to the clusters {}, and this concerns the whole console; use a token without that limit.",
                principal.clusters
            ),
        )),
    }
}
