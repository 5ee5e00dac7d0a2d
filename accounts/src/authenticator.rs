//! Signs users in and out and resolves session tokens: the only place that decides whether a request has a live session.

mod codes;
mod errors;
mod external;
mod external_sessions;
mod own_account;
mod own_sessions;
mod sessions;
mod step_up;
mod tokens;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use console_core::audit::AuditTrail;
use console_core::limit::LimitCounter;
use console_core::log_budget::LogBudget;
use console_core::session::SessionGuard;
use console_core::threads::ThreadLimit;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::Registry;

use super::activity::SessionActivity;
use super::api_token::TokenId;
use super::browser_state;
use super::cache::{AccountCache, now};
use super::device::{self, DeviceToken, KnownDevice};
use super::factor::CodeKind;
use super::failed_sign_ins::{FailedSignIns, FailureReason};
use super::hash_queue::HashQueue;
use super::password::{self, PASSWORD_MAX_BYTES};
use super::policy::SignInPolicy;
use super::records::{UserName, UserRecord};
use super::store::user_key;
use super::throttle::{SignInAttempt, SignInThrottle, network_of};
use super::token::{SessionOrigin, SignInClaims, TokenError};

pub use errors::{OwnAccountError, SessionError, SignInError};
pub use external::ExternalSignIn;
pub use own_account::{EnrolmentOffer, FactorState, OwnProfile};
pub use own_sessions::OwnSessionInfo;
pub use step_up::OwnerProof;
pub use tokens::TokenRefusal;

/// Default number of password hashes computed concurrently for unknown devices; each takes 46 MiB and one core.
pub const CONCURRENT_HASHES_MAX: usize = 2;
/// How long a sign-in may wait for a hash slot.
const HASH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a sign-in waits for its audit entry to be written.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a right password waits for a code.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(300);
/// Attempts of a compare-and-swap before it fails as contended.
const ATTEMPTS: usize = 5;

/// The client that signs in.
#[derive(Clone, Debug)]
pub struct SignInClient {
    pub address: IpAddr,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// The device tokens that it sent.
    pub devices: Vec<String>,
}

/// A successful sign-in.
#[derive(Clone, Debug)]
pub struct IssuedSession {
    /// The value of the session cookie.
    pub token: String,
    pub session: SessionGuard,
    /// The device, if the account had been signed in to on it before.
    pub known_device: Option<KnownDevice>,
}

/// Signs users in and out and resolves session tokens.
pub struct Authenticator {
    registry: Registry,
    state_prefix: String,
    cache: AccountCache,
    throttle: SignInThrottle,
    /// Sign-ins from unknown devices wait here.
    hash_queue: HashQueue,
    /// The threads for those whose turn it is.
    hash_threads: ThreadLimit,
    /// Reserved for known devices and signed-in users, so that they do not wait for the attempts of others.
    reserved_hash_threads: ThreadLimit,
    hash_limit: LimitCounter,
    policy: SignInPolicy,
    trail: AuditTrail,
    failures: Arc<FailedSignIns>,
    activity: Mutex<SessionActivity>,
    /// When the keys of sessions were last read because a token named an unknown one.
    keys_read: Mutex<Option<Instant>>,
    /// When an unknown token was last looked up in etcd.
    tokens_read: Mutex<Option<Instant>>,
    /// Tokens whose use is being written.
    uses_in_flight: Arc<Mutex<HashSet<TokenId>>>,
}

/// Which threads compute a password hash.
#[derive(Clone, Copy)]
enum HashClass {
    /// Of a known device or a signed-in user.
    Reserved,
    /// Of an unknown device, with the recent failures around its address.
    Unknown { failures_nearby: u32 },
}

impl HashClass {
    fn of(attempt: &SignInAttempt) -> Self {
        match attempt {
            SignInAttempt::Device(_) => Self::Reserved,
            SignInAttempt::Other {
                failures_nearby, ..
            } => Self::Unknown {
                failures_nearby: *failures_nearby,
            },
        }
    }
}

fn hash_threads(max: usize) -> ThreadLimit {
    ThreadLimit::new("password-hash", max)
}

/// Lines about refused sign-ins in a minute; the audit trail counts all of them.
static REFUSED_SIGN_INS: LogBudget = LogBudget::new(60);

impl Authenticator {
    /// Authenticates the accounts under `state_prefix`; `cache` must watch the same prefix.
    #[must_use]
    pub fn new(
        registry: Registry,
        state_prefix: &str,
        trail: AuditTrail,
        cache: AccountCache,
        policy: SignInPolicy,
    ) -> Self {
        Self {
            failures: Arc::new(FailedSignIns::new(trail.clone())),
            trail,
            registry,
            state_prefix: state_prefix.to_owned(),
            cache,
            throttle: SignInThrottle::default(),
            hash_queue: HashQueue::new(CONCURRENT_HASHES_MAX),
            hash_threads: hash_threads(CONCURRENT_HASHES_MAX),
            reserved_hash_threads: ThreadLimit::new("reserved-hash", 1),
            hash_limit: LimitCounter::new("password_hashes", "max-password-hashes"),
            policy,
            activity: Mutex::default(),
            keys_read: Mutex::default(),
            tokens_read: Mutex::default(),
            uses_in_flight: Arc::default(),
        }
    }

    /// Computes at most `max` password hashes for unknown devices concurrently.
    #[must_use]
    pub fn with_concurrent_hashes(self, max: usize) -> Self {
        Self {
            hash_queue: HashQueue::new(max),
            hash_threads: hash_threads(max),
            ..self
        }
    }

    /// The threads that compute password hashes of known devices and signed-in users.
    #[must_use]
    pub fn reserved_hash_threads(&self) -> &ThreadLimit {
        &self.reserved_hash_threads
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
        let slot = self.reserved_hash_threads.slot().await;
        if let Err(error) = slot.run(password::warm_up).await {
            tracing::warn!(%error, "Could not compute the first password hash: {error}");
        }
    }

    /// The settings of accounts.
    #[must_use]
    pub fn policy(&self) -> &SignInPolicy {
        &self.policy
    }

    /// Checks the password, and the code where the account has a second factor, and creates a session.
    ///
    /// # Errors
    /// [`SignInError`]; an unknown account takes as long as a wrong password.
    pub async fn sign_in(
        &self,
        username: &str,
        password: &str,
        code: Option<&str>,
        client: &SignInClient,
    ) -> Result<IssuedSession, SignInError> {
        if !self.policy.local_accounts {
            return Err(SignInError::LocalAccountsOff);
        }
        let name: Option<UserName> = username.parse().ok();
        let device = self.known_device(name.as_ref(), client);
        let attempt = self.begin_attempt(name.as_ref(), client.address, device)?;
        let class = HashClass::of(&attempt);
        let authenticated = self.authenticate(name.as_ref(), password, code, client, class);
        let result = authenticated.await;
        self.conclude(name.as_ref(), client.address, device, &attempt, result)
            .await
    }

    /// Checks the code of a sign-in whose password was right, as `challenge` proves, and creates a session.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn continue_sign_in(
        &self,
        challenge: &str,
        code: &str,
        client: &SignInClient,
    ) -> Result<IssuedSession, SignInError> {
        let keys = self.cache.keys().ok_or(SignInError::SigningKeyMissing)?;
        let claims = keys
            .verify_challenge(challenge)
            .map_err(|error| match error {
                TokenError::Expired | TokenError::UnknownKey => SignInError::ChallengeExpired,
                TokenError::Forged => SignInError::InvalidCredentials,
            })?;
        let device = self.known_device(Some(&claims.sub), client);
        let attempt = self.begin_attempt(Some(&claims.sub), client.address, device)?;
        let result = self.authenticate_again(&claims, code, client).await;
        self.conclude(Some(&claims.sub), client.address, device, &attempt, result)
            .await
    }

    /// Counts the start of an attempt to sign in as `name` on `device`.
    fn begin_attempt(
        &self,
        name: Option<&UserName>,
        address: IpAddr,
        device: Option<KnownDevice>,
    ) -> Result<SignInAttempt, SignInError> {
        // All invalid names share one slot, so that they cannot fill the throttle's memory.
        let account = name.map_or("", UserName::as_str);
        let device = device.map(|device| device.id);
        self.throttle
            .begin_attempt(account, address, device, Instant::now())
            .map_err(SignInError::Throttled)
    }

    /// Counts and records the result of an attempt.
    async fn conclude(
        &self,
        name: Option<&UserName>,
        address: IpAddr,
        device: Option<KnownDevice>,
        attempt: &SignInAttempt,
        result: Result<IssuedSession, SignInError>,
    ) -> Result<IssuedSession, SignInError> {
        let account = name.map_or("", UserName::as_str);
        let result = result.map(|issued| IssuedSession {
            known_device: device,
            ..issued
        });
        match &result {
            Ok(_) => tracing::info!(user = account, %address, "{account} signed in from {address}"),
            Err(SignInError::SecondFactorRequired { .. }) => {
                tracing::info!(user = account, %address, "{account} gave the right password from {address}; a code is needed");
            }
            // Log only valid names: anything else may be a password typed into the wrong field.
            Err(error) => {
                if let Some(omitted) = REFUSED_SIGN_INS.admit("sign-in") {
                    tracing::warn!(user = account, %address, omitted, "Sign-in from {address} refused: {error}");
                }
            }
        }
        self.record_sign_in(name, address, &result).await;
        match &result {
            Ok(_) | Err(SignInError::Disabled) => self.throttle.record_success(attempt),
            Err(
                SignInError::InvalidCredentials | SignInError::Throttled(_) | SignInError::Code(_),
            ) => {}
            Err(_) => self.throttle.cancel_attempt(attempt),
        }
        result
    }

    /// The device, if it is known to the account `name`.
    fn known_device(&self, name: Option<&UserName>, client: &SignInClient) -> Option<KnownDevice> {
        let name = name?;
        let credential = self.cache.credential_tag(name)?;
        let keys = self.cache.keys()?;
        client.devices.iter().find_map(|token| {
            keys.signers()
                .find_map(|signer| device::verify(signer, token, name, &credential))
        })
    }

    /// Seals `text`, which a browser keeps for the console, for `purpose`; `None` before the keys have been loaded.
    #[must_use]
    pub fn seal_browser_state(&self, purpose: &str, text: &[u8]) -> Option<String> {
        browser_state::seal(&*self.cache.keys()?, purpose, text)
    }

    /// The text that [`Self::seal_browser_state`] sealed for `purpose`, in any replica.
    #[must_use]
    pub fn open_browser_state(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        browser_state::open(&*self.cache.keys()?, purpose, sealed)
    }

    /// A token by which the account of `session` knows the client's device; `None` if it cannot be signed.
    #[must_use]
    pub fn device_token(&self, session: &SessionGuard) -> Option<DeviceToken> {
        let principal = &session.principal;
        let name: UserName = principal.username.parse().ok()?;
        let keys = self.cache.keys()?;
        let newest = keys.signers().next()?;
        device::issue(newest, &name, &principal.credential, now())
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
            Err(SignInError::Code(_) | SignInError::FactorUnusable(_)) => Some(FailureReason::Code),
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
        let known = matches!(result, Ok(issued) if issued.known_device.is_some());
        let device = if known { "known" } else { "new" };
        let detail = BTreeMap::from([
            ("address".to_owned(), address.to_string()),
            ("device".to_owned(), device.to_owned()),
        ]);
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
                "(unknown account)"
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
        code: Option<&str>,
        client: &SignInClient,
        class: HashClass,
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
                // A service account has no password.
                .filter(|(record, _)| record.kind.is_person())
                .map(|(record, revision)| (name, record, revision)),
            None => None,
        };
        let hash = user
            .as_ref()
            .map(|(_, record, _)| record.password_hash.clone());
        if !self
            .verify_password(password.to_owned(), hash, class)
            .await?
        {
            return Err(SignInError::InvalidCredentials);
        }
        let (name, record, revision) = user.ok_or(SignInError::InvalidCredentials)?;
        let origin = SessionOrigin::default();
        self.open_session(name, record, revision, code, client, origin)
            .await
    }

    /// As [`Self::authenticate`], with the proof of `claims` that the password was right.
    async fn authenticate_again(
        &self,
        claims: &SignInClaims,
        code: &str,
        client: &SignInClient,
    ) -> Result<IssuedSession, SignInError> {
        let (record, revision) = self
            .load_user(&claims.sub)
            .await?
            .filter(|(record, _)| record.credential_tag() == claims.credential)
            .ok_or(SignInError::ChallengeExpired)?;
        let origin = claims.origin.clone().unwrap_or_default();
        self.open_session(&claims.sub, record, revision, Some(code), client, origin)
            .await
    }

    /// The proof that the password of `name` was right.
    fn challenge(&self, name: &UserName, user: &UserRecord) -> Result<String, SignInError> {
        let keys = self.cache.keys().ok_or(SignInError::SigningKeyMissing)?;
        let expires = now().plus(CHALLENGE_LIFETIME);
        let claims = SignInClaims::new(name.clone(), user.credential_tag(), expires);
        keys.sign_challenge(&claims)
            .map_err(|error| SignInError::Internal(format!("a token could not be signed: {error}")))
    }

    async fn record_code(&self, name: &UserName, kind: Option<CodeKind>) {
        if let Some(CodeKind::Recovery { left }) = kind {
            let detail = BTreeMap::from([("left".to_owned(), left.to_string())]);
            self.record_event(AuditEvent::RECOVERY_CODE_USED, name.as_str(), detail)
                .await;
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
                if let Some(omitted) = REFUSED_SIGN_INS.admit("damaged account") {
                    tracing::error!(user = %name, %error, omitted, "The record of account {name} is damaged: {error}");
                }
                Ok(None)
            }
        }
    }

    async fn verify_password(
        &self,
        password: String,
        hash: Option<String>,
        class: HashClass,
    ) -> Result<bool, SignInError> {
        self.on_hash_thread(class, move || password::verify(&password, hash.as_deref()))
            .await
    }

    /// Runs `work`, which computes a password hash, when one of the threads for that is free.
    async fn on_hash_thread<T: Send + 'static>(
        &self,
        class: HashClass,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SignInError> {
        let slot = async {
            match class {
                HashClass::Reserved => (None, self.reserved_hash_threads.slot().await),
                HashClass::Unknown { failures_nearby } => {
                    let turn = self.hash_queue.turn(failures_nearby).await;
                    (Some(turn), self.hash_threads.slot().await)
                }
            }
        };
        let Ok((turn, slot)) = tokio::time::timeout(HASH_TIMEOUT, slot).await else {
            self.hash_limit
                .refuse("a sign-in is refused, because others are being checked");
            return Err(SignInError::Busy);
        };
        // A turn lasts until its thread has ended its work, also when the request is gone.
        let work = move || {
            let _turn = turn;
            work()
        };
        slot.run(work)
            .await
            .map_err(|error| SignInError::Internal(format!("the password check failed: {error}")))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
