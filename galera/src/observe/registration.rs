//! The format of registry keys, with its older dialects.
//!
//! `<prefix>/<cluster>/<node>/<field>` belongs to a node, `<prefix>/<cluster>/founder`, `…/bootstrap` and `…/rejoin` to a
//! cluster, `…/forks/EPOCH` to a fork of its history and `…/arbitrators/NAME` to an arbitrator.
//! All other keys are unrecognized: shown with the reason, never deleted (I29).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::id::{ClusterName, NodeId};
use crate::observe::wsrep::WsrepStatus;
use crate::position::parse_seqno;

mod arbitrator_record;
mod bootstrap_order;
mod fields;
mod held_data;
mod listing;
mod members_seen;
mod order_claims;
mod phase;
mod registration_record;
mod rejoin_order;
mod transfer_record;
mod v2_keys;
mod v2_listing;
mod waiting_reason;

pub use arbitrator_record::{
    ArbitratorName, ArbitratorNameError, ArbitratorPhase, ArbitratorRecord, short_member_id,
};
pub use bootstrap_order::{BootstrapOrder, OrderSignature};
pub use fields::RegisteredFields;
pub use held_data::{HeldData, HeldRange};
pub use listing::{RawKeyValue, build_registry_view};
pub use members_seen::MembersSeen;
pub use order_claims::{
    NO_ORDER_KEYS, OrderClaims, OrderPurpose, OrderVerifier, SignatureCheck, order_keys_value,
};
pub use phase::{
    AgentPhase, NO_POSITION, recovered_position, reports_no_position, reports_running,
    reports_stopped,
};
pub(crate) use registration_record::is_plain_id;
pub use registration_record::{CleanStop, RegistrationRecord, ReportedData};
pub use rejoin_order::RejoinOrder;
pub use transfer_record::TransferRecord;
pub use v2_keys::{V2Access, V2KeyValue, V2Registration, parse_v2_key};
pub use v2_listing::{V2ClusterKeys, build_v2_view};
pub use waiting_reason::{WAITING_REASON_MAX, bounded_reason, waiting_reason};

/// Longest field name accepted, in characters.
pub const FIELD_MAX: usize = 64;

/// The last segment of a node's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeField {
    /// A `wsrep_…` status or system variable.
    Wsrep(String),
    /// `phase`: the phase of its agent.
    Phase,
    /// `recovered_position`: of a stopped node.
    RecoveredPosition,
    /// `data_id`: the identity of its data.
    DataId,
    /// `members_seen`: how many members its data last had around them.
    MembersSeen,
    /// `waiting_for`: why its agent waits, in words.
    WaitingFor,
    /// `held`: which transactions keep its waiting node from joining.
    Held,
    /// `fork_epoch`: the newest fork that its data continued.
    ForkEpoch,
    /// `transfer`: what its agent sees of a state transfer.
    Transfer,
    /// `order_keys`: the names of the keys with which its agent verifies orders.
    OrderKeys,
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
            Self::DataId => "data_id",
            Self::MembersSeen => "members_seen",
            Self::WaitingFor => "waiting_for",
            Self::Held => "held",
            Self::ForkEpoch => "fork_epoch",
            Self::Transfer => "transfer",
            Self::OrderKeys => "order_keys",
            Self::Registered => "registered",
            Self::HighestPosition => "highest_position",
            Self::Seqno => "seqno",
            Self::IpAddress => "ipaddress",
            Self::IpAddr => "ipaddr",
            Self::Hostname => "hostname",
        }
    }

    /// Whether the field outlives its node by design, so that its presence does not prove that the node is alive.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Registered | Self::HighestPosition | Self::IpAddress
        )
    }

    fn parse(name: &str, dialect: KeyDialect) -> Option<Self> {
        Some(match (name, dialect) {
            ("phase", KeyDialect::Galera) => Self::Phase,
            ("recovered_position", KeyDialect::Galera) => Self::RecoveredPosition,
            ("data_id", KeyDialect::Galera) => Self::DataId,
            ("members_seen", KeyDialect::Galera) => Self::MembersSeen,
            ("waiting_for", KeyDialect::Galera) => Self::WaitingFor,
            ("held", KeyDialect::Galera) => Self::Held,
            ("fork_epoch", KeyDialect::Galera) => Self::ForkEpoch,
            ("transfer", KeyDialect::Galera) => Self::Transfer,
            ("order_keys", KeyDialect::Galera) => Self::OrderKeys,
            ("registered", KeyDialect::Galera) => Self::Registered,
            ("highest_position", KeyDialect::Galera) => Self::HighestPosition,
            ("seqno", KeyDialect::Galera) => Self::Seqno,
            ("ipaddress", KeyDialect::Galera) => Self::IpAddress,
            ("ipaddr", KeyDialect::PxcCluster) => Self::IpAddr,
            ("hostname", KeyDialect::PxcCluster) => Self::Hostname,
            (name, KeyDialect::Galera) if is_wsrep_field_name(name) => Self::Wsrep(name.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for NodeField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_wsrep_field_name(name: &str) -> bool {
    name.len() <= FIELD_MAX
        && name.strip_prefix("wsrep_").is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
}

/// The last segment of a cluster's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterField {
    /// `founder`: the node that founded the cluster; created once.
    Founder,
    /// `bootstrap`: the bootstrap order for a stopped cluster.
    Bootstrap,
    /// `rejoin`: the order to a node that is held back to keep its data aside and join empty.
    Rejoin,
    /// `forks/EPOCH`: where a bootstrap continued the history; created once.
    Fork(u64),
}

impl ClusterField {
    /// The field's name in a key.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Founder => "founder".into(),
            Self::Bootstrap => "bootstrap".into(),
            Self::Rejoin => "rejoin".into(),
            Self::Fork(epoch) => format!("forks/{epoch}").into(),
        }
    }
}

/// A parsed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedKey {
    /// One field of one node.
    Node {
        cluster: ClusterName,
        /// As in the key, not normalized.
        node: NodeId,
        field: NodeField,
    },
    /// One field of a whole cluster.
    Cluster {
        cluster: ClusterName,
        field: ClusterField,
    },
    /// What the agent of an arbitrator reports.
    Arbitrator {
        cluster: ClusterName,
        name: ArbitratorName,
    },
    /// An unrecognized key.
    Unknown {
        /// The cluster that it lies under, if that part is readable.
        cluster: Option<ClusterName>,
        /// Why it is not recognized, for display.
        reason: String,
    },
}

/// The key layout under a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyDialect {
    Galera,
    PxcCluster,
}

impl KeyDialect {
    /// The images that write `/pxc-cluster` use that name at any depth, which distinguishes them.
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
    /// Keys under `prefix` (`/galera`); trailing slashes are ignored.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
        }
    }

    /// The prefix of all keys, with a trailing slash.
    #[must_use]
    pub fn root_prefix(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The prefix of all keys of a cluster, with a trailing slash.
    #[must_use]
    pub fn cluster_prefix(&self, cluster: &ClusterName) -> String {
        format!("{}/{cluster}/", self.prefix)
    }

    /// The prefix of all keys of a node, with a trailing slash.
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
        format!("{}/{cluster}/{}", self.prefix, field.name())
    }

    /// The key of an arbitrator.
    #[must_use]
    pub fn arbitrator_key(&self, cluster: &ClusterName, name: &ArbitratorName) -> String {
        format!("{}/{cluster}/arbitrators/{name}", self.prefix)
    }

    /// Parses `key`; any bytes are accepted.
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

/// Parses `key` under `prefix`; any bytes are accepted.
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
        return unknown_key(None, "a waiting queue of images that write /pxc-cluster");
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
        (Some("rejoin"), None, None) => ParsedKey::Cluster {
            cluster,
            field: ClusterField::Rejoin,
        },
        (Some("forks"), Some(epoch), None) if epoch_of_key(epoch).is_some() => ParsedKey::Cluster {
            cluster,
            field: ClusterField::Fork(epoch_of_key(epoch).unwrap_or_default()),
        },
        (Some("arbitrators"), Some(name), None) if dialect == KeyDialect::Galera => {
            match name.parse() {
                Ok(name) => ParsedKey::Arbitrator { cluster, name },
                Err(error) => {
                    unknown_key(Some(cluster), format!("the name of an arbitrator: {error}"))
                }
            }
        }
        (Some(node), Some(field), None) => parse_node_key(cluster, node, field, dialect),
        _ => unknown_key(
            Some(cluster),
            "the key is neither CLUSTER/NODE/FIELD nor a key of the cluster",
        ),
    }
}

/// The epoch in the key of a fork: a positive number in its one spelling.
fn epoch_of_key(text: &str) -> Option<u64> {
    let epoch: u64 = text.parse().ok()?;
    (epoch > 0 && epoch.to_string() == text).then_some(epoch)
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
                "unrecognized field {:?}",
                crate::observe::wsrep::truncate_text(field)
            ),
        ),
    }
}

/// The status in a node's registered fields. Of older dialects, `seqno` replaces `wsrep_last_committed` where that is
/// missing or undefined.
#[must_use]
pub fn status_from_fields(fields: &BTreeMap<String, String>) -> WsrepStatus {
    let mut status = WsrepStatus::from_rows(fields);
    if status.last_committed.is_none() {
        status.last_committed = fields.get("seqno").and_then(|seqno| parse_seqno(seqno));
    }
    status
}
