//! Bounds on log lines that clients can cause: some of each kind in a minute are written, the others counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time in which lines of one kind are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Bounds the log lines of some kinds.
#[derive(Debug)]
pub struct LogBudget {
    lines: u64,
    windows: Mutex<BTreeMap<&'static str, LogWindow>>,
}

#[derive(Clone, Copy, Debug)]
struct LogWindow {
    since: Instant,
    /// Lines in this window, written or not.
    count: u64,
    /// Lines of earlier windows that were not written, and not reported yet.
    omitted: u64,
}

impl LogBudget {
    /// At most `lines` of each kind in a minute.
    #[must_use]
    pub const fn new(lines: u64) -> Self {
        Self {
            lines,
            windows: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether a line of `kind` is to be written: then with the number of lines of this kind that were left out since the last
    /// one. Kinds are names in the program, so that a client cannot add any.
    pub fn admit(&self, kind: &'static str) -> Option<u64> {
        self.admit_at(kind, Instant::now())
    }

    fn admit_at(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(kind).or_insert(LogWindow {
            since: now,
            count: 0,
            omitted: 0,
        });
        if now.saturating_duration_since(window.since) >= WINDOW {
            window.omitted += window.count.saturating_sub(self.lines);
            window.since = now;
            window.count = 0;
        }
        window.count += 1;
        (window.count <= self.lines).then(|| std::mem::take(&mut window.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_some_lines_in_a_minute_and_the_others_are_counted() {
        let budget = LogBudget::new(2);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let admit = |kind, seconds| budget.admit_at(kind, at(seconds));
        assert_eq!([admit("a", 0), admit("a", 1)], [Some(0), Some(0)]);
        for seconds in 2..60 {
            assert_eq!(admit("a", seconds), None);
        }
        assert_eq!(admit("b", 59), Some(0));
        assert_eq!([admit("a", 60), admit("a", 61)], [Some(58), Some(0)]);
        assert_eq!(admit("a", 62), None);
        assert_eq!(admit("a", 300), Some(1));
    }
}
