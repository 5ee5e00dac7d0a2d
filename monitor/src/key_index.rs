//! Which keys the registry holds, by cluster: what makes a cluster known, and what cannot be used.

use std::collections::{BTreeMap, BTreeSet};

use galera::ClusterName;
use galera::observe::registration::{ParsedKey, parse_key};

/// Unusable keys that are kept to be named, and how many of them are named.
const UNUSABLE_MAX: usize = 1_000;
pub(super) const LISTED_KEYS_MAX: usize = 10;
/// Characters of an unusable key that are shown.
const KEY_DISPLAY_MAX: usize = 100;

/// The registry's keys.
#[derive(Debug)]
pub(super) struct KeyIndex {
    prefix: String,
    clusters: BTreeMap<ClusterName, BTreeSet<Vec<u8>>>,
    /// Keys that belong to no cluster, and why.
    unusable: BTreeMap<Vec<u8>, String>,
}

impl KeyIndex {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            clusters: BTreeMap::new(),
            unusable: BTreeMap::new(),
        }
    }

    /// Forgets every key.
    pub(super) fn clear(&mut self) {
        self.clusters.clear();
        self.unusable.clear();
    }

    /// Notes the key and says which cluster it belongs to.
    pub(super) fn add(&mut self, key: &[u8]) -> Option<ClusterName> {
        match cluster_of(&self.prefix, key) {
            Ok(cluster) => {
                let keys = self.clusters.entry(cluster.clone()).or_default();
                keys.insert(key.to_vec());
                Some(cluster)
            }
            Err(reason) => {
                if self.unusable.len() < UNUSABLE_MAX {
                    self.unusable.insert(key.to_vec(), reason);
                }
                None
            }
        }
    }

    /// Forgets the key and says which cluster it belonged to.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<ClusterName> {
        self.unusable.remove(key);
        let cluster = cluster_of(&self.prefix, key).ok()?;
        let keys = self.clusters.get_mut(&cluster)?;
        keys.remove(key);
        if keys.is_empty() {
            self.clusters.remove(&cluster);
        }
        Some(cluster)
    }

    /// Whether any key belongs to the cluster.
    pub(super) fn contains(&self, cluster: &ClusterName) -> bool {
        self.clusters.contains_key(cluster)
    }

    /// Clusters with keys.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &ClusterName> {
        self.clusters.keys()
    }

    /// What people should know about keys that cannot be used.
    pub(super) fn notices(&self) -> Vec<String> {
        let named = self.unusable.iter().take(LISTED_KEYS_MAX);
        let mut notices: Vec<String> = named
            .map(|(key, reason)| {
                format!(
                    "The registry's key {:?} is not used: {reason}.",
                    display_key(key)
                )
            })
            .collect();
        if self.unusable.len() > LISTED_KEYS_MAX {
            let more = self.unusable.len() - LISTED_KEYS_MAX;
            notices.push(format!("{more} more keys of the registry are not used."));
        }
        notices
    }
}

/// The cluster a key belongs to, known field or not.
fn cluster_of(prefix: &str, key: &[u8]) -> Result<ClusterName, String> {
    match parse_key(prefix, key) {
        ParsedKey::Node { cluster, .. }
        | ParsedKey::Cluster { cluster, .. }
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
