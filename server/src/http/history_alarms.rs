//! The API of alarms about the data of a cluster.

use std::time::Duration;

use axum::Json;
use galera::ClusterName;
use galera::access::Operation;
use galera::view::ReasonCode;
use monitor::Monitor;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::extract::{ClusterPath, JsonBody, audited_reason, unknown_cluster};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult, to_sentence};
use crate::history_alarms::AcknowledgementError;

/// How long a response waits for the view that shows its effect.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcknowledgeDataAlarms {
    /// The newest alarm that the caller has seen: later ones stay open.
    through: u64,
    /// A form without it sends none.
    #[serde(default)]
    reason: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct AcknowledgedAlarms {
    acknowledged: Vec<u64>,
}

/// Acknowledges alarms about the data of a cluster.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/alarms/acknowledge", operation_id = "acknowledge_data_alarms", tag = "clusters",
    request_body = AcknowledgeDataAlarms,
    responses((status = 200, description = "The numbers of the acknowledged alarms.", body = AcknowledgedAlarms)),
    extensions(("x-problems" = json!([problems::AUDITED, problems::REASON, "409 no_open_alarm", "409 split_brain"]))),
)]
pub(super) async fn acknowledge(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    JsonBody(body): JsonBody<AcknowledgeDataAlarms>,
) -> ApiResult<Json<AcknowledgedAlarms>> {
    let by = session.authorize(Operation::AcknowledgeHistory)?;
    let reason = audited_reason(&body.reason)?;
    let alarms = &app.history_alarms;
    let acknowledged = alarms
        .acknowledge(&by, &cluster, body.through, reason)
        .await
        .map_err(|error| acknowledgement_problem(&cluster, error))?;
    await_effect(&app.monitor, &cluster).await;
    Ok(Json(AcknowledgedAlarms { acknowledged }))
}

/// Waits until the published view has none of the reasons that it had, so that a page that is loaded next shows it.
async fn await_effect(monitor: &Monitor, cluster: &ClusterName) {
    let Some(mut feed) = monitor.cluster_feed(cluster) else {
        return;
    };
    let changed = feed.wait_for(|published| {
        let reasons = &published.value.verdict.reasons;
        let is_alarm = |code| matches!(code, ReasonCode::HistoryAlarm | ReasonCode::MemberDiverged);
        !reasons.iter().any(|reason| is_alarm(reason.code))
    });
    let _ = tokio::time::timeout(EFFECT_TIMEOUT, changed).await;
}

fn acknowledgement_problem(cluster: &ClusterName, error: AcknowledgementError) -> ApiError {
    let detail = to_sentence(&error.to_string());
    match error {
        AcknowledgementError::UnknownCluster => unknown_cluster(cluster.as_str()),
        AcknowledgementError::NoneOpen => ApiError::conflict("no_open_alarm", detail),
        AcknowledgementError::SplitBrain => ApiError::conflict("split_brain", detail),
        AcknowledgementError::Contended => ApiError::conflict("contended", detail),
        AcknowledgementError::Audit(error) => error.into(),
    }
}
