//! The keys of a cluster in the registry, as they are shown.

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeId};
use crate::timestamp::Timestamp;

/// One key of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegistryKeyView {
    /// The complete key; bytes that are not UTF-8 are replaced.
    pub key: String,
    /// The value; bytes that are not UTF-8 are replaced; at most [`RegistryKeyView::VALUE_SHOWN_MAX`] characters.
    pub value: String,
    /// The size of the complete value in bytes.
    pub value_bytes: usize,
    /// Whether `value` is truncated.
    pub truncated: bool,
    /// etcd's `mod_revision`.
    pub revision: i64,
    /// The lease id in hexadecimal, as `etcdctl` prints it; `null` without a lease.
    pub lease: Option<String>,
    /// Seconds until the lease expires; `null` without a lease or if unknown.
    pub ttl: Option<i64>,
    /// The node that it belongs to; `null` for keys of the cluster and unrecognized keys.
    pub node: Option<NodeId>,
    /// Whether its format is recognized.
    pub known: bool,
    /// Whether the node that it describes is gone.
    pub stale: bool,
    /// Why it is stale or unrecognized.
    pub reason: Option<String>,
}

impl RegistryKeyView {
    /// Longest value shown, in characters.
    pub const VALUE_SHOWN_MAX: usize = 4096;
}

/// The registry's keys of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegistryView {
    pub cluster: ClusterName,
    /// The prefix of the keys.
    pub prefix: String,
    /// The etcd revision of the read.
    pub revision: i64,
    /// When it was read.
    pub observed_at: Timestamp,
    /// Sorted.
    pub keys: Vec<RegistryKeyView>,
}
