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
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum AttemptState {
    /// Being begun or carried out; whether an earlier attempt met a fault.
    Running { after_fault: bool },
    /// Met a fault of the moment: not before this time again.
    RetryAt(Instant),
    /// Was refused.
    Refused,
}

/// The attempts of this replica, by the action's identity.
#[derive(Debug, Default)]
pub(super) struct AttemptTracker(Mutex<HashMap<String, AttemptState>>);

impl AttemptTracker {
    /// Marks an action as carried out here; `false` when it is already. People may try what the console itself may not.
    pub(super) fn claim(&self, id: &str) -> bool {
        let mut all = self.lock();
        let before = match all.get(id) {
            Some(AttemptState::Running { .. }) => return false,
            Some(AttemptState::RetryAt(_)) => true,
            Some(AttemptState::Refused) | None => false,
        };
        all.insert(
            id.to_owned(),
            AttemptState::Running {
                after_fault: before,
            },
        );
        true
    }

    /// Whether the console itself may begin an action now.
    pub(super) fn may_begin(&self, id: &str) -> bool {
        match self.lock().get(id) {
            None => true,
            Some(AttemptState::RetryAt(at)) => Instant::now() >= *at,
            Some(AttemptState::Running { .. } | AttemptState::Refused) => false,
        }
    }

    /// It was carried out, or left to another replica.
    pub(super) fn finish(&self, id: &str) {
        self.lock().remove(id);
    }

    /// It met a fault of the moment. Whether that is news.
    pub(super) fn record_fault(&self, id: &str) -> bool {
        let again = AttemptState::RetryAt(Instant::now() + RETRY_DELAY);
        let before = self.lock().insert(id.to_owned(), again);
        !matches!(before, Some(AttemptState::Running { after_fault: true }))
    }

    /// It was refused.
    pub(super) fn record_refusal(&self, id: &str) {
        self.lock().insert(id.to_owned(), AttemptState::Refused);
    }

    /// Forgets every action that is not open any more.
    pub(super) fn retain_open(&self, open: impl Fn(&str) -> bool) {
        self.lock()
            .retain(|id, attempt| matches!(attempt, AttemptState::Running { .. }) || open(id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, AttemptState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_retried_and_a_refusal_is_final() {
        let attempts = AttemptTracker::default();
        assert!(attempts.may_begin("1") && attempts.claim("1"));
        assert!(!attempts.may_begin("1") && !attempts.claim("1"));
        assert!(attempts.record_fault("1"), "the first fault is news");
        assert!(!attempts.may_begin("1"));
        tokio::time::advance(RETRY_DELAY).await;
        assert!(attempts.may_begin("1") && attempts.claim("1"));
        assert!(!attempts.record_fault("1"), "the second one is none");
        // A person does not wait, and is not refused what the console was.
        assert!(attempts.claim("1"));
        attempts.record_refusal("1");
        tokio::time::advance(10 * RETRY_DELAY).await;
        assert!(!attempts.may_begin("1") && attempts.claim("1"));
        attempts.finish("1");
        assert!(attempts.may_begin("1"));
    }

    #[tokio::test]
    async fn closed_actions_are_dropped_unless_running() {
        let attempts = AttemptTracker::default();
        attempts.record_refusal("1");
        attempts.record_refusal("2");
        assert!(attempts.claim("3"));
        attempts.retain_open(|id| id == "2");
        let may = ["1", "2", "3"].map(|id| attempts.may_begin(id));
        assert_eq!(may, [true, false, false]);
    }
}
