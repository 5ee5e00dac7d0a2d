//! Roles as an administrator assigns them to an account with a password or to a service account.

use super::{ClusterScope, Role, RoleGrant, SCOPE_PATTERNS_MAX, granted_roles};

/// Most grants of one account.
const GRANTS_MAX: usize = 20;

/// The roles that an account is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleAssignment {
    pub roles: Vec<Role>,
    /// The clusters on which `roles` count. `None` leaves the limit of the account as it is.
    pub clusters: Option<ClusterScope>,
    /// Further roles, each on some clusters.
    pub grants: Vec<RoleGrant>,
}

/// Roles of an account, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedRoles {
    /// All roles, wherever they count.
    pub roles: Vec<Role>,
    /// Where each counts; empty if all count everywhere.
    pub grants: Vec<RoleGrant>,
}

/// Why roles cannot be assigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// No role was given, or a grant has none.
    #[error("an account needs at least one role: viewer, operator, approver or admin")]
    NoRole,
    /// The roles have different limits, and the new ones have no explicit one.
    #[error(
        "the roles of this account count on different clusters ({0}); state on which clusters the new roles count, or that they count on all"
    )]
    LimitNotStated(String),
    /// Too many patterns or grants.
    #[error(
        "an account has at most {GRANTS_MAX} grants with {SCOPE_PATTERNS_MAX} clusters, patterns or labels each"
    )]
    TooMany,
}

impl RoleAssignment {
    /// `roles` on every cluster and for the whole console.
    #[must_use]
    pub fn everywhere(roles: Vec<Role>) -> Self {
        Self {
            roles,
            clusters: Some(ClusterScope::all()),
            grants: Vec::new(),
        }
    }

    /// The roles of an account whose roles count where `before` says (empty: everywhere).
    ///
    /// # Errors
    /// [`AssignmentError`].
    pub fn resolve(&self, before: &[RoleGrant]) -> Result<AssignedRoles, AssignmentError> {
        let mut grants: Vec<RoleGrant> = Vec::new();
        if !self.roles.is_empty() {
            let clusters = match &self.clusters {
                Some(clusters) => clusters.clone(),
                None => common_limit(before)?,
            };
            grants.push(RoleGrant::of(self.roles.clone(), clusters));
        }
        for grant in &self.grants {
            let same = grants
                .iter_mut()
                .find(|other| other.clusters == grant.clusters);
            match same {
                Some(same) => same.roles.extend_from_slice(&grant.roles),
                None => grants.push(RoleGrant::of(grant.roles.clone(), grant.clusters.clone())),
            }
        }
        let too_long = |grant: &RoleGrant| grant.clusters.selectors().len() > SCOPE_PATTERNS_MAX;
        if grants.len() > GRANTS_MAX || grants.iter().any(too_long) {
            return Err(AssignmentError::TooMany);
        }
        if grants.is_empty() || self.grants.iter().any(|grant| grant.roles.is_empty()) {
            return Err(AssignmentError::NoRole);
        }
        for grant in &mut grants {
            grant.roles.sort_unstable();
            grant.roles.dedup();
        }
        let roles = granted_roles(&grants);
        if grants.iter().all(|grant| grant.clusters.is_all()) {
            grants.clear();
        }
        Ok(AssignedRoles { roles, grants })
    }
}

/// The one limit of all roles.
fn common_limit(grants: &[RoleGrant]) -> Result<ClusterScope, AssignmentError> {
    let Some(first) = grants.first() else {
        return Ok(ClusterScope::all());
    };
    if grants.iter().all(|grant| grant.clusters == first.clusters) {
        return Ok(first.clusters.clone());
    }
    let shown: Vec<String> = grants.iter().map(RoleGrant::to_string).collect();
    Err(AssignmentError::LimitNotStated(shown.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(patterns: &[&str]) -> ClusterScope {
        ClusterScope::new(patterns.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn grant(roles: &[Role], patterns: &[&str]) -> RoleGrant {
        RoleGrant::of(roles.to_vec(), scope(patterns))
    }

    #[test]
    fn roles_without_a_limit_have_no_grants() {
        use Role::{Approver, Viewer};
        let roles = RoleAssignment::everywhere(vec![Viewer, Approver, Viewer]);
        let assigned = roles.resolve(&[grant(&[Viewer], &["lab"])]).unwrap();
        assert_eq!(assigned.roles, [Viewer, Approver]);
        assert_eq!(assigned.grants, []);
    }

    #[test]
    fn a_limit_that_is_not_stated_stays() {
        let new = RoleAssignment {
            roles: vec![Role::Operator],
            ..RoleAssignment::default()
        };
        let before = [grant(&[Role::Viewer], &["prod-*"])];
        let assigned = new.resolve(&before).unwrap();
        assert_eq!(assigned.grants, [grant(&[Role::Operator], &["prod-*"])]);
        assert_eq!(new.resolve(&[]).unwrap().grants, []);
        let before = [
            grant(&[Role::Viewer], &["prod-*"]),
            grant(&[Role::Viewer], &[]),
        ];
        assert_eq!(
            new.resolve(&before),
            Err(AssignmentError::LimitNotStated(
                "viewer on prod-*; viewer on all clusters".to_owned()
            ))
        );
    }

    #[test]
    fn grants_of_the_same_clusters_are_one() {
        let new = RoleAssignment {
            roles: vec![Role::Viewer],
            clusters: Some(ClusterScope::all()),
            grants: vec![
                grant(&[Role::Approver], &["b", "a"]),
                grant(&[Role::Operator], &["a", "b"]),
            ],
        };
        let assigned = new.resolve(&[]).unwrap();
        assert_eq!(
            assigned.roles,
            [Role::Viewer, Role::Operator, Role::Approver]
        );
        assert_eq!(
            assigned.grants,
            [
                grant(&[Role::Viewer], &[]),
                grant(&[Role::Operator, Role::Approver], &["a", "b"]),
            ]
        );
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        let none = RoleAssignment::default();
        assert_eq!(none.resolve(&[]), Err(AssignmentError::NoRole));
        let empty = RoleAssignment {
            grants: vec![grant(&[], &["a"]), grant(&[Role::Viewer], &["b"])],
            ..RoleAssignment::default()
        };
        assert_eq!(empty.resolve(&[]), Err(AssignmentError::NoRole));
        let patterns: Vec<String> = (0..=SCOPE_PATTERNS_MAX).map(|n| format!("c{n}")).collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let long = RoleAssignment {
            grants: vec![grant(&[Role::Viewer], &patterns)],
            ..RoleAssignment::default()
        };
        assert_eq!(long.resolve(&[]), Err(AssignmentError::TooMany));
    }
}
