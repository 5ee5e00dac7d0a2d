//! The system clock; no other module reads the time.

use std::time::{Duration, Instant};

use galera::Timestamp;

/// Differences that the adjustment of a running clock and a busy machine cause are no steps.
const STEP_MIN: Duration = Duration::from_millis(500);

/// Detects steps of the system clock by the monotonic one, so that ages of what was observed before a step stay right.
/// A machine that was suspended counts as a step: nothing was observed in the meantime.
#[derive(Clone, Copy, Debug)]
pub struct ClockSteps {
    wall: Timestamp,
    monotonic: Instant,
}

impl ClockSteps {
    /// Starts with both clocks as they are.
    #[must_use]
    pub const fn new(wall: Timestamp, monotonic: Instant) -> Self {
        Self { wall, monotonic }
    }

    /// By how many milliseconds the system clock was moved since it was last asked; `None` if it was not.
    pub fn next_step(&mut self, wall: Timestamp, monotonic: Instant) -> Option<i64> {
        let elapsed = monotonic.saturating_duration_since(self.monotonic);
        let expected = self.wall.plus(elapsed);
        let step = wall.unix_millis().saturating_sub(expected.unix_millis());
        *self = Self::new(wall, monotonic);
        (u128::from(step.unsigned_abs()) >= STEP_MIN.as_millis()).then_some(step)
    }
}

/// The current time.
#[must_use]
pub fn now() -> Timestamp {
    #[cfg(feature = "simulated-time")]
    if let Some(simulated) = simulated::now() {
        return simulated;
    }
    let elapsed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// Another clock for the tasks of one thread, so that a simulation decides what time it is.
#[cfg(feature = "simulated-time")]
pub mod simulated {
    use std::cell::Cell;

    use galera::Timestamp;
    use tokio::time::Instant;

    thread_local! {
        static CLOCK: Cell<Option<(Timestamp, Instant)>> = const { Cell::new(None) };
    }

    /// Lets the clock of this thread show `at` now and advance with tokio's clock, which may be paused. Ends when the result is dropped.
    #[must_use]
    pub fn show(at: Timestamp) -> ClockGuard {
        ClockGuard(CLOCK.replace(Some((at, Instant::now()))))
    }

    /// Restores the former clock when it is dropped.
    #[derive(Debug)]
    pub struct ClockGuard(Option<(Timestamp, Instant)>);

    impl Drop for ClockGuard {
        fn drop(&mut self) {
            CLOCK.set(self.0);
        }
    }

    pub(super) fn now() -> Option<Timestamp> {
        let (at, since) = CLOCK.get()?;
        Some(at.plus(since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i33_steps_are_seen_in_both_directions_and_drift_is_not() {
        let (start, hour) = (Instant::now(), 3_600_000);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let wall = |millis: i64| Timestamp::from_unix_millis(10_000_000 + millis);
        let mut steps = ClockSteps::new(wall(0), start);
        assert_eq!(steps.next_step(wall(1_000), at(1)), None);
        assert_eq!(steps.next_step(wall(2_000 - hour), at(2)), Some(-hour));
        assert_eq!(steps.next_step(wall(3_000 - hour), at(3)), None);
        assert_eq!(steps.next_step(wall(4_000), at(4)), Some(hour));
        assert_eq!(steps.next_step(wall(5_400), at(5)), None);
    }
}
