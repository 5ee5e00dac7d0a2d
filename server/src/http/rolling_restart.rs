//! Leads through a rolling restart: as JSON, and as a page without scripts that reloads itself.

mod page;

use std::time::Duration;

use axum::Json;
use axum::response::Response;
use console_core::clock::now;
use galera::access::Operation;
use galera::insight::rolling_restart::RollingRestart;
use galera::{ClusterName, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, QueryParams, unknown_cluster};
use super::identity::CurrentSession;
use super::problem::{ApiError, ApiResult};
use super::sign_in::see_other;

/// How far the clock of the replica that set the beginning may be ahead of this one's.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);

/// When the restart began.
#[derive(Default, Deserialize)]
pub(super) struct RestartQuery {
    /// RFC 3339.
    since: Option<String>,
}

/// `GET /api/v1/clusters/{cluster}/rolling-restart?since=`.
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    QueryParams(query): QueryParams<RestartQuery>,
) -> ApiResult<Json<RollingRestart>> {
    session.authorize(Operation::View)?;
    let since = beginning(&query)?.ok_or_else(|| {
        let why = "When the restart began is missing: name it with ?since=2026-01-31T12:00:00Z.";
        ApiError::bad_request("invalid_query", why.to_owned())
    })?;
    state_of(&app, &cluster, since).map(Json)
}

/// `GET /clusters/{cluster}/rolling-restart?since=`. `since=now`, which the button sends, redirects to the time of the request:
/// the page with the button may have been open for hours.
pub(super) async fn show_page(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    QueryParams(query): QueryParams<RestartQuery>,
) -> ApiResult<Response> {
    session.authorize(Operation::View)?;
    if app.monitor.cluster_feed(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    if query.since.as_deref() == Some("now") {
        let cluster = utf8_percent_encode(cluster.as_str(), NON_ALPHANUMERIC);
        return see_other(&format!(
            "/clusters/{cluster}/rolling-restart?since={}",
            now()
        ));
    }
    let begun = match beginning(&query)? {
        Some(since) => Some(state_of(&app, &cluster, since)?),
        None => None,
    };
    Ok(page::render(&app, &cluster, begun.as_ref()))
}

fn beginning(query: &RestartQuery) -> ApiResult<Option<Timestamp>> {
    let Some(text) = &query.since else {
        return Ok(None);
    };
    let latest = now().plus(CLOCK_SKEW_MAX);
    let since = Timestamp::parse(text).filter(|since| *since <= latest);
    let since = since.ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        ApiError::bad_request(
            "invalid_query",
            format!("{shown:?} is not a time in the past for since, such as 2026-01-31T12:00:00Z."),
        )
    })?;
    Ok(Some(since))
}

fn state_of(app: &AppState, cluster: &ClusterName, since: Timestamp) -> ApiResult<RollingRestart> {
    let state = app.monitor.rolling_restart(cluster, since);
    state.ok_or_else(|| unknown_cluster(cluster.as_str()))
}
