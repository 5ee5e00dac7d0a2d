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
use super::problem::ApiResult;

#[derive(Deserialize)]
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

/// `GET /api/v1/recovery`.
pub(super) async fn show(app: AppState, session: CurrentSession) -> ApiResult<Json<RecoveryState>> {
    session.authorize(Operation::View)?;
    Ok(Json(app.actions.recovery_state().await?))
}

/// `PUT /api/v1/recovery`.
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

/// `GET /api/v1/clusters/{cluster}/recovery`.
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

/// `PUT /api/v1/clusters/{cluster}/recovery`.
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
