//! Who makes a request, and the promise that this can end at any moment.

use std::sync::Arc;

use galera::Timestamp;
use galera::access::{Operation, PermissionDenied, Role, check_permission};
use tokio::sync::watch;
use uuid::Uuid;

/// A signed-in person, as of the moment of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The account's name.
    pub username: Arc<str>,
    /// The roles that the account holds now.
    pub roles: Vec<Role>,
}

impl Principal {
    /// Whether this person may do `operation`.
    ///
    /// # Errors
    /// [`PermissionDenied`] names the missing role.
    pub fn permit(&self, operation: Operation) -> Result<(), PermissionDenied> {
        check_permission(&self.roles, operation)
    }
}

/// A live session, held by whatever serves it for longer than one request.
#[derive(Clone, Debug)]
pub struct SessionGuard {
    /// The session's id in etcd.
    pub id: Uuid,
    /// Whose session it is, with the roles of the moment when it was looked up.
    pub principal: Principal,
    /// Turns true as soon as the session ends: signed out, expired, or the account disabled, removed or given another
    /// password. A closed channel means the same.
    pub ended: watch::Receiver<bool>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl SessionGuard {
    /// Whether the session has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Returns once the session has ended.
    pub async fn wait_ended(&mut self) {
        // An error means that nobody keeps the session any more, which ends it too.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}
