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
    /// Look at clusters, nodes, registry keys, plans and actions.
    See,
    /// Request a bootstrap, clean-up or decommission, and attest members.
    RequestAction,
    /// Approve somebody else's request.
    ApproveAction,
    /// Reject somebody else's request.
    RejectAction,
    /// Withdraw one's own request; an administrator may withdraw any.
    CancelAction,
    /// Have an approved action carried out.
    ExecuteAction,
    /// Comment on an open action.
    CommentAction,
    /// Request an action against failed checks, naming each.
    BreakGlass,
    /// Switch recovery off: for everybody who may act, because refusing is always safe.
    SwitchRecoveryOff,
    /// Switch recovery on again.
    SwitchRecoveryOn,
    /// Read the audit trail.
    ReadAudit,
    /// Create, change or remove accounts.
    ManageAccounts,
    /// See notification targets and deliveries, and have a notice sent again.
    FollowNotifications,
    /// Create, change, test or remove notification targets.
    ManageNotifications,
    /// Create, change or delete status pages, and create or revoke links to them.
    ManageShares,
    /// Open, update and resolve incidents.
    ManageIncidents,
    /// Plan maintenance, end it early or call it off.
    PlanMaintenance,
    /// Announce something on status pages, and take it back.
    Announce,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 18] = [
        Self::See,
        Self::RequestAction,
        Self::ApproveAction,
        Self::RejectAction,
        Self::CancelAction,
        Self::ExecuteAction,
        Self::CommentAction,
        Self::BreakGlass,
        Self::SwitchRecoveryOff,
        Self::SwitchRecoveryOn,
        Self::ReadAudit,
        Self::ManageAccounts,
        Self::FollowNotifications,
        Self::ManageNotifications,
        Self::ManageShares,
        Self::ManageIncidents,
        Self::PlanMaintenance,
        Self::Announce,
    ];

    /// The roles of which any one permits this operation; empty when any role at all does.
    #[must_use]
    pub const fn permitted_to(self) -> &'static [Role] {
        match self {
            Self::See | Self::ReadAudit => &[],
            Self::RequestAction => &[Role::Operator],
            Self::ApproveAction | Self::RejectAction => &[Role::Approver],
            Self::CancelAction | Self::ManageIncidents | Self::PlanMaintenance | Self::Announce => {
                &[Role::Operator, Role::Admin]
            }
            Self::ExecuteAction => &[Role::Operator, Role::Approver],
            Self::CommentAction | Self::SwitchRecoveryOff => {
                &[Role::Operator, Role::Approver, Role::Admin]
            }
            Self::FollowNotifications => &[Role::Operator, Role::Admin],
            Self::BreakGlass
            | Self::ManageNotifications
            | Self::SwitchRecoveryOn
            | Self::ManageAccounts
            | Self::ManageShares => &[Role::Admin],
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
/// [`Denied`] names the missing role; the first of those that would do.
pub fn permit(roles: &[Role], operation: Operation) -> Result<(), Denied> {
    let permitted = operation.permitted_to();
    let Some(&missing) = permitted.first() else {
        return match roles {
            [] => Err(Denied {
                missing: Role::Viewer,
            }),
            _ => Ok(()),
        };
    };
    if roles.iter().any(|role| permitted.contains(role)) {
        Ok(())
    } else {
        Err(Denied { missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use Operation::{
            Announce, ApproveAction, BreakGlass, CancelAction, CommentAction, ExecuteAction,
            FollowNotifications, ManageAccounts, ManageIncidents, ManageNotifications,
            ManageShares, PlanMaintenance, ReadAudit, RejectAction, RequestAction, See,
            SwitchRecoveryOff, SwitchRecoveryOn,
        };
        let rows: [(Role, &[Operation]); 4] = [
            (Role::Viewer, &[See, ReadAudit]),
            (
                Role::Operator,
                &[
                    See,
                    ReadAudit,
                    RequestAction,
                    CancelAction,
                    ExecuteAction,
                    CommentAction,
                    SwitchRecoveryOff,
                    FollowNotifications,
                    ManageIncidents,
                    PlanMaintenance,
                    Announce,
                ],
            ),
            (
                Role::Approver,
                &[
                    See,
                    ReadAudit,
                    ApproveAction,
                    RejectAction,
                    ExecuteAction,
                    CommentAction,
                    SwitchRecoveryOff,
                ],
            ),
            (
                Role::Admin,
                &[
                    See,
                    ReadAudit,
                    CancelAction,
                    CommentAction,
                    BreakGlass,
                    SwitchRecoveryOff,
                    SwitchRecoveryOn,
                    ManageAccounts,
                    FollowNotifications,
                    ManageNotifications,
                    ManageShares,
                    ManageIncidents,
                    PlanMaintenance,
                    Announce,
                ],
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
