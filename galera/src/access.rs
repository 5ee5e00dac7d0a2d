//! Permissions: one table of roles and operations, which the API enforces and the interface explains.

mod assignment;
mod explanation;
mod grant;
mod group;
mod label;
mod scope;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use assignment::{AssignedRoles, AssignmentError, RoleAssignment};
pub use explanation::{ExplainedOperation, PermissionView, explain_permission, explain_refusal};
pub use grant::{GrantTarget, RoleGrant, granted_clusters, granted_roles, narrow_grants, roles_on};
pub use group::{GROUPS_MAX, GroupName, GroupNameError, group_without_member};
pub use label::{
    ClusterLabel, ClusterLabelError, ClusterLabels, LABEL_KEYS_MAX, LABEL_RULES_MAX,
    LABEL_TEXT_MAX, LabelRule, LabelRuleError,
};
pub use scope::{
    ClusterPattern, ClusterPatternError, ClusterScope, ClusterSelector, ClusterSelectorError,
    SCOPE_PATTERNS_MAX,
};

/// A role of an account. Roles do not include each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May view everything.
    Viewer,
    /// May request actions.
    Operator,
    /// May approve or reject actions that others requested.
    Approver,
    /// Manages accounts and shares; may override failed checks.
    Admin,
}

named_variants!(Role {
    Viewer => "viewer",
    Operator => "operator",
    Approver => "approver",
    Admin => "admin",
});

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An unknown role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}; expected viewer, operator, approver or admin")]
pub struct ParseRoleError(pub String);

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ParseRoleError(text.to_owned()))
    }
}

/// Identifies one credential of an account without revealing anything about it: another password has another tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct CredentialTag(String);

impl CredentialTag {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// An operation of a signed-in user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// View clusters, nodes, registry keys, plans and actions.
    View,
    /// Request a bootstrap, clean-up or decommission, and attest members.
    RequestAction,
    /// Approve another user's request.
    ApproveAction,
    /// Reject another user's request.
    RejectAction,
    /// Withdraw one's own request; administrators may withdraw any.
    CancelAction,
    /// Start an approved action.
    ExecuteAction,
    /// Comment on an open action.
    CommentAction,
    /// Request an action that overrides failed checks, listing each.
    BreakGlass,
    /// Admit a registered node as a member.
    AdmitNode,
    /// Acknowledge alarms about the data of a cluster.
    AcknowledgeHistory,
    /// Acknowledge findings, and withdraw acknowledgements.
    AcknowledgeFinding,
    /// Pause recovery: allowed to every role that may act, because refusing is always safe.
    PauseRecovery,
    /// Resume recovery.
    ResumeRecovery,
    /// Read the audit trail.
    ReadAudit,
    /// See the addresses of clients in the audit trail.
    ReadClientAddresses,
    /// Acknowledge alarms about changes outside the console.
    AcknowledgeAlarms,
    /// Create, change or remove accounts.
    ManageAccounts,
    /// View notification targets and deliveries, and resend a notification.
    ViewNotifications,
    /// Create, change, test or remove notification targets.
    ManageNotifications,
    /// Create, change or delete status pages, and create or revoke links to them.
    ManageStatusPages,
    /// Open, update and resolve incidents.
    ManageIncidents,
    /// Schedule maintenance, end it early or cancel it.
    ManageMaintenance,
    /// Publish and withdraw announcements on status pages.
    ManageAnnouncements,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 23] = [
        Self::View,
        Self::RequestAction,
        Self::ApproveAction,
        Self::RejectAction,
        Self::CancelAction,
        Self::ExecuteAction,
        Self::CommentAction,
        Self::BreakGlass,
        Self::AdmitNode,
        Self::AcknowledgeHistory,
        Self::AcknowledgeFinding,
        Self::PauseRecovery,
        Self::ResumeRecovery,
        Self::ReadAudit,
        Self::ReadClientAddresses,
        Self::AcknowledgeAlarms,
        Self::ManageAccounts,
        Self::ViewNotifications,
        Self::ManageNotifications,
        Self::ManageStatusPages,
        Self::ManageIncidents,
        Self::ManageMaintenance,
        Self::ManageAnnouncements,
    ];

    /// The roles that permit this operation, any one of which suffices; empty if every role permits it.
    #[must_use]
    pub const fn permitted_roles(self) -> &'static [Role] {
        match self {
            Self::View | Self::ReadAudit => &[],
            Self::RequestAction | Self::AdmitNode => &[Role::Operator],
            Self::ApproveAction | Self::RejectAction => &[Role::Approver],
            Self::CancelAction
            | Self::AcknowledgeFinding
            | Self::ManageIncidents
            | Self::ManageMaintenance
            | Self::ManageAnnouncements => &[Role::Operator, Role::Admin],
            Self::ExecuteAction | Self::AcknowledgeHistory => &[Role::Operator, Role::Approver],
            Self::CommentAction | Self::PauseRecovery | Self::ReadClientAddresses => {
                &[Role::Operator, Role::Approver, Role::Admin]
            }
            Self::ViewNotifications => &[Role::Operator, Role::Admin],
            Self::BreakGlass
            | Self::ManageNotifications
            | Self::ResumeRecovery
            | Self::AcknowledgeAlarms
            | Self::ManageAccounts
            | Self::ManageStatusPages => &[Role::Admin],
        }
    }
}

/// The account lacks the role for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requires the {missing_role} role")]
pub struct PermissionDenied {
    /// The first role that would permit it.
    pub missing_role: Role,
}

/// Checks that an account with `roles` may do `operation`. An account without a role may do nothing.
///
/// # Errors
/// [`PermissionDenied`], if none of `roles` permits it.
pub fn check_permission(roles: &[Role], operation: Operation) -> Result<(), PermissionDenied> {
    let permitted = operation.permitted_roles();
    let Some(&missing) = permitted.first() else {
        return match roles {
            [] => Err(PermissionDenied {
                missing_role: Role::Viewer,
            }),
            _ => Ok(()),
        };
    };
    if roles.iter().any(|role| permitted.contains(role)) {
        Ok(())
    } else {
        Err(PermissionDenied {
            missing_role: missing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_table() {
        use Operation::{
            AcknowledgeAlarms, AcknowledgeFinding, AcknowledgeHistory, AdmitNode, ApproveAction,
            BreakGlass, CancelAction, CommentAction, ExecuteAction, ManageAccounts,
            ManageAnnouncements, ManageIncidents, ManageMaintenance, ManageNotifications,
            ManageStatusPages, PauseRecovery, ReadAudit, ReadClientAddresses, RejectAction,
            RequestAction, ResumeRecovery, View, ViewNotifications,
        };
        let rows: [(Role, &[Operation]); 4] = [
            (Role::Viewer, &[View, ReadAudit]),
            (
                Role::Operator,
                &[
                    View,
                    ReadAudit,
                    ReadClientAddresses,
                    RequestAction,
                    AdmitNode,
                    AcknowledgeHistory,
                    AcknowledgeFinding,
                    CancelAction,
                    ExecuteAction,
                    CommentAction,
                    PauseRecovery,
                    ViewNotifications,
                    ManageIncidents,
                    ManageMaintenance,
                    ManageAnnouncements,
                ],
            ),
            (
                Role::Approver,
                &[
                    View,
                    ReadAudit,
                    ReadClientAddresses,
                    ApproveAction,
                    RejectAction,
                    AcknowledgeHistory,
                    ExecuteAction,
                    CommentAction,
                    PauseRecovery,
                ],
            ),
            (
                Role::Admin,
                &[
                    View,
                    ReadAudit,
                    ReadClientAddresses,
                    AcknowledgeFinding,
                    CancelAction,
                    CommentAction,
                    BreakGlass,
                    PauseRecovery,
                    ResumeRecovery,
                    AcknowledgeAlarms,
                    ManageAccounts,
                    ViewNotifications,
                    ManageNotifications,
                    ManageStatusPages,
                    ManageIncidents,
                    ManageMaintenance,
                    ManageAnnouncements,
                ],
            ),
        ];
        for (role, permitted) in rows {
            for operation in Operation::ALL {
                let expected = permitted.contains(&operation);
                assert_eq!(
                    check_permission(&[role], operation).is_ok(),
                    expected,
                    "{role} {operation:?}"
                );
            }
        }
    }

    #[test]
    fn no_role_permits_nothing() {
        for operation in Operation::ALL {
            assert!(check_permission(&[], operation).is_err());
        }
    }
}
