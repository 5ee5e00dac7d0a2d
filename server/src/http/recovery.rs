//! The off-switch of recovery through the API: everybody sees it, everybody who may act can switch it off.

use axum::Json;
use galera::access::Operation;
use galera::publish::api::{ClusterRecovery, RecoveryState};
use galera::recover::action::Actor;
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, JsonBody, unknown_cluster};
use super::identity::Session;
use super::problem::ApiResult;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    enabled: bool,
    #[serde(default)]
    reason: String,
}

impl Switch {
    fn actor(&self, session: &Session) -> ApiResult<Actor> {
        session.actor(if self.enabled {
            Operation::SwitchRecoveryOn
        } else {
            Operation::SwitchRecoveryOff
        })
    }
}

/// `GET /api/v1/recovery`.
pub(super) async fn show(app: AppState, session: Session) -> ApiResult<Json<RecoveryState>> {
    session.actor(Operation::See)?;
    Ok(Json(app.actions.recovery().await?))
}

/// `PUT /api/v1/recovery`.
pub(super) async fn switch(
    app: AppState,
    session: Session,
    JsonBody(body): JsonBody<Switch>,
) -> ApiResult<Json<RecoveryState>> {
    let by = body.actor(&session)?;
    app.actions
        .switch(&by, None, body.enabled, &body.reason)
        .await?;
    Ok(Json(app.actions.recovery().await?))
}

/// `GET /api/v1/clusters/{cluster}/recovery`.
pub(super) async fn show_cluster(
    app: AppState,
    session: Session,
    ClusterPath(cluster): ClusterPath,
) -> ApiResult<Json<ClusterRecovery>> {
    session.actor(Operation::See)?;
    if app.hub.cluster(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    Ok(Json(app.actions.cluster_recovery(&cluster).await?))
}

/// `PUT /api/v1/clusters/{cluster}/recovery`.
pub(super) async fn switch_cluster(
    app: AppState,
    session: Session,
    ClusterPath(cluster): ClusterPath,
    JsonBody(body): JsonBody<Switch>,
) -> ApiResult<Json<ClusterRecovery>> {
    let by = body.actor(&session)?;
    if app.hub.cluster(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    app.actions
        .switch(&by, Some(&cluster), body.enabled, &body.reason)
        .await?;
    Ok(Json(app.actions.cluster_recovery(&cluster).await?))
}
