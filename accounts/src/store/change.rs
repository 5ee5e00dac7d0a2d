//! Changes of an existing account.

use std::collections::BTreeMap;

use galera::Timestamp;
use galera::access::{GROUPS_MAX, GroupName, RoleAssignment};
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, Transaction, WriteOp};
use uuid::Uuid;

use super::{
    ATTEMPTS, AccountStore, AccountStoreError, assigned_names, encode_user, factor_key, find_user,
    other_admin_guard, user_key,
};
use crate::records::{UserName, UserRecord};

/// What changes of an account; by default nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// A new password, which ends the account's sessions.
    pub password: Option<String>,
    /// The roles from now on. Sessions continue with them.
    pub roles: Option<RoleAssignment>,
    /// The groups from now on.
    pub groups: Option<Vec<GroupName>>,
    /// Whether it is disabled; disabling ends its sessions for good.
    pub disabled: Option<bool>,
    /// The e-mail address, or `None` to remove it.
    pub email: Option<Option<String>>,
    /// Removes the second factor and ends the account's sessions.
    pub reset_factor: bool,
    /// Ends the account's sessions.
    pub end_sessions: bool,
    /// Even if no enabled administrator remains.
    pub force: bool,
}

impl AccountStore {
    /// Carries out `change` as a whole, and returns the account afterwards.
    ///
    /// # Errors
    /// [`AccountStoreError`]; [`AccountStoreError::LastAdmin`] unless forced.
    pub async fn change(
        &self,
        name: &UserName,
        change: &AccountChange,
        now: Timestamp,
    ) -> Result<UserRecord, AccountStoreError> {
        if *change == AccountChange::default() {
            return self.get(name).await;
        }
        let hash = match &change.password {
            Some(password) => Some(self.hash_password(name, password).await?),
            None => None,
        };
        for _ in 0..ATTEMPTS {
            let users = self.load_users().await?;
            let (record, entry) = find_user(&users, name)?;
            let before = record
                .clone()
                .map_err(|error| AccountStoreError::Damaged(name.clone(), error))?;
            if before.external.is_some() && hash.is_some() {
                return Err(AccountStoreError::ExternalPassword(name.clone()));
            }
            if before.external.is_some() && (change.roles.is_some() || change.groups.is_some()) {
                return Err(AccountStoreError::ExternalRoles(name.clone()));
            }
            if hash.is_some() && !before.kind.is_person() {
                return Err(AccountStoreError::NoPassword(name.clone()));
            }
            let mut next = before.clone();
            if let Some(hash) = &hash {
                next.password_hash.clone_from(hash);
            }
            if let Some(roles) = &change.roles {
                let assigned = roles.resolve(&before.grants)?;
                (next.roles, next.grants) = (assigned.roles, assigned.grants);
            }
            if let Some(groups) = &change.groups {
                next.groups = sorted_groups(groups)?;
            }
            if let Some(disabled) = change.disabled {
                next.disabled = disabled;
            }
            if let Some(email) = &change.email {
                next.email.clone_from(email);
            }
            if change.reset_factor {
                next.factor = None;
            }
            let ends_sessions = change.end_sessions
                || change.reset_factor
                || hash.is_some()
                || change.disabled == Some(true);
            if ends_sessions {
                next.credential = Uuid::new_v4();
            }
            let records = self.records(name, change, &before, &next, now);
            next.changed_at = now;
            let key = user_key(&self.state_prefix, name);
            let mut transaction = Transaction::new().when(Precondition::Unchanged(
                key.clone().into_bytes(),
                entry.mod_revision,
            ));
            if before.is_active_admin() && !next.is_active_admin() && !change.force {
                transaction = transaction.when(other_admin_guard(&users, name)?);
            }
            let factor = change
                .reset_factor
                .then(|| WriteOp::delete(factor_key(&self.state_prefix, name)));
            let account = WriteOp::put(key, encode_user(name, &next)?, None);
            let writes = [account].into_iter().chain(factor);
            if self.try_commit(transaction.then(writes), &records).await? {
                return Ok(next);
            }
        }
        Err(AccountStoreError::Contended(name.clone()))
    }

    /// One entry for each thing that changes.
    fn records(
        &self,
        name: &UserName,
        change: &AccountChange,
        before: &UserRecord,
        next: &UserRecord,
        now: Timestamp,
    ) -> Vec<AuditRecord> {
        let mut events = Vec::new();
        let mut add = |event, detail: &[(&str, String)]| {
            let detail: BTreeMap<String, String> = detail
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect();
            events.push(self.audit_record(event, name, detail, now));
        };
        if change.roles.is_some() {
            let detail = [
                ("before", assigned_names(before)),
                ("roles", assigned_names(next)),
            ];
            add(AuditEvent::ACCOUNT_ROLES_CHANGED, &detail);
        }
        if change.groups.is_some() {
            let detail = [
                ("before", group_names(before)),
                ("groups", group_names(next)),
            ];
            add(AuditEvent::ACCOUNT_GROUPS_CHANGED, &detail);
        }
        if change.password.is_some() {
            add(AuditEvent::ACCOUNT_PASSWORD_CHANGED, &[]);
        }
        if change.email.is_some() {
            add(AuditEvent::ACCOUNT_EMAIL_CHANGED, &[]);
        }
        match change.disabled {
            Some(true) => add(AuditEvent::ACCOUNT_DISABLED, &[]),
            Some(false) => add(AuditEvent::ACCOUNT_ENABLED, &[]),
            None => {}
        }
        if change.reset_factor {
            add(AuditEvent::FACTOR_RESET, &[]);
        }
        if change.end_sessions {
            add(AuditEvent::SESSIONS_ENDED, &[]);
        }
        events
    }
}

/// `groups` in order, each once.
fn sorted_groups(groups: &[GroupName]) -> Result<Vec<GroupName>, AccountStoreError> {
    let mut groups = groups.to_vec();
    groups.sort_unstable();
    groups.dedup();
    match groups.len() > GROUPS_MAX {
        true => Err(AccountStoreError::TooManyGroups(groups.len())),
        false => Ok(groups),
    }
}

fn group_names(record: &UserRecord) -> String {
    let names: Vec<&str> = record.groups.iter().map(GroupName::as_str).collect();
    names.join(", ")
}
