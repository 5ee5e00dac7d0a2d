//! Signs users in and out and resolves session tokens: the only place that decides whether a request has a live session.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use console_core::audit::AuditTrail;
use console_core::limit::LimitCounter;
use console_core::session::SessionGuard;
use console_core::threads::ThreadLimit;
use galera::Timestamp;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};
use uuid::Uuid;

use super::cache::{AccountCache, MissingSession, now};
use super::device::{self, DeviceToken, SignInOrigin};
use super::failed_sign_ins::{FailedSignIns, FailureReason};
use super::password::{self, PASSWORD_MAX_BYTES};
use super::records::{SessionRecord, UserName, UserRecord};
use super::store::{session_key, user_key};
use super::throttle::{SignInThrottle, network_of};
use super::token::{SessionClaims, TokenError};

/// Default number of password hashes computed concurrently; each takes 46 MiB and one core.
pub const CONCURRENT_HASHES_MAX: usize = 2;
/// How long a sign-in may wait for a hash slot.
const HASH_TIMEOUT: Duration = Duration::from_secs(5);
/// A session younger than this may still be missing from our watch, so it is looked up in etcd before it is rejected.
const WATCH_LAG_MAX: Duration = Duration::from_secs(60);
/// How long a sign-in waits for its audit entry to be written.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of sessions per account; a further sign-in ends the oldest.
const SESSIONS_PER_ACCOUNT_MAX: usize = 50;

/// A successful sign-in.
#[derive(Clone, Debug)]
pub struct IssuedSession {
    /// The value of the session cookie.
    pub token: String,
    pub session: SessionGuard,
}

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown account or wrong password; the two are deliberately indistinguishable.
    #[error("invalid user name or password")]
    InvalidCredentials,
    /// The password is right, but the account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// Too many failed attempts; holds the remaining wait.
    #[error("too many failed attempts; wait {} s", .0.as_secs() + 1)]
    Throttled(Duration),
    /// Too many concurrent sign-ins.
    #[error("too many concurrent sign-ins")]
    Busy,
    /// etcd is unreachable.
    #[error("etcd is unreachable: {0}")]
    Unavailable(String),
    /// A fault of the console itself.
    #[error("{0}")]
    Internal(String),
}

impl From<registry::Error> for SignInError {
    fn from(error: registry::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Why a request has no live session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the session has expired")]
    Expired,
    /// Not issued by this console, or tampered with.
    #[error("the session token was not issued by this console")]
    Forged,
    /// Signed out, or the account was disabled or removed, or its password changed.
    #[error("the session has ended")]
    Ended,
    /// Accounts and sessions have not been loaded from etcd yet.
    #[error("sessions cannot be checked: {0}")]
    Unavailable(String),
}

/// Signs users in and out and resolves session tokens.
pub struct Authenticator {
    registry: Registry,
    state_prefix: String,
    cache: AccountCache,
    throttle: SignInThrottle,
    hash_threads: ThreadLimit,
    /// Reserved for known devices, so that they do not wait for the attempts of others.
    device_hash_threads: ThreadLimit,
    hash_limit: LimitCounter,
    lifetime: Duration,
    trail: AuditTrail,
    failures: Arc<FailedSignIns>,
}

fn hash_threads(max: usize) -> ThreadLimit {
    ThreadLimit::new("password-hash", max)
}

impl Authenticator {
    /// Authenticates the accounts under `state_prefix`; `cache` must watch the same prefix.
    #[must_use]
    pub fn new(
        registry: Registry,
        state_prefix: &str,
        trail: AuditTrail,
        cache: AccountCache,
        lifetime: Duration,
    ) -> Self {
        Self {
            failures: Arc::new(FailedSignIns::new(trail.clone())),
            trail,
            registry,
            state_prefix: state_prefix.to_owned(),
            cache,
            throttle: SignInThrottle::default(),
            hash_threads: hash_threads(CONCURRENT_HASHES_MAX),
            device_hash_threads: ThreadLimit::new("device-hash", 1),
            hash_limit: LimitCounter::new("password_hashes", "max-password-hashes"),
            lifetime,
        }
    }

    /// Computes at most `max` password hashes concurrently.
    #[must_use]
    pub fn with_concurrent_hashes(self, max: usize) -> Self {
        Self {
            hash_threads: hash_threads(max),
            ..self
        }
    }

    /// Sign-ins refused because too many passwords were being checked.
    #[must_use]
    pub fn hash_limit(&self) -> &LimitCounter {
        &self.hash_limit
    }

    /// The failed sign-ins, which must run to be audited.
    #[must_use]
    pub fn failures(&self) -> &Arc<FailedSignIns> {
        &self.failures
    }

    /// The cached accounts and sessions.
    #[must_use]
    pub fn cache(&self) -> &AccountCache {
        &self.cache
    }

    /// Computes the dummy hash that the first sign-in would otherwise wait for.
    pub async fn warm_up(&self) {
        let slot = self.hash_threads.slot().await;
        if let Err(error) = slot.run(password::warm_up).await {
            tracing::warn!(%error, "Could not compute the first password hash: {error}");
        }
    }

    /// Checks the password and creates a session.
    ///
    /// # Errors
    /// [`SignInError`]; an unknown account takes as long as a wrong password.
    pub async fn sign_in(
        &self,
        username: &str,
        password: &str,
        origin: impl Into<SignInOrigin<'_>>,
    ) -> Result<IssuedSession, SignInError> {
        let SignInOrigin { address, device } = origin.into();
        let name: Option<UserName> = username.parse().ok();
        // All invalid names share one slot, so that they cannot fill the throttle's memory.
        let account = name.as_ref().map_or("", UserName::as_str);
        let device = self.known_device(name.as_ref(), device);
        let attempt = self
            .throttle
            .begin_attempt(account, address, device, Instant::now())
            .map_err(SignInError::Throttled)?;
        let hashes = if attempt.is_from_device() {
            &self.device_hash_threads
        } else {
            &self.hash_threads
        };
        let result = self.authenticate(name.as_ref(), password, hashes).await;
        match &result {
            Ok(_) => tracing::info!(user = account, %address, "{account} signed in from {address}"),
            // Log only valid names: anything else may be a password typed into the wrong field.
            Err(error) => {
                tracing::warn!(user = account, %address, "Sign-in from {address} refused: {error}")
            }
        }
        self.record_sign_in(name.as_ref(), address, &result).await;
        match &result {
            Ok(_) | Err(SignInError::Disabled) => self.throttle.record_success(&attempt),
            Err(SignInError::InvalidCredentials | SignInError::Throttled(_)) => {}
            Err(SignInError::Busy | SignInError::Unavailable(_) | SignInError::Internal(_)) => {
                self.throttle.cancel_attempt(&attempt);
            }
        }
        result
    }

    /// The id of the device, if it is known to the account `name`.
    fn known_device(&self, name: Option<&UserName>, token: Option<&str>) -> Option<Uuid> {
        let (name, token) = (name?, token?);
        let credential = self.cache.credential_tag(name)?;
        let signer = self.cache.signer()?;
        device::verify(&signer, token, name, &credential)
    }

    /// A token by which the account of `session` knows the client's device; `None` if it cannot be signed.
    #[must_use]
    pub fn device_token(&self, session: &SessionGuard) -> Option<DeviceToken> {
        let principal = &session.principal;
        let name: UserName = principal.username.parse().ok()?;
        let signer = self.cache.signer()?;
        device::issue(&signer, &name, &principal.credential, now())
    }

    /// Records decided sign-ins: failed ones aggregated. Attempts that were turned away undecided are not recorded.
    async fn record_sign_in(
        &self,
        name: Option<&UserName>,
        address: IpAddr,
        result: &Result<IssuedSession, SignInError>,
    ) {
        let reason = match result {
            Ok(_) => None,
            Err(SignInError::InvalidCredentials) => Some(FailureReason::Credentials),
            Err(SignInError::Disabled) => Some(FailureReason::Disabled),
            Err(_) => return,
        };
        if let Some(reason) = reason {
            let known = name.filter(|name| self.cache.has_account(name));
            self.failures
                .count(known.cloned(), network_of(address), reason, now());
            return;
        }
        // In the order in which they happened.
        let _ = tokio::time::timeout(AUDIT_TIMEOUT, self.failures.write_first()).await;
        let account = name.map_or("", UserName::as_str);
        let detail = BTreeMap::from([("address".to_owned(), address.to_string())]);
        self.record_event(AuditEvent::SIGNED_IN, account, detail)
            .await;
    }

    /// Adds an audit entry within a deadline. An unwritable trail must not lock out the people who may be about to repair
    /// it; the missing entry is logged instead.
    async fn record_event(
        &self,
        event: AuditEvent,
        account: &str,
        detail: BTreeMap<String, String>,
    ) {
        let record = AuditRecord {
            at: now(),
            actor: if account.is_empty() {
                "nobody"
            } else {
                account
            }
            .to_owned(),
            event: event.clone(),
            cluster: None,
            subject: Some(account.to_owned()).filter(|name| !name.is_empty()),
            detail,
        };
        let written = tokio::time::timeout(AUDIT_TIMEOUT, self.trail.record(record)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(user = account, event = event.as_str(), %error, "Could not write an audit entry: {error}");
            }
            Err(_) => {
                tracing::error!(
                    user = account,
                    event = event.as_str(),
                    "Could not write an audit entry: etcd is too slow"
                );
            }
        }
    }

    async fn authenticate(
        &self,
        name: Option<&UserName>,
        password: &str,
        hashes: &ThreadLimit,
    ) -> Result<IssuedSession, SignInError> {
        if let Some(error) = self.cache.etcd_error() {
            return Err(SignInError::Unavailable(error));
        }
        if password.len() > PASSWORD_MAX_BYTES {
            return Err(SignInError::InvalidCredentials);
        }
        let user = match name {
            Some(name) => self
                .load_user(name)
                .await?
                .map(|(record, revision)| (name, record, revision)),
            None => None,
        };
        let hash = user
            .as_ref()
            .map(|(_, record, _)| record.password_hash.clone());
        if !self
            .verify_password(password.to_owned(), hash, hashes)
            .await?
        {
            return Err(SignInError::InvalidCredentials);
        }
        match user {
            Some((_, record, _)) if record.disabled => Err(SignInError::Disabled),
            Some((name, record, revision)) => self.create_session(name, record, revision).await,
            None => Err(SignInError::InvalidCredentials),
        }
    }

    async fn load_user(&self, name: &UserName) -> Result<Option<(UserRecord, i64)>, SignInError> {
        let entry = match self.registry.get(user_key(&self.state_prefix, name)).await {
            // Reported elsewhere; such a record grants no access, like one that does not exist.
            Err(registry::Error::Tampered { .. }) => None,
            entry => entry?,
        };
        let Some(entry) = entry else {
            return Ok(None);
        };
        match serde_json::from_slice(&entry.value) {
            Ok(record) => Ok(Some((record, entry.mod_revision))),
            Err(error) => {
                tracing::error!(user = %name, %error, "The record of account {name} is damaged: {error}");
                Ok(None)
            }
        }
    }

    async fn verify_password(
        &self,
        password: String,
        hash: Option<String>,
        hashes: &ThreadLimit,
    ) -> Result<bool, SignInError> {
        let slot = tokio::time::timeout(HASH_TIMEOUT, hashes.slot());
        let Ok(slot) = slot.await else {
            self.hash_limit
                .refuse("a sign-in is refused, because others are being checked");
            return Err(SignInError::Busy);
        };
        slot.run(move || password::verify(&password, hash.as_deref()))
            .await
            .map_err(|error| SignInError::Internal(format!("the password check failed: {error}")))
    }

    async fn create_session(
        &self,
        name: &UserName,
        user: UserRecord,
        revision: i64,
    ) -> Result<IssuedSession, SignInError> {
        let signer = self.cache.signer().ok_or_else(|| {
            SignInError::Unavailable("the signing key has not been loaded from etcd".to_owned())
        })?;
        let internal = |error: String| SignInError::Internal(error);
        let (id, created_at) = (Uuid::new_v4(), now());
        let record = SessionRecord {
            username: name.clone(),
            credential: user.credential,
            created_at,
            expires_at: created_at.plus(self.lifetime),
        };
        let claims = SessionClaims::new(name.clone(), id, created_at, record.expires_at);
        let token = signer
            .sign(&claims)
            .map_err(|error| internal(format!("the session could not be signed: {error}")))?;
        let value = serde_json::to_vec(&record).map_err(|error| internal(error.to_string()))?;
        let lease = self
            .registry
            .grant_without_keep_alive(self.lifetime)
            .await?;
        let key = session_key(&self.state_prefix, id);
        let transaction = Transaction::new()
            // The account was disabled or its password changed while the hash was computed: the client retries.
            .when(Precondition::Unchanged(
                user_key(&self.state_prefix, name).into_bytes(),
                revision,
            ))
            .then([WriteOp::put(key, value, Some(lease))]);
        if let TransactionOutcome::Refused { .. } = self.registry.transact(&transaction).await? {
            return Err(SignInError::Busy);
        }
        self.cache
            .insert_ahead_of_watch(id, record, lease, Some((user, revision)), created_at);
        self.end_surplus_sessions(name, id).await;
        let session = self
            .cache
            .session(id, created_at)
            .map_err(|_| SignInError::Busy)?;
        Ok(IssuedSession { token, session })
    }

    /// Ends the oldest sessions of an account that has more than [`SESSIONS_PER_ACCOUNT_MAX`].
    async fn end_surplus_sessions(&self, name: &UserName, newest: Uuid) {
        let sessions = self.cache.sessions_of(name);
        let surplus = sessions.len().saturating_sub(SESSIONS_PER_ACCOUNT_MAX);
        for (id, lease) in sessions
            .into_iter()
            .filter(|(id, _)| *id != newest)
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
        let Some(signer) = self.cache.signer() else {
            let reason = self
                .cache
                .etcd_error()
                .or_else(|| self.cache.unready_reason().map(str::to_owned));
            return Err(SessionError::Unavailable(reason.unwrap_or_default()));
        };
        let claims = signer.verify(token).map_err(|error| match error {
            TokenError::Expired => SessionError::Expired,
            TokenError::Forged => SessionError::Forged,
        })?;
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
            Err(_) => Err(SessionError::Ended),
        }
    }

    fn is_recent(claims: &SessionClaims, now: Timestamp) -> bool {
        Timestamp::from_unix_millis(claims.iat.saturating_mul(1000)).age(now) < WATCH_LAG_MAX
    }

    /// Reads a session from etcd that another replica may have just created.
    async fn fetch_session(
        &self,
        claims: &SessionClaims,
        now: Timestamp,
    ) -> Result<SessionGuard, SessionError> {
        let unavailable = |error: registry::Error| SessionError::Unavailable(error.to_string());
        let entry = self
            .registry
            .get(session_key(&self.state_prefix, claims.sid))
            .await;
        let entry = match entry {
            Err(registry::Error::Tampered { .. }) => None,
            entry => entry.map_err(unavailable)?,
        };
        let entry = entry.ok_or(SessionError::Ended)?;
        let record: SessionRecord =
            serde_json::from_slice(&entry.value).map_err(|_| SessionError::Ended)?;
        let user = self.load_user(&record.username).await;
        let user = user.map_err(|error| SessionError::Unavailable(error.to_string()))?;
        self.cache
            .insert_ahead_of_watch(claims.sid, record, entry.lease, user, now);
        self.cache
            .session(claims.sid, now)
            .map_err(|_| SessionError::Ended)
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
