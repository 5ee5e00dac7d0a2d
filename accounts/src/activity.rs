//! When sessions were used, as far as this replica saw: what is written to etcd is only that their leases are renewed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Part of the idle time-out after which a use renews the session's lease again.
const RENEWALS_PER_TIMEOUT: u32 = 8;
/// How many sessions are remembered before those that are due anyway are forgotten.
const SESSIONS_MAX: usize = 10_000;
/// Maximum length of a remembered path, in bytes.
const PAGE_MAX: usize = 200;

/// The uses of sessions.
#[derive(Debug, Default)]
pub(crate) struct SessionActivity {
    sessions: HashMap<Uuid, SessionUse>,
}

#[derive(Debug, Default)]
struct SessionUse {
    renewed_at: Option<Instant>,
    /// The page that its browser fetched last.
    page: String,
}

impl SessionActivity {
    /// Notes a use at `now`; returns whether the lease, which lasts for `timeout`, is due to be renewed.
    pub(crate) fn note_use(&mut self, session: Uuid, timeout: Duration, now: Instant) -> bool {
        let pause = timeout / RENEWALS_PER_TIMEOUT;
        let is_due = |used: &SessionUse| {
            used.renewed_at
                .is_none_or(|at| now.saturating_duration_since(at) >= pause)
        };
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.retain(|_, used| !is_due(used));
        }
        let used = self.sessions.entry(session).or_default();
        let due = is_due(used);
        if due {
            used.renewed_at = Some(now);
        }
        due
    }

    /// Notes that `page` is fetched; returns whether the one before was another.
    pub(crate) fn is_another_page(&mut self, session: Uuid, page: &str) -> bool {
        let page: String = page.chars().take(PAGE_MAX).collect();
        let used = self.sessions.entry(session).or_default();
        let another = used.page != page;
        used.page = page;
        another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(800);
    const ID: Uuid = Uuid::from_u128(1);

    #[test]
    fn a_lease_is_renewed_some_times_in_its_life() {
        let mut activity = SessionActivity::default();
        let start = Instant::now();
        assert!(activity.note_use(ID, TIMEOUT, start));
        assert!(!activity.note_use(ID, TIMEOUT, start + Duration::from_secs(99)));
        assert!(activity.note_use(Uuid::from_u128(2), TIMEOUT, start));
        assert!(activity.note_use(ID, TIMEOUT, start + Duration::from_secs(100)));
    }

    #[test]
    fn a_page_that_updates_itself_is_fetched_again_and_again() {
        let mut activity = SessionActivity::default();
        assert!(activity.is_another_page(ID, "/fragments/actions"));
        assert!(!activity.is_another_page(ID, "/fragments/actions"));
        assert!(activity.is_another_page(ID, "/fragments/audit"));
        assert!(activity.is_another_page(Uuid::from_u128(2), "/fragments/audit"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut activity = SessionActivity::default();
        let start = Instant::now();
        for n in 0..3 * SESSIONS_MAX {
            let now = start + Duration::from_secs(n as u64);
            activity.note_use(Uuid::from_u128(n as u128), TIMEOUT, now);
        }
        assert!(activity.sessions.len() <= SESSIONS_MAX + 1);
    }
}
