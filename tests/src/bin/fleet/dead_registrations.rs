//! Registrations that nothing stands behind, as years of changed addresses leave them.

use anyhow::Result;
use galera::observe::registration::RegistryKeys;
use galera::{ClusterName, NodeId};
use registry::{Registry, Transaction, WriteOp};

/// Registrations of one dead cluster.
pub(crate) const PER_CLUSTER: usize = 100;

/// Writes `count` durable registrations.
///
/// # Errors
/// If etcd refuses one.
pub(crate) async fn write(registry: &Registry, count: usize) -> Result<()> {
    let keys = RegistryKeys::new("/galera");
    for first in (0..count).step_by(PER_CLUSTER) {
        let cluster: ClusterName = format!("dead-{:05}", first / PER_CLUSTER).parse()?;
        let numbers = first..count.min(first + PER_CLUSTER);
        let writes: Result<Vec<WriteOp>> = numbers
            .map(|number| {
                let (high, low) = (number / 250 % 250, number % 250);
                // Every probe is refused at once: nothing listens there.
                let node = NodeId::new(&format!("127.250.{high}.{low}"), Some(1))?;
                let key = keys.node_key(&cluster, &node, "registered");
                Ok(WriteOp::put(
                    key,
                    r#"{"first_seen":"2026-01-01T00:00:00Z"}"#,
                    None,
                ))
            })
            .collect();
        registry.transact(&Transaction::new().then(writes?)).await?;
    }
    Ok(())
}
