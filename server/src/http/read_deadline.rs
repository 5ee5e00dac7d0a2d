//! Reads while etcd is known to be unreachable: what is in memory is served immediately, and what is not fails soon.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;

use super::AppState;
use super::problem::ApiError;

/// How long a read may take once etcd is known to be unreachable. What is in memory takes milliseconds; the client of etcd
/// would try for several seconds, and the page with it.
const DEADLINE: Duration = Duration::from_millis(400);

/// Limits the time of reads while etcd is unreachable, also of those that began before that was known. Requests that change
/// something keep their time: they are decided by etcd, however late it answers.
pub(super) async fn limit_reads(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let plans = request.uri().path().contains("/plans/");
    let reads = request.method() == Method::GET || (request.method() == Method::POST && plans);
    if !reads {
        return next.run(request).await;
    }
    let expired = async {
        wait_until_unreachable(&app).await;
        tokio::time::sleep(DEADLINE).await;
    };
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = expired => ApiError::unavailable(
            "registry_unavailable",
            "etcd is unreachable, and this is not kept in memory; the page loads when etcd is available again.",
        )
        .into_response(),
    }
}

/// Returns when any watch of etcd has reported that it is unreachable: each notices on its own, seconds apart.
async fn wait_until_unreachable(app: &AppState) {
    let mut health = app.monitor.registry_health_changes();
    if app.authenticator.cache().etcd_error().is_some() {
        return;
    }
    if health.wait_for(|health| !health.reachable).await.is_err() {
        // Nothing is published any more: the console is shutting down.
        std::future::pending().await
    }
}
