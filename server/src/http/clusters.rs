//! The API of clusters. Bodies are serialized when the monitor publishes them.

use axum::Json;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use galera::publish::api::Overview;
use galera::view::{ClusterSummary, RegistryView, VerdictState};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use uuid::Uuid;

use super::AppState;
use super::extract::{ClusterPath, QueryParams, unknown_cluster};
use super::identity::ViewerSession;
use super::problem::{ApiError, ApiResult};
use super::recorded_views;

#[derive(Deserialize)]
pub(super) struct OverviewQuery {
    /// Verdicts, separated by commas.
    verdict: Option<String>,
}

/// `GET /api/v1/clusters?verdict=A,B`.
pub(super) async fn overview(
    app: AppState,
    ViewerSession(session): ViewerSession,
    QueryParams(query): QueryParams<OverviewQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let published = app.monitor.overview().borrow().clone();
    let scope = &session.principal.clusters;
    let whole = query.verdict.is_none() && scope.is_all();
    if whole {
        return Ok(conditional_json(&headers, published.revision, || {
            published.body()
        }));
    }
    let verdicts = query.verdict.as_deref().map(parse_verdicts).transpose()?;
    let overview = published.value.in_scope(scope);
    let matches = |cluster: &ClusterSummary| {
        let verdicts = verdicts.as_ref();
        verdicts.is_none_or(|verdicts| verdicts.contains(&cluster.verdict.state))
    };
    Ok(Json(Overview {
        clusters: overview.clusters.into_iter().filter(matches).collect(),
        notices: overview.notices,
    })
    .into_response())
}

fn parse_verdicts(names: &str) -> ApiResult<Vec<VerdictState>> {
    names.split(',').map(named_verdict).collect()
}

fn named_verdict(name: &str) -> ApiResult<VerdictState> {
    let mut all = VerdictState::ALL.into_iter();
    all.find(|verdict| verdict.as_str() == name).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        let names = VerdictState::ALL.map(VerdictState::as_str).join(", ");
        let detail = format!("Unknown verdict {shown:?}; expected one or more of {names}.");
        ApiError::bad_request("invalid_query", detail)
    })
}

#[derive(Deserialize)]
pub(super) struct ViewQuery {
    /// The time of a recorded view; without it, the current one.
    at: Option<String>,
}

/// `GET /api/v1/clusters/{cluster}?at=TIME`.
pub(super) async fn view(
    app: AppState,
    ViewerSession(_): ViewerSession,
    ClusterPath(name): ClusterPath,
    QueryParams(query): QueryParams<ViewQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    if let Some(at) = query.at {
        return Ok(recorded_views::view_at(&app, &name, &at)
            .await?
            .into_response());
    }
    let feed = app
        .monitor
        .cluster_feed(&name)
        .ok_or_else(|| unknown_cluster(name.as_str()))?;
    let published = feed.borrow().clone();
    Ok(conditional_json(&headers, published.revision, || {
        published.body()
    }))
}

/// `GET /api/v1/clusters/{cluster}/registry`.
pub(super) async fn registry(
    app: AppState,
    ViewerSession(_): ViewerSession,
    ClusterPath(name): ClusterPath,
) -> ApiResult<Json<RegistryView>> {
    match app.monitor.registry_view(&name).await {
        Ok(Some(view)) => Ok(Json(view)),
        Ok(None) => Err(unknown_cluster(name.as_str())),
        Err(error) => Err(ApiError::unavailable(
            "registry_unavailable",
            error.to_string(),
        )),
    }
}

/// A published body, or 304 if the client already has it.
fn conditional_json(request: &HeaderMap, revision: u64, body: impl FnOnce() -> Bytes) -> Response {
    let tag = entity_tag(revision);
    let if_none_match = request
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if if_none_match
        .split(',')
        .any(|candidate| candidate.trim().trim_start_matches("W/") == tag.trim_start_matches("W/"))
    {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (headers, [(ETAG, tag)], body()).into_response()
}

/// Weak, because compression changes the bytes. Contains a UUID, because revisions restart with the replica.
fn entity_tag(revision: u64) -> String {
    static REPLICA: std::sync::LazyLock<Uuid> = std::sync::LazyLock::new(Uuid::new_v4);
    format!("W/\"{}-{revision}\"", REPLICA.simple())
}
