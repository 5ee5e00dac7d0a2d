//! The cached accounts and sessions, and which sessions are live.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use galera::access::{ClusterLabels, Role, RoleGrant};
use registry::LeaseId;
use tokio::sync::watch;
use uuid::Uuid;

use super::MissingSession;
use super::tokens::CachedTokens;
use crate::records::{SessionRecord, UserName, UserRecord};
use crate::signing_keys::SigningKeys;

/// How long an entry inserted ahead of the watch is kept without being confirmed by it.
pub(super) const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct AccountCacheState {
    pub(super) users: Option<HashMap<UserName, CachedAccount>>,
    pub(super) sessions: HashMap<Uuid, CachedSession>,
    pub(super) sessions_loaded: bool,
    pub(super) tokens: CachedTokens,
    /// The keys that sign sessions, and the revision of their record.
    pub(super) keys: Option<(Arc<SigningKeys>, i64)>,
    /// The roles whose accounts need a second factor.
    pub(super) second_factor_roles: Vec<Role>,
    /// Labels of the clusters.
    pub(super) labels: ClusterLabels,
    /// Whether people with a password here have neither sessions nor tokens.
    pub(super) local_accounts_off: bool,
    pub(super) etcd_error: Option<String>,
}

/// Ends the connections that were opened; further ones are permitted as before.
pub(super) fn end_connections(may_view: &mut watch::Sender<bool>) {
    let before = may_view.send_replace(false);
    *may_view = watch::Sender::new(before);
}

/// An account as of an etcd revision.
pub(super) struct CachedAccount {
    pub(super) record: UserRecord,
    pub(super) revision: i64,
    /// Set while the watch may still lag behind this revision.
    pub(super) unconfirmed_since: Option<Timestamp>,
}

impl CachedAccount {
    /// Whether this is newer than what the watch reports at `revision`.
    fn is_ahead_of(&self, revision: i64, now: Timestamp) -> bool {
        self.revision > revision
            && self
                .unconfirmed_since
                .is_some_and(|at| at.age(now) < CONFIRMATION_TIMEOUT)
    }
}

/// A session, with the channel that notifies its holders when it ends.
pub(super) struct CachedSession {
    pub(super) record: SessionRecord,
    pub(super) lease: LeaseId,
    /// Set while the session was inserted by this replica and the watch has not reported it yet.
    pub(super) unconfirmed_since: Option<Timestamp>,
    pub(super) ended: watch::Sender<bool>,
    pub(super) may_view: watch::Sender<bool>,
    /// Where the roles of its account counted when it was last looked at.
    pub(super) grants: Vec<RoleGrant>,
}

impl AccountCacheState {
    /// Replaces the labels. Connections with a credential that is limited to some clusters end: they were opened for others.
    pub(super) fn replace_labels(&mut self, labels: ClusterLabels) {
        if self.labels == labels {
            return;
        }
        self.labels = labels;
        let sessions = self.sessions.values_mut();
        for session in sessions.filter(|session| !session.grants.is_empty()) {
            end_connections(&mut session.may_view);
        }
        self.tokens.end_limited_connections();
    }

    /// Whether a role of this account requires a second factor that it does not have.
    pub(super) fn must_enrol(&self, user: &UserRecord) -> bool {
        let required = |role| self.second_factor_roles.contains(role);
        !user.kind.is_service() && user.factor.is_none() && user.roles.iter().any(required)
    }

    /// Whether the account is one that has a password here, and those are switched off.
    pub(super) fn is_switched_off(&self, user: &UserRecord) -> bool {
        self.local_accounts_off && user.kind.is_person()
    }

    /// The account of a session, if the session is live.
    pub(super) fn live_account(
        &self,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Option<&UserRecord> {
        let user = &self.users.as_ref()?.get(&record.username)?.record;
        let live = now < record.expires_at
            && !user.disabled
            && user.credential == record.credential
            && !self.is_switched_off(user);
        live.then_some(user)
    }

    /// Why the session `record` is not live.
    pub(super) fn cause_of_end(&self, record: &SessionRecord, now: Timestamp) -> MissingSession {
        let user = self
            .users
            .as_ref()
            .and_then(|users| users.get(&record.username));
        let only_credential = user.is_some_and(|user| {
            now < record.expires_at
                && !user.record.disabled
                && user.record.credential != record.credential
        });
        if only_credential {
            MissingSession::OtherCredential
        } else {
            MissingSession::Ended
        }
    }

    /// Replaces all accounts with a listing at `revision`, except those known to be newer.
    pub(super) fn reset_users(
        &mut self,
        listed: impl Iterator<Item = (UserName, i64, UserRecord)>,
        revision: i64,
        now: Timestamp,
    ) {
        let mut users: HashMap<UserName, CachedAccount> = listed
            .map(|(name, revision, record)| {
                (
                    name,
                    CachedAccount {
                        record,
                        revision,
                        unconfirmed_since: None,
                    },
                )
            })
            .collect();
        let ahead = self.users.take().into_iter().flatten();
        users.extend(ahead.filter(|(_, account)| account.is_ahead_of(revision, now)));
        self.users = Some(users);
    }

    /// Applies a watched change at `revision`; `None` means the account is deleted or unreadable.
    pub(super) fn apply_user_change(
        &mut self,
        name: UserName,
        record: Option<UserRecord>,
        revision: i64,
        now: Timestamp,
    ) {
        let users = self.users.get_or_insert_default();
        if users
            .get(&name)
            .is_some_and(|account| account.is_ahead_of(revision, now))
        {
            return;
        }
        match record {
            Some(record) => drop(users.insert(
                name,
                CachedAccount {
                    record,
                    revision,
                    unconfirmed_since: None,
                },
            )),
            None => drop(users.remove(&name)),
        }
    }

    /// Inserts an account that this replica read directly, possibly ahead of its watch.
    pub(super) fn insert_user_ahead_of_watch(
        &mut self,
        name: UserName,
        record: UserRecord,
        revision: i64,
        now: Timestamp,
    ) {
        let Some(users) = &mut self.users else {
            return;
        };
        if users
            .get(&name)
            .is_none_or(|account| account.revision < revision)
        {
            users.insert(
                name,
                CachedAccount {
                    record,
                    revision,
                    unconfirmed_since: Some(now),
                },
            );
        }
    }

    pub(super) fn put_session(
        &mut self,
        id: Uuid,
        record: SessionRecord,
        lease: LeaseId,
        unconfirmed_since: Option<Timestamp>,
    ) {
        match self.sessions.get_mut(&id) {
            Some(session) => {
                // The account's change was seen before the session that continues with it.
                if session.record.credential != record.credential && *session.ended.borrow() {
                    session.ended = watch::Sender::new(false);
                }
                session.record = record;
                session.lease = lease;
                session.unconfirmed_since =
                    unconfirmed_since.filter(|_| session.unconfirmed_since.is_some());
            }
            None => {
                let user = self
                    .users
                    .as_ref()
                    .and_then(|users| users.get(&record.username));
                let grants = user.map(|user| user.record.grants.clone());
                let session = CachedSession {
                    record,
                    lease,
                    grants: grants.unwrap_or_default(),
                    unconfirmed_since,
                    ended: watch::Sender::new(false),
                    may_view: watch::Sender::new(true),
                };
                self.sessions.insert(id, session);
            }
        }
    }

    pub(super) fn remove_session(&mut self, id: Uuid) {
        if let Some(session) = self.sessions.remove(&id) {
            session.ended.send_replace(true);
        }
    }

    pub(super) fn end_all_sessions(&mut self) {
        for (_, session) in self.sessions.drain() {
            session.ended.send_replace(true);
        }
    }

    /// Notifies the holders of sessions that are no longer live, and removes expired and unconfirmed ones.
    pub(super) fn end_stale_sessions(&mut self, now: Timestamp) {
        if self.users.is_none() {
            return;
        }
        let mut changed = Vec::new();
        for (id, session) in &self.sessions {
            match self.live_account(&session.record, now) {
                Some(user) => {
                    let must_enrol = !session.record.provider_factor && self.must_enrol(user);
                    let may_view = !user.roles.is_empty() && !must_enrol;
                    if session.grants != user.grants {
                        // Connections were opened for other clusters.
                        session.may_view.send_replace(false);
                        changed.push((*id, user.grants.clone(), may_view));
                        continue;
                    }
                    session
                        .may_view
                        .send_if_modified(|before| std::mem::replace(before, may_view) != may_view);
                }
                None => {
                    session
                        .ended
                        .send_if_modified(|ended| !std::mem::replace(ended, true));
                }
            }
        }
        for (id, grants, may_view) in changed {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.grants = grants;
                session.may_view = watch::Sender::new(may_view);
            }
        }
        let unreachable = self.etcd_error.is_some();
        // The watch never reports a session that ended while this replica looked it up.
        let unconfirmed = |session: &CachedSession| {
            !unreachable
                && session
                    .unconfirmed_since
                    .is_some_and(|at| at.age(now) >= CONFIRMATION_TIMEOUT)
        };
        self.sessions.retain(|_, session| {
            let keep = now < session.record.expires_at && !unconfirmed(session);
            if !keep {
                session.ended.send_replace(true);
            }
            keep
        });
    }
}
