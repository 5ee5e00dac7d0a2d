//! The sessions of an account, as its user sees and ends them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use console_core::keyspace::AccountKeys;
use console_core::session::SessionGuard;
use galera::Timestamp;
use galera::record::audit::AuditEvent;
use uuid::Uuid;

use super::Authenticator;
use super::errors::OwnAccountError;
use crate::cache::now;
use crate::records::{SessionRecord, UserName};

/// A session of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSessionInfo {
    pub id: Uuid,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Where its user signed in.
    pub address: Option<IpAddr>,
    /// The browser's `User-Agent`, shortened.
    pub user_agent: Option<String>,
}

impl Authenticator {
    /// The live sessions of the user of `session`, newest first.
    #[must_use]
    pub fn own_sessions(&self, session: &SessionGuard) -> Vec<OwnSessionInfo> {
        let Ok(name) = session.principal.username.parse::<UserName>() else {
            return Vec::new();
        };
        let now = now();
        let mut sessions = self.cache.sessions_of(&name);
        sessions.retain(|(_, record, _)| self.cache.is_live(record, now));
        sessions
            .into_iter()
            .rev()
            .map(|(id, record, _)| OwnSessionInfo {
                id,
                created_at: record.created_at,
                expires_at: record.expires_at,
                address: record.address,
                user_agent: record.user_agent,
            })
            .collect()
    }

    /// Ends the session `id` of the user of `session`, in every replica.
    ///
    /// # Errors
    /// [`OwnAccountError::UnknownSession`], also for a session of another account; etcd errors.
    pub async fn end_own_session(
        &self,
        session: &SessionGuard,
        id: Uuid,
    ) -> Result<(), OwnAccountError> {
        let name = &session.principal.username;
        let key = AccountKeys::new(&self.state_prefix).session(id);
        let entry = match self.registry.get(key).await {
            Err(registry::Error::Tampered { .. }) => None,
            entry => entry?,
        };
        let entry = entry.ok_or(OwnAccountError::UnknownSession)?;
        let record: Option<SessionRecord> = serde_json::from_slice(&entry.value).ok();
        if record.is_none_or(|record| record.username.as_str() != &**name) {
            return Err(OwnAccountError::UnknownSession);
        }
        self.registry.revoke(entry.lease).await?;
        self.cache.remove_session(id);
        let detail = BTreeMap::from([("session".to_owned(), id.to_string())]);
        self.record_event(AuditEvent::SESSION_ENDED, name, detail)
            .await;
        Ok(())
    }

    /// Ends every session of the user of `session`, also that one, in every replica. Returns how many.
    ///
    /// # Errors
    /// When etcd is unreachable; some sessions may then have ended.
    pub async fn end_own_sessions(&self, session: &SessionGuard) -> Result<usize, OwnAccountError> {
        let name = &session.principal.username;
        let prefix = AccountKeys::new(&self.state_prefix).sessions();
        let mut ended = 0;
        for entry in self.registry.list(prefix.clone()).await?.entries {
            let id = String::from_utf8_lossy(&entry.key)
                .strip_prefix(&prefix)
                .and_then(|id| id.parse::<Uuid>().ok());
            let record: Option<SessionRecord> = serde_json::from_slice(&entry.value).ok();
            let (Some(id), Some(record)) = (id, record) else {
                continue;
            };
            if record.username.as_str() != &**name {
                continue;
            }
            self.registry.revoke(entry.lease).await?;
            self.cache.remove_session(id);
            ended += 1;
        }
        let detail = BTreeMap::from([("sessions".to_owned(), ended.to_string())]);
        self.record_event(AuditEvent::SESSIONS_ENDED, name, detail)
            .await;
        Ok(ended)
    }
}
