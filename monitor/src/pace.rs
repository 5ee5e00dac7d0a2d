//! When to fold: soon after a change, but never in quick succession, so that a burst costs one fold.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Shortest time between two folds of a cluster.
pub(super) const GAP: Duration = Duration::from_millis(20);

/// The next fold's time.
#[derive(Debug)]
pub(super) struct Pace {
    due: Option<Instant>,
    earliest: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            due: None,
            earliest: Instant::now(),
        }
    }

    /// Something changed that people wait for.
    pub(super) fn at_once(&mut self) {
        self.within(Duration::ZERO);
    }

    /// Something changed that others are about to follow: all of them make one fold.
    pub(super) fn soon(&mut self) {
        self.within(GAP);
    }

    fn within(&mut self, wait: Duration) {
        let at = (Instant::now() + wait).max(self.earliest);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Returns when a fold is due; never while there is nothing to fold.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// A fold was done.
    pub(super) fn done(&mut self) {
        self.due = None;
        self.earliest = Instant::now() + GAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_first_change_is_folded_at_once_and_a_burst_once_more() {
        let mut pace = Pace::new();
        let start = Instant::now();
        pace.at_once();
        pace.due().await;
        pace.done();
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            pace.at_once();
        }
        pace.due().await;
        pace.done();
        assert_eq!(start.elapsed(), GAP);
        let idle = tokio::time::timeout(Duration::from_secs(60), pace.due()).await;
        assert!(idle.is_err(), "nothing is due without a change");
    }

    #[tokio::test(start_paused = true)]
    async fn readings_wait_for_each_other_but_not_for_ever() {
        let mut pace = Pace::new();
        let start = Instant::now();
        pace.soon();
        for _ in 0..3 {
            tokio::time::sleep(GAP / 4).await;
            pace.soon();
        }
        pace.due().await;
        // Timers have a resolution of a millisecond.
        assert!(
            start.elapsed() <= GAP + Duration::from_millis(1),
            "{:?}",
            start.elapsed()
        );
    }
}
