//! The API of alarms about changes outside the console.

use axum::Json;
use console_core::acknowledgement::{AlarmAcknowledgement, acknowledge};
use console_core::clock::now;
use galera::access::Operation;
use galera::publish::api::{AlarmView, AlarmsView};
use http::StatusCode;
use serde::Deserialize;

use super::AppState;
use super::extract::{JsonBody, audited_reason};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::ApiResult;

/// Lists what was changed outside the console, as this replica found it.
#[utoipa::path(
    get, path = "/api/v1/alarms", operation_id = "list_console_alarms", tag = "audit",
    responses((status = 200, description = "The alarms that are not acknowledged.", body = AlarmsView)),
)]
pub(super) async fn show(app: AppState, session: CurrentSession) -> ApiResult<Json<AlarmsView>> {
    session.authorize(Operation::ReadAudit)?;
    let latest = app.actions.trail().watch_alarms().borrow().latest.clone();
    let trail = latest.map(|alarm| AlarmView {
        kind: "audit_trail".to_owned(),
        at: alarm.at,
        text: format!(
            "The audit trail was changed outside the console: {}.",
            alarm.reason
        ),
    });
    let restored = app.registry.restored().map(|restored| AlarmView {
        kind: "etcd_restored".to_owned(),
        at: restored.at,
        text: format!(
            "An earlier state of etcd was restored: its revision fell from {} to {}.",
            restored.seen, restored.found
        ),
    });
    Ok(Json(AlarmsView {
        alarms: trail.into_iter().chain(restored).collect(),
    }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcknowledgeConsoleAlarms {
    /// A form without it sends none.
    #[serde(default)]
    reason: String,
}

/// Ends the alarms of every replica.
#[utoipa::path(
    post, path = "/api/v1/alarms/acknowledge", operation_id = "acknowledge_console_alarms", tag = "audit",
    request_body = AcknowledgeConsoleAlarms,
    responses((status = 204, description = "Acknowledged.")),
    extensions(("x-problems" = json!([problems::AUDITED, problems::REASON, "403 step_up_required"]))),
)]
pub(super) async fn acknowledge_all(
    app: AppState,
    session: CurrentSession,
    JsonBody(body): JsonBody<AcknowledgeConsoleAlarms>,
) -> ApiResult<StatusCode> {
    let by = session.authorize(Operation::AcknowledgeAlarms)?;
    session.require_recent_proof(&app).await?;
    let reason = audited_reason(&body.reason)?;
    let acknowledgement = AlarmAcknowledgement {
        at: now(),
        actor: by.name,
        reason: reason.to_owned(),
    };
    let trail = app.actions.trail();
    acknowledge(trail, &app.state_prefix, &acknowledgement).await?;
    Ok(StatusCode::NO_CONTENT)
}
