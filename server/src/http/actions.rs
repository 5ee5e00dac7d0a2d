//! The API of actions. Handlers check permissions only; the rules are in `galera::recover::action`.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::audit::AuditError;
use galera::ClusterName;
use galera::access::Operation;
use galera::publish::api::{ActionList, ActionView};
use galera::recover::action::{ActionRefusal, ActionState};
use galera::recover::plan::{Plan, PlanDigest};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, JsonBody, QueryParams, unknown_cluster};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::plans::{authorize_request, check_attestation_count};
use super::problem::{ApiError, ApiResult, to_sentence};
use crate::actions::{ActionDecision, ActionError, ActionProposal, ActionQuery, PublishedAction};

/// Default and maximum page size.
const DEFAULT_LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
const ETCD_UNAVAILABLE: &str = "etcd is unreachable, and nothing can be decided or recorded without it; try again in a moment.";

/// Requests an action.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/actions", operation_id = "request_action", tag = "recovery",
    request_body = ActionProposal,
    responses((status = 201, description = "The requested action.", body = ActionView)),
    extensions(("x-problems" = json!([problems::AUDITED, problems::REQUEST, "403 step_up_required"]))),
)]
pub(super) async fn request(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    JsonBody(proposal): JsonBody<ActionProposal>,
) -> ApiResult<Response> {
    let by = authorize_request(&session)?;
    check_attestation_count(&proposal.attestations)?;
    if proposal.break_glass.is_some() {
        session.require_recent_proof(&app).await?;
    }
    if app.monitor.cluster_feed(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    let action = app.actions.request(&by, &cluster, &proposal).await?;
    Ok((StatusCode::CREATED, action_json(&action)).into_response())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ActionListQuery {
    cluster: Option<ClusterName>,
    /// States, separated by commas; `open` stands for all that are not final.
    #[param(
        pattern = "^$|^(open|pending|approved|executing|succeeded|failed|unverified|rejected|cancelled|expired|superseded)(,(open|pending|approved|executing|succeeded|failed|unverified|rejected|cancelled|expired|superseded))*$"
    )]
    state: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// Lists actions, newest first.
#[utoipa::path(
    get, path = "/api/v1/actions", operation_id = "list_actions", tag = "recovery",
    params(ActionListQuery),
    responses((status = 200, description = "The actions.", body = ActionList)),
    extensions(("x-problems" = json!([problems::AUDITED]))),
)]
pub(super) async fn list(
    app: AppState,
    session: CurrentSession,
    QueryParams(query): QueryParams<ActionListQuery>,
) -> ApiResult<Json<ActionList>> {
    session.authorize(Operation::View)?;
    let query = ActionQuery {
        cluster: query.cluster,
        scope: session.0.principal.clusters.clone(),
        states: parse_states(query.state.as_deref().unwrap_or_default())?,
        before: query.before,
        limit: query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, LIMIT_MAX),
    };
    Ok(Json(app.actions.list(&query).await?))
}

/// Parses state names separated by commas; `open` stands for all states that are not final.
fn parse_states(text: &str) -> ApiResult<Vec<ActionState>> {
    let mut states = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if name == "open" {
            states.extend(
                ActionState::ALL
                    .into_iter()
                    .filter(|state| !state.is_final()),
            );
            continue;
        }
        let state = ActionState::ALL
            .into_iter()
            .find(|state| state.as_str() == name);
        states.push(state.ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            ApiError::bad_request("invalid_query", format!("Unknown action state {shown:?}."))
        })?);
    }
    Ok(states)
}

/// Shows an action.
#[utoipa::path(
    get, path = "/api/v1/actions/{id}", operation_id = "show_action", tag = "recovery",
    responses((status = 200, description = "The action.", body = ActionView)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_action"]))),
)]
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    session.authorize(Operation::View)?;
    Ok(action_json(&app.actions.get(&id).await?).into_response())
}

/// Shows what the requested plan would be now, with the same attestations.
#[utoipa::path(
    get, path = "/api/v1/actions/{id}/plan", operation_id = "show_present_plan", tag = "recovery",
    responses((status = 200, description = "The plan.", body = Plan)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_action", "404 unknown_cluster"]))),
)]
pub(super) async fn present_plan(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Json<Plan>> {
    session.authorize(Operation::View)?;
    let published = app.actions.get(&id).await?;
    let plan = app.actions.present_plan(&published.value.action);
    Ok(Json(plan.await?))
}

#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionVerbRequest {
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    plan_digest: Option<PlanDigest>,
}

/// Approves, rejects, cancels, executes, comments on or undoes an action.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/{verb}", operation_id = "decide_action", tag = "recovery",
    request_body = ActionVerbRequest,
    responses((status = 200, description = "The action afterwards.", body = ActionView)),
    extensions(("x-problems" = json!([problems::AUDITED, problems::DECISION, "403 service_approval_refused", "403 step_up_required"]))),
)]
pub(super) async fn apply_verb(
    app: AppState,
    session: CurrentSession,
    Path((id, verb)): Path<(String, String)>,
    JsonBody(body): JsonBody<ActionVerbRequest>,
) -> ApiResult<Response> {
    let comment = body.comment.as_deref();
    let decide = async |operation, decision: ActionDecision| {
        let by = session.authorize(operation)?;
        let result = app.actions.decide(&by, &id, &decision, comment).await;
        result.map_err(ApiError::from)
    };
    let action = match verb.as_str() {
        "approve" => {
            session.authorize(Operation::ApproveAction)?;
            session.require_recent_proof(&app).await?;
            let digest = body.plan_digest.clone();
            decide(Operation::ApproveAction, ActionDecision::Approve { digest }).await?
        }
        "reject" => decide(Operation::RejectAction, ActionDecision::Reject).await?,
        "cancel" => decide(Operation::CancelAction, ActionDecision::Cancel).await?,
        "comment" => decide(Operation::CommentAction, ActionDecision::Comment).await?,
        "execute" => {
            let by = session.authorize(Operation::ExecuteAction)?;
            app.actions.execute(&by, &id).await?
        }
        "undo" => {
            let by = session.authorize(Operation::RequestAction)?;
            app.actions.undo(&by, &id, comment).await?
        }
        _ => {
            let verb: String = verb.chars().take(40).collect();
            let detail = format!(
                "Unknown operation {verb:?}; expected approve, reject, cancel, execute, comment or undo."
            );
            return Err(ApiError::not_found("unknown_path", detail));
        }
    };
    Ok(action_json(&action).into_response())
}

fn action_json(action: &PublishedAction) -> ([(http::HeaderName, &'static str); 1], Bytes) {
    ([(CONTENT_TYPE, "application/json")], action.body())
}

impl From<ActionRefusal> for ApiError {
    fn from(refusal: ActionRefusal) -> Self {
        let (code, detail) = (refusal.code(), to_sentence(&refusal.to_string()));
        match refusal {
            ActionRefusal::Denied(denied) => denied.into(),
            ActionRefusal::OwnRequest { .. } | ActionRefusal::NotRequester { .. } => {
                Self::forbidden(code, detail)
            }
            ActionRefusal::NotExecutable(_)
            | ActionRefusal::NotConfirmed { .. }
            | ActionRefusal::NoReason
            | ActionRefusal::TooLong { .. }
            | ActionRefusal::OverridesDiffer { .. }
            | ActionRefusal::NotOverridable(_)
            | ActionRefusal::NothingToOverride => Self::unprocessable(code, detail),
            _ => Self::conflict(code, detail),
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        let detail = to_sentence(&error.to_string());
        match error {
            ActionError::Refused(refusal) => refusal.into(),
            ActionError::UnknownAction(_) => Self::not_found("unknown_action", detail),
            ActionError::UnknownCluster => Self::not_found("unknown_cluster", detail),
            ActionError::AlreadyOpen(_) => Self::conflict("action_open", detail),
            ActionError::Busy(_) => Self::conflict("busy", detail),
            ActionError::Contended => Self::conflict("contended", detail),
            ActionError::NotUndoable(_) => Self::conflict("not_undoable", detail),
            ActionError::RateLimited(wait) => too_many_changes(wait),
            ActionError::Audit(error) => error.into(),
            ActionError::NotWatchedLongEnough => Self::conflict("not_watched_enough", detail),
            ActionError::OtherSettings(_) => Self::conflict("other_settings", detail),
            ActionError::RegistryUnreadable(_) => {
                Self::unavailable("registry_unavailable", ETCD_UNAVAILABLE)
            }
        }
    }
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Registry(error @ registry::Error::Tampered { .. }) => {
                Self::conflict("record_tampered", to_sentence(&error.to_string()))
            }
            AuditError::Registry(error) => Self::etcd_failed(&error, ETCD_UNAVAILABLE),
            AuditError::Damaged { .. } => {
                Self::conflict("record_damaged", to_sentence(&error.to_string()))
            }
            AuditError::Contended => Self::conflict("contended", to_sentence(&error.to_string())),
        }
    }
}

fn too_many_changes(wait: Duration) -> ApiError {
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "throttled",
        "Too many requests",
        format!(
            "Too many changes to actions; wait {} s.",
            wait.as_secs() + 1
        ),
    )
    .with_retry_after(wait)
}
