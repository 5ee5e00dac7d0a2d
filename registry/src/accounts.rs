//! etcd's accounts and roles: whether etcd requires accounts, what this connection may do, and the changes of an
//! administrator.

use etcd_client::{
    Client, Error as ClientError, Permission, PermissionType, RoleRevokePermissionOptions,
};

#[cfg(feature = "memory")]
use crate::Error;
use crate::endpoints::{CallKind, Endpoints};
use crate::permission::{KeyAccess, KeyPermission, missing};
use crate::{Backend, Registry, Result, Secret};

/// etcd's role that permits everything; its only name.
const ROOT: &str = "root";

/// A role with its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdRole {
    /// Its name.
    pub name: String,
    /// What it permits; nothing else.
    pub permissions: Vec<KeyPermission>,
}

/// What a change of a role or an account found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// It did not exist.
    Created,
    /// It existed and was different.
    Changed,
    /// There was nothing to do.
    Unchanged,
}

impl Registry {
    /// Whether etcd requires an account. Without, every program that reaches it may read and write every key.
    ///
    /// etcd has no call for this before version 3.5; every version refuses a sign-in differently when accounts are off.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]; [`crate::Error::Denied`] when this connection's own account is refused.
    pub async fn requires_accounts(&self) -> Result<bool> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(store) => return store.ready().map(|()| true),
        };
        let answer = endpoints
            .call(CallKind::Read, |client| async move {
                let mut auth = client.auth_client();
                match auth.authenticate(String::new(), String::new()).await {
                    Ok(_) => Ok(true),
                    Err(ClientError::GRpcStatus(status)) if is_not_enabled(status.message()) => {
                        Ok(false)
                    }
                    Err(ClientError::GRpcStatus(status))
                        if is_refused_sign_in(status.message()) =>
                    {
                        Ok(true)
                    }
                    Err(error) => Err(error),
                }
            })
            .await?;
        Ok(answer.value)
    }

    /// Those of `needed` that the account of this connection does not have. None for a connection without an account,
    /// and none for `root`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`]; [`crate::Error::Denied`] for a wrong password.
    pub async fn missing_permissions(
        &self,
        needed: &[KeyPermission],
    ) -> Result<Vec<KeyPermission>> {
        let endpoints = match &self.backend {
            Backend::Etcd(endpoints) => endpoints,
            #[cfg(feature = "memory")]
            Backend::Memory(_) => return Ok(Vec::new()),
        };
        // The name in a client certificate is etcd's to read.
        let Some(user) = &endpoints.settings().user else {
            return Ok(Vec::new());
        };
        let mut granted = Vec::new();
        for role in roles_of(endpoints, user).await?.unwrap_or_default() {
            if role == ROOT {
                return Ok(Vec::new());
            }
            granted.extend(permissions_of(endpoints, &role).await?.unwrap_or_default());
        }
        Ok(missing(needed, &granted))
    }

    /// Makes the rights of a role exactly those of `role`; needs an account with the role `root`.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`], [`crate::Error::Denied`].
    pub async fn apply_role(&self, role: &EtcdRole) -> Result<AccountChange> {
        let endpoints = self.accounts()?;
        let current = permissions_of(endpoints, &role.name).await?;
        let mut change = AccountChange::Unchanged;
        if current.is_none() {
            let name = role.name.as_str();
            write(endpoints, |mut client| async move {
                ignore(client.role_add(name).await, "role name already exists")
            })
            .await?;
            change = AccountChange::Created;
        }
        let current = current.unwrap_or_default();
        // Granted first, so that a program that is running loses nothing that it still has afterwards.
        for wanted in role
            .permissions
            .iter()
            .filter(|wanted| !current.contains(wanted))
        {
            grant(endpoints, &role.name, wanted).await?;
            change = change.max_with(AccountChange::Changed);
        }
        for stale in &current {
            if role
                .permissions
                .iter()
                .all(|wanted| wanted.range() != stale.range())
            {
                revoke(endpoints, &role.name, stale).await?;
                change = change.max_with(AccountChange::Changed);
            }
        }
        Ok(change)
    }

    /// Makes `user` an account with this password and, of all roles, only `role`. While etcd requires no accounts it does not
    /// reveal whether the password was another one, and the change is reported as [`AccountChange::Unchanged`].
    ///
    /// # Errors
    /// As [`Registry::apply_role`].
    pub async fn apply_account(
        &self,
        user: &str,
        password: &Secret,
        role: &str,
    ) -> Result<AccountChange> {
        let endpoints = self.accounts()?;
        let current = roles_of(endpoints, user).await?;
        let (change, current) = match current {
            None => {
                write(endpoints, |mut client| async move {
                    let added = client.user_add(user, password.expose(), None).await;
                    ignore(added, "user name already exists")
                })
                .await?;
                (AccountChange::Created, Vec::new())
            }
            Some(current) if has_password(endpoints, user, password).await? => {
                (AccountChange::Unchanged, current)
            }
            Some(current) => {
                write(endpoints, |mut client| async move {
                    let changed = client.user_change_password(user, password.expose());
                    changed.await.map(drop)
                })
                .await?;
                let change = if self.requires_accounts().await? {
                    AccountChange::Changed
                } else {
                    AccountChange::Unchanged
                };
                (change, current)
            }
        };
        let mut change = change;
        if !current.iter().any(|held| held == role) {
            write(endpoints, |mut client| async move {
                client.user_grant_role(user, role).await.map(drop)
            })
            .await?;
            change = change.max_with(AccountChange::Changed);
        }
        for stale in current.iter().filter(|held| held.as_str() != role) {
            write(endpoints, |mut client| async move {
                client
                    .user_revoke_role(user, stale.as_str())
                    .await
                    .map(drop)
            })
            .await?;
            change = change.max_with(AccountChange::Changed);
        }
        Ok(change)
    }

    /// Makes etcd require accounts. There must be an account `root` with the role of that name.
    ///
    /// # Errors
    /// As [`Registry::apply_role`]; [`crate::Error::Invalid`] without the account `root`.
    pub async fn require_accounts(&self) -> Result<()> {
        let endpoints = self.accounts()?;
        write(endpoints, |mut client| async move {
            client.auth_enable().await.map(drop)
        })
        .await
    }

    fn accounts(&self) -> Result<&Endpoints> {
        match &self.backend {
            Backend::Etcd(endpoints) => Ok(endpoints),
            #[cfg(feature = "memory")]
            Backend::Memory(_) => Err(Error::Invalid(
                "the store in memory has no accounts".to_owned(),
            )),
        }
    }
}

impl AccountChange {
    /// A creation stays a creation.
    fn max_with(self, other: Self) -> Self {
        match self {
            Self::Created => Self::Created,
            Self::Changed | Self::Unchanged => other,
        }
    }
}

/// Whether an account has this password already: setting it again would end the sessions of its programs. `false` while
/// etcd requires no accounts.
async fn has_password(endpoints: &Endpoints, user: &str, password: &Secret) -> Result<bool> {
    let answer = endpoints
        .call(CallKind::Read, |client| async move {
            let (user, password) = (user.to_owned(), password.expose().to_owned());
            match client.auth_client().authenticate(user, password).await {
                Ok(_) => Ok(true),
                Err(ClientError::GRpcStatus(status))
                    if is_not_enabled(status.message()) || is_refused_sign_in(status.message()) =>
                {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })
        .await?;
    Ok(answer.value)
}

/// The roles of an account; `None` if it does not exist.
async fn roles_of(endpoints: &Endpoints, user: &str) -> Result<Option<Vec<String>>> {
    let answer = endpoints
        .call(CallKind::Read, |mut client| async move {
            match client.user_get(user).await {
                Ok(answer) => Ok(Some(answer.roles().to_vec())),
                Err(error) => absent(error, "user name not found"),
            }
        })
        .await?;
    Ok(answer.value)
}

/// The rights of a role; `None` if it does not exist.
async fn permissions_of(endpoints: &Endpoints, role: &str) -> Result<Option<Vec<KeyPermission>>> {
    let answer = endpoints
        .call(CallKind::Read, |mut client| async move {
            match client.role_get(role).await {
                Ok(answer) => Ok(Some(
                    answer.permissions().iter().filter_map(permission).collect(),
                )),
                Err(error) => absent(error, "role name not found"),
            }
        })
        .await?;
    Ok(answer.value)
}

fn permission(granted: &Permission) -> Option<KeyPermission> {
    let access = [
        (PermissionType::Read, KeyAccess::Read),
        (PermissionType::Write, KeyAccess::Write),
        (PermissionType::Readwrite, KeyAccess::ReadWrite),
    ];
    let (_, access) = access
        .into_iter()
        .find(|(kind, _)| i32::from(*kind) == granted.get_type())?;
    Some(KeyPermission {
        key: granted.key().to_vec(),
        range_end: granted.range_end().to_vec(),
        access,
    })
}

async fn grant(endpoints: &Endpoints, role: &str, wanted: &KeyPermission) -> Result<()> {
    write(endpoints, |mut client| async move {
        let kind = match wanted.access {
            KeyAccess::Read => PermissionType::Read,
            KeyAccess::Write => PermissionType::Write,
            KeyAccess::ReadWrite => PermissionType::Readwrite,
        };
        let permission =
            Permission::new(kind, wanted.key.clone()).with_range_end(wanted.range_end.clone());
        client
            .role_grant_permission(role, permission)
            .await
            .map(drop)
    })
    .await
}

async fn revoke(endpoints: &Endpoints, role: &str, stale: &KeyPermission) -> Result<()> {
    write(endpoints, |mut client| async move {
        let options = RoleRevokePermissionOptions::new().with_range_end(stale.range_end.clone());
        client
            .role_revoke_permission(role, stale.key.clone(), Some(options))
            .await
            .map(drop)
    })
    .await
}

/// A change that is harmless when it is carried out twice.
async fn write<F>(endpoints: &Endpoints, change: impl Fn(Client) -> F) -> Result<()>
where
    F: Future<Output = Result<(), ClientError>>,
{
    endpoints.call(CallKind::Write, change).await.map(drop)
}

/// Success also for a refusal that contains `text`.
fn ignore<T>(result: Result<T, ClientError>, text: &str) -> Result<(), ClientError> {
    match result {
        Err(ClientError::GRpcStatus(status)) if status.message().contains(text) => Ok(()),
        result => result.map(drop),
    }
}

/// `None` for a refusal that contains `text`.
fn absent<T>(error: ClientError, text: &str) -> Result<Option<T>, ClientError> {
    match error {
        ClientError::GRpcStatus(status) if status.message().contains(text) => Ok(None),
        error => Err(error),
    }
}

fn is_not_enabled(message: &str) -> bool {
    message.contains("authentication is not enabled")
}

fn is_refused_sign_in(message: &str) -> bool {
    ["authentication failed", "user name", "password"]
        .iter()
        .any(|text| message.contains(text))
}
