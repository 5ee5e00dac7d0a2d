//! Rate limit for logging an outage: at its start, once a minute while it lasts, and at its end.

use std::time::Duration;

use tokio::time::Instant;

const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

/// State for one kind of outage.
#[derive(Debug, Default)]
pub struct OutageLog {
    ongoing: Option<OngoingOutage>,
}

#[derive(Debug)]
struct OngoingOutage {
    message: String,
    since: Instant,
    logged_at: Instant,
}

impl OutageLog {
    /// Records a failure; `Some(duration so far)` if it should be logged now.
    pub fn failed(&mut self, text: &str) -> Option<Duration> {
        let now = Instant::now();
        let trouble = self.ongoing.get_or_insert_with(|| OngoingOutage {
            message: String::new(),
            since: now,
            logged_at: now,
        });
        if trouble.message == text && now - trouble.logged_at < REPEAT_INTERVAL {
            return None;
        }
        text.clone_into(&mut trouble.message);
        trouble.logged_at = now;
        Some(now - trouble.since)
    }

    /// Records a success; `Some(duration of the outage)` if there was one.
    pub fn recovered(&mut self) -> Option<Duration> {
        self.ongoing.take().map(|trouble| trouble.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn logs_once_a_minute_and_on_change() {
        let mut notice = OutageLog::default();
        assert_eq!(notice.recovered(), None);
        assert!(notice.failed("down").is_some());
        assert!(notice.failed("down").is_none());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(notice.failed("down"), Some(Duration::from_secs(61)));
        assert!(notice.failed("down").is_none());
        assert!(notice.failed("other").is_some());
        assert_eq!(notice.recovered(), Some(Duration::from_secs(61)));
        assert_eq!(notice.recovered(), None);
    }
}
