//! What is wrong or risky with a cluster besides its verdict: as JSON, and as a page without scripts.

mod page;

use axum::Json;
use axum::response::Response;
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

/// `GET /clusters/{cluster}/findings`.
pub(super) async fn show_page(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
) -> ApiResult<Response> {
    session.authorize(Operation::View)?;
    let report = report(&app, &cluster)?;
    Ok(page::render(&app, &report))
}

fn report(app: &AppState, cluster: &ClusterName) -> ApiResult<FindingsReport> {
    let report = app.monitor.findings(cluster);
    report.ok_or_else(|| unknown_cluster(cluster.as_str()))
}
