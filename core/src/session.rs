//! The signed-in user of a request, and the end of that session.

use std::sync::Arc;

use galera::Timestamp;
use galera::access::{CredentialTag, Operation, PermissionDenied, Role, check_permission};
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
}

impl Principal {
    /// Checks that this user may do `operation`.
    ///
    /// # Errors
    /// [`PermissionDenied`] names the missing role.
    pub fn permit(&self, operation: Operation) -> Result<(), PermissionDenied> {
        check_permission(&self.roles, operation)
    }
}

/// A live session, held for as long as a connection uses it.
#[derive(Clone, Debug)]
pub struct SessionGuard {
    /// The session's id in etcd.
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
