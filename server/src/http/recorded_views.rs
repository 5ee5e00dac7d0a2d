//! Views as they were at a time.

use ::recorded_views::ViewLookup;
use axum::Json;
use console_core::clock::now;
use galera::publish::api::RecordedClusterView;
use galera::{ClusterName, Timestamp};
use recording::RecordingError;

use super::AppState;
use super::extract::{time_parameter, unknown_cluster};
use super::problem::{ApiError, ApiResult};

/// The view of `cluster` at the time in `at`.
pub(super) async fn view_at(
    app: &AppState,
    cluster: &ClusterName,
    at: &str,
) -> ApiResult<Json<RecordedClusterView>> {
    let at = time_parameter("at", at)?;
    if at > now() {
        return Err(ApiError::bad_request(
            "at_in_the_future",
            format!("The time {at} is in the future; name an earlier one with at."),
        ));
    }
    let is_known = app.monitor.cluster_feed(cluster).is_some()
        || !app.history.is_loaded()
        || app.history.has_cluster(cluster);
    let Some(store) = &app.recorded_views else {
        return Err(match is_known {
            true => not_recorded(),
            false => unknown_cluster(cluster.as_str()),
        });
    };
    match store.view_at(cluster, at).await.map_err(unreadable)? {
        ViewLookup::Recorded(recorded) => Ok(Json(RecordedClusterView {
            view: recorded.view,
            recorded_at: recorded.at,
        })),
        ViewLookup::Gap { before, after } => Err(gap(cluster, at, before, after)),
        ViewLookup::NeverRecorded if !is_known => Err(unknown_cluster(cluster.as_str())),
        ViewLookup::NeverRecorded => Err(gap(cluster, at, None, None)),
    }
}

fn not_recorded() -> ApiError {
    ApiError::not_found(
        "views_not_recorded",
        "This console does not record views of clusters; start it with --data-dir DIR.",
    )
}

/// The problem of a time at which nothing was recorded. `before` and `after` are the nearest ones at which something was.
fn gap(
    cluster: &ClusterName,
    at: Timestamp,
    before: Option<Timestamp>,
    after: Option<Timestamp>,
) -> ApiError {
    match (before, after) {
        (None, Some(first)) => ApiError::not_found(
            "before_first_record",
            format!(
                "The first recorded view of {cluster} is of {first}; name a later time with at."
            ),
        ),
        (before, after) => {
            let nearest: Vec<String> = [("last before it", before), ("first after it", after)]
                .into_iter()
                .filter_map(|(which, time)| Some(format!("the {which} is of {}", time?)))
                .collect();
            let nearest = match nearest.is_empty() {
                true => "none was recorded yet".to_owned(),
                false => nearest.join(", "),
            };
            ApiError::not_found(
                "not_recorded_then",
                format!(
                    "No view of {cluster} was recorded at {at}: this console did not run or could not write, or did not know the cluster; {nearest}."
                ),
            )
        }
    }
}

fn unreadable(error: RecordingError) -> ApiError {
    let detail = format!("Recorded views cannot be read: {error}.");
    ApiError::unavailable("views_unreadable", detail).with_source(error)
}
