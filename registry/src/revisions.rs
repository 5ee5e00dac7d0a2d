//! The revision of etcd only increases. A read that began after a revision was seen, and is answered with a lower one, proves
//! that an earlier state of etcd was restored, or that another etcd answers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use galera::Timestamp;

use crate::Registry;
use crate::event::timestamp_now;

/// An earlier state of etcd was restored, as its revision shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdRestore {
    /// The highest revision seen before.
    pub seen: i64,
    /// The lower revision found then.
    pub found: i64,
    /// When it was found.
    pub at: Timestamp,
}

#[derive(Debug, Default)]
struct RevisionState {
    newest: i64,
    restored: Option<EtcdRestore>,
    falls: u64,
}

/// The revisions that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct StoreRevisions(Mutex<RevisionState>);

impl StoreRevisions {
    fn lock(&self) -> MutexGuard<'_, RevisionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest revision seen.
    pub(crate) fn newest(&self) -> i64 {
        self.lock().newest
    }

    /// How often the revision fell.
    pub(crate) fn falls(&self) -> u64 {
        self.lock().falls
    }

    pub(crate) fn restored(&self) -> Option<EtcdRestore> {
        self.lock().restored
    }

    pub(crate) fn set_restored(&self, restored: Option<EtcdRestore>) {
        self.lock().restored = restored;
    }

    /// Learns that etcd had reached `revision` at an earlier time.
    pub(crate) fn remember(&self, revision: i64) {
        let mut state = self.lock();
        state.newest = state.newest.max(revision);
    }

    /// Learns the revision of an answer to a call that began when `floor` was the newest one; returns whether it fell.
    fn observe(&self, floor: i64, found: i64) -> bool {
        let mut state = self.lock();
        if found >= floor {
            state.newest = state.newest.max(found);
            return false;
        }
        let seen = state.restored.map_or(0, |restored| restored.seen);
        state.restored = Some(EtcdRestore {
            seen: seen.max(floor),
            found,
            at: timestamp_now(),
        });
        state.falls += 1;
        state.newest = found;
        true
    }
}

impl Registry {
    /// Learns the revision of a linearizable answer to a call that began when `floor` was the newest one seen.
    pub(crate) fn observe_revision(&self, floor: i64, found: i64) {
        if !self.revisions.observe(floor, found) {
            return;
        }
        tracing::error!(
            seen = floor,
            found,
            "The revision of etcd fell from {floor} to {found}: an earlier state was restored, or another etcd answers"
        );
        if let Some(sealing) = &self.sealing {
            sealing.publish_restore();
        }
    }

    /// The restoration of an earlier state of etcd that was found and not accepted yet.
    #[must_use]
    pub fn restored(&self) -> Option<EtcdRestore> {
        self.revisions.restored()
    }

    /// Accepts the present state of etcd: the restoration is no longer reported.
    pub fn accept_restore(&self) {
        self.revisions.set_restored(None);
        if let Some(sealing) = &self.sealing {
            sealing.publish_restore();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_one_below_what_was_seen_before_the_call() {
        let revisions = StoreRevisions::default();
        revisions.remember(100);
        assert!(!revisions.observe(100, 100));
        // Answers to concurrent calls arrive in any order.
        assert!(!revisions.observe(100, 105));
        assert!(!revisions.observe(100, 101));
        assert_eq!((revisions.newest(), revisions.restored()), (105, None));
        assert!(revisions.observe(105, 40));
        let restored = revisions.restored().map(|found| (found.seen, found.found));
        assert_eq!((revisions.newest(), restored), (40, Some((105, 40))));
        // A second fall keeps the highest revision.
        assert!(revisions.observe(40, 7));
        let restored = revisions.restored().map(|found| (found.seen, found.found));
        assert_eq!((restored, revisions.falls()), (Some((105, 7)), 2));
    }
}
