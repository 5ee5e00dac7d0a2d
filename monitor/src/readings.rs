//! Linearizable readings of every cluster's keys, kept for a while: only what was read often and long enough without a
//! sign of life may be cleaned up (I25).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::ClusterName;
use galera::observe::registration::Keys;
use galera::recover::cleanup::Reading;
use registry::Registry;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::known::{Readings, reading};

/// Time between two readings of a cluster.
const PERIOD: Duration = Duration::from_secs(15);
/// Readings kept at this distance from each other; three times a time to live of up to a minute are covered.
const KEPT: usize = 16;
/// A reading may have this many keys; a cluster with more is not cleaned up.
const KEYS_MAX: usize = 5_000;

type All = BTreeMap<ClusterName, Readings>;

/// The reading side.
#[derive(Clone, Debug)]
pub(super) struct Archive(watch::Receiver<Arc<All>>);

impl Archive {
    /// The readings of `cluster`, oldest first.
    pub(super) fn of(&self, cluster: &ClusterName) -> Readings {
        self.0.borrow().get(cluster).cloned().unwrap_or_default()
    }
}

/// An archive, and the task that fills it.
pub(super) fn open(
    registry: Registry,
    registry_prefix: &str,
    board: Arc<Board>,
    shutdown: CancellationToken,
) -> (Archive, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = watch::channel(Arc::new(All::new()));
    let keys = Keys::new(registry_prefix);
    let task = async move {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let clusters: Vec<ClusterName> = board.directory().borrow().keys().cloned().collect();
            let mut all = All::clone(&sender.borrow());
            all.retain(|name, _| clusters.contains(name));
            for cluster in clusters {
                let Ok(listing) = registry.list(keys.cluster_prefix(&cluster)).await else {
                    continue;
                };
                if listing.entries.len() <= KEYS_MAX {
                    let kept = all.entry(cluster).or_default();
                    *kept = with(kept, reading(now(), &listing));
                }
            }
            sender.send_replace(Arc::new(all));
        }
    };
    (Archive(receiver), task)
}

fn with(kept: &[Arc<Reading>], newest: Reading) -> Readings {
    let surplus = (kept.len() + 1).saturating_sub(KEPT);
    let mut readings = kept[surplus.min(kept.len())..].to_vec();
    readings.push(Arc::new(newest));
    Arc::new(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let mut kept = Readings::default();
        for revision in 1..=20 {
            let newest = Reading {
                at: now(),
                revision,
                keys: Vec::new(),
            };
            kept = with(&kept, newest);
        }
        assert_eq!(kept.len(), KEPT);
        assert_eq!((kept[0].revision, kept[KEPT - 1].revision), (5, 20));
    }
}
