//! When to fold: soon after a change, but with a minimum interval, so that a burst costs one fold.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Minimum time between two folds of a cluster.
pub(super) const FOLD_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// The time of the next fold.
#[derive(Debug)]
pub(super) struct Debounce {
    wait_due: Option<Instant>,
    earliest: Instant,
}

impl Debounce {
    pub(super) fn new() -> Self {
        Self {
            wait_due: None,
            earliest: Instant::now(),
        }
    }

    /// Schedules a fold as early as the minimum interval allows.
    pub(super) fn trigger_now(&mut self) {
        self.trigger_within(Duration::ZERO);
    }

    /// Schedules a fold after a short wait, because related changes are likely to follow.
    pub(super) fn trigger_soon(&mut self) {
        self.trigger_within(FOLD_INTERVAL_MIN);
    }

    fn trigger_within(&mut self, wait: Duration) {
        let at = (Instant::now() + wait).max(self.earliest);
        self.wait_due = Some(self.wait_due.map_or(at, |due| due.min(at)));
    }

    /// Waits until a fold is due; forever while none is scheduled.
    pub(super) async fn wait_due(&self) {
        match self.wait_due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Records that a fold was done.
    pub(super) fn mark_done(&mut self) {
        self.wait_due = None;
        self.earliest = Instant::now() + FOLD_INTERVAL_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_first_change_is_folded_at_once_and_a_burst_once_more() {
        let mut debounce = Debounce::new();
        let start = Instant::now();
        debounce.trigger_now();
        debounce.wait_due().await;
        debounce.mark_done();
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            debounce.trigger_now();
        }
        debounce.wait_due().await;
        debounce.mark_done();
        assert_eq!(start.elapsed(), FOLD_INTERVAL_MIN);
        let idle = tokio::time::timeout(Duration::from_secs(60), debounce.wait_due()).await;
        assert!(idle.is_err(), "nothing is due without a change");
    }

    #[tokio::test(start_paused = true)]
    async fn readings_wait_for_each_other_but_not_for_ever() {
        let mut debounce = Debounce::new();
        let start = Instant::now();
        debounce.trigger_soon();
        for _ in 0..3 {
            tokio::time::sleep(FOLD_INTERVAL_MIN / 4).await;
            debounce.trigger_soon();
        }
        debounce.wait_due().await;
        // Timers have a resolution of a millisecond.
        assert!(
            start.elapsed() <= FOLD_INTERVAL_MIN + Duration::from_millis(1),
            "{:?}",
            start.elapsed()
        );
    }
}
