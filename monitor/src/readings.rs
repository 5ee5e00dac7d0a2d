//! Linearizable readings of every cluster's keys, kept for a while: only keys that stayed unchanged over enough
//! readings may be cleaned up (I25).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::ClusterName;
use galera::observe::registration::RegistryKeys;
use galera::recover::cleanup::RegistryReading;
use registry::Registry;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::publisher::ViewPublisher;
use super::snapshot::{ReadingHistory, registry_reading};

/// Time between two readings of a cluster.
const READING_INTERVAL: Duration = Duration::from_secs(15);
/// Readings kept; at this interval they cover three times a time to live of up to a minute.
const READINGS_KEPT: usize = 16;
/// Maximum number of keys in a reading; larger clusters are not offered for clean-up.
const KEYS_MAX: usize = 5_000;

type ReadingsByCluster = BTreeMap<ClusterName, ReadingHistory>;

/// Shared read access to the readings.
#[derive(Clone, Debug)]
pub(super) struct ReadingStore(watch::Receiver<Arc<ReadingsByCluster>>);

impl ReadingStore {
    /// The readings of `cluster`, oldest first.
    pub(super) fn get(&self, cluster: &ClusterName) -> ReadingHistory {
        self.0.borrow().get(cluster).cloned().unwrap_or_default()
    }
}

/// The store, and the task that fills it.
pub(super) fn worker(
    registry: Registry,
    registry_prefix: &str,
    publisher: Arc<ViewPublisher>,
    shutdown: CancellationToken,
) -> (ReadingStore, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = watch::channel(Arc::new(ReadingsByCluster::new()));
    let keys = RegistryKeys::new(registry_prefix);
    let task = async move {
        let mut ticks = interval(READING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let clusters: Vec<ClusterName> =
                publisher.directory().borrow().keys().cloned().collect();
            let mut all = ReadingsByCluster::clone(&sender.borrow());
            all.retain(|name, _| clusters.contains(name));
            for cluster in clusters {
                let Ok(listing) = registry.list(keys.cluster_prefix(&cluster)).await else {
                    continue;
                };
                if listing.entries.len() <= KEYS_MAX {
                    let kept = all.entry(cluster).or_default();
                    *kept = appended(kept, registry_reading(now(), &listing));
                }
            }
            sender.send_replace(Arc::new(all));
        }
    };
    (ReadingStore(receiver), task)
}

fn appended(kept: &[Arc<RegistryReading>], latest: RegistryReading) -> ReadingHistory {
    let surplus = (kept.len() + 1).saturating_sub(READINGS_KEPT);
    let mut readings = kept[surplus.min(kept.len())..].to_vec();
    readings.push(Arc::new(latest));
    Arc::new(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let mut kept = ReadingHistory::default();
        for revision in 1..=20 {
            let latest = RegistryReading {
                at: now(),
                revision,
                keys: Vec::new(),
            };
            kept = appended(&kept, latest);
        }
        assert_eq!(kept.len(), READINGS_KEPT);
        assert_eq!(
            (kept[0].revision, kept[READINGS_KEPT - 1].revision),
            (5, 20)
        );
    }
}
