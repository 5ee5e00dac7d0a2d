//! Which actions this replica is executing, and which it may begin automatically.
//!
//! Only transient faults (etcd unreachable, lock held elsewhere) are retried: they decide nothing. Retrying is safe without
//! observing the databases first (I17), because nothing has reached them: every attempt rereads the record, and the
//! transition to `executing` compares the record's revision and the attempt's own lock. If an unconfirmed write did arrive,
//! the next attempt finds the action begun and continues from the record, where only an intention can lead to a statement.
//! A refusal is a decision about this plan and stands until a user decides otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use galera::ActionId;
use tokio::time::Instant;

/// Pause after a transient fault.
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum AttemptState {
    /// Being begun or executed.
    Running,
    /// Hit a transient fault; may be retried from this time on.
    RetryAt(Instant),
    Refused,
}

/// The attempts of this replica, by action id; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptTracker(Arc<Mutex<HashMap<ActionId, AttemptState>>>);

impl AttemptTracker {
    /// Marks an action as executing here; `None` if it already is. Users may retry what the console itself may not.
    pub(super) fn claim(&self, id: &ActionId) -> Option<ActionAttempt> {
        let mut all = self.lock();
        if matches!(all.get(id), Some(AttemptState::Running)) {
            return None;
        }
        all.insert(id.clone(), AttemptState::Running);
        Some(ActionAttempt {
            tracker: self.clone(),
            id: id.clone(),
            result: AttemptResult::Fault,
        })
    }

    /// Whether the console may begin an action automatically now.
    pub(super) fn may_begin(&self, id: &ActionId) -> bool {
        match self.lock().get(id) {
            None => true,
            Some(AttemptState::RetryAt(at)) => Instant::now() >= *at,
            Some(AttemptState::Running | AttemptState::Refused) => false,
        }
    }

    /// Forgets all actions that are no longer open, unless they are running here.
    pub(super) fn retain_open(&self, open: impl Fn(&ActionId) -> bool) {
        self.lock()
            .retain(|id, attempt| matches!(attempt, AttemptState::Running) || open(id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ActionId, AttemptState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An action that executes in this replica. If it is dropped without a result, because its task panicked or was cancelled,
/// the action is retried as after a transient fault.
#[must_use]
#[derive(Debug)]
pub(super) struct ActionAttempt {
    tracker: AttemptTracker,
    id: ActionId,
    result: AttemptResult,
}

#[derive(Debug)]
enum AttemptResult {
    Ended,
    Refused,
    /// A transient fault, a panic or a cancellation.
    Fault,
}

impl ActionAttempt {
    /// Forgets an action that was executed, or left to another replica.
    pub(super) fn finish(mut self) {
        self.result = AttemptResult::Ended;
    }

    /// Schedules a retry after a transient fault.
    pub(super) fn record_fault(self) {
        drop(self);
    }

    pub(super) fn record_refusal(mut self) {
        self.result = AttemptResult::Refused;
    }
}

impl Drop for ActionAttempt {
    fn drop(&mut self) {
        let mut all = self.tracker.lock();
        match self.result {
            AttemptResult::Ended => all.remove(&self.id),
            AttemptResult::Refused => all.insert(self.id.clone(), AttemptState::Refused),
            AttemptResult::Fault => {
                let retry = AttemptState::RetryAt(Instant::now() + RETRY_DELAY);
                all.insert(self.id.clone(), retry)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_retried_and_a_refusal_is_final() {
        let attempts = AttemptTracker::default();
        let id = ActionId::from_stored("1");
        assert!(attempts.may_begin(&id));
        let attempt = attempts.claim(&id).unwrap();
        assert!(!attempts.may_begin(&id) && attempts.claim(&id).is_none());
        attempt.record_fault();
        assert!(!attempts.may_begin(&id));
        tokio::time::advance(RETRY_DELAY).await;
        assert!(attempts.may_begin(&id));
        attempts.claim(&id).unwrap().record_fault();
        // A user neither waits for the retry nor inherits the refusal.
        attempts.claim(&id).unwrap().record_refusal();
        tokio::time::advance(10 * RETRY_DELAY).await;
        assert!(!attempts.may_begin(&id));
        attempts.claim(&id).unwrap().finish();
        assert!(attempts.may_begin(&id));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_panics_or_is_cancelled_is_retried() {
        let attempts = AttemptTracker::default();
        let id = ActionId::from_stored("1");
        let cancelled = attempts.claim(&id).unwrap();
        tokio::time::advance(10 * RETRY_DELAY).await;
        drop(cancelled);
        assert!(!attempts.may_begin(&id));
        tokio::time::advance(RETRY_DELAY).await;
        assert!(attempts.may_begin(&id));
        let attempt = attempts.claim(&id).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _attempt = attempt;
            panic!("while it executes");
        }));
        assert!(panicked.is_err());
        assert!(attempts.claim(&id).is_some());
    }

    #[tokio::test]
    async fn closed_actions_are_dropped_unless_running() {
        let attempts = AttemptTracker::default();
        let ids = ["1", "2", "3"].map(ActionId::from_stored);
        attempts.claim(&ids[0]).unwrap().record_refusal();
        attempts.claim(&ids[1]).unwrap().record_refusal();
        let running = attempts.claim(&ids[2]).unwrap();
        attempts.retain_open(|id| *id == ids[1]);
        let may = ids.map(|id| attempts.may_begin(&id));
        assert_eq!(may, [true, false, false]);
        running.finish();
    }
}
