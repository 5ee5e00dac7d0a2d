//! Sign-on with an identity provider (OpenID Connect): the authorization code flow with PKCE, and ends of sessions that the
//! provider reports.
//!
//! A sign-in passes these in order: `SignOn::begin` redirects to the provider with a `LoginState` in a sealed cookie;
//! `SignOn::complete` exchanges the code for an ID token (`provider`), verifies it (`id_token`) and maps its groups to roles
//! ([`RoleRules`]). What the account then is, is decided in crate `accounts`.
//!
//! Invariants: nothing that the provider answers is used before it has been verified, every answer is bounded in time and size,
//! and a provider that does not answer delays no request but those that need it.

mod flow;
mod id_token;
mod login_state;
mod logout;
mod provider;
mod role_rules;

use std::path::PathBuf;
use std::time::Duration;

use notify::OutboundUrl;
use registry::Secret;

pub(crate) use flow::CallbackAnswer;
pub use flow::{SignOn, SignOnError};
pub use login_state::LOGIN_LIFETIME;
pub use role_rules::{RoleRules, RoleRulesError};

/// How people sign in with an identity provider.
#[derive(Clone, Debug)]
pub struct SignOnConfig {
    /// The `iss` of the provider.
    pub issuer: OutboundUrl,
    /// The console's name there.
    pub client_id: String,
    /// The console's secret there; `None` for a public client.
    pub client_secret: Option<Secret>,
    /// Which groups have which roles.
    pub rules: RoleRules,
    /// What the sign-in page calls the provider.
    pub name: String,
    /// Authorities (PEM) of its certificate, in addition to the system's.
    pub ca: Option<PathBuf>,
    /// Longest life of a session.
    pub session_lifetime: Duration,
}
