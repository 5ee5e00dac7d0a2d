//! The host's clock. For display only; no decision depends on it.

use std::time::{SystemTime, UNIX_EPOCH};

use galera::Timestamp;

#[must_use]
pub fn now() -> Timestamp {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
