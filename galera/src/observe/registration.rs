//! The registry's key grammar with its older dialects: which key says what of whom.
//!
//! `<prefix>/<cluster>/<node>/<field>` speaks of a node, `<prefix>/<cluster>/founder` and `…/bootstrap` of a cluster.
//! Everything else is unknown: shown with the reason, never deleted (I29).

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{ClusterName, NodeId};
use crate::observe::wsrep::WsrepStatus;
use crate::position::parse_seqno;

mod bootstrap_order;
mod listing;
mod phase;

pub use bootstrap_order::BootstrapOrder;
pub use listing::{RawKeyValue, build_registry_view};
pub use phase::{AgentPhase, NO_POSITION, recovered_position, reports_running, reports_stopped};

/// Longest field name accepted, in characters.
pub const FIELD_MAX: usize = 64;

/// The last segment of a node's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeField {
    /// A `wsrep_…` status or variable.
    Wsrep(String),
    /// `phase`: what its agent is doing.
    Phase,
    /// `recovered_position`: of a stopped node.
    RecoveredPosition,
    /// `registered`: the durable registration.
    Registered,
    /// `highest_position`: the highest position that the node ever had.
    HighestPosition,
    /// `seqno` of the older dialects.
    Seqno,
    /// `ipaddress` of the older dialects, without a lease.
    IpAddress,
    /// `ipaddr` under `/pxc-cluster`.
    IpAddr,
    /// `hostname` under `/pxc-cluster`.
    Hostname,
}

impl NodeField {
    /// The field's name in a key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Wsrep(name) => name,
            Self::Phase => "phase",
            Self::RecoveredPosition => "recovered_position",
            Self::Registered => "registered",
            Self::HighestPosition => "highest_position",
            Self::Seqno => "seqno",
            Self::IpAddress => "ipaddress",
            Self::IpAddr => "ipaddr",
            Self::Hostname => "hostname",
        }
    }

    /// Whether it lasts by design, so that its presence says nothing about the present.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Registered | Self::HighestPosition | Self::IpAddress
        )
    }

    fn parse(word: &str, dialect: KeyDialect) -> Option<Self> {
        Some(match (word, dialect) {
            ("phase", KeyDialect::Galera) => Self::Phase,
            ("recovered_position", KeyDialect::Galera) => Self::RecoveredPosition,
            ("registered", KeyDialect::Galera) => Self::Registered,
            ("highest_position", KeyDialect::Galera) => Self::HighestPosition,
            ("seqno", KeyDialect::Galera) => Self::Seqno,
            ("ipaddress", KeyDialect::Galera) => Self::IpAddress,
            ("ipaddr", KeyDialect::PxcCluster) => Self::IpAddr,
            ("hostname", KeyDialect::PxcCluster) => Self::Hostname,
            (word, KeyDialect::Galera) if is_wsrep_field_name(word) => Self::Wsrep(word.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for NodeField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_wsrep_field_name(word: &str) -> bool {
    word.len() <= FIELD_MAX
        && word.strip_prefix("wsrep_").is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
}

/// The last segment of a cluster's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterField {
    /// `founder`: who founded the cluster; created once.
    Founder,
    /// `bootstrap`: the approved order to a stopped cluster.
    Bootstrap,
}

impl ClusterField {
    /// The field's name in a key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Founder => "founder",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// What a key speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedKey {
    /// One field of one node.
    Node {
        /// The cluster.
        cluster: ClusterName,
        /// The node, as the key spells it.
        node: NodeId,
        /// The field.
        field: NodeField,
    },
    /// One field of a whole cluster.
    Cluster {
        /// The cluster.
        cluster: ClusterName,
        /// The field.
        field: ClusterField,
    },
    /// No dialect explains it.
    Unknown {
        /// The cluster under which it lies, when that much is readable.
        cluster: Option<ClusterName>,
        /// Why it is not understood, in a sentence for people.
        reason: String,
    },
}

/// Which writer's layout a prefix follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyDialect {
    Galera,
    PxcCluster,
}

impl KeyDialect {
    /// The images that write `/pxc-cluster` use that name at any depth; it is how they are told apart.
    fn from_prefix(prefix: &str) -> Self {
        match prefix.rsplit('/').next() {
            Some("pxc-cluster") => Self::PxcCluster,
            _ => Self::Galera,
        }
    }
}

/// Builds the keys of one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryKeys {
    prefix: String,
}

impl RegistryKeys {
    /// Keys under `prefix` (`/galera`); slashes at its end do not count.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
        }
    }

    /// The prefix of every key, with the slash at its end.
    #[must_use]
    pub fn root_prefix(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The prefix of every key of a cluster, with the slash at its end.
    #[must_use]
    pub fn cluster_prefix(&self, cluster: &ClusterName) -> String {
        format!("{}/{cluster}/", self.prefix)
    }

    /// The prefix of every key of a node, with the slash at its end.
    #[must_use]
    pub fn node_prefix(&self, cluster: &ClusterName, node: &NodeId) -> String {
        format!("{}/{cluster}/{node}/", self.prefix)
    }

    /// The key of a node's field, named by [`NodeField::as_str`].
    #[must_use]
    pub fn node_key(&self, cluster: &ClusterName, node: &NodeId, field: &str) -> String {
        format!("{}/{cluster}/{node}/{field}", self.prefix)
    }

    /// The key of a cluster's field.
    #[must_use]
    pub fn cluster_key(&self, cluster: &ClusterName, field: ClusterField) -> String {
        format!("{}/{cluster}/{}", self.prefix, field.as_str())
    }

    /// What `key` speaks of.
    #[must_use]
    pub fn parse(&self, key: &[u8]) -> ParsedKey {
        parse_key(&self.prefix, key)
    }
}

fn unknown_key(cluster: Option<ClusterName>, reason: impl Into<String>) -> ParsedKey {
    ParsedKey::Unknown {
        cluster,
        reason: reason.into(),
    }
}

/// What `key` under `prefix` speaks of. Any bytes are accepted.
#[must_use]
pub fn parse_key(prefix: &str, key: &[u8]) -> ParsedKey {
    let prefix = prefix.trim_end_matches('/');
    let Ok(key) = std::str::from_utf8(key) else {
        return unknown_key(None, "the key is not UTF-8");
    };
    let Some(rest) = key
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('/'))
    else {
        return unknown_key(None, "the key is outside the registry's prefix");
    };
    let dialect = KeyDialect::from_prefix(prefix);
    let mut segments = rest.split('/');
    let first = segments.next().unwrap_or_default();
    if dialect == KeyDialect::PxcCluster && first == "queue" {
        return unknown_key(
            None,
            "the waiting queue of the images that write /pxc-cluster",
        );
    }
    let cluster = match first.parse::<ClusterName>() {
        Ok(cluster) => cluster,
        Err(error) => return unknown_key(None, error.to_string()),
    };
    match (segments.next(), segments.next(), segments.next()) {
        (Some("founder"), None, None) => ParsedKey::Cluster {
            cluster,
            field: ClusterField::Founder,
        },
        (Some("bootstrap"), None, None) => ParsedKey::Cluster {
            cluster,
            field: ClusterField::Bootstrap,
        },
        (Some(node), Some(field), None) => parse_node_key(cluster, node, field, dialect),
        _ => unknown_key(
            Some(cluster),
            "the key has neither the form CLUSTER/NODE/FIELD nor a field of the cluster",
        ),
    }
}

fn parse_node_key(cluster: ClusterName, node: &str, field: &str, dialect: KeyDialect) -> ParsedKey {
    let node = match node.parse::<NodeId>() {
        Ok(node) => node,
        Err(error) => return unknown_key(Some(cluster), error.to_string()),
    };
    match NodeField::parse(field, dialect) {
        Some(field) => ParsedKey::Node {
            cluster,
            node,
            field,
        },
        None => unknown_key(
            Some(cluster),
            format!(
                "no dialect has a field {:?}",
                crate::observe::wsrep::truncate_text(field)
            ),
        ),
    }
}

/// A node's registered values as a status. Older dialects are understood: `seqno` stands in for
/// `wsrep_last_committed` where that is missing or undefined.
#[must_use]
pub fn status_from_fields(fields: &BTreeMap<String, String>) -> WsrepStatus {
    let mut status = WsrepStatus::from_rows(fields);
    if status.last_committed.is_none() {
        status.last_committed = fields.get("seqno").and_then(|seqno| parse_seqno(seqno));
    }
    status
}
