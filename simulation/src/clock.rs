//! The time of a schedule.

use galera::Timestamp;

/// 2026-11-23T08:00:00Z: the time at which every schedule begins.
const BEGIN: i64 = 1_795_420_800_000;

/// `millis` after the beginning.
#[must_use]
pub const fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(BEGIN + millis.cast_signed())
}
