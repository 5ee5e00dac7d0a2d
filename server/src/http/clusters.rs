//! The API of clusters. Bodies are serialized when the monitor publishes them.

use axum::Json;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use galera::access::{ClusterLabel, ClusterLabelError};
use galera::publish::api::Overview;
use galera::publish::api::RecordedClusterView;
use galera::publish::live::{self, FILTER_MAX};
use galera::view::{ClusterSummary, RegistryView, VerdictState};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use uuid::Uuid;

use super::AppState;
use super::extract::{ClusterPath, QueryParams, unknown_cluster};
use super::identity::ViewerSession;
use super::problem::{ApiError, ApiResult, to_sentence};
use super::recorded_views;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OverviewQuery {
    /// Verdicts, separated by commas.
    #[param(
        pattern = "^(healthy|degraded|unknown|no_primary|down|diverged|split_brain)(,(healthy|degraded|unknown|no_primary|down|diverged|split_brain))*$"
    )]
    verdict: Option<String>,
    /// Labels, separated by commas; only clusters with all of them.
    #[param(
        pattern = "^[A-Za-z0-9._-]{1,63}=[A-Za-z0-9._-]{1,63}(,[A-Za-z0-9._-]{1,63}=[A-Za-z0-9._-]{1,63})*$"
    )]
    label: Option<String>,
    /// Part of the name of a cluster, or of the name or address of a node, in any case; with `=`, the beginning of a label, or the
    /// whole label if a cluster has it.
    #[param(max_length = 100)]
    q: Option<String>,
}

/// Lists every cluster in brief, worst verdict first.
#[utoipa::path(
    get, path = "/api/v1/clusters", operation_id = "list_clusters", tag = "clusters",
    params(OverviewQuery),
    responses(
        (status = 200, description = "The clusters. The entity tag is absent if they are filtered.", body = Overview, headers(("ETag" = String, description = "Weak; changes with every revision."))),
        (status = 304, description = "Unchanged since the entity tag of `If-None-Match`.", headers(("ETag" = String, description = "Weak; changes with every revision."))),
    ),
)]
pub(super) async fn overview(
    app: AppState,
    ViewerSession(session): ViewerSession,
    QueryParams(query): QueryParams<OverviewQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let published = app.monitor.overview().borrow().clone();
    let scope = &session.principal.clusters;
    let whole =
        query.verdict.is_none() && query.label.is_none() && query.q.is_none() && scope.is_all();
    if whole {
        return Ok(conditional_json(
            &headers,
            &entity_tag(published.revision),
            || published.body(),
        ));
    }
    let verdicts = query.verdict.as_deref().map(parse_verdicts).transpose()?;
    let labels = query.label.as_deref().map(parse_labels).transpose()?;
    let filter = parse_filter(query.q.unwrap_or_default())?;
    let overview = published.value.in_scope(scope);
    let matches = |cluster: &&ClusterSummary| {
        let verdicts = verdicts.as_ref();
        let has = |label: &ClusterLabel| {
            let value = cluster.labels.get(label.key());
            value.is_some_and(|value| value == label.value())
        };
        verdicts.is_none_or(|verdicts| verdicts.contains(&cluster.verdict.state))
            && labels.iter().flatten().all(has)
    };
    let selected = filter.select(overview.clusters.iter().filter(matches));
    Ok(Json(Overview {
        clusters: selected.into_iter().cloned().collect(),
        notices: overview.notices,
    })
    .into_response())
}

/// What the overview selects by the same text.
fn parse_filter(filter: String) -> ApiResult<live::OverviewQuery> {
    if filter.chars().count() > FILTER_MAX {
        let detail = format!("The parameter q has at most {FILTER_MAX} characters.");
        return Err(ApiError::bad_request("invalid_query", detail));
    }
    Ok(live::OverviewQuery {
        filter,
        ..live::OverviewQuery::default()
    })
}

fn parse_verdicts(names: &str) -> ApiResult<Vec<VerdictState>> {
    names.split(',').map(named_verdict).collect()
}

fn parse_labels(labels: &str) -> ApiResult<Vec<ClusterLabel>> {
    let labels = labels.split(',').map(str::parse);
    labels
        .collect::<Result<_, ClusterLabelError>>()
        .map_err(|error| ApiError::bad_request("invalid_query", to_sentence(&error.to_string())))
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

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ViewQuery {
    /// The time of a recorded view; without it, the current one.
    #[param(value_type = Option<galera::Timestamp>)]
    at: Option<String>,
}

/// Shows a cluster: components, nodes, verdict with reasons; with `at`, as it was then.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}", operation_id = "show_cluster", tag = "clusters",
    params(ViewQuery),
    responses(
        (status = 200, description = "The view. A recorded one has `recorded_at`, and no entity tag.", body = RecordedClusterView, headers(("ETag" = String, description = "Weak; changes with every revision."))),
        (status = 304, description = "Unchanged since the entity tag of `If-None-Match`.", headers(("ETag" = String, description = "Weak; changes with every revision."))),
    ),
    extensions(("x-problems" = json!([
        "400 at_in_the_future", "404 views_not_recorded", "404 before_first_record", "404 not_recorded_then", "503 views_unreadable",
    ]))),
)]
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
    Ok(conditional_json(
        &headers,
        &entity_tag(published.revision),
        || published.body(),
    ))
}

/// Lists every registry key of a cluster, and whether and why it is stale.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/registry", operation_id = "list_registry_keys", tag = "clusters",
    responses((status = 200, description = "The keys.", body = RegistryView)),
)]
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
pub(super) fn conditional_json(
    request: &HeaderMap,
    tag: &str,
    body: impl FnOnce() -> Bytes,
) -> Response {
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
