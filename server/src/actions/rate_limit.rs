//! How often one person may change actions: generous for people, too little for a loop that fills etcd.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Changes that one person may make within [`WINDOW`].
const CHANGES_MAX: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// People who are counted at the same time.
const USERS_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct RateLimiter {
    users: Mutex<HashMap<String, (Instant, u32)>>,
}

impl RateLimiter {
    /// Counts a change by `name`.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn check(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let mut people = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= USERS_MAX {
            people.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        let (since, count) = people.entry(name.to_owned()).or_insert((now, 0));
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
