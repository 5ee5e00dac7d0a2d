//! The API of a cluster's event history, as JSON or CSV.

use axum::Json;
use axum::response::{IntoResponse, Response};
use galera::publish::api::HistoryPage;
use galera::record::history::{ChangeKind, GONE};
use galera::view::{NodeState, VerdictState};
use galera::{NodeId, Timestamp};
use history::{HistoryError, HistoryQuery, PAGE_MAX, events_csv};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, QueryParams, csv_requested};
use super::identity::ViewerSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult};

/// Default page size.
const DEFAULT_LIMIT: usize = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    before: Option<u64>,
    after: Option<u64>,
    at: Option<Timestamp>,
    limit: Option<usize>,
    kind: Option<ChangeKind>,
    node: Option<NodeId>,
    /// The new state of the cluster or node.
    #[param(
        pattern = "^(healthy|degraded|unknown|no_primary|down|diverged|split_brain|synced|donor|joined|joining|initialized|inconsistent|stopped|unreachable|absent|gone)$"
    )]
    state: Option<String>,
    /// `json` or `csv`; by default what `Accept` requests.
    #[param(pattern = "^(json|csv)$")]
    format: Option<String>,
}

/// Lists changes of the verdict and of node states, newest first.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/events", operation_id = "list_events", tag = "clusters",
    params(EventsQuery),
    responses(
        (status = 200, description = "JSON, or CSV with `format=csv` or `Accept: text/csv`.", content((HistoryPage = "application/json"), (String = "text/csv; charset=utf-8")), headers(("Content-Disposition" = String, description = "Names the file of a CSV response."))),
    ),
    extensions(("x-problems" = json!([problems::ETCD, "503 chronicle_unread"]))),
)]
pub(super) async fn page(
    app: AppState,
    ViewerSession(_): ViewerSession,
    ClusterPath(name): ClusterPath,
    QueryParams(params): QueryParams<EventsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let as_csv = csv_requested(params.format.as_deref(), &headers)?;
    let not_in_history = app.history.is_loaded() && !app.history.has_cluster(&name);
    if app.monitor.cluster_feed(&name).is_none() && not_in_history {
        return Err(super::extract::unknown_cluster(name.as_str()));
    }
    let query = HistoryQuery {
        before: params.before,
        after: params.after,
        at: params.at,
        limit: params.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, PAGE_MAX),
        kind: params.kind,
        node: params.node,
        state: params.state.map(validate_state).transpose()?,
    };
    let page = app.history.page(&name, &query).await?;
    if !as_csv {
        return Ok(Json(page).into_response());
    }
    let disposition = format!("attachment; filename=\"{name}-events.csv\"");
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, &disposition),
    ];
    Ok((headers, events_csv(&page.events)).into_response())
}

/// Rejects a state that no event can have, instead of returning an empty page.
fn validate_state(state: String) -> ApiResult<String> {
    let nodes = NodeState::ALL.map(NodeState::as_str);
    let verdicts = VerdictState::ALL.map(VerdictState::as_str);
    let mut states = verdicts.into_iter().chain(nodes).chain([GONE]);
    if states.any(|known| known == state) {
        return Ok(state);
    }
    let shown: String = state.chars().take(80).collect();
    let detail = format!("Unknown state of a cluster or node: {shown:?}.");
    Err(ApiError::bad_request("invalid_query", detail))
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Registry(error) => Self::etcd_failed(
                &error,
                "Older events cannot be read because etcd is unreachable; try again in a moment.",
            ),
            HistoryError::NotLoaded => Self::unavailable(
                "chronicle_unread",
                "The event history has not been loaded from etcd yet; try again in a moment.",
            ),
            damaged @ HistoryError::Damaged { .. } => Self::internal(damaged.to_string()),
        }
    }
}
