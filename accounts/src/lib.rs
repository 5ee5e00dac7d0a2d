//! Local accounts and their sessions. Both are stored in etcd and watched, so a change takes effect immediately in every
//! replica.
//!
//! A sign-in passes [`Authenticator`], which limits attempts (`SignInThrottle`), checks the password and, where the account
//! has a second factor, a code, and writes a `SessionRecord`; every later request is checked against [`AccountCache`], the
//! in-memory copy of etcd. [`store`] is what administrators manage accounts with.
//!
//! A request of a program carries an API token ([`TokenStore`]), which the same cache resolves: [`Authenticator::resolve_token`].
//!
//! Invariants: a session is live exactly as long as its record exists and has not expired, and its account exists, is
//! enabled and still has the credential of the session; the same is true of a token, which has never more roles than its account. A code is accepted in the transaction that it permits, once.

mod activity;
mod api_token;
mod authenticator;
mod browser_state;
mod cache;
mod current;
mod device;
mod external_name;
mod factor;
mod failed_sign_ins;
mod hash_queue;
mod key_rotation;
mod password;
mod policy;
mod records;
mod signing_keys;
pub mod store;
mod throttle;
pub mod token;
mod token_store;

pub use api_token::{TOKEN_PREFIX, TokenId, TokenIdError, TokenRecord, TokenUseRecord};
pub use authenticator::{
    Authenticator, CONCURRENT_HASHES_MAX, EnrolmentOffer, ExternalSignIn, FactorState,
    IssuedSession, OwnAccountError, OwnProfile, OwnSessionInfo, OwnerProof, SessionError,
    SignInClient, SignInError, TokenRefusal,
};
pub use cache::AccountCache;
pub use current::{AccountReader, AccountReading};
pub use device::{DeviceToken, KnownDevice};
pub use factor::{CodeError, CodeKind, RECOVERY_CODES, RecoveryCodes};
pub use failed_sign_ins::FailedSignIns;
pub use key_rotation::{KeyRotation, end_sessions_of_earlier_state, rotate_session_key};
pub use password::{PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARACTERS, PasswordContext, PasswordError};
pub use policy::SignInPolicy;
pub use records::{ExternalIdentity, UserName, UserNameError, UserRecord};
pub use signing_keys::SESSION_KEY_AGE_MAX;
pub use token_store::{
    CreatedToken, NewToken, SERVICE_TOKEN_LIFETIME_MAX, TOKEN_LIFETIME_MAX, TokenStore,
    TokenStoreError,
};
