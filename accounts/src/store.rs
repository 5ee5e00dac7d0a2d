//! Accounts in etcd: every change compares what it read, and the last administrator cannot be lost by accident.

use galera::Timestamp;
use galera::access::Role;
use registry::{Entry, Guard, Outcome, Registry, Transaction, Write};
use uuid::Uuid;

use super::password::{self, WeakPassword};
use super::record::{UserName, UserRecord};

/// Races with other writers that are tried again before giving up.
const ATTEMPTS: usize = 5;

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name is taken.
    #[error(
        "the account {0} exists already; `galera-console user passwd {0}` changes its password"
    )]
    Exists(UserName),
    /// There is no such account.
    #[error("there is no account {0}; `galera-console user list` shows all of them")]
    Unknown(UserName),
    /// Nobody could manage accounts any more.
    #[error(
        "{0} is the last enabled account with the role admin; give another account that role first, or repeat with --force"
    )]
    LastAdmin(UserName),
    /// Nothing to hold.
    #[error("an account needs at least one role: viewer, operator, approver or admin")]
    NoRole,
    /// The password breaks the rule.
    #[error(transparent)]
    Password(#[from] WeakPassword),
    /// The hash could not be computed.
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
    /// Somebody else changes the same account all the time.
    #[error("the account {0} is being changed by somebody else; try again")]
    Contended(UserName),
    /// A record that this version cannot read.
    #[error(
        "the record of the account {0} in etcd is damaged: {1}; remove the account and add it again"
    )]
    Damaged(UserName, String),
    /// etcd.
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// The accounts of one console, for the command line.
#[derive(Clone, Debug)]
pub struct Store {
    registry: Registry,
    prefix: String,
}

/// The key of an account.
pub(super) fn user_key(state_prefix: &str, name: &UserName) -> String {
    format!("{state_prefix}/users/{name}")
}

/// The key of a session.
pub(super) fn session_key(state_prefix: &str, id: Uuid) -> String {
    format!("{state_prefix}/sessions/{id}")
}

/// The key of the signing key.
pub(super) fn signing_key(state_prefix: &str) -> String {
    format!("{state_prefix}/keys/session")
}

impl Store {
    /// The accounts under `state_prefix`.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: impl Into<String>) -> Self {
        Self {
            registry,
            prefix: state_prefix.into(),
        }
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add(
        &self,
        name: &UserName,
        password: &str,
        roles: Vec<Role>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.add_reachable(name, password, roles, None, now).await
    }

    /// Adds an account with an e-mail address, where notices go.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_reachable(
        &self,
        name: &UserName,
        password: &str,
        roles: Vec<Role>,
        email: Option<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        password::check_new(name.as_str(), password)?;
        let roles = normalized(roles)?;
        let record = UserRecord {
            password_hash: password::hash(password).map_err(StoreError::Hash)?,
            credential: Uuid::new_v4(),
            roles,
            email,
            disabled: false,
            created_at: now,
            changed_at: now,
        };
        match self
            .registry
            .create(user_key(&self.prefix, name), encode(name, &record)?, None)
            .await?
        {
            registry::Created::Won { .. } => Ok(()),
            registry::Created::Exists(_) => Err(StoreError::Exists(name.clone())),
        }
    }

    /// Every account by name; `Err` holds why a record cannot be read.
    ///
    /// # Errors
    /// etcd's.
    pub async fn list(&self) -> Result<Vec<(UserName, Result<UserRecord, String>)>, StoreError> {
        let users = self.users().await?;
        Ok(users
            .into_iter()
            .map(|(name, record, _)| (name, record))
            .collect())
    }

    /// Gives the account another password and ends its sessions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_password(
        &self,
        name: &UserName,
        password: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        password::check_new(name.as_str(), password)?;
        let hash = password::hash(password).map_err(StoreError::Hash)?;
        self.change(name, true, now, |record| {
            record.password_hash.clone_from(&hash);
            record.credential = Uuid::new_v4();
        })
        .await
    }

    /// Gives the account another e-mail address, or none. Its sessions go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_email(
        &self,
        name: &UserName,
        email: Option<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change(name, true, now, |record| record.email.clone_from(&email))
            .await
    }

    /// Lets the account sign in, or not; its sessions end with its being disabled and do not come back.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::LastAdmin`] unless `force`.
    pub async fn set_disabled(
        &self,
        name: &UserName,
        disabled: bool,
        force: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change(name, force, now, |record| {
            record.disabled = disabled;
            if disabled {
                record.credential = Uuid::new_v4();
            }
        })
        .await
    }

    /// Removes the account; its sessions end.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::LastAdmin`] unless `force`.
    pub async fn remove(&self, name: &UserName, force: bool) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let users = self.users().await?;
            let (record, entry) = find(&users, name)?;
            let key = user_key(&self.prefix, name);
            let mut transaction = Transaction::new().when(Guard::Unchanged(
                key.clone().into_bytes(),
                entry.mod_revision,
            ));
            // A damaged record can be removed: nobody signs in with it.
            if let Ok(record) = record
                && record.is_active_admin()
                && !force
            {
                transaction = transaction.when(witness(&users, name)?);
            }
            if self.commits(transaction.then([Write::delete(key)])).await? {
                return Ok(());
            }
        }
        Err(StoreError::Contended(name.clone()))
    }

    async fn change(
        &self,
        name: &UserName,
        force: bool,
        now: Timestamp,
        alter: impl Fn(&mut UserRecord),
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let users = self.users().await?;
            let (record, entry) = find(&users, name)?;
            let mut record = record
                .clone()
                .map_err(|error| StoreError::Damaged(name.clone(), error))?;
            let was_admin = record.is_active_admin();
            alter(&mut record);
            record.changed_at = now;
            let key = user_key(&self.prefix, name);
            let mut transaction = Transaction::new().when(Guard::Unchanged(
                key.clone().into_bytes(),
                entry.mod_revision,
            ));
            if was_admin && !record.is_active_admin() && !force {
                transaction = transaction.when(witness(&users, name)?);
            }
            if self
                .commits(transaction.then([Write::put(key, encode(name, &record)?, None)]))
                .await?
            {
                return Ok(());
            }
        }
        Err(StoreError::Contended(name.clone()))
    }

    async fn commits(&self, transaction: Transaction) -> Result<bool, StoreError> {
        Ok(matches!(
            self.registry.transact(&transaction).await?,
            Outcome::Committed { .. }
        ))
    }

    async fn users(&self) -> Result<Users, StoreError> {
        let prefix = format!("{}/users/", self.prefix);
        let listing = self.registry.list(prefix.clone()).await?;
        let named = listing.entries.into_iter().filter_map(|entry| {
            let name = name_of(&prefix, &entry.key)?;
            let record = serde_json::from_slice(&entry.value).map_err(|error| error.to_string());
            Some((name, record, entry))
        });
        Ok(named.collect())
    }
}

type Users = Vec<(UserName, Result<UserRecord, String>, Entry)>;

/// The account that `key` belongs to.
pub(super) fn name_of(prefix: &str, key: &[u8]) -> Option<UserName> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    text.parse()
        .ok()
        .filter(|name: &UserName| name.as_str() == text)
}

fn find<'a>(
    users: &'a Users,
    name: &UserName,
) -> Result<(&'a Result<UserRecord, String>, &'a Entry), StoreError> {
    let found = users.iter().find(|(other, _, _)| other == name);
    found
        .map(|(_, record, entry)| (record, entry))
        .ok_or_else(|| StoreError::Unknown(name.clone()))
}

/// Another administrator who must still be one at the moment of the write: two removals at once cannot rely on each
/// other.
fn witness(users: &Users, name: &UserName) -> Result<Guard, StoreError> {
    let other = users.iter().find(|(other, record, _)| {
        other != name && record.as_ref().is_ok_and(UserRecord::is_active_admin)
    });
    let (_, _, entry) = other.ok_or_else(|| StoreError::LastAdmin(name.clone()))?;
    Ok(Guard::Unchanged(entry.key.clone(), entry.mod_revision))
}

fn normalized(mut roles: Vec<Role>) -> Result<Vec<Role>, StoreError> {
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        Err(StoreError::NoRole)
    } else {
        Ok(roles)
    }
}

fn encode(name: &UserName, record: &UserRecord) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Damaged(name.clone(), error.to_string()))
}
