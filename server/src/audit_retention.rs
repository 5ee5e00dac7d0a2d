//! Moves old entries of the audit trail to the archive, while this replica leads.

use std::time::Duration;

use console_core::audit::{AuditArchive, AuditTrail};
use console_core::clock::now;
use console_core::leader::Leadership;
use galera::Timestamp;
use tokio::time::sleep;

/// Time between two looks at the oldest entries.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Time between two parts of a long trail.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub(crate) async fn run(
    trail: AuditTrail,
    archive: AuditArchive,
    keep: Duration,
    mut leadership: Leadership,
) {
    loop {
        let term = leadership.borrow_and_update().clone();
        let wait = match term {
            None => INTERVAL,
            Some(term) => {
                let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
                let since = now().unix_millis().saturating_sub(keep);
                let since = Timestamp::from_unix_millis(since);
                match trail.archive_before(&archive, since, term.fence()).await {
                    Ok(true) => PAUSE,
                    Ok(false) => INTERVAL,
                    Err(error) => {
                        tracing::error!(%error, "Old entries of the audit trail were not archived: {error}");
                        INTERVAL
                    }
                }
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            changed = leadership.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
