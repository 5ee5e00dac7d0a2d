//! How often one person may change actions: generous for people, too little for a loop that fills etcd.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Changes that one person may make within [`WINDOW`].
const CHANGES_MAX: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// People who are counted at the same time.
const PEOPLE_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Rate {
    people: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Rate {
    /// Counts a change by `name`.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn count(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= PEOPLE_MAX {
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
    fn a_loop_is_slowed_down_and_others_are_not() {
        let (rate, now) = (Rate::default(), Instant::now());
        for _ in 0..CHANGES_MAX {
            rate.count("olga", now).unwrap();
        }
        assert_eq!(rate.count("olga", now), Err(WINDOW));
        assert_eq!(rate.count("adam", now), Ok(()));
        assert_eq!(rate.count("olga", now + WINDOW), Ok(()));
    }
}
