//! Actions through the API: three lines of policy each; what is possible is decided in `galera::recover::action`.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::audit::TrailError;
use galera::ClusterName;
use galera::access::Operation;
use galera::publish::api::ActionList;
use galera::recover::action::{Refusal, State};
use galera::recover::attestation::Attestation;
use galera::recover::plan::{CheckCode, Kind};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, JsonBody, QueryOf, unknown_cluster};
use super::identity::Session;
use super::plans::{bounded, may_request};
use super::problem::{ApiError, ApiResult};
use crate::actions::{ActionError, Decision, Query, Shown, Wanted};

/// Actions of a page unless the request says otherwise, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
const NO_ETCD: &str = "etcd cannot be reached, and without it nothing is decided or recorded; look again in a moment.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAction {
    kind: Kind,
    plan_digest: String,
    confirm: String,
    reason: String,
    #[serde(default)]
    attestations: Vec<Attestation>,
    #[serde(default)]
    break_glass: Option<BreakGlassBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakGlassBody {
    overrides: Vec<CheckCode>,
}

/// `POST /api/v1/clusters/{cluster}/actions`.
pub(super) async fn request(
    app: AppState,
    session: Session,
    ClusterPath(cluster): ClusterPath,
    JsonBody(body): JsonBody<NewAction>,
) -> ApiResult<Response> {
    let by = may_request(&session)?;
    bounded(&body.attestations)?;
    let wanted = Wanted {
        kind: body.kind,
        plan_digest: body.plan_digest,
        confirm: body.confirm,
        reason: body.reason,
        attestations: body.attestations,
        overrides: body.break_glass.map(|glass| glass.overrides),
    };
    if app.hub.cluster(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    let shown = app.actions.request(&by, &cluster, &wanted).await?;
    Ok((StatusCode::CREATED, json(&shown)).into_response())
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    cluster: Option<ClusterName>,
    state: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/actions`.
pub(super) async fn list(
    app: AppState,
    session: Session,
    QueryOf(query): QueryOf<ListQuery>,
) -> ApiResult<Json<ActionList>> {
    session.actor(Operation::See)?;
    let query = Query {
        cluster: query.cluster,
        states: states(query.state.as_deref().unwrap_or_default())?,
        before: query.before,
        limit: query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
    };
    Ok(Json(app.actions.list(&query).await?))
}

/// States by their words, separated by commas; `open` is every state that is not final.
fn states(text: &str) -> ApiResult<Vec<State>> {
    let mut states = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        if word == "open" {
            states.extend(State::ALL.into_iter().filter(|state| !state.is_final()));
            continue;
        }
        let state = State::ALL.into_iter().find(|state| state.word() == word);
        states.push(state.ok_or_else(|| {
            let shown: String = word.chars().take(40).collect();
            ApiError::bad_request(
                "invalid_query",
                format!("{shown:?} is no state of an action."),
            )
        })?);
    }
    Ok(states)
}

/// `GET /api/v1/actions/{id}`.
pub(super) async fn show(
    app: AppState,
    session: Session,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    session.actor(Operation::See)?;
    Ok(json(&app.actions.get(&id).await?).into_response())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    plan_digest: Option<String>,
}

/// `POST /api/v1/actions/{id}/approve|reject|cancel|execute|comment|undo`.
pub(super) async fn act(
    app: AppState,
    session: Session,
    Path((id, verb)): Path<(String, String)>,
    JsonBody(words): JsonBody<Words>,
) -> ApiResult<Response> {
    let actor = |operation| session.actor(operation);
    let comment = words.comment.as_deref();
    let decide = async |operation, decision: Decision| {
        let by = actor(operation)?;
        let decided = app.actions.decide(&by, &id, &decision, comment).await;
        decided.map_err(ApiError::from)
    };
    let shown = match verb.as_str() {
        "approve" => {
            let digest = words.plan_digest.clone();
            decide(Operation::ApproveAction, Decision::Approve { digest }).await?
        }
        "reject" => decide(Operation::RejectAction, Decision::Reject).await?,
        "cancel" => decide(Operation::CancelAction, Decision::Cancel).await?,
        "comment" => decide(Operation::CommentAction, Decision::Comment).await?,
        "execute" => {
            let by = actor(Operation::ExecuteAction)?;
            app.actions.execute(&by, &id).await?
        }
        "undo" => {
            let by = actor(Operation::RequestAction)?;
            app.actions.undo(&by, &id, comment).await?
        }
        _ => {
            let verb: String = verb.chars().take(40).collect();
            let detail = format!("Nothing called {verb:?} can be done with an action.");
            return Err(ApiError::not_found("unknown_path", detail));
        }
    };
    Ok(json(&shown).into_response())
}

fn json(shown: &Shown) -> ([(http::HeaderName, &'static str); 1], Bytes) {
    ([(CONTENT_TYPE, "application/json")], shown.body())
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (code, detail) = (refusal.code(), sentence(&refusal.to_string()));
        match refusal {
            Refusal::Denied(denied) => denied.into(),
            Refusal::OwnRequest { .. } | Refusal::NotYours { .. } => Self::forbidden(code, detail),
            Refusal::NotExecutable(_)
            | Refusal::NotConfirmed { .. }
            | Refusal::NoReason
            | Refusal::TooLong { .. }
            | Refusal::OverridesDiffer { .. }
            | Refusal::NotOverridable(_)
            | Refusal::NothingToOverride => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                code,
                "Not possible like this",
                detail,
            ),
            _ => conflict(code, detail),
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            ActionError::Refused(refusal) => refusal.into(),
            ActionError::Unknown(_) => Self::not_found("unknown_action", detail),
            ActionError::UnknownCluster => Self::not_found("unknown_cluster", detail),
            ActionError::Open(_) => conflict("action_open", detail),
            ActionError::Busy(_) => conflict("busy", detail),
            ActionError::Contended => conflict("contended", detail),
            ActionError::NotUndoable(_) => conflict("not_undoable", detail),
            ActionError::TooMany(wait) => throttled(wait),
            ActionError::Trail(error) => error.into(),
            ActionError::Unwatched => conflict("not_watched_enough", detail),
            ActionError::Blind(_) => Self::unavailable("registry_unavailable", NO_ETCD),
        }
    }
}

impl From<TrailError> for ApiError {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::Registry(error) => {
                Self::unavailable("registry_unavailable", NO_ETCD).source(error)
            }
            TrailError::Damaged { .. } => Self::internal(error.to_string()),
            TrailError::Contended => conflict("contended", sentence(&error.to_string())),
        }
    }
}

pub(super) fn conflict(code: &'static str, detail: String) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, "Not as it was", detail)
}

fn throttled(wait: Duration) -> ApiError {
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "throttled",
        "Too many requests",
        format!(
            "Too many changes of actions; wait {} s.",
            wait.as_secs() + 1
        ),
    )
    .retry_after(wait)
}

/// The domain's words as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_uppercase().to_string());
    let rest = characters.as_str();
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{}{rest}{end}", first.unwrap_or_default())
}
