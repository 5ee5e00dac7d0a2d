//! Accounts in etcd: every change is a compare-and-swap with its audit entries, and the last administrator cannot be
//! removed by accident.

mod change;

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::audit::{AuditError, AuditTrail};
use console_core::keyspace::AccountKeys;
use console_core::threads::ThreadLimit;
use galera::Timestamp;
use galera::access::{AssignedRoles, AssignmentError, GROUPS_MAX, Role, RoleAssignment, RoleGrant};
use galera::publish::accounts::AccountKind;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, Registry, RegistryEntry, Transaction, TransactionOutcome, WriteOp};
use uuid::Uuid;

pub use change::AccountChange;

use super::password::{self, PasswordContext, PasswordError};
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
    /// The roles, or the clusters on which they count.
    #[error(transparent)]
    Roles(#[from] AssignmentError),
    /// Only accounts of an identity provider have such a name.
    #[error(
        "invalid account name {0}: only the name of an account of an identity provider has an @; use the characters a-z, 0-9, '.', '_' and '-'"
    )]
    ReservedName(UserName),
    /// The password of an account of an identity provider is there.
    #[error("{0} signs in with the identity provider, which has its password; change it there")]
    ExternalPassword(UserName),
    /// The roles of an account of an identity provider come from there.
    #[error(
        "the roles and groups of {0} come from the identity provider; change the groups of the person there, or the roles file"
    )]
    ExternalRoles(UserName),
    /// Too many groups.
    #[error("{0} groups are given; an account has at most {GROUPS_MAX}")]
    TooManyGroups(usize),
    /// A service account has no password.
    #[error(
        "{0} is a service account, which has no password; create a token with `galera-console token add {0} NAME`"
    )]
    NoPassword(UserName),
    /// The password violates the policy.
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the password could not be hashed: {0}")]
    Hash(String),
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
    /// The audit trail failed.
    #[error(transparent)]
    Audit(AuditError),
}

impl From<AuditError> for AccountStoreError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Registry(error) => Self::Registry(error),
            error => Self::Audit(error),
        }
    }
}

/// The accounts under one state prefix, as administrators manage them.
#[derive(Clone, Debug)]
pub struct AccountStore {
    registry: Registry,
    trail: AuditTrail,
    state_prefix: String,
    actor: Arc<str>,
    context: PasswordContext,
    hash_threads: ThreadLimit,
}

/// The etcd key of an account.
pub(super) fn user_key(state_prefix: &str, name: &UserName) -> String {
    AccountKeys::new(state_prefix).user(name.as_str())
}

/// The etcd key of an account's second factor.
pub(super) fn factor_key(state_prefix: &str, name: &UserName) -> String {
    AccountKeys::new(state_prefix).factor(name.as_str())
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
    /// The same accounts, whose changes are recorded in `trail`.
    #[must_use]
    pub fn audited_in(self, trail: AuditTrail) -> Self {
        Self { trail, ..self }
    }

    /// The accounts under `state_prefix`, changed by the command line.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: impl Into<String>) -> Self {
        let state_prefix = state_prefix.into();
        Self {
            trail: AuditTrail::new(registry.clone(), &state_prefix),
            registry,
            state_prefix,
            actor: "command line".into(),
            context: PasswordContext::default(),
            hash_threads: ThreadLimit::new("password-hash", 1),
        }
    }

    /// The same accounts, changed by `actor`.
    #[must_use]
    pub fn acting_as(&self, actor: &str) -> Self {
        Self {
            actor: actor.into(),
            ..self.clone()
        }
    }

    /// The same accounts; new passwords must not consist of the words of `context`.
    #[must_use]
    pub fn with_password_context(self, context: PasswordContext) -> Self {
        Self { context, ..self }
    }

    /// The same accounts; hashes of passwords are computed on `threads`.
    #[must_use]
    pub fn with_hash_threads(self, threads: ThreadLimit) -> Self {
        Self {
            hash_threads: threads,
            ..self
        }
    }

    /// Checks and hashes a new password of the account `name`.
    async fn hash_password(
        &self,
        name: &UserName,
        password: &str,
    ) -> Result<String, AccountStoreError> {
        let (name, password) = (name.to_string(), password.to_owned());
        let context = self.context.clone();
        let work = move || {
            password::check_policy(&name, &password, &context)?;
            password::hash(&password).map_err(|error| AccountStoreError::Hash(error.to_string()))
        };
        let slot = self.hash_threads.slot().await;
        let hashed = slot.run(work).await;
        hashed.map_err(|error| AccountStoreError::Hash(error.to_string()))?
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
        let roles = RoleAssignment::everywhere(roles);
        self.add_person(name, password, &roles, None, now).await
    }

    /// Adds an account of a person, with an e-mail address for notifications.
    ///
    /// # Errors
    /// [`AccountStoreError`].
    pub async fn add_person(
        &self,
        name: &UserName,
        password: &str,
        roles: &RoleAssignment,
        email: Option<String>,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        let roles = roles.resolve(&[])?;
        let hash = self.hash_password(name, password).await?;
        self.create(name, AccountKind::Person, hash, roles, email, now)
            .await
    }

    /// Adds a service account, which has tokens only.
    ///
    /// # Errors
    /// [`AccountStoreError`].
    pub async fn add_service(
        &self,
        name: &UserName,
        roles: &RoleAssignment,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        let roles = roles.resolve(&[])?;
        self.create(name, AccountKind::Service, String::new(), roles, None, now)
            .await
    }

    async fn create(
        &self,
        name: &UserName,
        kind: AccountKind,
        password_hash: String,
        assigned: AssignedRoles,
        email: Option<String>,
        now: Timestamp,
    ) -> Result<(), AccountStoreError> {
        if name.is_external() {
            return Err(AccountStoreError::ReservedName(name.clone()));
        }
        let record = UserRecord {
            kind,
            password_hash,
            credential: Uuid::new_v4(),
            roles: assigned.roles,
            grants: assigned.grants,
            groups: Vec::new(),
            external: None,
            email,
            factor: None,
            disabled: false,
            created_at: now,
            changed_at: now,
        };
        let key = user_key(&self.state_prefix, name);
        let mut detail = BTreeMap::from([("roles".to_owned(), assigned_names(&record))]);
        if !kind.is_person() {
            detail.insert("kind".to_owned(), "service".to_owned());
        }
        let audit = self.audit_record(AuditEvent::ACCOUNT_ADDED, name, detail, now);
        let transaction = Transaction::new()
            .when(Precondition::Absent(key.clone().into_bytes()))
            .then([
                WriteOp::put(key, encode_user(name, &record)?, None),
                // Of an account of this name that an earlier version removed.
                WriteOp::delete(factor_key(&self.state_prefix, name)),
            ]);
        if self.try_commit(transaction, &[audit]).await? {
            Ok(())
        } else {
            Err(AccountStoreError::Exists(name.clone()))
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

    /// The account `name`.
    ///
    /// # Errors
    /// [`AccountStoreError::Unknown`], [`AccountStoreError::Damaged`], [`AccountStoreError::Registry`].
    pub async fn get(&self, name: &UserName) -> Result<UserRecord, AccountStoreError> {
        let users = self.load_users().await?;
        let (record, _) = find_user(&users, name)?;
        record
            .clone()
            .map_err(|error| AccountStoreError::Damaged(name.clone(), error))
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
        let change = AccountChange {
            password: Some(password.to_owned()),
            ..AccountChange::default()
        };
        self.change(name, &change, now).await.map(drop)
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
        let change = AccountChange {
            disabled: Some(disabled),
            force,
            ..AccountChange::default()
        };
        self.change(name, &change, now).await.map(drop)
    }

    /// Removes the account, which ends its sessions.
    ///
    /// # Errors
    /// [`AccountStoreError`]; [`AccountStoreError::LastAdmin`] unless `force`.
    pub async fn remove(&self, name: &UserName, force: bool) -> Result<(), AccountStoreError> {
        let now = console_core::clock::now();
        let audit = || {
            let event = AuditEvent::ACCOUNT_REMOVED;
            [self.audit_record(event, name, BTreeMap::new(), now)]
        };
        for _ in 0..ATTEMPTS {
            let users = self.load_users().await?;
            let key = user_key(&self.state_prefix, name);
            let deletions = [
                WriteOp::delete(key.clone()),
                WriteOp::delete(factor_key(&self.state_prefix, name)),
            ];
            if self.is_tampered(&key) {
                let absent = Precondition::Absent(key.into_bytes());
                let transaction = Transaction::new().when(absent).then(deletions);
                if self.try_commit(transaction, &audit()).await? {
                    return Ok(());
                }
                continue;
            }
            let (record, entry) = find_user(&users, name)?;
            let mut transaction = Transaction::new().when(Precondition::Unchanged(
                key.into_bytes(),
                entry.mod_revision,
            ));
            let mut deletions = deletions.to_vec();
            if let Ok(UserRecord {
                external: Some(identity),
                ..
            }) = record
            {
                let key = AccountKeys::new(&self.state_prefix).identity(&identity.digest());
                deletions.push(WriteOp::delete(key));
            }
            // A damaged record can be removed: it grants no access.
            if let Ok(record) = record
                && record.is_active_admin()
                && !force
            {
                transaction = transaction.when(other_admin_guard(&users, name)?);
            }
            if self
                .try_commit(transaction.then(deletions), &audit())
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

    async fn try_commit(
        &self,
        transaction: Transaction,
        records: &[AuditRecord],
    ) -> Result<bool, AccountStoreError> {
        Ok(matches!(
            self.trail.commit(&transaction, records).await?,
            TransactionOutcome::Committed { .. }
        ))
    }

    fn audit_record(
        &self,
        event: AuditEvent,
        name: &UserName,
        detail: BTreeMap<String, String>,
        now: Timestamp,
    ) -> AuditRecord {
        AuditRecord {
            at: now,
            actor: self.actor.to_string(),
            event,
            cluster: None,
            subject: Some(name.to_string()),
            detail,
        }
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

/// The roles as one text, separated by commas.
pub(crate) fn role_names(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    names.join(",")
}

/// The roles of an account with the clusters on which they count, as one text.
pub(crate) fn assigned_names(record: &UserRecord) -> String {
    match record.grants.as_slice() {
        [] => role_names(&record.roles),
        grants => grant_names(grants),
    }
}

/// The roles with their clusters as one text.
pub(crate) fn grant_names(grants: &[RoleGrant]) -> String {
    let names: Vec<String> = grants
        .iter()
        .map(|grant| match grant.clusters.is_all() {
            true => role_names(&grant.roles),
            false => format!("{} on {}", role_names(&grant.roles), grant.clusters),
        })
        .collect();
    names.join("; ")
}

fn encode_user(name: &UserName, record: &UserRecord) -> Result<Vec<u8>, AccountStoreError> {
    serde_json::to_vec(record)
        .map_err(|error| AccountStoreError::Damaged(name.clone(), error.to_string()))
}
