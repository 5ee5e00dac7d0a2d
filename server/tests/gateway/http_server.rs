//! HTTP servers of tests: what the console sends requests to.

use std::future::IntoFuture;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Serves `router` on `listener` until the guard is dropped.
pub(crate) fn serve_until_dropped(listener: TcpListener, router: Router) -> DropGuard {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    TaskTracker::new().spawn(async move {
        stopped
            .run_until_cancelled(axum::serve(listener, router).into_future())
            .await;
    });
    stop.drop_guard()
}
