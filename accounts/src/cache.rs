//! An in-memory copy of accounts, sessions and the signing key, kept current by watching etcd: no request waits for
//! etcd, and changes take effect immediately. While etcd is unreachable the last known state applies.

mod state;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use console_core::keyspace::AccountKeys;
use console_core::session::{Principal, SessionGuard};
use galera::Timestamp;
use galera::access::CredentialTag;
use galera::publish::notification::Audience;
use registry::{Error, KeyMirror, LeaseId, Registry, RegistryEntry, WatchEvent};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::records::{SessionRecord, SigningKeyRecord, UserName, UserRecord};
use super::store::{parse_user_key, signing_key};
use super::token::TokenSigner;
use state::{AccountCacheState, CONFIRMATION_TIMEOUT};

/// Cached accounts and sessions; clones share them.
#[derive(Clone)]
pub struct AccountCache {
    state: Arc<RwLock<AccountCacheState>>,
    prefix: Arc<str>,
}

/// Why there is no live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingSession {
    /// Not in the cache.
    Unknown,
    /// Expired, or its account was disabled or removed, or changed its password.
    Ended,
}

impl AccountCache {
    /// An empty cache of the accounts under `state_prefix`; [`AccountCache::run`] fills it.
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            state: Arc::default(),
            prefix: state_prefix.into(),
        }
    }

    /// Why sessions cannot be resolved yet; `None` once accounts, sessions and the signing key have been loaded.
    #[must_use]
    pub fn unready_reason(&self) -> Option<&'static str> {
        let state = self.read();
        if state.users.is_none() || !state.sessions_loaded {
            Some("accounts have not been loaded from etcd")
        } else if state.signer.is_none() {
            Some("the signing key has not been loaded from etcd")
        } else {
            None
        }
    }

    /// The error while etcd is unreachable.
    #[must_use]
    pub fn etcd_error(&self) -> Option<String> {
        self.read().etcd_error.clone()
    }

    /// Whether any account exists; `None` before they have been loaded.
    #[must_use]
    pub fn has_accounts(&self) -> Option<bool> {
        self.read().users.as_ref().map(|users| !users.is_empty())
    }

    /// The tag of the credential of the account `name`.
    pub(super) fn credential_tag(&self, name: &UserName) -> Option<CredentialTag> {
        let state = self.read();
        let account = state.users.as_ref()?.get(name)?;
        Some(account.record.credential_tag())
    }

    /// Whether the account `name` is known.
    pub(super) fn has_account(&self, name: &UserName) -> bool {
        let state = self.read();
        state
            .users
            .as_ref()
            .is_some_and(|users| users.contains_key(name))
    }

    /// The e-mail addresses of the accounts in `audience`, sorted by account name.
    #[must_use]
    pub fn email_addresses(&self, audience: &Audience) -> Vec<String> {
        let state = self.read();
        let mut found: Vec<(&UserName, &str)> = state
            .users
            .iter()
            .flatten()
            .filter_map(|(name, account)| Some((name, account.record.email_for(name, audience)?)))
            .collect();
        found.sort_unstable();
        found
            .into_iter()
            .map(|(_, address)| address.to_owned())
            .collect()
    }

    pub(super) fn signer(&self) -> Option<Arc<TokenSigner>> {
        self.read().signer.clone()
    }

    /// The live session `id`, with the current roles of its account.
    pub(super) fn session(&self, id: Uuid, now: Timestamp) -> Result<SessionGuard, MissingSession> {
        let state = self.read();
        let session = state.sessions.get(&id).ok_or(MissingSession::Unknown)?;
        let user = state
            .live_account(&session.record, now)
            .ok_or(MissingSession::Ended)?;
        Ok(SessionGuard {
            id,
            principal: Principal {
                username: session.record.username.as_str().into(),
                roles: user.roles.clone(),
                credential: user.credential_tag(),
            },
            ended: session.ended.subscribe(),
            expires_at: session.record.expires_at,
        })
    }

    pub(super) fn session_lease(&self, id: Uuid) -> Option<LeaseId> {
        self.read().sessions.get(&id).map(|session| session.lease)
    }

    /// Ids and leases of an account's sessions, oldest first.
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

    /// Inserts a session that this replica created or looked up before its watch reported it, with the account record and
    /// revision read for it.
    pub(super) fn insert_ahead_of_watch(
        &self,
        id: Uuid,
        record: SessionRecord,
        lease: LeaseId,
        account: Option<(UserRecord, i64)>,
        now: Timestamp,
    ) {
        let mut state = self.write();
        if let Some((user, revision)) = account {
            state.insert_user_ahead_of_watch(record.username.clone(), user, revision, now);
        }
        state.put_session(id, record, lease, Some(now));
    }

    /// Removes a session before the watch reports its deletion.
    pub(super) fn remove_session(&self, id: Uuid) {
        self.write().remove_session(id);
    }

    /// Watches etcd and keeps the cache current until `shutdown`.
    pub async fn run(self, registry: Registry, shutdown: CancellationToken) {
        let users_prefix = AccountKeys::new(&self.prefix).users();
        let sessions_prefix = AccountKeys::new(&self.prefix).sessions();
        let mut users = registry.watch(users_prefix.clone());
        let mut sessions = registry.watch(sessions_prefix.clone());
        let mut keys = registry.watch(signing_key(&self.prefix));
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut key_missing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(event) = users.next() => self.apply_users_event(&users_prefix, event, now()),
                Some(event) = sessions.next() => self.apply_sessions_event(&sessions_prefix, event, now()),
                Some(event) = keys.next() => key_missing = self.apply_key_event(event, key_missing),
                _ = tick.tick() => {
                    self.write().end_stale_sessions(now());
                    if key_missing && self.read().etcd_error.is_none() {
                        self.create_signing_key(&registry).await;
                    }
                }
            }
            if key_missing && self.read().signer.is_none() && self.read().etcd_error.is_none() {
                self.create_signing_key(&registry).await;
            }
        }
    }

    /// Creates the signing key unless another replica was faster; the watch delivers the one that was stored.
    async fn create_signing_key(&self, registry: &Registry) {
        let created = match serde_json::to_vec(&SigningKeyRecord::generate(now())) {
            Ok(value) => registry
                .create(signing_key(&self.prefix), value, None)
                .await
                .map(drop),
            Err(error) => {
                tracing::error!(%error, "Could not serialize a signing key");
                return;
            }
        };
        if let Err(error) = created {
            tracing::warn!(%error, "Could not create the signing key: {error}");
        }
    }

    fn apply_users_event(&self, prefix: &str, event: WatchEvent, now: Timestamp) {
        let mut state = self.write();
        let mut mirror = UserMirror {
            state: &mut state,
            prefix,
            now,
        };
        event.apply_to(&mut mirror);
        state.end_stale_sessions(now);
    }

    fn apply_sessions_event(&self, prefix: &str, event: WatchEvent, now: Timestamp) {
        let mut state = self.write();
        let mut mirror = SessionMirror {
            state: &mut state,
            prefix,
            now,
        };
        event.apply_to(&mut mirror);
        state.end_stale_sessions(now);
    }

    /// Returns whether the signing key is missing and must be created.
    fn apply_key_event(&self, event: WatchEvent, missing: bool) -> bool {
        let mut mirror = SigningKeyMirror {
            key: signing_key(&self.prefix).into_bytes(),
            found: None,
        };
        event.apply_to(&mut mirror);
        let found = mirror.found;
        let Some(entry) = found else {
            return missing;
        };
        let mut state = self.write();
        state.signer = entry
            .as_ref()
            .and_then(parse_signing_key)
            .map(|bytes| Arc::new(TokenSigner::new(&bytes)));
        if entry.is_none() {
            state.end_all_sessions();
        }
        entry.is_none()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, AccountCacheState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, AccountCacheState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies changes of accounts. An unreadable record grants no access.
struct UserMirror<'a> {
    state: &'a mut AccountCacheState,
    prefix: &'a str,
    now: Timestamp,
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
struct SessionMirror<'a> {
    state: &'a mut AccountCacheState,
    prefix: &'a str,
    now: Timestamp,
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
struct SigningKeyMirror {
    key: Vec<u8>,
    /// The newest state in the event: its entry, or that it is missing.
    found: Option<Option<RegistryEntry>>,
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

pub(super) fn parse_user(entry: &RegistryEntry) -> Option<UserRecord> {
    parse_record(entry)
}

fn parse_signing_key(entry: &RegistryEntry) -> Option<Vec<u8>> {
    let bytes = parse_record::<SigningKeyRecord>(entry)?.bytes();
    if bytes.is_none() {
        tracing::error!(
            "The signing key in etcd is damaged; delete it to have a new one created, which signs all users out"
        );
    }
    bytes
}

fn parse_session(prefix: &str, entry: &RegistryEntry) -> Option<(Uuid, (SessionRecord, LeaseId))> {
    Some((
        parse_session_id(prefix, &entry.key)?,
        (parse_record(entry)?, entry.lease),
    ))
}

fn parse_session_id(prefix: &str, key: &[u8]) -> Option<Uuid> {
    std::str::from_utf8(key)
        .ok()?
        .strip_prefix(prefix)?
        .parse()
        .ok()
}

fn parse_record<T: serde::de::DeserializeOwned>(entry: &RegistryEntry) -> Option<T> {
    serde_json::from_slice(&entry.value)
        .map_err(|error| {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            tracing::warn!(key, %error, "Ignoring an unreadable record in etcd at {key}: {error}");
        })
        .ok()
}

pub(super) fn now() -> Timestamp {
    console_core::clock::now()
}

#[cfg(test)]
mod tests;
