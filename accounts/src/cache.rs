//! An in-memory copy of accounts, sessions and the signing key, kept current by watching etcd: no request waits for
//! etcd, and changes take effect immediately. While etcd is unreachable the last known state applies.

mod mirrors;
mod state;
mod tokens;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use console_core::keyspace::AccountKeys;
use console_core::session::{Principal, SessionGuard};
use galera::Timestamp;
use galera::access::{
    ClusterLabels, ClusterScope, CredentialTag, Role, RoleGrant, granted_clusters,
};
use galera::publish::notification::Audience;
use registry::{LeaseId, Registry, RegistryEntry, WatchEvent};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::key_rotation;
use super::records::{SessionRecord, UserName, UserRecord};
use super::signing_keys::{SigningKeyRecord, SigningKeys};
use super::store::signing_key;
use mirrors::{SessionMirror, SigningKeyMirror, UserMirror};
use state::AccountCacheState;

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
    /// The account has another password, or another second factor, than this session: unless the session was given the
    /// new one as well, which its watch reports separately.
    OtherCredential,
    /// Expired, or its account was disabled or removed.
    Ended,
}

pub(super) use tokens::LiveToken;

/// A cached session with its id and lease.
pub(super) type OwnSession = (Uuid, SessionRecord, LeaseId);

impl AccountCache {
    /// An empty cache of the accounts under `state_prefix`, which need a second factor if they have one of
    /// `second_factor_roles`; [`AccountCache::run`] fills it.
    #[must_use]
    pub fn new(state_prefix: &str, second_factor_roles: &[Role]) -> Self {
        let state = AccountCacheState {
            second_factor_roles: second_factor_roles.to_vec(),
            ..AccountCacheState::default()
        };
        Self {
            state: Arc::new(RwLock::new(state)),
            prefix: state_prefix.into(),
        }
    }

    /// The same cache, in which only accounts of the identity provider have sessions, and only those of programs tokens.
    #[must_use]
    pub fn without_local_accounts(self) -> Self {
        self.write().local_accounts_off = true;
        self
    }

    /// The same cache, in which clusters have `labels`; without them no role counts by label.
    #[must_use]
    pub fn with_labels(self, labels: ClusterLabels) -> Self {
        self.replace_labels(labels);
        self
    }

    /// From now on clusters have `labels`, in this and every clone. Live connections with a credential that is limited to some
    /// clusters end, so that they begin again with what is permitted now.
    pub fn replace_labels(&self, labels: ClusterLabels) {
        self.write().replace_labels(labels);
    }

    /// Why sessions cannot be resolved yet; `None` once accounts, sessions and the signing key have been loaded.
    #[must_use]
    pub fn unready_reason(&self) -> Option<&'static str> {
        let state = self.read();
        if state.users.is_none() || !state.sessions_loaded || !state.tokens.loaded {
            Some("accounts have not been loaded from etcd")
        } else if state.keys.is_none() {
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

    /// The keys that sign sessions.
    pub(super) fn keys(&self) -> Option<Arc<SigningKeys>> {
        let state = self.read();
        state.keys.as_ref().map(|(keys, _)| Arc::clone(keys))
    }

    /// Takes over the record of the keys as read from etcd, unless a later one is known.
    pub(super) fn learn_keys(&self, entry: &RegistryEntry) {
        let mut state = self.write();
        if (state.keys.as_ref()).is_none_or(|(_, revision)| *revision < entry.mod_revision) {
            state.keys = parse_signing_keys(entry).or(state.keys.take());
        }
    }

    /// The live session `id`, with the current roles of its account.
    pub(super) fn session(&self, id: Uuid, now: Timestamp) -> Result<SessionGuard, MissingSession> {
        let state = self.read();
        let session = state.sessions.get(&id).ok_or(MissingSession::Unknown)?;
        let user = state
            .live_account(&session.record, now)
            .ok_or_else(|| state.cause_of_end(&session.record, now))?;
        Ok(SessionGuard {
            id,
            principal: Principal {
                username: session.record.username.as_str().into(),
                roles: user.roles.clone(),
                credential: user.credential_tag(),
                must_enrol: !session.record.provider_factor && state.must_enrol(user),
                token: None,
                clusters: granted_clusters_of(user).with_labels(&state.labels),
                grants: with_labels(&user.grants, &state.labels),
                groups: user.groups().into(),
                is_external: user.external.is_some(),
            },
            ended: session.ended.subscribe(),
            may_view: session.may_view.subscribe(),
            last_proof: session.record.last_proof(),
            expires_at: session.record.expires_at,
        })
    }

    pub(super) fn session_lease(&self, id: Uuid) -> Option<LeaseId> {
        self.read().sessions.get(&id).map(|session| session.lease)
    }

    /// An account's sessions that have not expired, oldest first.
    pub(super) fn sessions_of(&self, name: &UserName) -> Vec<OwnSession> {
        let state = self.read();
        let mut found: Vec<OwnSession> = state
            .sessions
            .iter()
            .filter(|(_, session)| session.record.username == *name)
            .map(|(id, session)| (*id, session.record.clone(), session.lease))
            .collect();
        found.sort_by_key(|(_, record, _)| record.created_at);
        found
    }

    /// Whether `session` can still be used, as far as its account is concerned.
    pub(super) fn is_live(&self, session: &SessionRecord, now: Timestamp) -> bool {
        self.read().live_account(session, now).is_some()
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
        let (tokens_prefix, uses_prefix) = {
            let keys = AccountKeys::new(&self.prefix);
            (keys.tokens(), keys.token_uses())
        };
        let mut tokens = registry.watch(tokens_prefix.clone());
        let mut token_uses = registry.watch(uses_prefix.clone());
        let mut keys = registry.watch(signing_key(&self.prefix));
        // Not kept. Seeing each version makes an earlier one that is put back, or a removal, known to this replica.
        let mut factors = registry.watch(AccountKeys::new(&self.prefix).factors());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut key_missing = false;
        let mut maintenance = KeyMaintenance::default();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(event) = users.next() => self.apply_users_event(&users_prefix, event, now()),
                Some(event) = sessions.next() => self.apply_sessions_event(&sessions_prefix, event, now()),
                Some(event) = tokens.next() => self.apply_tokens_event(&tokens_prefix, event, now()),
                Some(event) = token_uses.next() => self.apply_token_uses_event(&uses_prefix, event),
                Some(_) = factors.next() => {}
                Some(event) = keys.next() => key_missing = self.apply_key_event(event, key_missing),
                _ = tick.tick() => {
                    self.end_stale(now());
                    if key_missing && self.read().etcd_error.is_none() {
                        self.create_signing_key(&registry).await;
                    }
                    self.maintain_keys(&registry, &mut maintenance).await;
                }
            }
            if key_missing && self.read().keys.is_none() && self.read().etcd_error.is_none() {
                self.create_signing_key(&registry).await;
            }
        }
    }

    /// Creates the signing key unless another replica was faster; the watch delivers the one that was stored.
    async fn create_signing_key(&self, registry: &Registry) {
        if registry.outdated_secret().is_some() {
            // The key is there, sealed with a newer secret.
            return;
        }
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

    /// Replaces the key that signs once it is due, and removes former ones that no session needs. Every replica tries,
    /// and one succeeds.
    async fn maintain_keys(&self, registry: &Registry, maintenance: &mut KeyMaintenance) {
        let now = now();
        if !maintenance.is_due() {
            return;
        }
        let change = {
            let state = self.read();
            let (Some((keys, revision)), None, true) =
                (&state.keys, &state.etcd_error, state.sessions_loaded)
            else {
                return;
            };
            // A session of version 0.1 may have been signed with any key.
            let is_used = |kid: &str| {
                let mut sessions = state.sessions.values();
                sessions.any(|session| session.record.kid.as_deref().is_none_or(|of| of == kid))
            };
            key_rotation::maintenance(keys.record(), is_used, *revision, now)
        };
        if let Some(change) = change {
            maintenance.tried();
            if let Err(error) = change.commit(registry, &self.prefix).await {
                tracing::warn!(%error, "Could not replace the key of sessions, will try again: {error}");
            }
        }
    }

    fn end_stale(&self, now: Timestamp) {
        let mut state = self.write();
        state.end_stale_sessions(now);
        state.end_stale_tokens(now);
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
        state.end_stale_tokens(now);
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
        state.keys = entry.as_ref().and_then(parse_signing_keys);
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

/// The clusters on which `user` has any role; all for an account whose roles count everywhere.
fn granted_clusters_of(user: &UserRecord) -> ClusterScope {
    match user.grants.as_slice() {
        [] => ClusterScope::all(),
        grants => granted_clusters(grants),
    }
}

/// `grants`, in which clusters have `labels`.
fn with_labels(grants: &[RoleGrant], labels: &ClusterLabels) -> Arc<[RoleGrant]> {
    grants
        .iter()
        .map(|grant| grant.with_labels(labels))
        .collect()
}

pub(super) fn parse_user(entry: &RegistryEntry) -> Option<UserRecord> {
    parse_record(entry)
}

fn parse_signing_keys(entry: &RegistryEntry) -> Option<(Arc<SigningKeys>, i64)> {
    let keys = SigningKeys::new(parse_record(entry)?);
    if keys.is_none() {
        tracing::error!(
            "The signing key in etcd is damaged; delete it to have a new one created, which signs all users out"
        );
    }
    keys.map(|keys| (Arc::new(keys), entry.mod_revision))
}

/// When the keys were last changed, or that was tried.
#[derive(Default)]
struct KeyMaintenance(Option<Instant>);

impl KeyMaintenance {
    /// Time between two attempts: another replica may have been faster, or etcd refuses.
    const INTERVAL: Duration = Duration::from_secs(30);

    fn is_due(&self) -> bool {
        self.0.is_none_or(|at| at.elapsed() >= Self::INTERVAL)
    }

    fn tried(&mut self) {
        self.0 = Some(Instant::now());
    }
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
