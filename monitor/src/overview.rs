//! Keeps the overview consistent with the clusters' views.

use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::debounce::FOLD_INTERVAL_MIN;
use super::publisher::ViewPublisher;

/// Publishes the overview after every change, bursts coalesced, until cancelled.
pub(super) async fn run(publisher: Arc<ViewPublisher>, cancel: CancellationToken) {
    let work = async {
        loop {
            publisher.overview_changed().await;
            publisher.publish_overview();
            sleep(FOLD_INTERVAL_MIN).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}
