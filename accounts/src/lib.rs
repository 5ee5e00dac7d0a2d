//! Local accounts and their sessions, kept in etcd and watched, so that a change takes effect in every replica at once.
//!
//! Invariant: a session is live exactly as long as its record exists, has not expired, and its account exists, is
//! enabled and still has the password that it was signed in with.

mod authenticator;
mod cache;
mod password;
mod records;
pub mod store;
mod throttle;
pub mod token;

pub use authenticator::{Authenticator, IssuedSession, SessionError, SignInError};
pub use cache::AccountCache;
pub use password::{PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARACTERS, PasswordError};
pub use records::{UserName, UserNameError, UserRecord};
