//! Keeps the overview in step with the clusters' views.

use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::pace::GAP;

/// Publishes the overview after every change, a burst of them once, until cancelled.
pub(super) async fn run(board: Arc<Board>, cancel: CancellationToken) {
    let work = async {
        loop {
            board.news().await;
            board.publish_overview();
            sleep(GAP).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}
