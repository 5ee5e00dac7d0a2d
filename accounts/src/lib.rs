//! Local accounts and their sessions, kept in etcd and watched, so that a change takes effect in every replica at once.
//!
//! Invariant: a session is live exactly as long as its record exists, has not expired, and its account exists, is
//! enabled and still has the password that it was signed in with.

mod authority;
mod directory;
mod password;
mod record;
pub mod store;
mod throttle;
pub mod token;

pub use authority::{Authority, NotSignedIn, SignInError, SignedIn};
pub use directory::Directory;
pub use password::{PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARACTERS, WeakPassword};
pub use record::{InvalidUserName, UserName, UserRecord};
