//! How watch events change the cache.

use std::collections::HashMap;

use galera::Timestamp;
use registry::{Error, KeyMirror, LeaseId, RegistryEntry};
use uuid::Uuid;

use super::state::{AccountCacheState, CONFIRMATION_TIMEOUT};
use super::{parse_session, parse_session_id, parse_user};
use crate::records::{SessionRecord, UserRecord};
use crate::store::parse_user_key;

/// Applies changes of accounts. An unreadable record grants no access.
pub(super) struct UserMirror<'a> {
    pub(super) state: &'a mut AccountCacheState,
    pub(super) prefix: &'a str,
    pub(super) now: Timestamp,
}

impl UserMirror<'_> {
    fn change(&mut self, key: &[u8], record: Option<UserRecord>, revision: i64) {
        if let Some(name) = parse_user_key(self.prefix, key) {
            self.state
                .apply_user_change(name, record, revision, self.now);
        }
    }
}

impl KeyMirror for UserMirror<'_> {
    fn clear(&mut self) {
        self.reset(&[], 0);
    }

    fn put(&mut self, entry: &RegistryEntry) {
        self.change(&entry.key, parse_user(entry), entry.mod_revision);
    }

    fn delete(&mut self, key: &[u8], revision: i64) {
        self.change(key, None, revision);
    }

    fn reset(&mut self, entries: &[RegistryEntry], revision: i64) {
        let read = |entry: &RegistryEntry| {
            Some((
                parse_user_key(self.prefix, &entry.key)?,
                entry.mod_revision,
                parse_user(entry)?,
            ))
        };
        self.state
            .reset_users(entries.iter().filter_map(read), revision, self.now);
        self.state.etcd_error = None;
    }

    fn unreachable(&mut self, _: Timestamp, error: &Error) {
        self.state.etcd_error = Some(error.to_string());
    }

    fn reachable(&mut self) {
        self.state.etcd_error = None;
    }
}

/// Applies changes of sessions; a listing does not remove sessions that are not yet confirmed.
pub(super) struct SessionMirror<'a> {
    pub(super) state: &'a mut AccountCacheState,
    pub(super) prefix: &'a str,
    pub(super) now: Timestamp,
}

impl KeyMirror for SessionMirror<'_> {
    fn clear(&mut self) {
        self.reset(&[], 0);
    }

    fn put(&mut self, entry: &RegistryEntry) {
        if let Some((id, (record, lease))) = parse_session(self.prefix, entry) {
            self.state.put_session(id, record, lease, None);
        }
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        if let Some(id) = parse_session_id(self.prefix, key) {
            self.state.remove_session(id);
        }
    }

    fn reset(&mut self, entries: &[RegistryEntry], _: i64) {
        let Self { state, prefix, now } = self;
        let listed: HashMap<Uuid, (SessionRecord, LeaseId)> = entries
            .iter()
            .filter_map(|entry| parse_session(prefix, entry))
            .collect();
        let gone: Vec<Uuid> = state
            .sessions
            .iter()
            .filter(|(id, session)| {
                let fresh = session
                    .unconfirmed_since
                    .is_some_and(|at| at.age(*now) < CONFIRMATION_TIMEOUT);
                !listed.contains_key(id) && !fresh
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            state.remove_session(id);
        }
        for (id, (record, lease)) in listed {
            state.put_session(id, record, lease, None);
        }
        state.sessions_loaded = true;
    }
}

/// Finds the key that signs sessions.
pub(super) struct SigningKeyMirror {
    pub(super) key: Vec<u8>,
    /// The newest state in the event: its entry, or that it is missing.
    pub(super) found: Option<Option<RegistryEntry>>,
}

impl KeyMirror for SigningKeyMirror {
    fn clear(&mut self) {
        self.found = Some(None);
    }

    fn put(&mut self, entry: &RegistryEntry) {
        if entry.key == self.key {
            self.found = Some(Some(entry.clone()));
        }
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        if key == self.key {
            self.found = Some(None);
        }
    }
}
