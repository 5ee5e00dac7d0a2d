//! Which actions this replica carries out, and which of them it may begin by itself.
//!
//! Beginning is tried again after a fault of the moment only (etcd away, the lock held by somebody): nothing was decided
//! then. It can be repeated without looking at the databases first (I17), because nothing has reached them: every attempt
//! reads the record anew, and the transition to `executing` compares the record's revision and the attempt's own lock.
//! When an attempt's write was not confirmed and yet arrived, the next one finds the action begun and continues it
//! by the record, where only an intention may lead to a statement. What was refused is a decision about this plan and
//! stands until a person decides anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Pause after a fault of the moment.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Attempt {
    /// Being begun or carried out; whether an earlier attempt met a fault.
    Running { before: bool },
    /// Met a fault of the moment: not before this time again.
    Again(Instant),
    /// Was refused.
    Refused,
}

/// The attempts of this replica, by the action's identity.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<String, Attempt>>);

impl Attempts {
    /// Marks an action as carried out here; `false` when it is already. People may try what the console itself may not.
    pub(super) fn claim(&self, id: &str) -> bool {
        let mut all = self.lock();
        let before = match all.get(id) {
            Some(Attempt::Running { .. }) => return false,
            Some(Attempt::Again(_)) => true,
            Some(Attempt::Refused) | None => false,
        };
        all.insert(id.to_owned(), Attempt::Running { before });
        true
    }

    /// Whether the console itself may begin an action now.
    pub(super) fn may_begin(&self, id: &str) -> bool {
        match self.lock().get(id) {
            None => true,
            Some(Attempt::Again(at)) => Instant::now() >= *at,
            Some(Attempt::Running { .. } | Attempt::Refused) => false,
        }
    }

    /// It was carried out, or left to another replica.
    pub(super) fn ended(&self, id: &str) {
        self.lock().remove(id);
    }

    /// It met a fault of the moment. Whether that is news.
    pub(super) fn faulted(&self, id: &str) -> bool {
        let again = Attempt::Again(Instant::now() + AGAIN);
        let before = self.lock().insert(id.to_owned(), again);
        !matches!(before, Some(Attempt::Running { before: true }))
    }

    /// It was refused.
    pub(super) fn refused(&self, id: &str) {
        self.lock().insert(id.to_owned(), Attempt::Refused);
    }

    /// Forgets every action that is not open any more.
    pub(super) fn retain(&self, open: impl Fn(&str) -> bool) {
        self.lock()
            .retain(|id, attempt| matches!(attempt, Attempt::Running { .. }) || open(id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_passes_and_a_refusal_stands() {
        let attempts = Attempts::default();
        assert!(attempts.may_begin("1") && attempts.claim("1"));
        assert!(!attempts.may_begin("1") && !attempts.claim("1"));
        assert!(attempts.faulted("1"), "the first fault is news");
        assert!(!attempts.may_begin("1"));
        tokio::time::advance(AGAIN).await;
        assert!(attempts.may_begin("1") && attempts.claim("1"));
        assert!(!attempts.faulted("1"), "the second one is none");
        // A person does not wait, and is not refused what the console was.
        assert!(attempts.claim("1"));
        attempts.refused("1");
        tokio::time::advance(10 * AGAIN).await;
        assert!(!attempts.may_begin("1") && attempts.claim("1"));
        attempts.ended("1");
        assert!(attempts.may_begin("1"));
    }

    #[tokio::test]
    async fn what_is_not_open_is_forgotten_unless_it_runs() {
        let attempts = Attempts::default();
        attempts.refused("1");
        attempts.refused("2");
        assert!(attempts.claim("3"));
        attempts.retain(|id| id == "2");
        let may = ["1", "2", "3"].map(|id| attempts.may_begin(id));
        assert_eq!(may, [true, false, false]);
    }
}
