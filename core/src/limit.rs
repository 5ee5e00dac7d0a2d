//! Limits on what clients and peers may use: each counts what it refuses, and logs it at most once a minute.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two log lines of one limit: a line for each refusal would be a load of its own.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Counts and logs what one limit refuses.
#[derive(Debug)]
pub struct LimitCounter {
    name: &'static str,
    setting: &'static str,
    refused: AtomicU64,
    /// When the last line was logged, and the count then.
    logged: Mutex<Option<(Instant, u64)>>,
}

impl LimitCounter {
    /// The limit `name` (its label in the metrics), which the flag `setting` changes.
    #[must_use]
    pub const fn new(name: &'static str, setting: &'static str) -> Self {
        Self {
            name,
            setting,
            refused: AtomicU64::new(0),
            logged: Mutex::new(None),
        }
    }

    /// Its label in the metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Refusals since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a refusal that is no cause for concern, without a log line.
    pub fn count(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal; `what` describes it in the log line, if one is due.
    pub fn refuse(&self, what: impl Display) {
        self.count();
        if let Some(refused) = self.due(Instant::now()) {
            let (limit, setting) = (self.name, self.setting);
            tracing::warn!(
                limit,
                setting,
                refused,
                "Limit reached: {what} (--{setting}; {refused} since the last report)"
            );
        }
    }

    /// The refusals since the last line, if the next one is due at `now`.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before) = logged.unzip();
        if at.is_some_and(|at| now.duration_since(at) < LOG_INTERVAL) {
            return None;
        }
        let refused = self.refused();
        *logged = Some((now, refused));
        Some(refused - before.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_counted_and_one_line_a_minute_is_logged() {
        let limit = LimitCounter::new("connections", "max-connections");
        let start = Instant::now();
        limit.count();
        assert_eq!(limit.due(start), Some(1));
        limit.count();
        limit.count();
        assert_eq!(limit.due(start + LOG_INTERVAL / 2), None);
        assert_eq!(limit.due(start + LOG_INTERVAL), Some(2));
        assert_eq!(limit.refused(), 3);
    }
}
