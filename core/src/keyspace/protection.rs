//! Which records below the state prefix are sealed with the state secret.

use super::below;

/// How a record is protected against a client that can write etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordProtection {
    /// Readable in etcd; changes outside the console are detected.
    Authenticated,
    /// Also encrypted, because it contains a secret.
    Encrypted,
}

use RecordProtection::{Authenticated, Encrypted};

/// The folders of protected records, and single keys.
const PROTECTED: [(&str, RecordProtection); 25] = [
    ("authority", Authenticated),
    ("acknowledgement", Authenticated),
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
    ("expected/", Authenticated),
    ("positions/", Authenticated),
    ("corrections/", Authenticated),
    ("alarms/", Authenticated),
    ("findings/", Authenticated),
    ("notify/targets/", Encrypted),
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

/// The prefixes below which records are protected.
pub fn protected_prefixes(state_prefix: &str) -> impl Iterator<Item = String> {
    PROTECTED
        .iter()
        .map(move |(place, _)| below(state_prefix, place))
}

/// The record that says since when records are sealed.
#[must_use]
pub fn authority(state_prefix: &str) -> String {
    below(state_prefix, "authority")
}

/// The record of the latest acknowledgement of alarms.
#[must_use]
pub fn acknowledgement(state_prefix: &str) -> String {
    below(state_prefix, "acknowledgement")
}
