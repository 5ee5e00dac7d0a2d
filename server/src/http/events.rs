//! The chronicle of a cluster through the API, as JSON or CSV.

use axum::Json;
use axum::response::{IntoResponse, Response};
use galera::record::history::{GONE, Kind};
use galera::view::{NodeState, VerdictState};
use galera::{NodeId, Timestamp};
use history::{ChronicleError, PAGE_MAX, Query, csv};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, QueryOf, wants_csv};
use super::identity::Viewer;
use super::problem::{ApiError, ApiResult};

/// Events of a page unless the request says otherwise.
const LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    before: Option<u64>,
    after: Option<u64>,
    at: Option<Timestamp>,
    limit: Option<usize>,
    kind: Option<Kind>,
    node: Option<NodeId>,
    state: Option<String>,
    format: Option<String>,
}

/// `GET /api/v1/clusters/{cluster}/events`. A cluster whose chronicle is kept is known here, even when nothing else knows
/// it any more.
pub(super) async fn page(
    app: AppState,
    Viewer(_): Viewer,
    ClusterPath(name): ClusterPath,
    QueryOf(asked): QueryOf<EventsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let as_csv = wants_csv(asked.format.as_deref(), &headers)?;
    let nobody_knows = app.chronicle.is_read() && !app.chronicle.knows(&name);
    if app.hub.cluster(&name).is_none() && nobody_knows {
        return Err(super::extract::unknown_cluster(name.as_str()));
    }
    let query = Query {
        before: asked.before,
        after: asked.after,
        at: asked.at,
        limit: asked.limit.unwrap_or(LIMIT).clamp(1, PAGE_MAX),
        kind: asked.kind,
        node: asked.node,
        state: asked.state.map(known_state).transpose()?,
    };
    let page = app.chronicle.page(&name, &query).await?;
    if !as_csv {
        return Ok(Json(page).into_response());
    }
    let disposition = format!("attachment; filename=\"{name}-events.csv\"");
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, &disposition),
    ];
    Ok((headers, csv(&page.events)).into_response())
}

/// A word that no event can lead to is a mistake, not an empty page.
fn known_state(word: String) -> ApiResult<String> {
    let nodes = NodeState::ALL.map(NodeState::word);
    let verdicts = VerdictState::ALL.map(VerdictState::word);
    let mut words = verdicts.into_iter().chain(nodes).chain([GONE]);
    if words.any(|known| known == word) {
        return Ok(word);
    }
    let shown: String = word.chars().take(80).collect();
    let detail = format!("{shown:?} is no state of a cluster or node.");
    Err(ApiError::bad_request("invalid_query", detail))
}

impl From<ChronicleError> for ApiError {
    fn from(error: ChronicleError) -> Self {
        match error {
            ChronicleError::Registry(error) => Self::unavailable(
                "registry_unavailable",
                "Older events cannot be read, because etcd does not answer; try again in a moment.",
            )
            .source(error),
            ChronicleError::Unread => Self::unavailable(
                "chronicle_unread",
                "What happened cannot be told yet: this console has not read it from etcd since it started; try again in a moment.",
            ),
            damaged @ ChronicleError::Damaged { .. } => Self::internal(damaged.to_string()),
        }
    }
}
