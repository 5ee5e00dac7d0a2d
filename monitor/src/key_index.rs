//! Registry keys by cluster: which clusters exist, and which keys cannot be used.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher;

use galera::ClusterName;
use galera::observe::registration::{ParsedKey, parse_key};

/// Unusable keys kept with their reasons, and how many of them the notices list. Others are only counted.
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
    /// Hashes of those beyond [`UNUSABLE_MAX`], by which each is counted once.
    further_unusable: HashSet<u64>,
    key_hasher: RandomState,
    /// Whether unusable keys changed since this was last taken.
    unusable_changed: bool,
}

impl KeyIndex {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            clusters: BTreeMap::new(),
            unusable: BTreeMap::new(),
            further_unusable: HashSet::new(),
            key_hasher: RandomState::new(),
            unusable_changed: false,
        }
    }

    /// Removes every key.
    pub(super) fn clear(&mut self) {
        self.clusters.clear();
        self.unusable.clear();
        self.further_unusable.clear();
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
                let hash = self.key_hasher.hash_one(key);
                if self.unusable.contains_key(key) || self.further_unusable.contains(&hash) {
                    return None;
                }
                if self.unusable.len() < UNUSABLE_MAX {
                    self.unusable.insert(key.to_vec(), reason);
                } else {
                    self.further_unusable.insert(hash);
                }
                self.unusable_changed = true;
                None
            }
        }
    }

    /// Removes the key; returns its cluster.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<ClusterName> {
        let Ok(cluster) = cluster_of(&self.prefix, key) else {
            let listed = self.unusable.remove(key).is_some();
            let hash = self.key_hasher.hash_one(key);
            self.unusable_changed |= listed || self.further_unusable.remove(&hash);
            return None;
        };
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
        let more = self.unusable.len() + self.further_unusable.len() - notices.len();
        match more {
            0 => {}
            1 => notices.push("1 more registry key is ignored.".to_owned()),
            _ => notices.push(format!("{more} more registry keys are ignored.")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unusable_key_is_counted_once() {
        let mut index = KeyIndex::new("/galera/");
        let key = |number: usize| format!("/galera/a b{number}/db1/phase").into_bytes();
        let last = |index: &KeyIndex| index.notices().pop().unwrap();
        for _ in 0..2 {
            for number in 0..UNUSABLE_MAX + 500 {
                assert_eq!(index.add(&key(number)), None);
            }
        }
        assert_eq!(index.notices().len(), LISTED_KEYS_MAX + 1);
        assert_eq!(last(&index), "1490 more registry keys are ignored.");
        // Among the counted ones, and among those with a reason.
        assert!(index.take_notices_changed());
        for (number, left) in [(UNUSABLE_MAX + 1, 1489), (0, 1488)] {
            index.remove(&key(number));
            assert!(index.take_notices_changed());
            index.remove(&key(number));
            assert!(!index.take_notices_changed());
            let expected = format!("{left} more registry keys are ignored.");
            assert_eq!(last(&index), expected);
        }
        index.clear();
        assert!(index.notices().is_empty());
    }
}
