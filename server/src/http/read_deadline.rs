//! Reads while etcd is known to be unreachable: what is in memory is served immediately, and what is not fails soon.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;

use super::AppState;
use super::problem::ApiError;

/// How long a read may take while etcd is unreachable. What is in memory takes milliseconds; the client of etcd would try for
/// several seconds, and the page with it.
const DEADLINE: Duration = Duration::from_millis(400);

/// Limits the time of reads while etcd is unreachable. Requests that change something keep their time: they are decided by
/// etcd, however late it answers.
pub(super) async fn limit_reads(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let plans = request.uri().path().contains("/plans/");
    let reads = request.method() == Method::GET || (request.method() == Method::POST && plans);
    if !reads || app.authenticator.cache().etcd_error().is_none() {
        return next.run(request).await;
    }
    tokio::time::timeout(DEADLINE, next.run(request))
        .await
        .unwrap_or_else(|_| {
            ApiError::unavailable(
                "registry_unavailable",
                "etcd is unreachable, and this is not kept in memory; the page loads when etcd is available again.",
            )
            .into_response()
        })
}
