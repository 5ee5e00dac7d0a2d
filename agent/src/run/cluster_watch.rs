//! Watches the cluster's keys in the registry.

use galera::observe::registration::ClusterField;
use registry::{KeyChange, WatchEvent};
use tokio::sync::Notify;

use super::cluster::ClusterRegistry;

/// Notifies `changes` of every change to the cluster's keys, and `rewrite` and `keys_removed` when keys of this node or
/// the founder key were removed.
pub(super) async fn watch_cluster(
    cluster: &ClusterRegistry,
    wake: &Notify,
    again: &Notify,
    lost: &Notify,
) {
    let prefix = cluster.keys.cluster_prefix(&cluster.name);
    let founder = cluster.key(ClusterField::Founder);
    let own = cluster.keys.node_prefix(&cluster.name, &cluster.node);
    let mut subscription = cluster.registry.watch(prefix);
    while let Some(event) = subscription.next().await {
        let removed = match &event {
            WatchEvent::Changes { changes, .. } => changes.iter().any(|change| match change {
                KeyChange::Delete { key, .. } => {
                    key.starts_with(own.as_bytes()) || key == founder.as_bytes()
                }
                KeyChange::Put(_) => false,
            }),
            // The watch may have reconnected to a different, empty etcd.
            WatchEvent::Reset { .. } => true,
            WatchEvent::Unreachable { .. } | WatchEvent::Reachable => false,
        };
        wake.notify_one();
        if removed {
            again.notify_one();
            lost.notify_one();
        }
    }
}
