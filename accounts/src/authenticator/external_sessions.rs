//! Sessions that began at an identity provider: what is kept of them, and how the provider ends them.

use std::collections::BTreeMap;
use std::time::Duration;

use console_core::keyspace::AccountKeys;
use console_core::session::SessionGuard;
use data_encoding::HEXLOWER;
use galera::record::audit::AuditEvent;
use registry::CreateOutcome;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Authenticator;
use super::errors::SignInError;
use crate::records::{ExternalIdentity, SessionRecord, UserName};

/// Longest ID token that is kept for signing out at the provider, in bytes.
const ID_TOKEN_MAX: usize = 16 * 1024;

impl Authenticator {
    /// Keeps the ID token of a session for as long as that. Without it, signing out at the provider asks the person there.
    pub(super) async fn keep_id_token(&self, session: &SessionGuard, id_token: &str) {
        let Some(lease) = self.cache.session_lease(session.id) else {
            return;
        };
        if id_token.len() > ID_TOKEN_MAX {
            return;
        }
        let key = AccountKeys::new(&self.state_prefix).provider_session(session.id);
        let written = self
            .registry
            .put(key, id_token.as_bytes().to_vec(), Some(lease));
        if let Err(error) = written.await {
            tracing::warn!(%error, "Could not keep an ID token: {error}");
        }
    }

    /// The ID token that `session` began with; `None` if it is not kept.
    pub async fn provider_id_token(&self, session: &SessionGuard) -> Option<String> {
        let key = AccountKeys::new(&self.state_prefix).provider_session(session.id);
        let entry = self.registry.get(key).await.ok()??;
        String::from_utf8(entry.value).ok()
    }

    /// Ends the sessions that the provider has ended: the one that it calls `provider_session`, else all of `identity`, in every
    /// replica. Returns how many.
    ///
    /// # Errors
    /// When etcd is unreachable; some sessions may then have ended.
    pub async fn end_provider_sessions(
        &self,
        identity: Option<&ExternalIdentity>,
        provider_session: Option<&str>,
    ) -> Result<usize, SignInError> {
        let account = match identity {
            Some(identity) => match self.identity_record(identity).await? {
                Some((record, _)) => Some(record.account),
                None => return Ok(0),
            },
            None => None,
        };
        let prefix = AccountKeys::new(&self.state_prefix).sessions();
        let mut ended: BTreeMap<UserName, usize> = BTreeMap::new();
        for entry in self.registry.list(prefix.clone()).await?.entries {
            let id = String::from_utf8_lossy(&entry.key)
                .strip_prefix(&prefix)
                .and_then(|id| id.parse::<Uuid>().ok());
            let record: Option<SessionRecord> = serde_json::from_slice(&entry.value).ok();
            let (Some(id), Some(record)) = (id, record) else {
                continue;
            };
            let of_account = account.as_ref().is_none_or(|name| record.username == *name);
            let of_session = match provider_session {
                Some(session) => record.provider_session.as_deref() == Some(session),
                None => account.is_some(),
            };
            if !(of_account && of_session && record.username.is_external()) {
                continue;
            }
            self.registry.revoke(entry.lease).await?;
            self.cache.remove_session(id);
            *ended.entry(record.username).or_default() += 1;
        }
        for (name, sessions) in &ended {
            tracing::info!(user = %name, sessions, "The identity provider ended {sessions} sessions of {name}");
            let detail = BTreeMap::from([
                ("sessions".to_owned(), sessions.to_string()),
                ("by".to_owned(), "identity provider".to_owned()),
            ]);
            self.record_event(AuditEvent::SESSIONS_ENDED, name.as_str(), detail)
                .await;
        }
        Ok(ended.values().sum())
    }

    /// Whether `message` is accepted for the first time, in any replica, within `period`.
    ///
    /// # Errors
    /// When etcd does not answer: then it must not be accepted.
    pub async fn accept_once(&self, message: &str, period: Duration) -> Result<bool, SignInError> {
        let digest = HEXLOWER.encode(&Sha256::digest(message));
        let key = AccountKeys::new(&self.state_prefix).accepted_once(&digest);
        let lease = self.registry.grant_without_keep_alive(period).await?;
        let created = self.registry.create(key, Vec::new(), Some(lease)).await?;
        Ok(matches!(created, CreateOutcome::Created { .. }))
    }
}
