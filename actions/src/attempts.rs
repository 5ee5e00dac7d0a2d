//! Which actions this replica is executing, and which it may begin automatically.
//!
//! Only transient faults (etcd unreachable, lock held elsewhere) are retried: they decide nothing. Retrying is safe without
//! observing the databases first (I17), because nothing has reached them: every attempt rereads the record, and the
//! transition to `executing` compares the record's revision and the attempt's own lock. If an unconfirmed write did arrive,
//! the next attempt finds the action begun and continues from the record, where only an intention can lead to a statement.
//! A refusal is a decision about this plan and stands until a user decides otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// The attempts of this replica, by action id.
#[derive(Debug, Default)]
pub(super) struct AttemptTracker(Mutex<HashMap<ActionId, AttemptState>>);

impl AttemptTracker {
    /// Marks an action as executing here; `false` if it already is. Users may retry what the console itself may not.
    pub(super) fn claim(&self, id: &ActionId) -> bool {
        let mut all = self.lock();
        if matches!(all.get(id), Some(AttemptState::Running)) {
            return false;
        }
        all.insert(id.clone(), AttemptState::Running);
        true
    }

    /// Whether the console may begin an action automatically now.
    pub(super) fn may_begin(&self, id: &ActionId) -> bool {
        match self.lock().get(id) {
            None => true,
            Some(AttemptState::RetryAt(at)) => Instant::now() >= *at,
            Some(AttemptState::Running | AttemptState::Refused) => false,
        }
    }

    /// Forgets an action that was executed, or left to another replica.
    pub(super) fn finish(&self, id: &ActionId) {
        self.lock().remove(id);
    }

    /// Schedules a retry after a transient fault.
    pub(super) fn record_fault(&self, id: &ActionId) {
        let retry = AttemptState::RetryAt(Instant::now() + RETRY_DELAY);
        self.lock().insert(id.clone(), retry);
    }

    pub(super) fn record_refusal(&self, id: &ActionId) {
        self.lock().insert(id.clone(), AttemptState::Refused);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_retried_and_a_refusal_is_final() {
        let attempts = AttemptTracker::default();
        let id = ActionId::from_stored("1");
        assert!(attempts.may_begin(&id) && attempts.claim(&id));
        assert!(!attempts.may_begin(&id) && !attempts.claim(&id));
        attempts.record_fault(&id);
        assert!(!attempts.may_begin(&id));
        tokio::time::advance(RETRY_DELAY).await;
        assert!(attempts.may_begin(&id) && attempts.claim(&id));
        attempts.record_fault(&id);
        // A user neither waits for the retry nor inherits the refusal.
        assert!(attempts.claim(&id));
        attempts.record_refusal(&id);
        tokio::time::advance(10 * RETRY_DELAY).await;
        assert!(!attempts.may_begin(&id) && attempts.claim(&id));
        attempts.finish(&id);
        assert!(attempts.may_begin(&id));
    }

    #[tokio::test]
    async fn closed_actions_are_dropped_unless_running() {
        let attempts = AttemptTracker::default();
        let ids = ["1", "2", "3"].map(ActionId::from_stored);
        attempts.record_refusal(&ids[0]);
        attempts.record_refusal(&ids[1]);
        assert!(attempts.claim(&ids[2]));
        attempts.retain_open(|id| *id == ids[1]);
        let may = ids.map(|id| attempts.may_begin(&id));
        assert_eq!(may, [true, false, false]);
    }
}
