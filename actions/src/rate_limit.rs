//! Limits how often a user may change actions: enough for users, too little for a loop that would fill etcd.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Changes per user within [`WINDOW`].
const CHANGES_MAX: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// Tracked users beyond which expired windows are dropped.
const USERS_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct RateLimiter {
    users: Mutex<HashMap<String, (Instant, u32)>>,
}

impl RateLimiter {
    /// Counts a change by user `name`.
    ///
    /// # Errors
    /// The remaining wait, if the limit is reached.
    pub(super) fn check(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= USERS_MAX {
            users.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        let (since, count) = users.entry(name.to_owned()).or_insert((now, 0));
        let age = now.duration_since(*since);
        if age >= WINDOW {
            (*since, *count) = (now, 0);
        } else if *count >= CHANGES_MAX {
            return Err(WINDOW - age);
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_applies_per_user() {
        let (rate, now) = (RateLimiter::default(), Instant::now());
        for _ in 0..CHANGES_MAX {
            rate.check("olga", now).unwrap();
        }
        assert_eq!(rate.check("olga", now), Err(WINDOW));
        assert_eq!(rate.check("adam", now), Ok(()));
        assert_eq!(rate.check("olga", now + WINDOW), Ok(()));
    }
}
