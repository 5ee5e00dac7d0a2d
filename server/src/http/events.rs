//! The chronicle of a cluster through the API, as JSON or CSV.

use axum::Json;
use axum::response::{IntoResponse, Response};
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
use super::problem::{ApiError, ApiResult};

/// Events of a page unless the request says otherwise.
const DEFAULT_LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    before: Option<u64>,
    after: Option<u64>,
    at: Option<Timestamp>,
    limit: Option<usize>,
    kind: Option<ChangeKind>,
    node: Option<NodeId>,
    state: Option<String>,
    format: Option<String>,
}

/// `GET /api/v1/clusters/{cluster}/events`. A cluster whose chronicle is kept is known here, even when nothing else knows
/// it any more.
pub(super) async fn page(
    app: AppState,
    ViewerSession(_): ViewerSession,
    ClusterPath(name): ClusterPath,
    QueryParams(asked): QueryParams<EventsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let as_csv = csv_requested(asked.format.as_deref(), &headers)?;
    let nobody_knows = app.history.is_loaded() && !app.history.has_cluster(&name);
    if app.monitor.cluster_feed(&name).is_none() && nobody_knows {
        return Err(super::extract::unknown_cluster(name.as_str()));
    }
    let query = HistoryQuery {
        before: asked.before,
        after: asked.after,
        at: asked.at,
        limit: asked.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, PAGE_MAX),
        kind: asked.kind,
        node: asked.node,
        state: asked.state.map(validate_state).transpose()?,
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

/// A word that no event can lead to is a mistake, not an empty page.
fn validate_state(word: String) -> ApiResult<String> {
    let nodes = NodeState::ALL.map(NodeState::as_str);
    let verdicts = VerdictState::ALL.map(VerdictState::as_str);
    let mut words = verdicts.into_iter().chain(nodes).chain([GONE]);
    if words.any(|known| known == word) {
        return Ok(word);
    }
    let shown: String = word.chars().take(80).collect();
    let detail = format!("{shown:?} is no state of a cluster or node.");
    Err(ApiError::bad_request("invalid_query", detail))
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Registry(error) => Self::unavailable(
                "registry_unavailable",
                "Older events cannot be read, because etcd does not answer; try again in a moment.",
            )
            .with_source(error),
            HistoryError::NotLoaded => Self::unavailable(
                "chronicle_unread",
                "What happened cannot be told yet: this console has not read it from etcd since it started; try again in a moment.",
            ),
            damaged @ HistoryError::Damaged { .. } => Self::internal(damaged.to_string()),
        }
    }
}
