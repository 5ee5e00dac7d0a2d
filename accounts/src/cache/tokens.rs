//! The cached API tokens.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use console_core::session::{Principal, SessionGuard, TokenCredential};
use galera::Timestamp;
use galera::access::RoleGrant;
use galera::publish::accounts::TokenState;
use registry::{KeyMirror, LeaseId, RegistryEntry, WatchEvent};
use tokio::sync::watch;

use super::state::{AccountCacheState, CONFIRMATION_TIMEOUT, end_connections};
use super::{AccountCache, granted_clusters_of, parse_record, with_labels};
use crate::api_token::{TokenId, TokenRecord, TokenUseRecord};
use crate::records::{UserName, UserRecord};

/// A token, with the channels that notify its holders.
pub(super) struct CachedToken {
    pub(super) record: Arc<TokenRecord>,
    lease: LeaseId,
    revision: i64,
    /// Set while the watch may still lag behind this revision.
    unconfirmed_since: Option<Timestamp>,
    ended: watch::Sender<bool>,
    may_view: watch::Sender<bool>,
    /// Where the roles of its account counted when it was last looked at; `None` before that.
    grants: Option<Vec<RoleGrant>>,
}

impl CachedToken {
    /// Whether this is newer than what the watch reports at `revision`.
    fn is_ahead_of(&self, revision: i64, now: Timestamp) -> bool {
        self.revision > revision
            && self
                .unconfirmed_since
                .is_some_and(|at| at.age(now) < CONFIRMATION_TIMEOUT)
    }
}

/// A token that can be used, as of now.
pub(crate) struct LiveToken {
    pub(crate) record: Arc<TokenRecord>,
    pub(crate) lease: LeaseId,
    pub(crate) user: UserRecord,
    pub(crate) guard: SessionGuard,
}

/// The last use of a token, with the revision of its record.
pub(crate) type SeenTokenUse = (TokenUseRecord, i64);

/// The tokens, and their last uses.
#[derive(Default)]
pub(super) struct CachedTokens {
    pub(super) tokens: HashMap<TokenId, CachedToken>,
    uses: HashMap<TokenId, SeenTokenUse>,
    pub(super) loaded: bool,
}

impl CachedTokens {
    /// Takes over a version of a token, unless a later one is known that the watch has yet to report.
    fn put(
        &mut self,
        id: TokenId,
        record: TokenRecord,
        lease: LeaseId,
        revision: i64,
        unconfirmed_since: Option<Timestamp>,
        now: Timestamp,
    ) {
        if let Some(token) = self.tokens.get_mut(&id) {
            if !token.is_ahead_of(revision, now) {
                token.record = Arc::new(record);
                token.unconfirmed_since = unconfirmed_since;
                (token.lease, token.revision) = (lease, revision);
            }
            return;
        }
        let token = CachedToken {
            record: Arc::new(record),
            lease,
            revision,
            unconfirmed_since,
            ended: watch::Sender::new(false),
            may_view: watch::Sender::new(true),
            grants: None,
        };
        self.tokens.insert(id, token);
    }

    /// Ends the connections of tokens that are limited to some clusters, themselves or by their account.
    pub(super) fn end_limited_connections(&mut self) {
        for token in self.tokens.values_mut() {
            let by_account = token
                .grants
                .as_ref()
                .is_some_and(|grants| !grants.is_empty());
            if by_account || !token.record.clusters.is_all() {
                end_connections(&mut token.may_view);
            }
        }
    }

    fn remove(&mut self, id: &TokenId) {
        if let Some(token) = self.tokens.remove(id) {
            token.ended.send_replace(true);
        }
    }
}

impl AccountCacheState {
    /// Notifies the holders of tokens that can no longer be used, or permit nothing.
    pub(super) fn end_stale_tokens(&mut self, now: Timestamp) {
        let mut tokens = std::mem::take(&mut self.tokens.tokens);
        for token in tokens.values_mut() {
            self.end_stale_token(token, now);
        }
        self.tokens.tokens = tokens;
    }

    fn end_stale_token(&self, token: &mut CachedToken, now: Timestamp) {
        let Some(users) = &self.users else {
            return;
        };
        {
            let record = &token.record;
            let user = users.get(&record.account).map(|account| &account.record);
            let off = user.is_some_and(|user| self.is_switched_off(user));
            let ended = off || record.state(user, now) != TokenState::Active;
            token
                .ended
                .send_if_modified(|before| std::mem::replace(before, ended) != ended);
            if let Some(user) = user {
                let may_view = !record.roles_of(user).is_empty() && !self.must_enrol(user);
                let before = token.grants.replace(user.grants.clone());
                if before.is_some_and(|before| before != user.grants) {
                    // Connections were opened for other clusters.
                    token.may_view.send_replace(false);
                    token.may_view = watch::Sender::new(may_view);
                }
                token
                    .may_view
                    .send_if_modified(|before| std::mem::replace(before, may_view) != may_view);
            }
        }
    }
}

impl AccountCache {
    /// The record of the token `id`, whatever its state.
    pub(crate) fn token_record(&self, id: &TokenId) -> Option<Arc<TokenRecord>> {
        let state = self.read();
        let token = state.tokens.tokens.get(id)?;
        Some(Arc::clone(&token.record))
    }

    /// The token `id`, with the roles that its account has now; its state if it cannot be used.
    pub(crate) fn live_token(&self, id: &TokenId, now: Timestamp) -> Result<LiveToken, TokenState> {
        let state = self.read();
        let token = state.tokens.tokens.get(id).ok_or(TokenState::Ended)?;
        let record = &token.record;
        let users = state.users.as_ref().ok_or(TokenState::Ended)?;
        let user = users.get(&record.account).map(|account| &account.record);
        let user = match (record.state(user, now), user) {
            (TokenState::Active, Some(user)) if !state.is_switched_off(user) => user,
            (TokenState::Active, Some(_)) => return Err(TokenState::Ended),
            (TokenState::Active, None) => return Err(TokenState::Ended),
            (other, _) => return Err(other),
        };
        let principal = Principal {
            username: record.account.as_str().into(),
            roles: record.roles_of(user),
            credential: user.credential_tag(),
            must_enrol: state.must_enrol(user),
            token: Some(Arc::new(TokenCredential {
                id: id.to_string(),
                name: record.name.clone(),
                is_service: user.kind.is_service(),
                may_approve: false,
                clusters: record.clusters.clone().with_labels(&state.labels),
            })),
            clusters: granted_clusters_of(user)
                .intersect(&record.clusters)
                .with_labels(&state.labels),
            grants: with_labels(&record.grants_of(user), &state.labels),
            groups: user.groups().into(),
            is_external: false,
        };
        Ok(LiveToken {
            record: Arc::clone(record),
            lease: token.lease,
            user: user.clone(),
            guard: SessionGuard {
                id: id.to_uuid(),
                principal,
                ended: token.ended.subscribe(),
                may_view: token.may_view.subscribe(),
                // Nothing that was proven when the token was created is proven now.
                last_proof: Timestamp::from_unix_millis(0),
                expires_at: record.expires_at,
            },
        })
    }

    /// The last use of the token `id`.
    pub(crate) fn token_use(&self, id: &TokenId) -> Option<SeenTokenUse> {
        self.read().tokens.uses.get(id).cloned()
    }

    /// Takes over the last use of a token that this replica wrote.
    pub(crate) fn note_token_use(&self, id: &TokenId, record: TokenUseRecord, revision: i64) {
        let uses = &mut self.write().tokens.uses;
        if uses.get(id).is_none_or(|(_, known)| *known < revision) {
            uses.insert(id.clone(), (record, revision));
        }
    }

    /// Takes over a token as this replica wrote it, or read it from etcd.
    pub(crate) fn learn_token(
        &self,
        id: TokenId,
        record: TokenRecord,
        lease: LeaseId,
        revision: i64,
        now: Timestamp,
    ) {
        let mut state = self.write();
        let tokens = &mut state.tokens;
        tokens.put(id, record, lease, revision, Some(now), now);
        state.end_stale_tokens(now);
    }

    /// Takes over an account as this replica read it from etcd.
    pub(crate) fn learn_account(
        &self,
        name: &UserName,
        user: UserRecord,
        revision: i64,
        now: Timestamp,
    ) {
        let mut state = self.write();
        state.insert_user_ahead_of_watch(name.clone(), user, revision, now);
        state.end_stale_tokens(now);
    }

    pub(super) fn apply_tokens_event(&self, prefix: &str, event: WatchEvent, now: Timestamp) {
        let mut state = self.write();
        let mut mirror = TokenMirror {
            tokens: &mut state.tokens,
            prefix,
            now,
        };
        event.apply_to(&mut mirror);
        state.end_stale_tokens(now);
    }

    pub(super) fn apply_token_uses_event(&self, prefix: &str, event: WatchEvent) {
        let mut state = self.write();
        let mut mirror = TokenUseMirror {
            uses: &mut state.tokens.uses,
            prefix,
        };
        event.apply_to(&mut mirror);
    }
}

fn parse_id(prefix: &str, key: &[u8]) -> Option<TokenId> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(prefix)?.parse().ok()
}

/// Applies changes of tokens. An unreadable record grants no access.
struct TokenMirror<'a> {
    tokens: &'a mut CachedTokens,
    prefix: &'a str,
    now: Timestamp,
}

impl KeyMirror for TokenMirror<'_> {
    fn clear(&mut self) {
        self.reset(&[], 0);
    }

    fn put(&mut self, entry: &RegistryEntry) {
        let Some(id) = parse_id(self.prefix, &entry.key) else {
            return;
        };
        match parse_record(entry) {
            Some(record) => {
                let (lease, revision) = (entry.lease, entry.mod_revision);
                self.tokens.put(id, record, lease, revision, None, self.now);
            }
            None => self.tokens.remove(&id),
        }
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        if let Some(id) = parse_id(self.prefix, key) {
            self.tokens.remove(&id);
        }
    }

    fn reset(&mut self, entries: &[RegistryEntry], revision: i64) {
        let listed: HashSet<TokenId> = entries
            .iter()
            .filter_map(|entry| parse_id(self.prefix, &entry.key))
            .collect();
        let known = self.tokens.tokens.iter();
        let gone: Vec<TokenId> = known
            .filter(|(id, token)| !listed.contains(id) && !token.is_ahead_of(revision, self.now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.tokens.remove(&id);
        }
        for entry in entries {
            self.put(entry);
        }
        self.tokens.loaded = true;
    }
}

/// Applies the last uses of tokens.
struct TokenUseMirror<'a> {
    uses: &'a mut HashMap<TokenId, SeenTokenUse>,
    prefix: &'a str,
}

impl KeyMirror for TokenUseMirror<'_> {
    fn clear(&mut self) {
        self.uses.clear();
    }

    fn put(&mut self, entry: &RegistryEntry) {
        if let (Some(id), Some(record)) = (parse_id(self.prefix, &entry.key), parse_record(entry)) {
            self.uses.insert(id, (record, entry.mod_revision));
        }
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        if let Some(id) = parse_id(self.prefix, key) {
            self.uses.remove(&id);
        }
    }
}
