//! What is wrong or risky with a cluster besides its verdict.

use axum::Json;
use galera::ClusterName;
use galera::access::Operation;
use galera::insight::findings::FindingsReport;

use super::AppState;
use super::extract::{ClusterPath, unknown_cluster};
use super::identity::CurrentSession;
use super::problem::ApiResult;

/// `GET /api/v1/clusters/{cluster}/findings`.
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
) -> ApiResult<Json<FindingsReport>> {
    session.authorize(Operation::View)?;
    report(&app, &cluster).map(Json)
}

fn report(app: &AppState, cluster: &ClusterName) -> ApiResult<FindingsReport> {
    let report = app.monitor.findings(cluster);
    report.ok_or_else(|| unknown_cluster(cluster.as_str()))
}
