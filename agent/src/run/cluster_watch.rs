//! The registry's changes, as far as they concern this node.

use galera::observe::registration::ClusterField;
use registry::{KeyChange, WatchEvent};
use tokio::sync::Notify;

use super::cluster::ClusterRegistry;

/// Notifies `wake` of every change of the cluster's keys, `again` and `lost` when something of ours was removed.
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
            // Another etcd may stand in the old one's place.
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
