//! Keeps the overview consistent with the clusters' views.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::debounce::FOLD_INTERVAL_MIN;
use super::publisher::ViewPublisher;

/// Time between two overviews of which only numbers differ: each is serialized and sent as a whole.
const NUMBERS_INTERVAL: Duration = Duration::from_secs(1);

/// Publishes the overview soon after a change of a state, bursts coalesced, and once a second while only numbers change,
/// until cancelled.
pub(super) async fn run(publisher: Arc<ViewPublisher>, cancel: CancellationToken) {
    let work = async {
        let mut numbers_due = Instant::now();
        loop {
            tokio::select! {
                () = publisher.states_changed() => {}
                () = async {
                    publisher.numbers_changed().await;
                    sleep_until(numbers_due).await;
                } => {}
            }
            publisher.publish_overview();
            numbers_due = Instant::now() + NUMBERS_INTERVAL;
            sleep(FOLD_INTERVAL_MIN).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use galera::judge::cluster::{FoldSettings, fold};
    use galera::observe::observation::Evidence;
    use galera::view::{ClusterView, RegistryHealth, VerdictState};
    use tokio::time::timeout;
    use tokio_util::task::TaskTracker;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    fn view() -> ClusterView {
        let health = RegistryHealth {
            reachable: true,
            since: console_core::clock::now(),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        let node = evidence.probes.entry("db1".parse().unwrap()).or_default();
        let rows = [
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_local_state", "4"),
            (
                "wsrep_cluster_state_uuid",
                "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b",
            ),
            (
                "wsrep_local_state_uuid",
                "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b",
            ),
            ("wsrep_last_committed", "41"),
        ];
        let status = galera::observe::wsrep::WsrepStatus::from_rows(rows);
        node.record_success(console_core::clock::now(), status);
        fold(
            &evidence,
            console_core::clock::now(),
            &FoldSettings::default(),
            None,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn states_are_shown_at_once_and_numbers_once_a_second() {
        let publisher = Arc::new(ViewPublisher::new());
        let mut clusters = publisher.cluster_publisher("lab".parse().unwrap());
        let cancel = CancellationToken::new();
        let _stop = cancel.clone().drop_guard();
        TaskTracker::new().spawn(run(Arc::clone(&publisher), cancel));
        let mut overview = publisher.overview();
        let mut view = view();
        clusters.publish(view.clone());
        timeout(SOON, overview.changed()).await.unwrap().unwrap();

        let start = Instant::now();
        let mut frames = 0;
        for _ in 0..40 {
            view.nodes[0].position.as_mut().unwrap().seqno += 1;
            clusters.publish(view.clone());
            tokio::select! {
                _ = overview.changed() => frames += 1,
                () = sleep(Duration::from_millis(100)) => {}
            }
        }
        let seconds = start.elapsed().as_secs();
        assert!(
            frames >= 3 && frames <= seconds + 1,
            "{frames} in {seconds} s"
        );

        overview.mark_unchanged();
        view.verdict.state = VerdictState::Degraded;
        clusters.publish(view.clone());
        timeout(SOON, overview.changed()).await.unwrap().unwrap();

        // The newest number is shown even if nothing follows it.
        view.nodes[0].position.as_mut().unwrap().seqno = 77;
        clusters.publish(view.clone());
        timeout(2 * NUMBERS_INTERVAL, overview.changed())
            .await
            .unwrap()
            .unwrap();
        let shown = Arc::clone(&overview.borrow());
        let position = shown.value.clusters[0].position.as_ref().unwrap();
        assert_eq!(position.seqno, 77);
    }
}
