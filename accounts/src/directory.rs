//! What etcd holds about accounts and sessions, kept in memory by watching it, so that no request waits for etcd and
//! every change takes effect at once. While etcd is away the last known state holds.

mod state;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use console_core::session::{Principal, SessionGuard};
use galera::Timestamp;
use galera::publish::notification::Audience;
use registry::{Change, Entry, LeaseId, Registry, WatchEvent};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::record::{KeyRecord, SessionRecord, UserName, UserRecord};
use super::store::{name_of, signing_key};
use super::token::Signer;
use state::{State, UNCONFIRMED};

/// The state of accounts and sessions; clones share it.
#[derive(Clone)]
pub struct Directory {
    state: Arc<RwLock<State>>,
    prefix: Arc<str>,
}

/// Why there is no live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Never heard of it.
    Unknown,
    /// It was ended, or its account no longer stands behind it.
    Ended,
}

impl Directory {
    /// An empty directory of the accounts under `state_prefix`; [`Directory::follow`] fills it.
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            state: Arc::default(),
            prefix: state_prefix.into(),
        }
    }

    /// Why nobody can be recognised yet; `None` once accounts, sessions and the signing key were read.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        let state = self.read();
        if state.users.is_none() || !state.sessions_known {
            Some("the accounts were not read from etcd yet")
        } else if state.signer.is_none() {
            Some("the session key was not read from etcd yet")
        } else {
            None
        }
    }

    /// Why etcd cannot be reached, while it cannot.
    #[must_use]
    pub fn unreachable(&self) -> Option<String> {
        self.read().unreachable.clone()
    }

    /// Whether there is any account at all; `None` before they were read.
    #[must_use]
    pub fn has_accounts(&self) -> Option<bool> {
        self.read().users.as_ref().map(|users| !users.is_empty())
    }

    /// The e-mail addresses of the accounts in `audience`, by account.
    #[must_use]
    pub fn addresses(&self, audience: &Audience) -> Vec<String> {
        let state = self.read();
        let mut found: Vec<(&UserName, &str)> = state
            .users
            .iter()
            .flatten()
            .filter_map(|(name, account)| Some((name, account.record.address_for(name, audience)?)))
            .collect();
        found.sort_unstable();
        found
            .into_iter()
            .map(|(_, address)| address.to_owned())
            .collect()
    }

    pub(super) fn signer(&self) -> Option<Arc<Signer>> {
        self.read().signer.clone()
    }

    /// The live session `id` with its account's present roles.
    pub(super) fn session(&self, id: Uuid, now: Timestamp) -> Result<SessionGuard, Absent> {
        let state = self.read();
        let session = state.sessions.get(&id).ok_or(Absent::Unknown)?;
        let user = state.backing(&session.record, now).ok_or(Absent::Ended)?;
        Ok(SessionGuard {
            id,
            principal: Principal {
                username: session.record.username.as_str().into(),
                roles: user.roles.clone(),
            },
            ended: session.ended.subscribe(),
            expires_at: session.record.expires_at,
        })
    }

    pub(super) fn lease(&self, id: Uuid) -> Option<LeaseId> {
        self.read().sessions.get(&id).map(|session| session.lease)
    }

    /// Ids and leases of the account's sessions, oldest first.
    pub(super) fn sessions_of(&self, name: &UserName) -> Vec<(Uuid, LeaseId)> {
        let state = self.read();
        let mut found: Vec<_> = state
            .sessions
            .iter()
            .filter(|(_, session)| session.record.username == *name)
            .collect();
        found.sort_by_key(|(_, session)| session.record.created_at);
        found
            .into_iter()
            .map(|(id, session)| (*id, session.lease))
            .collect()
    }

    /// Notes a session that this replica began or looked up itself, ahead of its watch, with its account as of a revision.
    pub(super) fn note(
        &self,
        id: Uuid,
        record: SessionRecord,
        lease: LeaseId,
        account: Option<(UserRecord, i64)>,
        now: Timestamp,
    ) {
        let mut state = self.write();
        if let Some((user, revision)) = account {
            state.user_noted(record.username.clone(), user, revision, now);
        }
        state.put(id, record, lease, Some(now));
    }

    /// Ends a session ahead of the watch.
    pub(super) fn end(&self, id: Uuid) {
        self.write().remove(id);
    }

    /// Keeps the directory true until `shutdown`.
    pub async fn follow(self, registry: Registry, shutdown: CancellationToken) {
        let users_prefix = format!("{}/users/", self.prefix);
        let sessions_prefix = format!("{}/sessions/", self.prefix);
        let mut users = registry.watch(users_prefix.clone());
        let mut sessions = registry.watch(sessions_prefix.clone());
        let mut keys = registry.watch(signing_key(&self.prefix));
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut key_missing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(event) = users.next() => self.users_event(&users_prefix, event, now()),
                Some(event) = sessions.next() => self.sessions_event(&sessions_prefix, event, now()),
                Some(event) = keys.next() => key_missing = self.key_event(event, key_missing),
                _ = tick.tick() => {
                    self.write().sweep(now());
                    if key_missing && self.read().unreachable.is_none() {
                        self.create_key(&registry).await;
                    }
                }
            }
            if key_missing && self.read().signer.is_none() && self.read().unreachable.is_none() {
                self.create_key(&registry).await;
            }
        }
    }

    /// Makes the signing key unless another replica was faster; the watch brings whichever won.
    async fn create_key(&self, registry: &Registry) {
        let created = match serde_json::to_vec(&KeyRecord::generate(now())) {
            Ok(value) => registry
                .create(signing_key(&self.prefix), value, None)
                .await
                .map(drop),
            Err(error) => {
                tracing::error!(%error, "A session key could not be written as JSON");
                return;
            }
        };
        if let Err(error) = created {
            tracing::warn!(%error, "The session key could not be created: {error}");
        }
    }

    fn users_event(&self, prefix: &str, event: WatchEvent, now: Timestamp) {
        let mut state = self.write();
        match event {
            WatchEvent::Reset { entries, revision } => {
                let read = |entry: &Entry| {
                    Some((
                        name_of(prefix, &entry.key)?,
                        entry.mod_revision,
                        user(entry)?,
                    ))
                };
                state.reset_users(entries.iter().filter_map(read), revision, now);
                state.unreachable = None;
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    // A record that cannot be read lets nobody in.
                    let (key, record, revision) = match &change {
                        Change::Put(entry) => (&entry.key, user(entry), entry.mod_revision),
                        Change::Delete { key, revision } => (key, None, *revision),
                    };
                    if let Some(name) = name_of(prefix, key) {
                        state.user_changed(name, record, revision, now);
                    }
                }
            }
            WatchEvent::Unreachable { error, .. } => state.unreachable = Some(error.to_string()),
            WatchEvent::Reachable => state.unreachable = None,
        }
        state.sweep(now);
    }

    fn sessions_event(&self, prefix: &str, event: WatchEvent, now: Timestamp) {
        let mut state = self.write();
        match event {
            WatchEvent::Reset { entries, .. } => {
                let known: HashMap<Uuid, (SessionRecord, LeaseId)> = entries
                    .iter()
                    .filter_map(|entry| session(prefix, entry))
                    .collect();
                let gone: Vec<Uuid> = state
                    .sessions
                    .iter()
                    .filter(|(id, session)| {
                        let fresh = session
                            .unconfirmed
                            .is_some_and(|at| at.age(now) < UNCONFIRMED);
                        !known.contains_key(id) && !fresh
                    })
                    .map(|(id, _)| *id)
                    .collect();
                for id in gone {
                    state.remove(id);
                }
                for (id, (record, lease)) in known {
                    state.put(id, record, lease, None);
                }
                state.sessions_known = true;
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => {
                            if let Some((id, (record, lease))) = session(prefix, &entry) {
                                state.put(id, record, lease, None);
                            }
                        }
                        Change::Delete { key, .. } => {
                            if let Some(id) = session_id(prefix, &key) {
                                state.remove(id);
                            }
                        }
                    }
                }
            }
            WatchEvent::Unreachable { .. } | WatchEvent::Reachable => {}
        }
        state.sweep(now);
    }

    /// Returns whether the key has to be made.
    fn key_event(&self, event: WatchEvent, missing: bool) -> bool {
        let expected = signing_key(&self.prefix).into_bytes();
        let mut found = None;
        match event {
            WatchEvent::Reset { entries, .. } => {
                found = Some(entries.into_iter().find(|entry| entry.key == expected))
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) if entry.key == expected => found = Some(Some(entry)),
                        Change::Delete { key, .. } if key == expected => found = Some(None),
                        Change::Put(_) | Change::Delete { .. } => {}
                    }
                }
            }
            WatchEvent::Unreachable { .. } | WatchEvent::Reachable => {}
        }
        let Some(entry) = found else {
            return missing;
        };
        let mut state = self.write();
        state.signer = entry
            .as_ref()
            .and_then(key)
            .map(|bytes| Arc::new(Signer::new(&bytes)));
        if entry.is_none() {
            state.end_all();
        }
        entry.is_none()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn user(entry: &Entry) -> Option<UserRecord> {
    parsed(entry)
}

fn key(entry: &Entry) -> Option<Vec<u8>> {
    let bytes = parsed::<KeyRecord>(entry)?.bytes();
    if bytes.is_none() {
        tracing::error!(
            "The session key in etcd is damaged; remove it and a new one is made, which signs everybody out"
        );
    }
    bytes
}

fn session(prefix: &str, entry: &Entry) -> Option<(Uuid, (SessionRecord, LeaseId))> {
    Some((
        session_id(prefix, &entry.key)?,
        (parsed(entry)?, entry.lease),
    ))
}

fn session_id(prefix: &str, key: &[u8]) -> Option<Uuid> {
    std::str::from_utf8(key)
        .ok()?
        .strip_prefix(prefix)?
        .parse()
        .ok()
}

fn parsed<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    serde_json::from_slice(&entry.value)
        .map_err(|error| {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            tracing::warn!(key, %error, "The record {key} in etcd cannot be read: {error}");
        })
        .ok()
}

/// The clock of accounts and sessions.
pub(super) fn now() -> Timestamp {
    console_core::clock::now()
}

#[cfg(test)]
mod tests;
