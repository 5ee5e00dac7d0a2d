//! What a subscription reports.

use std::time::{SystemTime, UNIX_EPOCH};

use galera::Timestamp;

use crate::Error;
use crate::entry::RegistryEntry;

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The key was set.
    Put(RegistryEntry),
    /// The key was deleted, by a client or with its lease.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// The revision of its removal.
        revision: i64,
    },
}

#[cfg(feature = "memory")]
impl KeyChange {
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// An event of a subscription.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// Everything under the prefix; replaces whatever was known.
    Reset {
        /// The revision of the listing.
        revision: i64,
        /// Every entry, in key order.
        entries: Vec<RegistryEntry>,
    },
    /// Changes since the last event, in the order in which they happened.
    Changes {
        /// The revision of the last of them.
        revision: i64,
        /// At least one change; those of one transaction arrive together.
        changes: Vec<KeyChange>,
    },
    /// No endpoint has answered for the grace period: earlier events are stale. Sent once per outage.
    Unreachable {
        /// When it was first missed.
        since: Timestamp,
        /// What the last attempt met.
        error: Error,
    },
    /// etcd answers again; sent only after [`WatchEvent::Unreachable`] and followed by a reset.
    Reachable,
}

pub(crate) fn timestamp_now() -> Timestamp {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
