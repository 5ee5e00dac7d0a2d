//! Who may do what: the one table that the API enforces and the interface explains.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A role that an account holds; roles do not include each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May see everything.
    Viewer,
    /// May request actions.
    Operator,
    /// May approve or reject actions that others requested.
    Approver,
    /// Manages accounts and shares; may override failed checks.
    Admin,
}

impl Role {
    /// Every role, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// The role's word, as on the command line and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Text that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role; roles are viewer, operator, approver and admin")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.word() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// Something a signed-in person may want to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Look at clusters, nodes, registry keys and plans.
    See,
    /// Request a bootstrap, clean-up or decommission.
    RequestAction,
    /// Approve or reject somebody else's request.
    DecideAction,
    /// Create, change or remove accounts.
    ManageAccounts,
    /// Create or revoke shares of the status page.
    ManageShares,
    /// Override failed checks.
    BreakGlass,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 6] = [
        Self::See,
        Self::RequestAction,
        Self::DecideAction,
        Self::ManageAccounts,
        Self::ManageShares,
        Self::BreakGlass,
    ];

    /// The role that permits this operation; `None` when any role does.
    #[must_use]
    pub const fn required_role(self) -> Option<Role> {
        match self {
            Self::See => None,
            Self::RequestAction => Some(Role::Operator),
            Self::DecideAction => Some(Role::Approver),
            Self::ManageAccounts | Self::ManageShares | Self::BreakGlass => Some(Role::Admin),
        }
    }
}

/// A refused operation, with the role that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs the role {missing}")]
pub struct Denied {
    /// The role that would permit it.
    pub missing: Role,
}

/// Whether an account with `roles` may do `operation`. An account without any role may do nothing.
///
/// # Errors
/// [`Denied`] names the missing role.
pub fn permit(roles: &[Role], operation: Operation) -> Result<(), Denied> {
    match operation.required_role() {
        Some(missing) if !roles.contains(&missing) => Err(Denied { missing }),
        None if roles.is_empty() => Err(Denied {
            missing: Role::Viewer,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use Operation::{
            BreakGlass, DecideAction, ManageAccounts, ManageShares, RequestAction, See,
        };
        let rows: [(Role, &[Operation]); 4] = [
            (Role::Viewer, &[See]),
            (Role::Operator, &[See, RequestAction]),
            (Role::Approver, &[See, DecideAction]),
            (
                Role::Admin,
                &[See, ManageAccounts, ManageShares, BreakGlass],
            ),
        ];
        for (role, permitted) in rows {
            for operation in Operation::ALL {
                let expected = permitted.contains(&operation);
                assert_eq!(
                    permit(&[role], operation).is_ok(),
                    expected,
                    "{role} {operation:?}"
                );
            }
        }
    }

    #[test]
    fn no_role_permits_nothing() {
        for operation in Operation::ALL {
            assert!(permit(&[], operation).is_err());
        }
    }
}
