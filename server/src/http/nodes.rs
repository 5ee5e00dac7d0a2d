//! The API of single nodes.

use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use galera::access::Operation;
use galera::judge::confirmation::ConfirmedNode;
use galera::{ClusterName, NodeId};
use http::StatusCode;
use monitor::Monitor;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::extract::{ClusterPath, OptionalJsonBody, unknown_cluster};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult, to_sentence};
use crate::membership::{AdmissionError, REASON_MAX};

/// How long a response waits for the view that shows its effect.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Default, Deserialize, utoipa::ToSchema)]
pub(super) struct AdmissionRequest {
    #[serde(default)]
    reason: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct AdmittedNode {
    node: NodeId,
    #[serde(flatten)]
    confirmed: ConfirmedNode,
}

/// Admits an unconfirmed node as a member.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/nodes/{node}/admit", operation_id = "admit_node", tag = "clusters",
    request_body = Option<AdmissionRequest>,
    responses((status = 200, description = "How it was confirmed.", body = AdmittedNode)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_node", "409 node_confirmed", "422 too_long"]))),
)]
pub(super) async fn admit(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    Path((_, node)): Path<(String, String)>,
    OptionalJsonBody(body): OptionalJsonBody<AdmissionRequest>,
) -> ApiResult<Json<AdmittedNode>> {
    let by = session.authorize(Operation::AdmitNode)?;
    if body.reason.chars().count() > REASON_MAX {
        let detail = format!("The reason is longer than {REASON_MAX} characters.");
        return Err(ApiError::unprocessable("too_long", detail));
    }
    if app.monitor.cluster_feed(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    let id: NodeId = node.parse().map_err(|_| {
        let shown: String = node.chars().take(80).collect();
        unknown_node(&cluster, &format!("{shown:?}"))
    })?;
    let confirmed = app
        .admission
        .admit(&by, &cluster, &id, &body.reason)
        .await
        .map_err(|error| admission_problem(&cluster, error))?;
    await_effect(&app.monitor, &cluster, &id).await;
    Ok(Json(AdmittedNode {
        node: id,
        confirmed,
    }))
}

/// Waits until the published view counts `node`, so that a page that is loaded next shows it.
async fn await_effect(monitor: &Monitor, cluster: &ClusterName, node: &NodeId) {
    let Some(mut feed) = monitor.cluster_feed(cluster) else {
        return;
    };
    let counted = feed.wait_for(|published| {
        let mut members = published.value.members();
        members.any(|member| member.id == *node)
    });
    let _ = tokio::time::timeout(EFFECT_TIMEOUT, counted).await;
}

pub(super) fn unknown_node(cluster: &ClusterName, shown: &str) -> ApiError {
    ApiError::not_found(
        "unknown_node",
        format!("Unknown node {shown}; /api/v1/clusters/{cluster} lists all nodes."),
    )
}

fn admission_problem(cluster: &ClusterName, error: AdmissionError) -> ApiError {
    let detail = to_sentence(&error.to_string());
    match error {
        AdmissionError::UnknownCluster => unknown_cluster(cluster.as_str()),
        AdmissionError::UnknownNode(node) => unknown_node(cluster, node.to_string().as_str()),
        AdmissionError::Confirmed(_) => {
            ApiError::new(StatusCode::CONFLICT, "node_confirmed", "Conflict", detail)
        }
        AdmissionError::Contended => ApiError::conflict("contended", detail),
        AdmissionError::Audit(error) => error.into(),
    }
}
