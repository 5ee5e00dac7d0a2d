//! Recorded figures of a cluster's nodes over time.

mod query;

use ::series::SeriesRequest;
use axum::Json;
use axum::extract::Path;
use console_core::clock::now;
use galera::publish::series::SeriesView;
use galera::{ClusterName, NodeId, Timestamp};
use recording::RecordingError;

use super::AppState;
use super::extract::{ClusterPath, QueryParams, unknown_cluster};
use super::identity::ViewerSession;
use super::problem::{ApiError, ApiResult};
use crate::metrics_server::MetricsServer;
use crate::series_sources::SeriesSources;
use query::{SeriesParameters, SeriesQuery};

/// The parameters as they are given; a name may occur several times.
type Parameters = QueryParams<Vec<(String, String)>>;

/// Shows recorded figures of a cluster's nodes over time.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/series", operation_id = "show_series", tag = "clusters",
    params(SeriesParameters),
    responses((status = 200, description = "The figures.", body = SeriesView)),
    extensions(("x-problems" = json!([
        "400 from_in_the_future", "400 reversed_range", "400 invalid_step", "400 step_too_fine", "400 unknown_metric",
        "400 too_many_values", "404 series_not_recorded", "404 before_first_record", "404 unknown_node", "503 series_unreadable",
    ]))),
)]
pub(super) async fn show(
    app: AppState,
    ViewerSession(_): ViewerSession,
    ClusterPath(cluster): ClusterPath,
    QueryParams(parameters): Parameters,
) -> ApiResult<Json<SeriesView>> {
    let query = SeriesQuery::parse(&parameters, now())?;
    answer(&app, cluster, &query).await
}

/// Shows recorded figures of a node over time.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/nodes/{node}/series", operation_id = "show_node_series", tag = "clusters",
    params(SeriesParameters),
    responses((status = 200, description = "The figures.", body = SeriesView)),
    extensions(("x-problems" = json!([
        "400 from_in_the_future", "400 reversed_range", "400 invalid_step", "400 step_too_fine", "400 unknown_metric",
        "400 too_many_values", "404 series_not_recorded", "404 before_first_record", "404 unknown_node", "503 series_unreadable",
    ]))),
)]
pub(super) async fn show_node(
    app: AppState,
    ViewerSession(_): ViewerSession,
    ClusterPath(cluster): ClusterPath,
    Path((_, node)): Path<(String, String)>,
    QueryParams(parameters): Parameters,
) -> ApiResult<Json<SeriesView>> {
    let mut query = SeriesQuery::parse(&parameters, now())?;
    query.nodes = vec![query::node(&node)?];
    answer(&app, cluster, &query).await
}

async fn answer(
    app: &AppState,
    cluster: ClusterName,
    query: &SeriesQuery,
) -> ApiResult<Json<SeriesView>> {
    let known: Vec<NodeId> = match app.monitor.cluster_feed(&cluster) {
        Some(feed) => feed
            .borrow()
            .value
            .nodes
            .iter()
            .map(|node| node.id.clone())
            .collect(),
        None if app.history.is_loaded() && !app.history.has_cluster(&cluster) => {
            return Err(unknown_cluster(cluster.as_str()));
        }
        None => Vec::new(),
    };
    let sources = SeriesSources {
        store: app.series.as_ref(),
        server: app.metrics_server.as_deref(),
    };
    if sources.store.is_none() && sources.server.is_none() {
        return Err(not_recorded());
    }
    let nodes = match query.nodes.is_empty() {
        true => known.clone(),
        false => query.nodes.clone(),
    };
    query.check_size(nodes.len())?;
    let request = SeriesRequest {
        cluster: cluster.clone(),
        nodes,
        metrics: query.metrics.clone(),
        from: query.from,
        step: query.step_ms(),
        count: query.count,
    };
    let reading = sources.read(request).await.map_err(unreadable)?;
    if let Some(node) = reading.unknown_node(&known) {
        let shown = format!("{:?}", node.to_string());
        return Err(super::nodes::unknown_node(&cluster, &shown));
    }
    let recorded_since = reading.recorded_since();
    if let Some(since) = recorded_since.filter(|_| sources.server.is_none())
        && Timestamp::from_unix_millis(query.end()) <= since
    {
        return Err(before_first_record(&cluster, since));
    }
    let series = reading.series();
    Ok(Json(SeriesView {
        cluster,
        from: Timestamp::from_unix_millis(query.from),
        to: Timestamp::from_unix_millis(query.end()),
        step: query.step,
        recorded_since,
        state: sources.state(),
        metrics_server: sources.server.map(MetricsServer::origin),
        sources: reading.parts(&series),
        series,
    }))
}

fn not_recorded() -> ApiError {
    ApiError::not_found(
        "series_not_recorded",
        "This console does not record figures of the nodes; start it with --data-dir DIR, or name a server that stores its metrics with --metrics-query-url URL.",
    )
}

fn before_first_record(cluster: &ClusterName, since: Timestamp) -> ApiError {
    ApiError::not_found(
        "before_first_record",
        format!(
            "The first record of {cluster} that is kept is of {since}; name a later time with to."
        ),
    )
}

fn unreadable(error: RecordingError) -> ApiError {
    let detail = format!("Recorded figures cannot be read: {error}.");
    ApiError::unavailable("series_unreadable", detail).with_source(error)
}
