//! Says that something is wrong once, repeats it once a minute, and says when it is over.

use std::time::Duration;

use tokio::time::Instant;

/// How often a lasting trouble is repeated.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

/// The memory of one kind of trouble.
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
    /// Notes that there is trouble; `Some(duration so far)` when it is time to say so.
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

    /// Notes that all is well; `Some(how long it was not)` when there was trouble.
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
