//! Restarts a probe that panicked or ended, and reports that as the node's probe error.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use console_core::clock::now;
use console_core::tasks::panic_message;
use futures::FutureExt;
use galera::{ClusterName, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ProbeReport;
use crate::mysql::failure;

/// Delay before the first restart.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// Longest delay before a restart.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// A probe to keep running.
pub(crate) struct SupervisedProbe {
    pub(crate) cluster: ClusterName,
    pub(crate) node: NodeId,
    /// Time between two reports of the error while the probe waits for its restart.
    pub(crate) poll_interval: Duration,
    pub(crate) reports: mpsc::Sender<ProbeReport>,
    /// Cancelled when the node is no longer probed.
    pub(crate) cancel: CancellationToken,
}

impl SupervisedProbe {
    /// Runs what `start` returns, and runs it again when it ends, until cancelled or the receiver of reports is gone.
    /// The delay before a restart doubles until a probe has run for as long as the longest delay.
    pub(crate) async fn run<F: Future<Output = ()>>(self, mut start: impl FnMut() -> F) {
        let mut delay = DELAY_MIN;
        loop {
            let started = Instant::now();
            // Nothing of a probe that panicked is used afterwards.
            let ended = AssertUnwindSafe(start()).catch_unwind().await;
            if self.cancel.is_cancelled() || self.reports.is_closed() {
                return;
            }
            let reason = match ended {
                Ok(()) => "without a reason".to_owned(),
                Err(panic) => panic_message(&*panic).to_owned(),
            };
            if started.elapsed() >= DELAY_MAX {
                delay = DELAY_MIN;
            }
            tracing::error!(
                cluster.id = %self.cluster,
                node.id = %self.node,
                restart_s = delay.as_secs(),
                "The probe of {} ended: {reason}",
                self.node
            );
            tokio::select! {
                () = self.report_until(&reason, Instant::now() + delay) => {}
                () = self.cancel.cancelled() => return,
            }
            delay = (delay * 2).min(DELAY_MAX);
        }
    }

    /// Reports the error once per interval, so that it does not become stale.
    async fn report_until(&self, reason: &str, restart: Instant) {
        loop {
            let report = ProbeReport {
                node: self.node.clone(),
                at: now(),
                took: Duration::ZERO,
                connected_to: None,
                outcome: Err(failure::internal(reason)),
            };
            if self.reports.send(report).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep_until(restart) => return,
                () = sleep(self.poll_interval) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn supervised() -> (SupervisedProbe, mpsc::Receiver<ProbeReport>) {
        let (reports, received) = mpsc::channel(10_000);
        let probe = SupervisedProbe {
            cluster: "lab".parse().unwrap(),
            node: "db1".parse().unwrap(),
            poll_interval: Duration::from_secs(1),
            reports,
            cancel: CancellationToken::new(),
        };
        (probe, received)
    }

    /// Panics twice, ends once, and then runs.
    async fn unreliable(starts: usize) {
        assert!(starts > 2, "fault {starts}");
        if starts > 3 {
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_ends_is_restarted_later_each_time() {
        let (probe, mut received) = supervised();
        let cancel = probe.cancel.clone();
        let began = Instant::now();
        let starts = Mutex::new(Vec::new());
        let running = probe.run(|| {
            let mut starts = starts.lock().unwrap();
            starts.push(began.elapsed().as_secs());
            unreliable(starts.len())
        });
        tokio::select! {
            () = running => panic!("ended"),
            () = sleep(Duration::from_secs(100)) => cancel.cancel(),
        }
        assert_eq!(*starts.lock().unwrap(), [0, 1, 3, 7]);
        let first = received.recv().await.unwrap();
        let error = first.outcome.unwrap_err();
        assert!(
            error.message.contains("internal error") && error.message.contains("fault 1"),
            "{error}"
        );
        // Once a second while it waited.
        received.close();
        let mut more = 0;
        while received.recv().await.is_some() {
            more += 1;
        }
        assert!((5..=9).contains(&more), "{more}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_is_bounded() {
        let (probe, _received) = supervised();
        let starts = Mutex::new(0);
        let running = probe.run(|| {
            *starts.lock().unwrap() += 1;
            async { panic!("always") }
        });
        let hour = Duration::from_secs(3_600);
        assert!(tokio::time::timeout(hour, running).await.is_err());
        let starts = *starts.lock().unwrap();
        assert!((60..70).contains(&starts), "{starts}");
    }

    #[tokio::test]
    async fn a_cancelled_probe_is_not_restarted() {
        let (probe, _received) = supervised();
        let cancel = probe.cancel.clone();
        probe.run(|| async { cancel.cancel() }).await;
        let (probe, received) = supervised();
        drop(received);
        probe.run(|| async {}).await;
    }
}
