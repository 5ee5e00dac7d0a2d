//! The lock of a cluster: only its holder may act on the cluster, and its revision fences every write (I17).

use std::time::Duration;

use console_core::keyspace::ActionKeys;
use galera::{ClusterName, ReplicaId};
use registry::{CreateOutcome, Lease, Precondition, Registry};

use super::ActionError;

/// A held lock; dropping it lets it expire, as a crash would.
pub(super) struct ClusterLock {
    lease: Lease,
    key: String,
    /// The revision of its key; increases with every holder.
    pub(super) fence: i64,
}

impl ClusterLock {
    /// Acquires the lock of `cluster`.
    ///
    /// # Errors
    /// [`ActionError::Busy`] if it is held; etcd errors.
    pub(super) async fn acquire(
        registry: &Registry,
        keys: &ActionKeys,
        cluster: &ClusterName,
        replica: &ReplicaId,
        ttl: Duration,
    ) -> Result<Self, ActionError> {
        let key = keys.lock(cluster);
        if let Some(entry) = registry.get(key.as_str()).await? {
            return Err(ActionError::Busy(holder(&entry.value)));
        }
        let lease = registry.grant(ttl).await?;
        // The lease makes the value unique to this attempt.
        let value = format!("{replica} {:x}", lease.id());
        match registry.create(key.as_str(), value, Some(lease.id())).await {
            Ok(CreateOutcome::Created { revision }) => Ok(Self {
                lease,
                key,
                fence: revision,
            }),
            Ok(CreateOutcome::Exists(entry)) => {
                let busy = ActionError::Busy(holder(&entry.value));
                // A lease that cannot be revoked now expires.
                let _ = lease.revoke().await;
                Err(busy)
            }
            Err(error) => {
                let _ = lease.revoke().await;
                Err(error.into())
            }
        }
    }

    /// The precondition of every write of the holder.
    pub(super) fn guard(&self) -> Precondition {
        Precondition::Unchanged(self.key.clone().into_bytes(), self.fence)
    }

    pub(super) fn is_key(&self, key: &[u8]) -> bool {
        key == self.key.as_bytes()
    }

    /// Whether the lease may have expired.
    pub(super) fn is_lost(&self) -> bool {
        self.lease.lost_reason().is_some()
    }

    /// Releases the lock; if that fails, it expires.
    pub(super) async fn release(self) {
        if let Err(error) = self.lease.revoke().await {
            tracing::debug!(%error, "Could not release a lock; it will expire");
        }
    }
}

fn holder(value: &[u8]) -> ReplicaId {
    let text = String::from_utf8_lossy(value);
    ReplicaId::new(text.split(' ').next().unwrap_or_default())
}
