//! Can these nodes be stopped?

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use console_core::published::Published;
use galera::access::Operation;
use galera::insight::stop_check::{StopCheck, stop_check};
use galera::view::ClusterView;
use galera::{ClusterName, NodeId};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, QueryParams, unknown_cluster};
use super::identity::CurrentSession;
use super::problem::{ApiError, ApiResult};

/// Which nodes would be stopped together.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StopSelection {
    /// Node ids, separated by commas.
    #[serde(default)]
    nodes: String,
    /// All nodes of this segment (`gmcast.segment`).
    segment: Option<u64>,
}

/// Shows whether a node, and others with it, may be stopped.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/nodes/{node}/stop-check", operation_id = "check_stop_of_node", tag = "clusters",
    params(StopSelection),
    responses((status = 200, description = "The answer with its reasons.", body = StopCheck)),
    extensions(("x-problems" = json!(["404 unknown_node"]))),
)]
pub(super) async fn of_node(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    Path((_, node)): Path<(String, String)>,
    QueryParams(selection): QueryParams<StopSelection>,
) -> ApiResult<Json<StopCheck>> {
    session.authorize(Operation::View)?;
    let published = published_view(&app, &cluster)?;
    let view = &published.value;
    let mut nodes = selected_nodes(view, &selection)?;
    nodes.push(node_of(view, &node)?);
    Ok(Json(stop_check(view, &nodes)))
}

/// Shows whether nodes may be stopped together.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/stop-check", operation_id = "check_stop", tag = "clusters",
    params(StopSelection),
    responses((status = 200, description = "The answer with its reasons.", body = StopCheck)),
    extensions(("x-problems" = json!(["404 unknown_node"]))),
)]
pub(super) async fn of_selection(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    QueryParams(selection): QueryParams<StopSelection>,
) -> ApiResult<Json<StopCheck>> {
    session.authorize(Operation::View)?;
    let published = published_view(&app, &cluster)?;
    let view = &published.value;
    let nodes = selected_nodes(view, &selection)?;
    if nodes.is_empty() {
        return Err(ApiError::bad_request(
            "invalid_query",
            format!(
                "No node is selected: name nodes with ?nodes=A,B, or a segment that has nodes with ?segment=N; \
                 /api/v1/clusters/{cluster} lists all nodes."
            ),
        ));
    }
    Ok(Json(stop_check(view, &nodes)))
}

fn published_view(app: &AppState, cluster: &ClusterName) -> ApiResult<Arc<Published<ClusterView>>> {
    let feed = app.monitor.cluster_feed(cluster);
    let feed = feed.ok_or_else(|| unknown_cluster(cluster.as_str()))?;
    Ok(feed.borrow().clone())
}

fn selected_nodes(view: &ClusterView, selection: &StopSelection) -> ApiResult<Vec<NodeId>> {
    let names = selection.nodes.split(',').map(str::trim);
    let mut nodes = names
        .filter(|name| !name.is_empty())
        .map(|name| node_of(view, name))
        .collect::<ApiResult<Vec<NodeId>>>()?;
    if let Some(segment) = selection.segment {
        let of_segment = view.members().filter(|node| node.segment == Some(segment));
        nodes.extend(of_segment.map(|node| node.id.clone()));
    }
    Ok(nodes)
}

/// The node of this id, or of this name if only one has it.
fn node_of(view: &ClusterView, text: &str) -> ApiResult<NodeId> {
    let found = view.node_named(text);
    found.map(|node| node.id.clone()).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        super::nodes::unknown_node(&view.name, &format!("{shown:?}"))
    })
}
