//! The registry in etcd v2 as discovery follows it: which clusters it has, and whether it can be read.

use std::collections::BTreeMap;

use galera::ClusterName;
use galera::observe::registration::{ParsedKey, V2Access, V2ClusterKeys, V2KeyValue, parse_v2_key};
use registry::v2::{V2Entry, V2Event, V2Listing, V2Registry, V2Subscription};

/// Unusable keys that a notice names.
const NAMED_MAX: usize = 5;

/// Where the registry in etcd v2 is.
#[derive(Clone, Debug)]
pub struct V2Settings {
    /// The connection.
    pub registry: V2Registry,
    /// Whether it has to be there (`--registry-dialect v2`); otherwise it is used if it holds keys.
    pub required: bool,
}

/// What an event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct V2Change {
    /// Clusters whose keys changed, those without keys now included.
    pub(super) clusters: Vec<ClusterName>,
    /// Whether the access changed.
    pub(super) access: bool,
}

/// The state of the registry in etcd v2.
#[derive(Debug)]
pub(super) struct V2Source {
    settings: Option<V2Settings>,
    prefix: String,
    /// The keys of every cluster with a key or a directory.
    clusters: BTreeMap<ClusterName, Vec<V2KeyValue>>,
    /// Keys that belong to no cluster.
    unusable: Vec<String>,
    unusable_count: usize,
    access: V2Access,
    /// Whether it ever held keys.
    used: bool,
}

impl V2Source {
    pub(super) fn new(settings: Option<V2Settings>, prefix: &str) -> Self {
        Self {
            settings,
            prefix: prefix.to_owned(),
            clusters: BTreeMap::new(),
            unusable: Vec::new(),
            unusable_count: 0,
            access: V2Access::Absent,
            used: false,
        }
    }

    /// Subscribes to its keys, if they are to be read.
    pub(super) fn subscribe(&self) -> Option<V2Subscription> {
        let settings = self.settings.as_ref()?;
        Some(settings.registry.watch(&self.prefix))
    }

    pub(super) fn contains(&self, cluster: &ClusterName) -> bool {
        self.clusters.contains_key(cluster)
    }

    pub(super) fn keys(&self, cluster: &ClusterName) -> Option<&Vec<V2KeyValue>> {
        self.clusters.get(cluster)
    }

    pub(super) fn access(&self) -> &V2Access {
        &self.access
    }

    /// Applies an event.
    pub(super) fn apply(&mut self, event: V2Event) -> V2Change {
        let required = self
            .settings
            .as_ref()
            .is_some_and(|settings| settings.required);
        let before = self.access.clone();
        let mut change = V2Change::default();
        match event {
            V2Event::Listing(listing) => {
                change.clusters = self.replace(listing);
                self.used |= !self.clusters.is_empty();
                self.access = match self.used || required {
                    true => V2Access::Read,
                    false => V2Access::Absent,
                };
            }
            // What was read stays, and ages: an etcd that lost its v2 API has not stopped the scripts.
            V2Event::Disabled if self.used || required => {
                self.access = V2Access::Unreadable(format!(
                    "The v2 API of etcd at {} is off; start etcd 3.5 or earlier with --enable-v2",
                    self.endpoints()
                ));
            }
            V2Event::Unreadable { error, since } if self.used || required => {
                self.access = V2Access::Unreadable(format!("Since {since}: {error}"));
            }
            V2Event::Disabled | V2Event::Unreadable { .. } => self.access = V2Access::Absent,
        }
        change.access = self.access != before;
        if change.access {
            self.log_access();
        }
        change
    }

    fn log_access(&self) {
        let (prefix, endpoints) = (&self.prefix, self.endpoints());
        match &self.access {
            V2Access::Absent => {}
            V2Access::Read => tracing::info!(
                "Reading nodes from the v2 API of etcd at {endpoints}, below {prefix}"
            ),
            V2Access::Unreadable(cause) => {
                tracing::warn!("The registry in etcd v2 cannot be read. {cause}");
            }
        }
    }

    fn endpoints(&self) -> String {
        let settings = self.settings.as_ref();
        settings.map_or_else(String::new, |settings| settings.registry.endpoints())
    }

    /// Replaces the keys. Returns the clusters that changed.
    fn replace(&mut self, listing: V2Listing) -> Vec<ClusterName> {
        let mut before = std::mem::take(&mut self.clusters);
        self.unusable.clear();
        self.unusable_count = 0;
        for entry in listing.entries {
            match cluster_of(&self.prefix, &entry.key) {
                Some(cluster) => {
                    let keys = self.clusters.entry(cluster).or_default();
                    keys.push(key_value(entry));
                }
                None => {
                    self.unusable_count += 1;
                    if self.unusable.len() < NAMED_MAX {
                        self.unusable.push(entry.key.chars().take(100).collect());
                    }
                }
            }
        }
        for directory in listing.empty_directories {
            // A directory without a cluster's name and a slash is not of a node.
            if let Some(cluster) = cluster_of(&self.prefix, &directory)
                && directory.len() > self.prefix.len() + cluster.as_str().len() + 1
            {
                self.clusters.entry(cluster).or_default();
            }
        }
        let mut changed = Vec::new();
        for (name, keys) in &self.clusters {
            let known = before.remove(name);
            if known.is_none_or(|known| !same_writes(&known, keys)) {
                changed.push(name.clone());
            }
        }
        changed.extend(before.into_keys());
        changed
    }

    /// Notices for every page.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if let V2Access::Unreadable(cause) = &self.access {
            notices.push(format!(
                "The registry in etcd v2 cannot be read; nodes of it are shown as last read until their reports expire. {cause}."
            ));
        }
        if self.unusable_count > 0 {
            notices.push(format!(
                "Ignored in etcd v2, because they belong to no cluster: {} ({} in total).",
                self.unusable.join(", "),
                self.unusable_count
            ));
        }
        notices
    }
}

/// Whether both are of the same writes; times to live differ at each read.
fn same_writes(one: &[V2KeyValue], other: &[V2KeyValue]) -> bool {
    let writes = |keys: &[V2KeyValue]| -> Vec<(String, u64)> {
        keys.iter()
            .map(|key| (key.key.clone(), key.index))
            .collect()
    };
    writes(one) == writes(other)
}

pub(super) fn key_value(entry: V2Entry) -> V2KeyValue {
    V2KeyValue {
        key: entry.key,
        value: entry.value,
        index: entry.modified_index,
        ttl: entry.ttl,
    }
}

/// The keys of one cluster in a listing of its directory.
pub(super) fn cluster_keys(listing: V2Listing) -> V2ClusterKeys {
    V2ClusterKeys {
        index: listing.index,
        keys: listing.entries.into_iter().map(key_value).collect(),
        empty_directories: listing.empty_directories,
    }
}

fn cluster_of(prefix: &str, key: &str) -> Option<ClusterName> {
    match parse_v2_key(prefix, key) {
        ParsedKey::Node { cluster, .. }
        | ParsedKey::Cluster { cluster, .. }
        | ParsedKey::Arbitrator { cluster, .. } => Some(cluster),
        ParsedKey::Unknown { cluster, .. } => cluster,
    }
}
