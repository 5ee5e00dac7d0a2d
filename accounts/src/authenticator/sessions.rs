//! Creates sessions, resolves their tokens, ends them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use console_core::session::SessionGuard;
use galera::Timestamp;
use galera::record::audit::AuditEvent;
use registry::{Precondition, TransactionOutcome, WriteOp};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::errors::{SessionError, SignInError};
use super::{ATTEMPTS, Authenticator, IssuedSession, SignInClient};
use crate::cache::{MissingSession, now};
use crate::records::{SessionRecord, UserName, UserRecord};
use crate::signing_keys::SigningKeys;
use crate::store::{session_key, signing_key, user_key};
pub(super) use crate::token::SessionOrigin;
use crate::token::{SessionClaims, TokenError};

/// A session younger than this may still be missing from our watch, so it is looked up in etcd before it is rejected.
const WATCH_LAG_MAX: Duration = Duration::from_secs(60);
/// Maximum number of sessions per account; a further sign-in ends the oldest.
const SESSIONS_PER_ACCOUNT_MAX: usize = 50;
/// Maximum length of a recorded `User-Agent`, in characters.
const USER_AGENT_MAX: usize = 200;
/// Shortest time between two readings of the keys for tokens that name an unknown one.
const KEYS_READ_INTERVAL: Duration = Duration::from_secs(1);

impl Authenticator {
    /// Creates a session of the account `name`, whose password was right, with `code` where it has a second factor.
    pub(super) async fn open_session(
        &self,
        name: &UserName,
        user: UserRecord,
        revision: i64,
        code: Option<&str>,
        client: &SignInClient,
        origin: SessionOrigin,
    ) -> Result<IssuedSession, SignInError> {
        if user.disabled {
            return Err(SignInError::Disabled);
        }
        let keys = self.cache.keys().ok_or(SignInError::SigningKeyMissing)?;
        let (id, created_at) = (Uuid::new_v4(), now());
        let longest = self.policy.session_lifetime;
        let lifetime = origin.lifetime.map_or(longest, |limit| limit.min(longest));
        let record = SessionRecord {
            username: name.clone(),
            credential: user.credential,
            created_at,
            expires_at: created_at.plus(lifetime),
            kid: Some(keys.kid().to_owned()),
            // A code of the second factor is a proof of now.
            proven_at: origin.proven_at.filter(|_| code.is_none()),
            provider_session: origin.provider_session,
            provider_factor: origin.provider_factor,
            address: Some(client.address),
            user_agent: client.user_agent.as_deref().map(shorten),
        };
        let claims = SessionClaims::new(name.clone(), id, created_at, record.expires_at);
        let token = keys.sign(&claims).map_err(|error| {
            SignInError::Internal(format!("the session could not be signed: {error}"))
        })?;
        let value = serde_json::to_vec(&record)
            .map_err(|error| SignInError::Internal(error.to_string()))?;
        let mut lease = None;
        for _ in 0..ATTEMPTS {
            let accepted = self.check_code(name, &user, code).await?;
            let lease = match lease {
                Some(lease) => lease,
                None => *lease.insert(
                    self.registry
                        .grant_without_keep_alive(self.policy.lease().min(lifetime))
                        .await?,
                ),
            };
            let account = user_key(&self.state_prefix, name).into_bytes();
            let transaction = accepted
                .transaction
                // The account was disabled or its password changed while the hash was computed: the client retries.
                .when(Precondition::Unchanged(account.clone(), revision))
                .then([WriteOp::put(
                    session_key(&self.state_prefix, id),
                    value.clone(),
                    Some(lease),
                )]);
            match self.registry.transact(&transaction).await? {
                TransactionOutcome::Committed { .. } => {}
                TransactionOutcome::Refused { current, .. } => {
                    let entry = current.iter().find(|entry| entry.key == account);
                    if entry.is_some_and(|entry| entry.mod_revision == revision) {
                        // Only the second factor changed: this code may have been accepted elsewhere.
                        continue;
                    }
                    return Err(SignInError::Busy);
                }
            }
            self.cache
                .insert_ahead_of_watch(id, record, lease, Some((user, revision)), created_at);
            self.record_code(name, accepted.kind).await;
            self.end_surplus_sessions(name, id).await;
            let session = self.cache.session(id, created_at);
            let session = session.map_err(|_| SignInError::Busy)?;
            return Ok(IssuedSession {
                token,
                session,
                known_device: None,
            });
        }
        Err(SignInError::Busy)
    }

    /// Ends the oldest sessions of an account that has more than [`SESSIONS_PER_ACCOUNT_MAX`].
    async fn end_surplus_sessions(&self, name: &UserName, newest: Uuid) {
        let sessions = self.cache.sessions_of(name);
        let surplus = sessions.len().saturating_sub(SESSIONS_PER_ACCOUNT_MAX);
        for (id, _, lease) in sessions
            .into_iter()
            .filter(|(id, _, _)| *id != newest)
            .take(surplus)
        {
            // A session that cannot be revoked now expires with its lease.
            if self.registry.revoke(lease).await.is_ok() {
                self.cache.remove_session(id);
            }
        }
    }

    /// Returns the live session that `token` refers to.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn resolve_session(&self, token: &str) -> Result<SessionGuard, SessionError> {
        let Some(keys) = self.cache.keys() else {
            let reason = self
                .cache
                .etcd_error()
                .or_else(|| self.cache.unready_reason().map(str::to_owned));
            return Err(SessionError::Unavailable(reason.unwrap_or_default()));
        };
        let claims = self.verify_token(&keys, token).await?;
        if let Some(reason) = self.cache.unready_reason() {
            return Err(SessionError::Unavailable(reason.to_owned()));
        }
        let now = now();
        match self.cache.session(claims.sid, now) {
            Ok(session) => Ok(session),
            Err(_) if claims.exp.saturating_mul(1000) <= now.unix_millis() => {
                Err(SessionError::Expired)
            }
            Err(MissingSession::Unknown) if Self::is_recent(&claims, now) => {
                self.fetch_session(&claims, now).await
            }
            Err(MissingSession::OtherCredential) => self.fetch_session(&claims, now).await,
            Err(_) => Err(SessionError::Ended),
        }
    }

    /// Verifies `token`. If it names a key that is not known here, another replica may have just created it.
    async fn verify_token(
        &self,
        keys: &SigningKeys,
        token: &str,
    ) -> Result<SessionClaims, SessionError> {
        let mut verified = keys.verify(token);
        if verified == Err(TokenError::UnknownKey) && self.may_read_keys() {
            let entry = self.registry.get(signing_key(&self.state_prefix)).await;
            if let Ok(Some(entry)) = entry {
                self.cache.learn_keys(&entry);
            }
        }
        if verified == Err(TokenError::UnknownKey)
            && let Some(keys) = self.cache.keys()
        {
            verified = keys.verify(token);
        }
        verified.map_err(|error| match error {
            TokenError::Expired => SessionError::Expired,
            TokenError::Forged => SessionError::Forged,
            TokenError::UnknownKey => SessionError::KeyReplaced,
        })
    }

    /// Whether the keys may be read now: anyone can send a token that names an unknown one.
    fn may_read_keys(&self) -> bool {
        let mut last = super::lock(&self.keys_read);
        let due = last.is_none_or(|at| at.elapsed() >= KEYS_READ_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    fn is_recent(claims: &SessionClaims, now: Timestamp) -> bool {
        Timestamp::from_unix_millis(claims.iat.saturating_mul(1000)).age(now) < WATCH_LAG_MAX
    }

    /// Reads a session from etcd that another replica may have just written.
    async fn fetch_session(
        &self,
        claims: &SessionClaims,
        now: Timestamp,
    ) -> Result<SessionGuard, SessionError> {
        self.refresh_session(claims.sid, now)
            .await
            .map_err(|error| SessionError::Unavailable(error.to_string()))?
            .ok_or(SessionError::Ended)
    }

    /// Reads a session and its account from etcd; `None` if it is not live.
    pub(super) async fn refresh_session(
        &self,
        id: Uuid,
        now: Timestamp,
    ) -> Result<Option<SessionGuard>, SignInError> {
        let entry = match self.registry.get(session_key(&self.state_prefix, id)).await {
            Err(registry::Error::Tampered { .. }) => None,
            entry => entry?,
        };
        let Some(entry) = entry else {
            return Ok(None);
        };
        let Ok(record) = serde_json::from_slice::<SessionRecord>(&entry.value) else {
            return Ok(None);
        };
        let user = self.load_user(&record.username).await?;
        self.cache
            .insert_ahead_of_watch(id, record, entry.lease, user, now);
        Ok(self.cache.session(id, now).ok())
    }

    /// Notes that a user uses `session`, which is ended without use where the settings say so. Does not wait for etcd.
    pub fn note_use(&self, session: &SessionGuard) {
        let Some(timeout) = self.policy.idle_timeout else {
            return;
        };
        let is_due = super::lock(&self.activity).note_use(session.id, timeout, Instant::now());
        if let (true, Some(lease)) = (is_due, self.cache.session_lease(session.id)) {
            let registry = self.registry.clone();
            TaskTracker::new().spawn(async move {
                if let Err(error) = registry.renew(lease).await {
                    tracing::debug!(%error, "Could not record the use of a session: {error}");
                }
            });
        }
    }

    /// Notes that a browser fetched `page`. Fetching the same one again is not a use: open pages update themselves.
    pub fn note_page(&self, session: &SessionGuard, page: &str) {
        if self.policy.idle_timeout.is_some()
            && super::lock(&self.activity).is_another_page(session.id, page)
        {
            self.note_use(session);
        }
    }

    /// Ends a session in every replica.
    ///
    /// # Errors
    /// When etcd is unreachable; the session then stays live.
    pub async fn sign_out(&self, session: &SessionGuard) -> Result<(), registry::Error> {
        if let Some(lease) = self.cache.session_lease(session.id) {
            self.registry.revoke(lease).await?;
        }
        self.cache.remove_session(session.id);
        let name = &session.principal.username;
        self.record_event(AuditEvent::SIGNED_OUT, name, BTreeMap::new())
            .await;
        Ok(())
    }
}

/// A `User-Agent` as it is recorded.
fn shorten(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(USER_AGENT_MAX)
        .collect()
}
