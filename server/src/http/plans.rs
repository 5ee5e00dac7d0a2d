//! The API of recovery plans: computed on request, never withheld.

use axum::Json;
use axum::extract::Path;
use galera::access::Operation;
use galera::recover::attestation::Attestation;
use galera::recover::plan::{ActionKind, Plan};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, JsonBody};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult};

/// Maximum number of attestations in a request.
const ATTESTATIONS_MAX: usize = 256;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanPreviewRequest {
    #[serde(default)]
    attestations: Vec<Attestation>,
}

/// Shows a plan, computed now.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/plans/{kind}", operation_id = "show_plan", tag = "recovery",
    responses((status = 200, description = "The plan, also if it cannot be executed.", body = Plan)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_plan"]))),
)]
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

/// Shows a plan with attestations, computed now. Changes nothing.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/plans/{kind}", operation_id = "preview_plan", tag = "recovery",
    request_body = PlanPreviewRequest,
    responses((status = 200, description = "The plan, also if it cannot be executed.", body = Plan)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_plan"]))),
)]
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

/// Operators may request actions; administrators may too, with break-glass.
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
        format!("At most {ATTESTATIONS_MAX} members can be attested in one request."),
    ))
}

fn parse_kind(name: &str) -> ApiResult<ActionKind> {
    let kind = ActionKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name);
    kind.ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        ApiError::not_found(
            "unknown_plan",
            format!("Unknown plan {shown:?}; expected bootstrap, cleanup, decommission, positions or rejoin."),
        )
    })
}
