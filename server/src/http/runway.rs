//! How members would return after an absence.

use axum::Json;
use galera::access::Operation;
use galera::insight::runway::{Runway, runway};

use super::AppState;
use super::extract::{ClusterPath, unknown_cluster};
use super::identity::CurrentSession;
use super::problem::ApiResult;

/// Shows until when members return by an incremental state transfer.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/runway", operation_id = "show_runway", tag = "clusters",
    responses((status = 200, description = "One forecast for each member that is away or Synced.", body = Runway)),
)]
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
) -> ApiResult<Json<Runway>> {
    session.authorize(Operation::View)?;
    let feed = app.monitor.cluster_feed(&cluster);
    let feed = feed.ok_or_else(|| unknown_cluster(cluster.as_str()))?;
    let published = feed.borrow().clone();
    Ok(Json(runway(&published.value)))
}
