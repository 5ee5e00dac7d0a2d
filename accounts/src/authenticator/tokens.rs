//! Resolves API tokens, and records their use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use console_core::keyspace::AccountKeys;
use console_core::session::{SessionGuard, TokenCredential};
use galera::Timestamp;
use galera::publish::accounts::TokenState;
use galera::record::audit::{AuditEvent, AuditRecord, actor_via_token};
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};
use tokio_util::task::TaskTracker;

use super::Authenticator;
use crate::api_token::{
    ADDRESSES_MAX, TokenId, TokenRecord, TokenText, TokenTextError, TokenUseRecord,
};
use crate::cache::{LiveToken, now};
use crate::records::UserName;
use crate::throttle::network_of;
use crate::token_store::{CreatedToken, token_detail};

/// Shortest time between two records of a token's use at known addresses.
const USE_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest time between two look-ups of unknown tokens in etcd: anyone can send one.
const READ_INTERVAL: Duration = Duration::from_millis(200);

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// It does not have the format of a token.
    #[error("not an API token")]
    Malformed,
    /// It has the format, but was changed or cut.
    #[error("the checksum of the API token is wrong")]
    Checksum,
    /// Unknown, or its secret is wrong; the two are deliberately indistinguishable.
    #[error("unknown API token")]
    Invalid,
    /// It can no longer be used. Only a client that has its secret gets this.
    #[error("the API token is {}", .0.as_str())]
    Over(TokenState),
    /// Too many wrong tokens came from the address; holds the remaining wait.
    #[error("too many wrong tokens; wait {} s", .0.as_secs() + 1)]
    Throttled(Duration),
    /// Tokens have not been loaded from etcd.
    #[error("tokens cannot be checked: {0}")]
    Unavailable(String),
}

impl Authenticator {
    /// The account that the API token `text` stands for, with the roles that both have now.
    ///
    /// # Errors
    /// [`TokenRefusal`]. Wrong tokens count for `address`; a right one is accepted whatever came from there before.
    pub async fn resolve_token(
        &self,
        text: &str,
        address: IpAddr,
    ) -> Result<SessionGuard, TokenRefusal> {
        if let Some(reason) = self.cache.unready_reason() {
            return Err(TokenRefusal::Unavailable(reason.to_owned()));
        }
        match self.check_token(text).await {
            Ok(live) => {
                let (id, record) = live;
                let mut token = self.live_token(&id, &record);
                if let Err(TokenRefusal::Over(TokenState::Ended)) = token
                    && self.may_read_tokens()
                {
                    // Another replica may have just added or changed the account.
                    self.learn_account(&record.account).await;
                    token = self.live_token(&id, &record);
                }
                let token = token?;
                self.note_token_use(&id, &token, address);
                Ok(token.guard)
            }
            Err(refusal) => {
                let counted = self.throttle.count_wrong_token(address, Instant::now());
                Err(counted.err().map_or(refusal, TokenRefusal::Throttled))
            }
        }
    }

    /// The record of the token `text`, if its secret is right.
    async fn check_token(&self, text: &str) -> Result<(TokenId, Arc<TokenRecord>), TokenRefusal> {
        let token = TokenText::parse(text).map_err(|error| match error {
            TokenTextError::Malformed => TokenRefusal::Malformed,
            TokenTextError::Checksum => TokenRefusal::Checksum,
        })?;
        let record = match self.cache.token_record(&token.id) {
            Some(record) => record,
            None => self
                .fetch_token(&token.id)
                .await
                .ok_or(TokenRefusal::Invalid)?,
        };
        if !record.hash.matches(&token, &record.account) {
            return Err(TokenRefusal::Invalid);
        }
        Ok((token.id, record))
    }

    fn live_token(&self, id: &TokenId, record: &TokenRecord) -> Result<LiveToken, TokenRefusal> {
        let mut live = self
            .cache
            .live_token(id, now())
            .map_err(TokenRefusal::Over)?;
        if live.record.hash != record.hash {
            return Err(TokenRefusal::Invalid);
        }
        let policy = &self.policy;
        let may_approve = if !live.user.kind.is_service() {
            // A token is no recent proof.
            policy.step_up_interval.is_none()
                && live.user.factor.is_none()
                && !live
                    .user
                    .roles
                    .iter()
                    .any(|role| policy.second_factor_roles.contains(role))
        } else {
            policy.service_approval
        };
        let principal = &mut live.guard.principal;
        if let Some(token) = &principal.token {
            principal.token = Some(Arc::new(TokenCredential {
                may_approve,
                ..TokenCredential::clone(token)
            }));
        }
        Ok(live)
    }

    /// Reads a token that another replica may have just created; rarely, because anyone can send an unknown one.
    async fn fetch_token(&self, id: &TokenId) -> Option<Arc<TokenRecord>> {
        if !self.may_read_tokens() {
            return None;
        }
        let key = AccountKeys::new(&self.state_prefix).token(id.as_str());
        let entry = self.registry.get(key).await.ok()??;
        let record: TokenRecord = serde_json::from_slice(&entry.value).ok()?;
        self.learn_account(&record.account).await;
        self.cache
            .learn_token(id.clone(), record, entry.lease, entry.mod_revision, now());
        self.cache.token_record(id)
    }

    /// Whether etcd may be read for a token now.
    fn may_read_tokens(&self) -> bool {
        let mut last = super::lock(&self.tokens_read);
        let due = last.is_none_or(|at| at.elapsed() >= READ_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    /// Takes over the account `name` as etcd has it, before the watch reports it.
    async fn learn_account(&self, name: &UserName) {
        // Without an answer, the watch delivers it.
        if let Ok(Some((user, revision))) = self.load_user(name).await {
            self.cache.learn_account(name, user, revision, now());
        }
    }

    /// Makes a token that this replica created known to it before the watch reports it.
    pub async fn learn_created_token(&self, created: &CreatedToken) {
        self.learn_account(&created.record.account).await;
        let key = AccountKeys::new(&self.state_prefix).token(created.id.as_str());
        // Otherwise the watch delivers it.
        if let Ok(Some(entry)) = self.registry.get(key).await {
            let (id, record) = (created.id.clone(), created.record.clone());
            self.cache
                .learn_token(id, record, entry.lease, entry.mod_revision, now());
        }
    }

    /// Makes the revocation of a token known to this replica before the watch reports it.
    pub async fn learn_revoked_token(&self, id: &TokenId) {
        let key = AccountKeys::new(&self.state_prefix).token(id.as_str());
        if let Ok(Some(entry)) = self.registry.get(key).await
            && let Ok(record) = serde_json::from_slice(&entry.value)
        {
            self.cache
                .learn_token(id.clone(), record, entry.lease, entry.mod_revision, now());
        }
    }

    /// Records that a token is used: at most once a minute, and whenever the address is new. Does not wait for etcd.
    fn note_token_use(&self, id: &TokenId, token: &LiveToken, address: IpAddr) {
        let (at, seen) = (now(), self.cache.token_use(id));
        let network = network_of(address);
        let is_new = match &seen {
            None => true,
            Some((last, _)) => {
                !last.networks.contains(&network) && last.networks.len() < ADDRESSES_MAX
            }
        };
        let is_due = seen
            .as_ref()
            .is_none_or(|(last, _)| last.at.age(at) >= USE_INTERVAL);
        if !(is_new || is_due) || !super::lock(&self.uses_in_flight).insert(id.clone()) {
            return;
        }
        let mut networks = seen.as_ref().map(|(last, _)| last.networks.clone());
        if is_new {
            networks.get_or_insert_default().push(network);
        }
        let record = TokenUseRecord {
            at,
            address,
            networks: networks.unwrap_or_default(),
        };
        let event = is_new.then_some(match &seen {
            None => AuditEvent::TOKEN_FIRST_USED,
            Some(_) => AuditEvent::TOKEN_USED_ELSEWHERE,
        });
        let revision = seen.map(|(_, revision)| revision);
        let (id, details) = (id.clone(), Arc::clone(&token.record));
        let audit = event.map(|event| use_audit(event, &id, &details, address, at));
        let key = AccountKeys::new(&self.state_prefix).token_use(id.as_str());
        let (cache, trail, lease) = (self.cache.clone(), self.trail.clone(), token.lease);
        let in_flight = Arc::clone(&self.uses_in_flight);
        TaskTracker::new().spawn(async move {
            let Ok(value) = serde_json::to_vec(&record) else {
                return;
            };
            let unchanged = match revision {
                Some(revision) => Precondition::Unchanged(key.clone().into_bytes(), revision),
                None => Precondition::Absent(key.clone().into_bytes()),
            };
            let transaction = Transaction::new()
                .when(unchanged)
                .then([WriteOp::put(key, value, Some(lease))]);
            match trail.commit(&transaction, audit.as_slice()).await {
                Ok(TransactionOutcome::Committed { revision }) => {
                    cache.note_token_use(&id, record, revision);
                }
                // Another replica recorded a use; the watch delivers it.
                Ok(TransactionOutcome::Refused { .. }) => {}
                Err(error) => {
                    tracing::debug!(token = %id, %error, "Could not record the use of a token: {error}");
                }
            }
            super::lock(&in_flight).remove(&id);
        });
    }
}

fn use_audit(
    event: AuditEvent,
    id: &TokenId,
    record: &TokenRecord,
    address: IpAddr,
    at: Timestamp,
) -> AuditRecord {
    let mut detail: BTreeMap<String, String> = token_detail(id, record);
    detail.insert("address".to_owned(), address.to_string());
    AuditRecord {
        at,
        actor: actor_via_token(record.account.as_str(), &record.name),
        event,
        cluster: None,
        subject: Some(record.account.to_string()),
        detail,
    }
}
