//! The API that pauses and resumes recovery: every user can see the state, every user who may act can pause it.

use axum::Json;
use galera::ClusterName;
use galera::access::Operation;
use galera::publish::api::{ClusterRecovery, RecoveryState};
use galera::recover::action::Actor;
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, JsonBody, unknown_cluster};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::ApiResult;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchRecoveryRequest {
    enabled: bool,
    #[serde(default)]
    reason: String,
}

impl SwitchRecoveryRequest {
    fn authorize(&self, session: &CurrentSession) -> ApiResult<Actor> {
        session.authorize(if self.enabled {
            Operation::ResumeRecovery
        } else {
            Operation::PauseRecovery
        })
    }
}

/// Shows whether recovery is paused, and what it requires.
#[utoipa::path(
    get, path = "/api/v1/recovery", operation_id = "show_recovery", tag = "recovery",
    responses((status = 200, description = "The state.", body = RecoveryState)),
    extensions(("x-problems" = json!([problems::AUDITED]))),
)]
pub(super) async fn show(app: AppState, session: CurrentSession) -> ApiResult<Json<RecoveryState>> {
    session.authorize(Operation::View)?;
    let mut state = app.actions.recovery_state().await?;
    let scope = &session.0.principal.clusters;
    state.clusters.retain(|cluster, _| scope.permits(cluster));
    Ok(Json(state))
}

/// Pauses or resumes recovery for all clusters.
#[utoipa::path(
    put, path = "/api/v1/recovery", operation_id = "switch_recovery", tag = "recovery",
    request_body = SwitchRecoveryRequest,
    responses((status = 200, description = "The state afterwards.", body = RecoveryState)),
    extensions(("x-problems" = json!([problems::AUDITED, problems::REASON, "429 throttled"]))),
)]
pub(super) async fn switch(
    app: AppState,
    session: CurrentSession,
    JsonBody(body): JsonBody<SwitchRecoveryRequest>,
) -> ApiResult<Json<RecoveryState>> {
    let by = body.authorize(&session)?;
    app.actions
        .switch_recovery(&by, None, body.enabled, &body.reason)
        .await?;
    Ok(Json(app.actions.recovery_state().await?))
}

/// Shows whether recovery is paused for a cluster.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/recovery", operation_id = "show_cluster_recovery", tag = "recovery",
    responses((status = 200, description = "The state.", body = ClusterRecovery)),
    extensions(("x-problems" = json!([problems::AUDITED]))),
)]
pub(super) async fn show_cluster(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
) -> ApiResult<Json<ClusterRecovery>> {
    session.authorize(Operation::View)?;
    if app.monitor.cluster_feed(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    show_state(&app, &cluster).await
}

async fn show_state(app: &AppState, cluster: &ClusterName) -> ApiResult<Json<ClusterRecovery>> {
    let mut state = app.actions.cluster_recovery(cluster).await?;
    if let Some(snapshot) = app.monitor.snapshot(cluster) {
        state.history_alarms = snapshot.evidence.history_alarms.clone();
    }
    Ok(Json(state))
}

/// Pauses or resumes recovery for a cluster.
#[utoipa::path(
    put, path = "/api/v1/clusters/{cluster}/recovery", operation_id = "switch_cluster_recovery", tag = "recovery",
    request_body = SwitchRecoveryRequest,
    responses((status = 200, description = "The state afterwards.", body = ClusterRecovery)),
    extensions(("x-problems" = json!([problems::AUDITED, problems::REASON, "429 throttled"]))),
)]
pub(super) async fn switch_cluster(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    JsonBody(body): JsonBody<SwitchRecoveryRequest>,
) -> ApiResult<Json<ClusterRecovery>> {
    let by = body.authorize(&session)?;
    if app.monitor.cluster_feed(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    app.actions
        .switch_recovery(&by, Some(&cluster), body.enabled, &body.reason)
        .await?;
    show_state(&app, &cluster).await
}
