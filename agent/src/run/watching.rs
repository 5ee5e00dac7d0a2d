//! The registry's changes, as far as they concern this node.

use galera::observe::registration::ClusterField;
use registry::{Change, WatchEvent};
use tokio::sync::Notify;

use super::cluster::Cluster;

/// Notifies `wake` of every change of the cluster's keys, `again` and `lost` when something of ours was removed.
pub(super) async fn watching(cluster: &Cluster, wake: &Notify, again: &Notify, lost: &Notify) {
    let prefix = cluster.keys.cluster_prefix(&cluster.name);
    let founder = cluster.key(ClusterField::Founder);
    let own = cluster.keys.node_prefix(&cluster.name, &cluster.node);
    let mut subscription = cluster.registry.watch(prefix);
    while let Some(event) = subscription.next().await {
        let removed = match &event {
            WatchEvent::Changes { changes, .. } => changes.iter().any(|change| match change {
                Change::Delete { key, .. } => {
                    key.starts_with(own.as_bytes()) || key == founder.as_bytes()
                }
                Change::Put(_) => false,
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
