//! What is wrong or risky with a cluster besides its verdict, and what people decided about it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use console_core::clock::now;
use galera::access::Operation;
use galera::insight::finding_record::{
    ACKNOWLEDGED_MAX, FindingAcknowledgement, FindingRecord, FindingTopic, FindingsView,
};
use galera::{NodeId, Timestamp};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, JsonBody, audited_reason, unknown_cluster};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult, to_sentence};
use crate::finding_records::{FindingAcceptance, FindingError};

/// How long a response waits for the page to show its effect.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds of a day.
const DAY: u64 = 24 * 3_600;

/// Lists what is risky or slow besides the verdict, most urgent first.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/findings", operation_id = "list_findings", tag = "clusters",
    responses((status = 200, description = "The findings.", body = FindingsView)),
)]
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
) -> ApiResult<Json<FindingsView>> {
    session.authorize(Operation::View)?;
    let view = app.findings.view(&cluster);
    view.map(Json)
        .ok_or_else(|| unknown_cluster(cluster.as_str()))
}

/// Which finding, for how long, and why.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcknowledgeFinding {
    code: String,
    subject: Option<String>,
    /// Those that it concerns now, if left out.
    nodes: Option<BTreeSet<NodeId>>,
    /// A form without it sends none.
    #[serde(default)]
    reason: String,
    /// Either this or `days`.
    until: Option<Timestamp>,
    days: Option<u64>,
}

impl AcknowledgeFinding {
    fn acceptance(self) -> ApiResult<FindingAcceptance> {
        let reason = audited_reason(&self.reason)?;
        let now = now();
        let until = match (self.until, self.days) {
            (Some(until), None) => until,
            (None, Some(days)) => now.plus(Duration::from_secs(
                days.saturating_mul(DAY).min(1_000 * DAY),
            )),
            _ => {
                return Err(ApiError::unprocessable(
                    "invalid_end",
                    "State the end of the acknowledgement: either until (a time) or days.",
                ));
            }
        };
        if until <= now || now.age(until) > ACKNOWLEDGED_MAX {
            return Err(ApiError::unprocessable(
                "invalid_end",
                "An acknowledgement ends in the future, at most a year from now.",
            ));
        }
        Ok(FindingAcceptance {
            topic: topic(self.code, self.subject),
            nodes: self.nodes,
            reason: reason.to_owned(),
            until,
        })
    }
}

fn topic(code: String, subject: Option<String>) -> FindingTopic {
    FindingTopic {
        code,
        subject: subject.filter(|subject| !subject.is_empty()),
    }
}

/// Acknowledges a finding for a while.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/findings/acknowledge", operation_id = "acknowledge_finding", tag = "clusters",
    request_body = AcknowledgeFinding,
    responses((status = 200, description = "The acknowledgement.", body = FindingAcknowledgement)),
    extensions(("x-problems" = json!([problems::AUDITED, problems::REASON, "409 no_such_finding", "422 invalid_end"]))),
)]
pub(super) async fn acknowledge(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    JsonBody(body): JsonBody<AcknowledgeFinding>,
) -> ApiResult<Json<FindingAcknowledgement>> {
    let by = session.authorize(Operation::AcknowledgeFinding)?;
    let acknowledged = app
        .findings
        .acknowledge(&by, &cluster, body.acceptance()?)
        .await
        .map_err(|error| problem(cluster.as_str(), error))?;
    let shown = |record: &FindingRecord| record.acknowledged.contains(&acknowledged);
    app.findings
        .await_effect(&cluster, shown, EFFECT_TIMEOUT)
        .await;
    Ok(Json(acknowledged))
}

/// Whose acknowledgements to withdraw.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReopenFinding {
    code: String,
    subject: Option<String>,
}

/// Withdraws the acknowledgements of a finding.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/findings/reopen", operation_id = "reopen_finding", tag = "clusters",
    request_body = ReopenFinding,
    responses((status = 200, description = "What was reopened.", body = FindingTopic)),
    extensions(("x-problems" = json!([problems::AUDITED, "409 not_acknowledged"]))),
)]
pub(super) async fn reopen(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    JsonBody(body): JsonBody<ReopenFinding>,
) -> ApiResult<Json<FindingTopic>> {
    let by = session.authorize(Operation::AcknowledgeFinding)?;
    let topic = topic(body.code, body.subject);
    app.findings
        .withdraw(&by, &cluster, &topic)
        .await
        .map_err(|error| problem(cluster.as_str(), error))?;
    let shown = |record: &FindingRecord| {
        let mut acknowledged = record.acknowledged.iter();
        acknowledged.all(|known| known.topic != topic)
    };
    app.findings
        .await_effect(&cluster, shown, EFFECT_TIMEOUT)
        .await;
    Ok(Json(topic))
}

fn problem(cluster: &str, error: FindingError) -> ApiError {
    let detail = to_sentence(&error.to_string());
    match error {
        FindingError::UnknownCluster => unknown_cluster(cluster),
        FindingError::NotFound(_) => ApiError::conflict("no_such_finding", detail),
        FindingError::NotAcknowledged(_) => ApiError::conflict("not_acknowledged", detail),
        FindingError::Contended => ApiError::conflict("contended", detail),
        FindingError::Audit(error) => error.into(),
    }
}
