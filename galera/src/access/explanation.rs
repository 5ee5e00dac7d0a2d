//! Why an account may or may not do something on a cluster, in a sentence.

use serde::{Deserialize, Serialize};

use super::{Operation, Role, RoleGrant, check_permission, roles_on};
use crate::id::ClusterName;

/// What an account may do on a cluster, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PermissionView {
    pub operation: ExplainedOperation,
    pub permitted: bool,
    /// A sentence with the roles that it rests on, and where they come from.
    pub explanation: String,
}

/// An operation that is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExplainedOperation {
    /// Request a bootstrap, a clean-up or another action.
    Request,
    /// Approve what another account requested.
    Approve,
    /// Start what is approved.
    Execute,
}

impl ExplainedOperation {
    pub const ALL: [Self; 3] = [Self::Request, Self::Approve, Self::Execute];

    /// The entry of the access table.
    #[must_use]
    pub const fn operation(self) -> Operation {
        match self {
            Self::Request => Operation::RequestAction,
            Self::Approve => Operation::ApproveAction,
            Self::Execute => Operation::ExecuteAction,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Request => "request a bootstrap, clean-up or other action",
            Self::Approve => "approve actions that others requested",
            Self::Execute => "start approved actions",
        }
    }
}

/// What an account with `grants` may do on `cluster`: the decision of [`check_permission`] on the roles that count there.
#[must_use]
pub fn explain_permission(
    grants: &[RoleGrant],
    cluster: &ClusterName,
    operation: ExplainedOperation,
) -> PermissionView {
    let here = roles_on(grants, cluster);
    let what = operation.text();
    let (permitted, explanation) = match check_permission(&here, operation.operation()) {
        Ok(()) => {
            let reason = grant_that_permits(grants, cluster, operation.operation());
            let reason = reason.map_or_else(String::new, |reason| format!(", because {reason}"));
            (true, format!("You may {what} on {cluster}{reason}."))
        }
        Err(denied) => {
            let role = denied.missing_role;
            let roles = match here.as_slice() {
                [] => "you have no role on it".to_owned(),
                roles => format!("your roles on it: {}", role_names(roles)),
            };
            let text = format!(
                "You may not {what} on {cluster}: requires the role {role} on this cluster; {roles}."
            );
            (false, text)
        }
    };
    PermissionView {
        operation,
        permitted,
        explanation,
    }
}

/// Why `what` is not permitted although the roles would permit it.
#[must_use]
pub fn explain_refusal(
    cluster: &ClusterName,
    operation: ExplainedOperation,
    why: &str,
) -> PermissionView {
    let what = operation.text();
    PermissionView {
        operation,
        permitted: false,
        explanation: format!("You may not {what} on {cluster}: {why}"),
    }
}

fn role_names(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    names.join(", ")
}

/// The first grant with a role that permits `operation` on `cluster`.
fn grant_that_permits(
    grants: &[RoleGrant],
    cluster: &ClusterName,
    operation: Operation,
) -> Option<String> {
    grants.iter().find_map(|grant| {
        let counts = grant.clusters.permits(cluster);
        let may = |role: &Role| check_permission(&[*role], operation).is_ok();
        let role = grant.roles.iter().copied().find(may).filter(|_| counts)?;
        let one = RoleGrant {
            roles: vec![role],
            ..grant.clone()
        };
        Some(format!("you have the role {one}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ClusterLabels, ClusterScope, LabelRule};

    fn grant(roles: &[Role], selectors: &[&str]) -> RoleGrant {
        let rules = LabelRule::parse_all("prod-*:env=production").unwrap();
        let labels = ClusterLabels::new(rules).unwrap();
        let selectors = selectors.iter().map(|text| text.parse().unwrap());
        RoleGrant::of(roles.to_vec(), ClusterScope::new(selectors.collect())).with_labels(&labels)
    }

    #[test]
    fn the_sentence_names_the_role_and_where_it_comes_from() {
        use Role::{Approver, Operator, Viewer};
        let mut by_group = grant(&[Operator], &["env=production"]);
        by_group.group = Some("dba".to_owned());
        let grants = [
            grant(&[Viewer], &[]),
            by_group,
            grant(&[Approver], &["lab"]),
        ];
        for (cluster, operation, permitted, text) in [
            (
                "prod-1",
                ExplainedOperation::Request,
                true,
                "You may request a bootstrap, clean-up or other action on prod-1, because you have the role operator on env=production, from group dba.",
            ),
            (
                "prod-1",
                ExplainedOperation::Approve,
                false,
                "You may not approve actions that others requested on prod-1: requires the role approver on this cluster; your roles on it: viewer, operator.",
            ),
            (
                "lab",
                ExplainedOperation::Approve,
                true,
                "You may approve actions that others requested on lab, because you have the role approver on lab.",
            ),
        ] {
            let view = explain_permission(&grants, &cluster.parse().unwrap(), operation);
            assert_eq!(
                (view.permitted, view.explanation.as_str()),
                (permitted, text)
            );
        }
        let none = explain_permission(
            &grants[1..],
            &"test".parse().unwrap(),
            ExplainedOperation::Request,
        );
        assert!(
            none.explanation.ends_with("you have no role on it."),
            "{none:?}"
        );
    }

    #[test]
    fn the_explanation_is_the_decision() {
        for roles in [
            &[Role::Viewer][..],
            &[Role::Operator],
            &[Role::Approver],
            &[Role::Admin],
        ] {
            for selectors in [&[][..], &["prod-*"], &["env=production"], &["env=none"]] {
                let grants = [grant(roles, selectors)];
                for cluster in ["prod-1", "lab"] {
                    let cluster = cluster.parse().unwrap();
                    for operation in ExplainedOperation::ALL {
                        let view = explain_permission(&grants, &cluster, operation);
                        let here = roles_on(&grants, &cluster);
                        let decided = check_permission(&here, operation.operation()).is_ok();
                        assert_eq!(view.permitted, decided, "{view:?}");
                        assert_eq!(view.explanation.contains("because"), decided, "{view:?}");
                    }
                }
            }
        }
    }
}
