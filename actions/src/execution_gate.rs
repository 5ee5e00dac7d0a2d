//! Keeps work that blocks etcd away from actions that are carried out.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Open while actions may be carried out in this process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ExecutionGate(Arc<RwLock<()>>);

/// Held while an action is carried out.
pub(super) type ExecutionPass = OwnedRwLockReadGuard<()>;

/// Held by work during which no action is carried out.
pub type ClosedGate = OwnedRwLockWriteGuard<()>;

impl ExecutionGate {
    /// Waits until the gate is open.
    pub(super) async fn enter(&self) -> ExecutionPass {
        Arc::clone(&self.0).read_owned().await
    }

    /// Closes the gate until the guard is dropped; `None` while an action is carried out.
    #[must_use]
    pub fn try_close(&self) -> Option<ClosedGate> {
        Arc::clone(&self.0).try_write_owned().ok()
    }
}
