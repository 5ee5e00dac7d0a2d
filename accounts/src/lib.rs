//! Local accounts and their sessions. Both are stored in etcd and watched, so a change takes effect immediately in every
//! replica.
//!
//! A sign-in passes [`Authenticator`], which limits attempts (`SignInThrottle`), checks the password and writes a
//! `SessionRecord`; every later request is checked against [`AccountCache`], the in-memory copy of etcd. [`store`] is
//! what the command line uses to manage accounts.
//!
//! Invariant: a session is live exactly as long as its record exists and has not expired, and its account exists, is
//! enabled and still has the password used to sign in.

mod authenticator;
mod cache;
mod current;
mod device;
mod failed_sign_ins;
mod password;
mod records;
pub mod store;
mod throttle;
pub mod token;

pub use authenticator::{
    Authenticator, CONCURRENT_HASHES_MAX, IssuedSession, SessionError, SignInError,
};
pub use cache::AccountCache;
pub use current::{AccountReader, AccountReading};
pub use device::{DeviceToken, SignInOrigin, device_cookie_suffix};
pub use failed_sign_ins::FailedSignIns;
pub use password::{PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARACTERS, PasswordError};
pub use records::{UserName, UserNameError, UserRecord};
