//! Roles that an account has on some clusters only, and what remains of them for one request.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClusterLabels, ClusterScope, Operation, Role, check_permission};
use crate::id::ClusterName;

/// Roles on some clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleGrant {
    pub roles: Vec<Role>,
    /// The clusters on which the roles count; empty for all, and what belongs to the whole console.
    #[serde(default, skip_serializing_if = "ClusterScope::is_all")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub clusters: ClusterScope,
    /// The group of the identity provider that the grant comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl RoleGrant {
    /// `roles` on `clusters`, as an administrator assigned them.
    #[must_use]
    pub fn of(roles: Vec<Role>, clusters: ClusterScope) -> Self {
        Self {
            roles,
            clusters,
            group: None,
        }
    }

    /// The same grant, in which clusters have `labels`.
    #[must_use]
    pub fn with_labels(&self, labels: &ClusterLabels) -> Self {
        let grant = self.clone();
        Self {
            clusters: grant.clusters.with_labels(labels),
            ..grant
        }
    }
}

/// `operator on prod-*, from group dba`.
impl fmt::Display for RoleGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        write!(f, "{} on ", roles.join(", "))?;
        match self.clusters.is_all() {
            true => f.write_str("all clusters")?,
            false => self.clusters.fmt(f)?,
        }
        match &self.group {
            Some(group) => write!(f, ", from group {group}"),
            None => Ok(()),
        }
    }
}

/// What a request concerns.
#[derive(Clone, Copy, Debug)]
pub enum GrantTarget<'a> {
    /// One cluster.
    Cluster(&'a ClusterName),
    /// The whole console.
    Console,
    /// Every cluster on which one of these operations is permitted.
    Permitted(&'a [Operation]),
}

/// All roles of `grants`, wherever they count.
#[must_use]
pub fn granted_roles(grants: &[RoleGrant]) -> Vec<Role> {
    let mut roles: Vec<Role> = grants
        .iter()
        .flat_map(|grant| grant.roles.clone())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// The clusters on which `grants` give any role.
#[must_use]
pub fn granted_clusters<'a>(grants: impl IntoIterator<Item = &'a RoleGrant>) -> ClusterScope {
    let mut selectors = Vec::new();
    let mut labels = ClusterLabels::none();
    for grant in grants {
        if grant.clusters.is_all() {
            return ClusterScope::all();
        }
        selectors.extend_from_slice(grant.clusters.selectors());
        labels = grant.clusters.labels().clone();
    }
    ClusterScope::new(selectors).with_labels(&labels)
}

/// The roles on `cluster`.
#[must_use]
pub fn roles_on(grants: &[RoleGrant], cluster: &ClusterName) -> Vec<Role> {
    let matching: Vec<RoleGrant> = grants
        .iter()
        .filter(|grant| grant.clusters.permits(cluster))
        .cloned()
        .collect();
    granted_roles(&matching)
}

/// What `grants` give for a request that concerns `target`: roles that count on every cluster of the scope. `None` if nothing
/// is left.
#[must_use]
pub fn narrow_grants(
    grants: &[RoleGrant],
    target: GrantTarget<'_>,
) -> Option<(Vec<Role>, ClusterScope)> {
    match target {
        GrantTarget::Cluster(cluster) => {
            let roles = roles_on(grants, cluster);
            (!roles.is_empty()).then(|| (roles, granted_clusters(grants)))
        }
        GrantTarget::Console => {
            let everywhere: Vec<RoleGrant> = grants
                .iter()
                .filter(|grant| grant.clusters.is_all())
                .cloned()
                .collect();
            let roles = granted_roles(&everywhere);
            (!roles.is_empty()).then_some((roles, ClusterScope::all()))
        }
        GrantTarget::Permitted(operations) => permitted(grants, operations),
    }
}

fn permitted(grants: &[RoleGrant], operations: &[Operation]) -> Option<(Vec<Role>, ClusterScope)> {
    let permits = |roles: &[Role]| {
        let mut operations = operations.iter();
        operations.any(|operation| check_permission(roles, *operation).is_ok())
    };
    let matching: Vec<&RoleGrant> = grants
        .iter()
        .filter(|grant| permits(&grant.roles))
        .collect();
    let first = matching.first()?;
    let common: Vec<Role> = first
        .roles
        .iter()
        .copied()
        .filter(|role| matching.iter().all(|grant| grant.roles.contains(role)))
        .collect();
    if permits(&common) {
        return Some((common, granted_clusters(matching)));
    }
    // Different roles permit it on different clusters. The least role stands for what each of them permits.
    if permits(&[Role::Viewer]) {
        return Some((vec![Role::Viewer], granted_clusters(matching)));
    }
    Some((first.roles.clone(), first.clusters.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(roles: &[Role], clusters: &[&str]) -> RoleGrant {
        let patterns = clusters.iter().map(|text| text.parse().unwrap());
        RoleGrant {
            roles: roles.to_vec(),
            clusters: ClusterScope::new(patterns.collect()),
            group: None,
        }
    }

    /// Every list of up to three grants of one or two roles on a few scopes.
    fn lists() -> Vec<Vec<RoleGrant>> {
        use Role::{Admin, Approver, Operator, Viewer};
        let roles: [&[Role]; 5] = [
            &[Viewer],
            &[Operator],
            &[Approver],
            &[Admin],
            &[Operator, Approver],
        ];
        let scopes: [&[&str]; 3] = [&[], &["prod-*"], &["test-1", "prod-2"]];
        let single: Vec<RoleGrant> = roles
            .iter()
            .flat_map(|roles| scopes.iter().map(|clusters| grant(roles, clusters)))
            .collect();
        let mut lists = vec![Vec::new()];
        for one in &single {
            lists.push(vec![one.clone()]);
            for two in &single {
                lists.push(vec![one.clone(), two.clone()]);
                lists.push(vec![one.clone(), two.clone(), single[7].clone()]);
            }
        }
        lists
    }

    #[test]
    fn what_remains_is_never_more_than_what_was_granted() {
        let clusters = ["prod-1", "prod-2", "test-1", "lab"].map(|name| name.parse().unwrap());
        for grants in lists() {
            let everywhere: Vec<RoleGrant> = grants
                .iter()
                .filter(|grant| grant.clusters.is_all())
                .cloned()
                .collect();
            let everywhere = granted_roles(&everywhere);
            let console = narrow_grants(&grants, GrantTarget::Console);
            let console = console.map(|(roles, _)| roles).unwrap_or_default();
            assert_eq!(console, everywhere, "{grants:?}");
            for cluster in &clusters {
                let on = roles_on(&grants, cluster);
                let narrowed = narrow_grants(&grants, GrantTarget::Cluster(cluster));
                let narrowed = narrowed.map(|(roles, _)| roles).unwrap_or_default();
                assert_eq!(narrowed, on, "{grants:?} {cluster}");
                for operation in Operation::ALL {
                    let operations = [operation];
                    let target = GrantTarget::Permitted(&operations);
                    let Some((roles, scope)) = narrow_grants(&grants, target) else {
                        assert!(check_permission(&on, operation).is_err());
                        continue;
                    };
                    assert!(check_permission(&roles, operation).is_ok());
                    if !scope.permits(cluster) {
                        continue;
                    }
                    // On each cluster in reach, no other operation than on the cluster itself.
                    for other in Operation::ALL {
                        let wider = check_permission(&roles, other).is_ok();
                        let held = check_permission(&on, other).is_ok();
                        assert!(
                            !wider || held,
                            "{grants:?} {cluster} {operation:?} {other:?}"
                        );
                    }
                }
            }
        }
    }
}
