//! Keeps the overview in step with the clusters' views.

use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::debounce::FOLD_INTERVAL_MIN;
use super::publisher::ViewPublisher;

/// Publishes the overview after every change, a burst of them once, until cancelled.
pub(super) async fn run(board: Arc<ViewPublisher>, cancel: CancellationToken) {
    let work = async {
        loop {
            board.overview_changed().await;
            board.publish_overview();
            sleep(FOLD_INTERVAL_MIN).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}
