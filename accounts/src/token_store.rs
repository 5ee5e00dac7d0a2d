//! API tokens in etcd: created and revoked with their audit entries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use console_core::audit::{AuditError, AuditTrail};
use console_core::keyspace::AccountKeys;
use galera::Timestamp;
use galera::access::{ClusterScope, Role, SCOPE_PATTERNS_MAX};
use galera::publish::accounts::{TokenState, TokenView};
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, Registry, RegistryEntry, Transaction, TransactionOutcome, WriteOp};

use super::api_token::{
    TOKEN_NAME_MAX, TokenHash, TokenId, TokenRecord, TokenText, TokenUseRecord,
};
use super::records::{UserName, UserRecord};
use super::store::{parse_user_key, role_names, user_key};

/// Longest validity of a token of a service account.
pub const SERVICE_TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Default of the longest validity of a person's token.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(90 * 86_400);
/// Active tokens of one account.
const TOKENS_PER_ACCOUNT_MAX: usize = 50;
/// How long the record of a token is kept after its end, so that its use is answered with the cause.
const KEPT_AFTER_END: Duration = Duration::from_secs(30 * 86_400);
/// Attempts of a compare-and-swap before it fails as contended.
const ATTEMPTS: usize = 5;

/// What a new token is to be.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What its owner calls it; unique among the active tokens of the account.
    pub name: String,
    /// Roles of its account.
    pub roles: Vec<Role>,
    /// The clusters that it is limited to.
    pub clusters: ClusterScope,
    pub expires_at: Timestamp,
}

/// Why a token could not be created or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// No such account, or it is disabled.
    #[error("no enabled account {0}; `galera-console user list` lists all accounts")]
    UnknownAccount(UserName),
    /// An account of an identity provider has no tokens.
    #[error(
        "{0} signs in with the identity provider, whose answer to a sign-in does not count for the life of a token; use a service account"
    )]
    ExternalAccount(UserName),
    /// No such token.
    #[error("unknown token {0}; `galera-console token list` lists all tokens")]
    Unknown(String),
    /// The name is empty, too long or has other characters.
    #[error(
        "invalid token name; use 1 to {TOKEN_NAME_MAX} letters, digits and the characters '.', '_' and '-'"
    )]
    InvalidName,
    /// Another active token has the name.
    #[error(
        "account {account} already has an active token {name}; revoke it or choose another name"
    )]
    NameTaken { account: UserName, name: String },
    /// No role was given.
    #[error("a token needs at least one role of its account: {0}")]
    NoRole(String),
    /// The account lacks the role.
    #[error(
        "account {account} does not have the role {role}; a token has only roles of its account"
    )]
    RoleMissing { account: UserName, role: Role },
    /// Too many patterns.
    #[error("a token is limited to at most {SCOPE_PATTERNS_MAX} clusters, patterns or labels")]
    TooManyClusters,
    /// It ends in the past, or too late.
    #[error("a token of this account must end within {} days from now ({setting})", .max.as_secs() / 86_400)]
    Expiry {
        /// Longest validity.
        max: Duration,
        /// What decides it.
        setting: &'static str,
    },
    /// Too many active tokens.
    #[error("account {0} has {TOKENS_PER_ACCOUNT_MAX} active tokens; revoke one first")]
    TooMany(UserName),
    /// This version cannot read the account.
    #[error("the record of account {0} in etcd is damaged")]
    Damaged(UserName),
    /// The account or token was changed concurrently.
    #[error("the account or token is being changed concurrently; try again")]
    Contended,
    /// etcd failed.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The audit trail failed.
    #[error(transparent)]
    Audit(AuditError),
}

impl From<AuditError> for TokenStoreError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Registry(error) => Self::Registry(error),
            error => Self::Audit(error),
        }
    }
}

/// A token that was just created.
pub struct CreatedToken {
    pub view: TokenView,
    /// The token, which is shown only once.
    pub secret: String,
    pub(crate) id: TokenId,
    pub(crate) record: TokenRecord,
}

/// The tokens under one state prefix.
#[derive(Clone, Debug)]
pub struct TokenStore {
    registry: Registry,
    trail: AuditTrail,
    state_prefix: String,
    actor: Arc<str>,
    /// Longest validity of a person's token.
    lifetime_max: Duration,
}

impl TokenStore {
    /// The tokens under `state_prefix`; changes are recorded in `trail`, as of the command line.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: &str, trail: AuditTrail) -> Self {
        Self {
            registry,
            trail,
            state_prefix: state_prefix.to_owned(),
            actor: "command line".into(),
            lifetime_max: TOKEN_LIFETIME_MAX,
        }
    }

    /// The same tokens, changed by `actor`.
    #[must_use]
    pub fn acting_as(&self, actor: &str) -> Self {
        Self {
            actor: actor.into(),
            ..self.clone()
        }
    }

    /// The same tokens; those of persons are valid for at most `max`.
    #[must_use]
    pub fn with_lifetime_max(self, max: Duration) -> Self {
        Self {
            lifetime_max: max,
            ..self
        }
    }

    /// Creates a token of `account`.
    ///
    /// # Errors
    /// [`TokenStoreError`].
    pub async fn create(
        &self,
        account: &UserName,
        new: NewToken,
        now: Timestamp,
    ) -> Result<CreatedToken, TokenStoreError> {
        let (user, revision) = self.account(account).await?;
        self.check(account, &user, &new, now).await?;
        let token = TokenText::generate();
        let mut roles = new.roles;
        roles.sort_unstable();
        roles.dedup();
        let record = TokenRecord {
            account: account.clone(),
            credential: user.credential,
            hash: TokenHash::of(&token, account),
            name: new.name,
            roles,
            clusters: new.clusters,
            created_at: now,
            created_by: self.actor.to_string(),
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let lifetime = now.age(record.expires_at) + KEPT_AFTER_END;
        let lease = self.registry.grant_without_keep_alive(lifetime).await?;
        let key = AccountKeys::new(&self.state_prefix).token(token.id.as_str());
        let transaction = Transaction::new()
            .when(Precondition::Absent(key.clone().into_bytes()))
            .when(Precondition::Unchanged(
                user_key(&self.state_prefix, account).into_bytes(),
                revision,
            ))
            .then([WriteOp::put(key, encode(&record)?, Some(lease))]);
        let audit = self.audit_record(AuditEvent::TOKEN_CREATED, &token.id, &record, now);
        match self.trail.commit(&transaction, &[audit]).await? {
            TransactionOutcome::Committed { .. } => Ok(CreatedToken {
                view: view(&token.id, &record, None, Some(&user), now),
                secret: token.expose(),
                id: token.id,
                record,
            }),
            TransactionOutcome::Refused { .. } => Err(TokenStoreError::Contended),
        }
    }

    /// Revokes the token `id`: it stops in every replica immediately. One that was revoked before stays as it is.
    ///
    /// # Errors
    /// [`TokenStoreError`].
    pub async fn revoke(&self, id: &TokenId, now: Timestamp) -> Result<(), TokenStoreError> {
        let key = AccountKeys::new(&self.state_prefix).token(id.as_str());
        for _ in 0..ATTEMPTS {
            let entry = self.registry.get(key.clone()).await?;
            let entry = entry.ok_or_else(|| TokenStoreError::Unknown(id.to_string()))?;
            let record = parse(&entry).ok_or_else(|| TokenStoreError::Unknown(id.to_string()))?;
            if record.revoked_at.is_some() {
                return Ok(());
            }
            let revoked = TokenRecord {
                revoked_at: Some(now),
                ..record
            };
            let transaction = Transaction::new()
                .when(Precondition::Unchanged(
                    entry.key.clone(),
                    entry.mod_revision,
                ))
                .then([WriteOp::put(
                    entry.key,
                    encode(&revoked)?,
                    Some(entry.lease),
                )]);
            let audit = self.audit_record(AuditEvent::TOKEN_REVOKED, id, &revoked, now);
            if let TransactionOutcome::Committed { .. } =
                self.trail.commit(&transaction, &[audit]).await?
            {
                return Ok(());
            }
        }
        Err(TokenStoreError::Contended)
    }

    /// All tokens, or those of `account`, newest first. Those that cannot be read grant nothing and are left out.
    ///
    /// # Errors
    /// [`TokenStoreError::Registry`].
    pub async fn list(
        &self,
        account: Option<&UserName>,
        now: Timestamp,
    ) -> Result<Vec<TokenView>, TokenStoreError> {
        let keys = AccountKeys::new(&self.state_prefix);
        let users: HashMap<UserName, UserRecord> = self
            .entries(&keys.users(), |name, entry| {
                let name = parse_user_key("", name.as_bytes())?;
                Some((name, serde_json::from_slice(&entry.value).ok()?))
            })
            .await?;
        let uses: HashMap<String, TokenUseRecord> = self
            .entries(&keys.token_uses(), |id, entry| {
                Some((id.to_owned(), serde_json::from_slice(&entry.value).ok()?))
            })
            .await?;
        let tokens: Vec<(TokenId, TokenRecord)> = self
            .entries(&keys.tokens(), |id, entry| {
                Some((id.parse().ok()?, parse(entry)?))
            })
            .await?;
        let mut views: Vec<TokenView> = tokens
            .iter()
            .filter(|(_, record)| account.is_none_or(|account| record.account == *account))
            .map(|(id, record)| {
                let user = users.get(&record.account);
                view(id, record, uses.get(id.as_str()), user, now)
            })
            .collect();
        views.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        Ok(views)
    }

    /// What `read` makes of the names and entries below `prefix`.
    async fn entries<T, C: FromIterator<T>>(
        &self,
        prefix: &str,
        read: impl Fn(&str, &RegistryEntry) -> Option<T>,
    ) -> Result<C, TokenStoreError> {
        let listing = self.registry.list(prefix.to_owned()).await?;
        let named = listing.entries.iter().filter_map(|entry| {
            let name = std::str::from_utf8(&entry.key).ok()?.strip_prefix(prefix)?;
            read(name, entry)
        });
        Ok(named.collect())
    }

    /// The enabled account, with its revision.
    async fn account(&self, name: &UserName) -> Result<(UserRecord, i64), TokenStoreError> {
        let entry = self
            .registry
            .get(user_key(&self.state_prefix, name))
            .await?;
        let unknown = || TokenStoreError::UnknownAccount(name.clone());
        let entry = entry.ok_or_else(unknown)?;
        let user: UserRecord = serde_json::from_slice(&entry.value)
            .map_err(|_| TokenStoreError::Damaged(name.clone()))?;
        if user.disabled {
            return Err(unknown());
        }
        Ok((user, entry.mod_revision))
    }

    async fn check(
        &self,
        account: &UserName,
        user: &UserRecord,
        new: &NewToken,
        now: Timestamp,
    ) -> Result<(), TokenStoreError> {
        if user.external.is_some() {
            return Err(TokenStoreError::ExternalAccount(account.clone()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if new.name.is_empty() || new.name.len() > TOKEN_NAME_MAX || !new.name.chars().all(allowed)
        {
            return Err(TokenStoreError::InvalidName);
        }
        if new.roles.is_empty() {
            return Err(TokenStoreError::NoRole(role_names(&user.roles)));
        }
        if let Some(&role) = new.roles.iter().find(|role| !user.roles.contains(role)) {
            let account = account.clone();
            return Err(TokenStoreError::RoleMissing { account, role });
        }
        if new.clusters.selectors().len() > SCOPE_PATTERNS_MAX {
            return Err(TokenStoreError::TooManyClusters);
        }
        let (max, setting) = match user.kind.is_person() {
            true => (self.lifetime_max, "--token-lifetime-max"),
            false => (SERVICE_TOKEN_LIFETIME_MAX, "fixed for service accounts"),
        };
        if new.expires_at <= now || new.expires_at > now.plus(max) {
            return Err(TokenStoreError::Expiry { max, setting });
        }
        let tokens = self.list(Some(account), now).await?;
        let active: Vec<&TokenView> = tokens
            .iter()
            .filter(|token| token.state == TokenState::Active)
            .collect();
        if active.iter().any(|token| token.name == new.name) {
            return Err(TokenStoreError::NameTaken {
                account: account.clone(),
                name: new.name.clone(),
            });
        }
        if active.len() >= TOKENS_PER_ACCOUNT_MAX {
            return Err(TokenStoreError::TooMany(account.clone()));
        }
        Ok(())
    }

    fn audit_record(
        &self,
        event: AuditEvent,
        id: &TokenId,
        record: &TokenRecord,
        now: Timestamp,
    ) -> AuditRecord {
        AuditRecord {
            at: now,
            actor: self.actor.to_string(),
            event,
            cluster: None,
            subject: Some(record.account.to_string()),
            detail: token_detail(id, record),
        }
    }
}

/// What audit entries record of a token.
pub(crate) fn token_detail(id: &TokenId, record: &TokenRecord) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("token".to_owned(), record.name.clone()),
        ("id".to_owned(), id.to_string()),
        ("roles".to_owned(), role_names(&record.roles)),
        ("clusters".to_owned(), record.clusters.to_string()),
        ("expires_at".to_owned(), record.expires_at.to_string()),
    ])
}

pub(crate) fn view(
    id: &TokenId,
    record: &TokenRecord,
    last: Option<&TokenUseRecord>,
    user: Option<&UserRecord>,
    now: Timestamp,
) -> TokenView {
    TokenView {
        id: id.to_string(),
        name: record.name.clone(),
        account: record.account.to_string(),
        state: record.state(user, now),
        roles: record.roles.clone(),
        clusters: record.clusters.clone(),
        created_at: record.created_at,
        created_by: record.created_by.clone(),
        expires_at: record.expires_at,
        last_used_at: last.map(|last| last.at),
        last_used_from: last.map(|last| last.address.to_string()),
    }
}

fn parse(entry: &RegistryEntry) -> Option<TokenRecord> {
    serde_json::from_slice(&entry.value).ok()
}

fn encode<T: serde::Serialize>(record: &T) -> Result<Vec<u8>, TokenStoreError> {
    serde_json::to_vec(record).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}
