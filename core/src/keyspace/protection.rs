//! Which records below the state prefix are sealed with the state secret.

use super::below;

/// How a record is protected against a client that can write etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordProtection {
    /// Readable in etcd; changes outside the console are detected.
    Authenticated,
    /// Also encrypted, because it contains a secret.
    Encrypted,
    /// As authenticated, with a key of its own: an entry of a log that comes and goes without a note. An authenticated record,
    /// the head of the log, determines which entries count.
    LogEntry,
}

use RecordProtection::{Authenticated, Encrypted, LogEntry};

/// The folders of protected records, and single keys.
const PROTECTED: [(&str, RecordProtection); 38] = [
    ("authority", Authenticated),
    ("acknowledgement", Authenticated),
    ("format", Authenticated),
    ("audit/head", Authenticated),
    ("audit/cut", Authenticated),
    ("users/", Encrypted),
    ("factors/", Encrypted),
    ("identities/", Authenticated),
    ("provider-sessions/", Encrypted),
    ("sessions/", Authenticated),
    ("tokens/", Encrypted),
    ("token-uses/", Authenticated),
    ("keys/", Encrypted),
    ("actions/", Authenticated),
    ("open/", Authenticated),
    ("switches/", Authenticated),
    ("approvals/", LogEntry),
    ("expected/", Authenticated),
    ("positions/", Authenticated),
    ("corrections/", Authenticated),
    ("alarms/", Authenticated),
    ("findings/", Authenticated),
    ("chronicle/live/head/", Authenticated),
    ("chronicle/live/days/", Authenticated),
    ("chronicle/live/tail/", LogEntry),
    ("chronicle/live/observed", LogEntry),
    ("chronicle/live/call", LogEntry),
    ("chronicle/observers/", LogEntry),
    ("chronicle/blocks/", LogEntry),
    ("notify/targets/", Encrypted),
    ("notify/courses/", Authenticated),
    ("notify/reading", Authenticated),
    ("notify/queued/", Authenticated),
    ("notify/settled/", Authenticated),
    ("status/pages/", Encrypted),
    ("status/incidents/", Authenticated),
    ("status/maintenance/", Authenticated),
    ("status/announcements/", Authenticated),
];

/// How the record at `key` is protected; `None` if it carries no authority.
#[must_use]
pub fn protection(state_prefix: &str, key: &[u8]) -> Option<RecordProtection> {
    let prefix = state_prefix.trim_end_matches('/').as_bytes();
    let path = key.strip_prefix(prefix)?.strip_prefix(b"/")?;
    PROTECTED
        .iter()
        .find(|(place, _)| match place.ends_with('/') {
            true => path.starts_with(place.as_bytes()),
            false => path == place.as_bytes(),
        })
        .map(|(_, protection)| *protection)
}

/// The prefixes below which records are protected, without entries of logs, which may be many.
pub fn protected_prefixes(state_prefix: &str) -> impl Iterator<Item = String> {
    places(state_prefix, |protection| protection != LogEntry)
}

/// The prefixes of protected entries of logs.
pub fn log_entry_prefixes(state_prefix: &str) -> impl Iterator<Item = String> {
    places(state_prefix, |protection| protection == LogEntry)
}

fn places(
    state_prefix: &str,
    is_wanted: impl Fn(RecordProtection) -> bool,
) -> impl Iterator<Item = String> {
    PROTECTED
        .iter()
        .filter(move |(_, protection)| is_wanted(*protection))
        .map(move |(place, _)| below(state_prefix, place))
}

/// The scope of sealing, which only grows: which of the protected records were sealed when records were sealed first.
pub const SEALING_SCOPE: u32 = 2;

/// Since which [`SEALING_SCOPE`] the record at `key`, which is protected, is sealed.
#[must_use]
pub fn sealed_since_scope(state_prefix: &str, key: &[u8]) -> u32 {
    const SINCE_2: [&str; 3] = ["chronicle/", "notify/courses/", "notify/reading"];
    let is_below = |place: &&str| key.starts_with(below(state_prefix, place).as_bytes());
    if SINCE_2.iter().any(is_below) { 2 } else { 1 }
}

/// The record that says since when records are sealed.
#[must_use]
pub fn authority(state_prefix: &str) -> String {
    below(state_prefix, "authority")
}

/// The record of the format of the state.
#[must_use]
pub fn state_format(state_prefix: &str) -> String {
    below(state_prefix, "format")
}

/// The record of the latest acknowledgement of alarms.
#[must_use]
pub fn acknowledgement(state_prefix: &str) -> String {
    below(state_prefix, "acknowledgement")
}

/// The notes about which state secret followed another.
#[must_use]
pub fn secret_successions(state_prefix: &str) -> String {
    below(state_prefix, "successions/")
}

/// The note about which state secret followed `former`. It is not sealed: the former secret authenticates it.
#[must_use]
pub fn secret_succession(state_prefix: &str, former: &str) -> String {
    below(state_prefix, &format!("successions/{former}"))
}
