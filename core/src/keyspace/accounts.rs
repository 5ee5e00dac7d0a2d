//! Keys of accounts and sessions in etcd.

use uuid::Uuid;

use super::below;

/// The keys of accounts and sessions under a state prefix.
#[derive(Clone, Debug)]
pub struct AccountKeys {
    prefix: String,
}

impl AccountKeys {
    /// The keys under `state_prefix`.
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            prefix: below(state_prefix, ""),
        }
    }

    /// The prefix of every account.
    #[must_use]
    pub fn users(&self) -> String {
        format!("{}users/", self.prefix)
    }

    /// An account's record.
    #[must_use]
    pub fn user(&self, name: &str) -> String {
        format!("{}{name}", self.users())
    }

    /// The prefix of every second factor.
    #[must_use]
    pub fn factors(&self) -> String {
        format!("{}factors/", self.prefix)
    }

    /// The second factor of an account.
    #[must_use]
    pub fn factor(&self, name: &str) -> String {
        format!("{}{name}", self.factors())
    }

    /// The prefix of every session.
    #[must_use]
    pub fn sessions(&self) -> String {
        format!("{}sessions/", self.prefix)
    }

    /// A session's record.
    #[must_use]
    pub fn session(&self, id: Uuid) -> String {
        format!("{}{id}", self.sessions())
    }

    /// The prefix of every API token.
    #[must_use]
    pub fn tokens(&self) -> String {
        format!("{}tokens/", self.prefix)
    }

    /// An API token.
    #[must_use]
    pub fn token(&self, id: &str) -> String {
        format!("{}{id}", self.tokens())
    }

    /// The prefix of the last uses of every API token.
    #[must_use]
    pub fn token_uses(&self) -> String {
        format!("{}token-uses/", self.prefix)
    }

    /// The last use of an API token.
    #[must_use]
    pub fn token_use(&self, id: &str) -> String {
        format!("{}{id}", self.token_uses())
    }

    /// The prefix of every identity at a provider.
    #[must_use]
    pub fn identities(&self) -> String {
        format!("{}identities/", self.prefix)
    }

    /// Which account an identity signs in to.
    #[must_use]
    pub fn identity(&self, digest: &str) -> String {
        format!("{}{digest}", self.identities())
    }

    /// The ID token of a session that began at a provider.
    #[must_use]
    pub fn provider_session(&self, session: Uuid) -> String {
        format!("{}provider-sessions/{session}", self.prefix)
    }

    /// Exists once a message of a provider has been accepted, until it would be too old.
    #[must_use]
    pub fn accepted_once(&self, digest: &str) -> String {
        format!("{}accepted-once/{digest}", self.prefix)
    }

    /// The keys that sign sessions.
    #[must_use]
    pub fn signing_key(&self) -> String {
        format!("{}keys/session", self.prefix)
    }
}
