//! Registry keys by cluster: which clusters exist, and which keys cannot be used.

use std::collections::{BTreeMap, BTreeSet};

use galera::ClusterName;
use galera::observe::registration::{ParsedKey, parse_key};

/// Unusable keys kept for the notices, and how many of them the notices list.
const UNUSABLE_MAX: usize = 1_000;
pub(super) const LISTED_KEYS_MAX: usize = 10;
/// Characters of an unusable key that a notice shows.
const KEY_DISPLAY_MAX: usize = 100;

/// The registry's keys.
#[derive(Debug)]
pub(super) struct KeyIndex {
    prefix: String,
    clusters: BTreeMap<ClusterName, BTreeSet<Vec<u8>>>,
    /// Keys that belong to no cluster, with the reason.
    unusable: BTreeMap<Vec<u8>, String>,
    /// Whether `unusable` changed since this was last taken.
    unusable_changed: bool,
}

impl KeyIndex {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            clusters: BTreeMap::new(),
            unusable: BTreeMap::new(),
            unusable_changed: false,
        }
    }

    /// Removes every key.
    pub(super) fn clear(&mut self) {
        self.clusters.clear();
        self.unusable.clear();
        self.unusable_changed = true;
    }

    /// Adds the key; returns its cluster.
    pub(super) fn add(&mut self, key: &[u8]) -> Option<ClusterName> {
        match cluster_of(&self.prefix, key) {
            Ok(cluster) => {
                // Most puts are of known keys of known clusters, and copy neither.
                match self.clusters.get_mut(&cluster) {
                    Some(keys) if keys.contains(key) => {}
                    Some(keys) => _ = keys.insert(key.to_vec()),
                    None => {
                        let keys = BTreeSet::from([key.to_vec()]);
                        self.clusters.insert(cluster.clone(), keys);
                    }
                }
                Some(cluster)
            }
            Err(reason) => {
                if self.unusable.len() < UNUSABLE_MAX {
                    self.unusable.insert(key.to_vec(), reason);
                    self.unusable_changed = true;
                }
                None
            }
        }
    }

    /// Removes the key; returns its cluster.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<ClusterName> {
        self.unusable_changed |= self.unusable.remove(key).is_some();
        let cluster = cluster_of(&self.prefix, key).ok()?;
        let keys = self.clusters.get_mut(&cluster)?;
        keys.remove(key);
        if keys.is_empty() {
            self.clusters.remove(&cluster);
        }
        Some(cluster)
    }

    /// Whether the cluster has any key.
    pub(super) fn contains(&self, cluster: &ClusterName) -> bool {
        self.clusters.contains_key(cluster)
    }

    /// Whether the notices changed since this was last called.
    pub(super) fn take_notices_changed(&mut self) -> bool {
        std::mem::take(&mut self.unusable_changed)
    }

    /// Notices about keys that cannot be used.
    pub(super) fn notices(&self) -> Vec<String> {
        let named = self.unusable.iter().take(LISTED_KEYS_MAX);
        let mut notices: Vec<String> = named
            .map(|(key, reason)| {
                format!("Registry key {:?} is ignored: {reason}.", display_key(key))
            })
            .collect();
        if self.unusable.len() > LISTED_KEYS_MAX {
            let more = self.unusable.len() - LISTED_KEYS_MAX;
            notices.push(format!("{more} more registry keys are ignored."));
        }
        notices
    }
}

/// The cluster of a key, whether or not its field is recognized.
fn cluster_of(prefix: &str, key: &[u8]) -> Result<ClusterName, String> {
    match parse_key(prefix, key) {
        ParsedKey::Node { cluster, .. }
        | ParsedKey::Cluster { cluster, .. }
        | ParsedKey::Arbitrator { cluster, .. }
        | ParsedKey::Unknown {
            cluster: Some(cluster),
            ..
        } => Ok(cluster),
        ParsedKey::Unknown {
            cluster: None,
            reason,
        } => Err(reason),
    }
}

fn display_key(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    let mut shown: String = text.chars().take(KEY_DISPLAY_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
