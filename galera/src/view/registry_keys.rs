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
    /// The cluster's keys in etcd v2; absent if none are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2: Option<V2KeysView>,
}

/// What `seqno` of a node means. Neither is a position: no state UUID is recorded with it (I6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SeqnoMeaning {
    /// The last committed transaction of a running server (reporting script of galera-docker-mariadb).
    LastCommitted,
    /// The recovered position of a stopped server (start script of all images).
    RecoveredPosition,
    /// Not determined: the key alone was there when the console first read it.
    Undetermined,
}

/// One key in etcd v2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct V2KeyView {
    /// The complete key.
    pub key: String,
    /// The value; at most [`RegistryKeyView::VALUE_SHOWN_MAX`] characters.
    pub value: String,
    /// etcd's `modifiedIndex`.
    pub index: u64,
    /// Seconds until it expires; `null` if it stays until it is removed.
    pub ttl: Option<u64>,
    /// The node that it belongs to; `null` for unrecognized keys.
    pub node: Option<NodeId>,
    /// Whether an image of etcd v2 writes such a key.
    pub known: bool,
    /// Whether the node that it describes is gone.
    pub stale: bool,
    /// Why it is stale or unrecognized.
    pub reason: Option<String>,
    /// What `seqno` means; absent for other keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqno: Option<SeqnoMeaning>,
}

/// What is to be done to move one node from the scripts of etcd v2 to an agent, which registers in v3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MoveStepView {
    pub node: NodeId,
    /// Whether it has keys in etcd v2, stale ones included.
    pub in_v2: bool,
    /// Whether its agent reports in v3.
    pub in_v3: bool,
    /// What to do next; `null` when the node is moved and has left nothing behind.
    pub next: Option<String>,
}

/// The keys of a cluster in etcd v2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct V2KeysView {
    /// Where they were read.
    pub endpoints: String,
    /// etcd's index of the read.
    pub index: u64,
    /// Why they could not be read now; the lists are empty then.
    pub error: Option<String>,
    /// Sorted; at most [`V2KeysView::LISTED_MAX`].
    pub keys: Vec<V2KeyView>,
    /// How many keys there are.
    pub key_count: usize,
    /// Directories without keys, which scripts leave behind; at most [`V2KeysView::DIRECTORIES_MAX`].
    pub stale_directories: Vec<String>,
    /// How many such directories there are.
    pub stale_directory_count: usize,
    /// The way of each node to an agent.
    pub moves: Vec<MoveStepView>,
    /// Why the registry in v2 cannot be given up yet; empty once both registries name the same nodes at the same addresses and
    /// no script reports any longer.
    pub keep_because: Vec<String>,
}

impl V2KeysView {
    /// Keys listed.
    pub const LISTED_MAX: usize = 2_000;
    /// Directories listed.
    pub const DIRECTORIES_MAX: usize = 100;
}
