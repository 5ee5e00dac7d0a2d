//! Plans through the API: computed now, never withheld.

use axum::Json;
use axum::extract::Path;
use galera::access::Operation;
use galera::recover::attestation::Attestation;
use galera::recover::plan::{ActionKind, Plan};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, JsonBody};
use super::identity::CurrentSession;
use super::problem::{ApiError, ApiResult};

/// Members of the largest cluster that anybody attests.
const ATTESTATIONS_MAX: usize = 256;

/// What a preview is asked with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanPreviewRequest {
    #[serde(default)]
    attestations: Vec<Attestation>,
}

/// `GET /api/v1/clusters/{cluster}/plans/{kind}`.
pub(super) async fn current(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    Path((_, kind)): Path<(String, String)>,
) -> ApiResult<Json<Plan>> {
    session.authorize(Operation::View)?;
    let plan = app.actions.plan(parse_kind(&kind)?, &cluster, &[]).await?;
    Ok(Json(plan))
}

/// `POST /api/v1/clusters/{cluster}/plans/{kind}`: the plan with what somebody would vouch for. Changes nothing.
pub(super) async fn preview(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    Path((_, kind)): Path<(String, String)>,
    JsonBody(body): JsonBody<PlanPreviewRequest>,
) -> ApiResult<Json<Plan>> {
    authorize_request(&session)?;
    check_attestation_count(&body.attestations)?;
    let kind = parse_kind(&kind)?;
    let plan = app.actions.plan(kind, &cluster, &body.attestations).await?;
    Ok(Json(plan))
}

/// Operators request; an administrator may as well, with break-glass.
pub(super) fn authorize_request(
    session: &CurrentSession,
) -> ApiResult<galera::recover::action::Actor> {
    session
        .authorize(Operation::RequestAction)
        .or_else(|error| session.authorize(Operation::BreakGlass).map_err(|_| error))
}

pub(super) fn check_attestation_count(attestations: &[Attestation]) -> ApiResult<()> {
    if attestations.len() <= ATTESTATIONS_MAX {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "invalid_body",
        format!("At most {ATTESTATIONS_MAX} members can be attested at once."),
    ))
}

fn parse_kind(word: &str) -> ApiResult<ActionKind> {
    let kind = ActionKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == word);
    kind.ok_or_else(|| {
        let shown: String = word.chars().take(40).collect();
        ApiError::not_found(
            "unknown_plan",
            format!("There is no plan {shown:?}; plans are bootstrap, cleanup and decommission."),
        )
    })
}
