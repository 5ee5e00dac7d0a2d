//! The signed-in user of a request, and the end of that session.

use std::sync::Arc;

use galera::Timestamp;
use galera::access::{
    ClusterScope, CredentialTag, GrantTarget, GroupName, Operation, PermissionDenied, Role,
    RoleGrant, check_permission, narrow_grants,
};
use galera::record::audit::actor_via_token;
use tokio::sync::watch;
use uuid::Uuid;

/// A signed-in user, as of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The account's name.
    pub username: Arc<str>,
    /// The roles that the account has now.
    pub roles: Vec<Role>,
    /// The credential of the account.
    pub credential: CredentialTag,
    /// Whether a role of the account requires a second factor that it does not have: it may then only enrol one.
    pub must_enrol: bool,
    /// The token that the request was sent with; `None` for a session.
    pub token: Option<Arc<TokenCredential>>,
    /// The clusters that the credential is limited to.
    pub clusters: ClusterScope,
    /// Where each role counts; empty if all count wherever `clusters` permits. [`Principal::narrowed`] applies them.
    pub grants: Arc<[RoleGrant]>,
    /// The groups that the account is in.
    pub groups: Arc<[GroupName]>,
    /// Whether its user signs in with the identity provider.
    pub is_external: bool,
}

/// An API token that a request was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCredential {
    /// The part of the token that is no secret.
    pub id: String,
    pub name: String,
    /// Whether its account is a service account.
    pub is_service: bool,
    /// Whether it may approve actions, as far as its roles permit that.
    pub may_approve: bool,
    /// The clusters that it is limited to, besides the limits of its account.
    pub clusters: ClusterScope,
}

impl Principal {
    /// The actor in the audit trail: the account, with the token where one is used.
    #[must_use]
    pub fn audit_actor(&self) -> Arc<str> {
        match &self.token {
            Some(token) => actor_via_token(&self.username, &token.name).into(),
            None => Arc::clone(&self.username),
        }
    }

    /// This user with the roles and clusters that count for a request that concerns `target`. `None` if none do.
    #[must_use]
    pub fn narrowed(&self, target: GrantTarget<'_>) -> Option<Self> {
        if self.grants.is_empty() {
            return Some(self.clone());
        }
        let (roles, clusters) = narrow_grants(&self.grants, target)?;
        let clusters = match &self.token {
            // A token that is limited to clusters permits nothing of the whole console.
            Some(token) if !token.clusters.is_all() => match target {
                GrantTarget::Console => return None,
                GrantTarget::Cluster(cluster) if !token.clusters.permits(cluster) => return None,
                _ => clusters.intersect(&token.clusters),
            },
            _ => clusters,
        };
        Some(Self {
            roles,
            clusters,
            grants: Arc::default(),
            ..self.clone()
        })
    }

    /// Checks that this user may do `operation`.
    ///
    /// # Errors
    /// [`PermissionDenied`] names the missing role.
    pub fn permit(&self, operation: Operation) -> Result<(), PermissionDenied> {
        check_permission(&self.roles, operation)
    }
}

/// A live session, or a valid token, held for as long as a connection uses it.
#[derive(Clone, Debug)]
pub struct SessionGuard {
    /// The session's id in etcd; derived from the token's id for a token.
    pub id: Uuid,
    /// The session's user, with the roles at the time of the lookup.
    pub principal: Principal,
    /// Becomes `true` when the session ends: signed out, expired, or the account disabled, removed or given another
    /// password. A closed channel means the same.
    pub ended: watch::Receiver<bool>,
    /// Becomes `false` when the account has no role any longer, or must enrol a second factor first.
    pub may_view: watch::Receiver<bool>,
    /// When its user last proved to be the account's owner, with a password or a code.
    pub last_proof: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
}

impl SessionGuard {
    /// Whether the session has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Waits until the account may no longer view anything, although the session continues.
    pub async fn wait_view_lost(&mut self) {
        if self.may_view.wait_for(|may_view| !may_view).await.is_err() {
            // The session's owner is gone; `wait_ended` reports that.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the session has ended.
    pub async fn wait_ended(&mut self) {
        // An error means that the session's owner is gone, which ends it too.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}
