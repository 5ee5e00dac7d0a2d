//! Where a rolling restart is, and the form that begins one.

use std::time::Duration;

use axum::extract::Path;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use console_core::clock::now;
use galera::access::Operation;
use galera::insight::rolling_restart::RollingRestart;
use galera::{ClusterName, Timestamp};
use serde::Deserialize;

use super::AppState;
use super::extract::{ClusterPath, QueryParams, unknown_cluster};
use super::forms::{SubmittedForm, encode_segment};
use super::identity::CurrentSession;
use super::problem::{ApiError, ApiResult};

/// How far the clock of the replica that set the beginning may be ahead of this one's.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(30);

/// When the restart began.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RestartQuery {
    /// When it began: a time in the past.
    #[param(value_type = Timestamp, required = true)]
    since: Option<String>,
}

/// Shows where a rolling restart is.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/rolling-restart", operation_id = "show_rolling_restart", tag = "clusters",
    params(RestartQuery),
    responses((status = 200, description = "One step for each member.", body = RollingRestart)),
)]
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    ClusterPath(cluster): ClusterPath,
    QueryParams(query): QueryParams<RestartQuery>,
) -> ApiResult<Json<RollingRestart>> {
    session.authorize(Operation::View)?;
    if app.monitor.cluster_feed(&cluster).is_none() {
        return Err(unknown_cluster(cluster.as_str()));
    }
    let since = beginning(query.since.as_deref())?;
    let state = app.monitor.rolling_restart(&cluster, since);
    let state = state.ok_or_else(|| unknown_cluster(cluster.as_str()))?;
    Ok(Json(state))
}

/// The form of the page.
pub(super) fn forms() -> Router<AppState> {
    Router::new().route("/clusters/{name}/rolling-restart", post(begin))
}

/// Redirects to the page of a restart that begins now. Nothing is stored: its time is in the address, so only this form
/// begins one, and loading the page again continues it.
async fn begin(
    app: AppState,
    session: CurrentSession,
    Path(name): Path<String>,
    form: SubmittedForm,
) -> ApiResult<Response> {
    session.authorize(Operation::View)?;
    let known = name.parse::<ClusterName>().ok();
    if known.is_none_or(|cluster| app.monitor.cluster_feed(&cluster).is_none()) {
        return Err(unknown_cluster(&name.chars().take(80).collect::<String>()));
    }
    let page = format!("/clusters/{}/rolling-restart", encode_segment(&name));
    form.succeed(&format!("{page}?since={}", now()))
}

fn beginning(since: Option<&str>) -> ApiResult<Timestamp> {
    let latest = now().plus(CLOCK_SKEW_MAX);
    let time = since.and_then(Timestamp::parse);
    time.filter(|time| *time <= latest).ok_or_else(|| {
        let shown: String = since.unwrap_or_default().chars().take(80).collect();
        ApiError::bad_request(
            "invalid_query",
            format!(
                "since is {shown:?}, but must be when the restart began: a time in the past, such as 2026-01-31T12:00:00Z."
            ),
        )
    })
}
