//! How users sign in and what they must prove: the settings of accounts.

use std::time::Duration;

use galera::access::Role;

use super::password::PasswordContext;

/// How users sign in and what they must prove.
#[derive(Clone, Debug)]
pub struct SignInPolicy {
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// How long a session lasts without use; `None` for its whole lifetime.
    pub idle_timeout: Option<Duration>,
    /// How long a proof permits what needs a recent one; `None` for the whole session.
    pub step_up_interval: Option<Duration>,
    /// Accounts with one of these roles need a second factor.
    pub second_factor_roles: Vec<Role>,
    /// Whether service accounts with the role approver may approve.
    pub service_approval: bool,
    /// Whether accounts with a password may sign in.
    pub local_accounts: bool,
    /// Words that new passwords must not consist of.
    pub password_context: PasswordContext,
}

impl SignInPolicy {
    /// Sessions of `session_lifetime`, and nothing else required.
    #[must_use]
    pub fn new(session_lifetime: Duration) -> Self {
        Self {
            session_lifetime,
            idle_timeout: None,
            step_up_interval: None,
            second_factor_roles: Vec::new(),
            service_approval: false,
            local_accounts: true,
            password_context: PasswordContext::default(),
        }
    }

    /// How long a session's lease lasts: its record disappears with the lease, in every replica.
    pub(crate) fn lease(&self) -> Duration {
        self.idle_timeout.map_or(self.session_lifetime, |idle| {
            idle.min(self.session_lifetime)
        })
    }
}
