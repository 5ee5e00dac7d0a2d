//! Accounts in etcd: every change is a compare-and-swap, and the last administrator cannot be removed by accident.

use console_core::keyspace::AccountKeys;
use galera::Timestamp;
use galera::access::Role;
use registry::{Precondition, Registry, RegistryEntry, Transaction, TransactionOutcome, WriteOp};
use uuid::Uuid;

use super::password::{self, PasswordError};
use super::records::{UserName, UserRecord};

/// Attempts of a compare-and-swap before it fails as contended.
const ATTEMPTS: usize = 5;

/// Why an account could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountStoreError {
    #[error("account {0} already exists; `galera-console user passwd {0}` changes its password")]
    Exists(UserName),
    /// No such account.
    #[error("no account {0}; `galera-console user list` lists all accounts")]
    Unknown(UserName),
    /// No account would be left to manage accounts.
    #[error(
        "{0} is the last enabled account with the admin role; grant another account that role first, or repeat with --force"
    )]
    LastAdmin(UserName),
    /// No role was given.
    #[error("an account needs at least one role: viewer, operator, approver or admin")]
    NoRole,
    /// The password violates the policy.
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
    /// Concurrent changes to the account won every attempt.
    #[error("account {0} is being changed concurrently; try again")]
    Contended(UserName),
    /// This version cannot read the record.
    #[error(
        "the record of account {0} in etcd is damaged: {1}; remove the account and add it again"
    )]
    Damaged(UserName, String),
    /// etcd failed.
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// The accounts under one state prefix, as the command line manages them.
#[derive(Clone, Debug)]
pub struct AccountStore {
    registry: Registry,
    state_prefix: String,
}

/// The etcd key of an account.
pub(super) fn user_key(state_prefix: &str, name: &UserName) -> String {
    AccountKeys::new(state_prefix).user(name.as_str())
}

/// The etcd key of a session.
pub(super) fn session_key(state_prefix: &str, id: Uuid) -> String {
    AccountKeys::new(state_prefix).session(id)
}

/// The etcd key of the signing key.
pub(super) fn signing_key(state_prefix: &str) -> String {
    AccountKeys::new(state_prefix).signing_key()
}

impl AccountStore {
    /// The accounts under `state_prefix`.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: impl Into<String>) -> Self {
        Self {
            registry,
            state_prefix: state_prefix.into(),
        }
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`AccountStoreError`].
    pub async fn add(
        &self,
        name: &UserName,
        password: &str,
        roles: Vec<Role>,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        self.add_with_email(name, password, roles, None, now).await
    }

    /// Adds an account with an e-mail address for notifications.
    ///
    /// # Errors
    /// [`AccountStoreError`].
    pub async fn add_with_email(
        &self,
        name: &UserName,
        password: &str,
        roles: Vec<Role>,
        email: Option<String>,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        password::check_policy(name.as_str(), password)?;
        let roles = normalize_roles(roles)?;
        let record = UserRecord {
            password_hash: password::hash(password).map_err(AccountStoreError::Hash)?,
            credential: Uuid::new_v4(),
            roles,
            email,
            disabled: false,
            created_at: now,
            changed_at: now,
        };
        match self
            .registry
            .create(
                user_key(&self.state_prefix, name),
                encode_user(name, &record)?,
                None,
            )
            .await?
        {
            registry::CreateOutcome::Created { .. } => Ok(()),
            registry::CreateOutcome::Exists(_) => Err(AccountStoreError::Exists(name.clone())),
        }
    }

    /// All accounts by name; the inner `Err` says why a record cannot be read.
    ///
    /// # Errors
    /// [`AccountStoreError::Registry`].
    pub async fn list(
        &self,
    ) -> Result<Vec<(UserName, Result<UserRecord, String>)>, AccountStoreError> {
        let users = self.load_users().await?;
        Ok(users
            .into_iter()
            .map(|(name, record, _)| (name, record))
            .collect())
    }

    /// Changes the password, which ends the account's sessions.
    ///
    /// # Errors
    /// [`AccountStoreError`].
    pub async fn set_password(
        &self,
        name: &UserName,
        password: &str,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        password::check_policy(name.as_str(), password)?;
        let hash = password::hash(password).map_err(AccountStoreError::Hash)?;
        self.update(name, true, now, |record| {
            record.password_hash.clone_from(&hash);
            record.credential = Uuid::new_v4();
        })
        .await
    }

    /// Changes or removes the e-mail address; sessions are not affected.
    ///
    /// # Errors
    /// [`AccountStoreError`].
    pub async fn set_email(
        &self,
        name: &UserName,
        email: Option<String>,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        self.update(name, true, now, |record| record.email.clone_from(&email))
            .await
    }

    /// Disables or enables the account. Disabling ends its sessions for good.
    ///
    /// # Errors
    /// [`AccountStoreError`]; [`AccountStoreError::LastAdmin`] unless `force`.
    pub async fn set_disabled(
        &self,
        name: &UserName,
        disabled: bool,
        force: bool,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        self.update(name, force, now, |record| {
            record.disabled = disabled;
            if disabled {
                record.credential = Uuid::new_v4();
            }
        })
        .await
    }

    /// Removes the account, which ends its sessions.
    ///
    /// # Errors
    /// [`AccountStoreError`]; [`AccountStoreError::LastAdmin`] unless `force`.
    pub async fn remove(&self, name: &UserName, force: bool) -> Result<(), AccountStoreError> {
        for _ in 0..ATTEMPTS {
            let users = self.load_users().await?;
            let key = user_key(&self.state_prefix, name);
            if self.is_tampered(&key) {
                let absent = Precondition::Absent(key.clone().into_bytes());
                let transaction = Transaction::new().when(absent);
                if self
                    .try_commit(transaction.then([WriteOp::delete(key)]))
                    .await?
                {
                    return Ok(());
                }
                continue;
            }
            let (record, entry) = find_user(&users, name)?;
            let mut transaction = Transaction::new().when(Precondition::Unchanged(
                key.clone().into_bytes(),
                entry.mod_revision,
            ));
            // A damaged record can be removed: it grants no access.
            if let Ok(record) = record
                && record.is_active_admin()
                && !force
            {
                transaction = transaction.when(other_admin_guard(&users, name)?);
            }
            if self
                .try_commit(transaction.then([WriteOp::delete(key)]))
                .await?
            {
                return Ok(());
            }
        }
        Err(AccountStoreError::Contended(name.clone()))
    }

    async fn update(
        &self,
        name: &UserName,
        force: bool,
        now: Timestamp,
        alter: impl Fn(&mut UserRecord),
    ) -> Result<(), AccountStoreError> {
        for _ in 0..ATTEMPTS {
            let users = self.load_users().await?;
            let (record, entry) = find_user(&users, name)?;
            let mut record = record
                .clone()
                .map_err(|error| AccountStoreError::Damaged(name.clone(), error))?;
            let was_admin = record.is_active_admin();
            alter(&mut record);
            record.changed_at = now;
            let key = user_key(&self.state_prefix, name);
            let mut transaction = Transaction::new().when(Precondition::Unchanged(
                key.clone().into_bytes(),
                entry.mod_revision,
            ));
            if was_admin && !record.is_active_admin() && !force {
                transaction = transaction.when(other_admin_guard(&users, name)?);
            }
            if self
                .try_commit(transaction.then([WriteOp::put(
                    key,
                    encode_user(name, &record)?,
                    None,
                )]))
                .await?
            {
                return Ok(());
            }
        }
        Err(AccountStoreError::Contended(name.clone()))
    }

    /// Whether the record was changed outside the console: it grants no access, and may be removed or added again.
    fn is_tampered(&self, key: &str) -> bool {
        let tampered = self.registry.tampered();
        tampered.records.iter().any(|record| record.key == key)
    }

    async fn try_commit(&self, transaction: Transaction) -> Result<bool, AccountStoreError> {
        Ok(matches!(
            self.registry.transact(&transaction).await?,
            TransactionOutcome::Committed { .. }
        ))
    }

    async fn load_users(&self) -> Result<UserEntries, AccountStoreError> {
        let prefix = AccountKeys::new(&self.state_prefix).users();
        let listing = self.registry.list(prefix.clone()).await?;
        let named = listing.entries.into_iter().filter_map(|entry| {
            let name = parse_user_key(&prefix, &entry.key)?;
            let record = serde_json::from_slice(&entry.value).map_err(|error| error.to_string());
            Some((name, record, entry))
        });
        Ok(named.collect())
    }
}

type UserEntries = Vec<(UserName, Result<UserRecord, String>, RegistryEntry)>;

/// The account name in an etcd key below `prefix`.
pub(super) fn parse_user_key(prefix: &str, key: &[u8]) -> Option<UserName> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    text.parse()
        .ok()
        .filter(|name: &UserName| name.as_str() == text)
}

fn find_user<'a>(
    users: &'a UserEntries,
    name: &UserName,
) -> Result<(&'a Result<UserRecord, String>, &'a RegistryEntry), AccountStoreError> {
    let found = users.iter().find(|(other, _, _)| other == name);
    found
        .map(|(_, record, entry)| (record, entry))
        .ok_or_else(|| AccountStoreError::Unknown(name.clone()))
}

/// A precondition that another administrator is unchanged, so that two concurrent removals cannot rely on each other.
fn other_admin_guard(
    users: &UserEntries,
    name: &UserName,
) -> Result<Precondition, AccountStoreError> {
    let other = users.iter().find(|(other, record, _)| {
        other != name && record.as_ref().is_ok_and(UserRecord::is_active_admin)
    });
    let (_, _, entry) = other.ok_or_else(|| AccountStoreError::LastAdmin(name.clone()))?;
    Ok(Precondition::Unchanged(
        entry.key.clone(),
        entry.mod_revision,
    ))
}

fn normalize_roles(mut roles: Vec<Role>) -> Result<Vec<Role>, AccountStoreError> {
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        Err(AccountStoreError::NoRole)
    } else {
        Ok(roles)
    }
}

fn encode_user(name: &UserName, record: &UserRecord) -> Result<Vec<u8>, AccountStoreError> {
    serde_json::to_vec(record)
        .map_err(|error| AccountStoreError::Damaged(name.clone(), error.to_string()))
}
