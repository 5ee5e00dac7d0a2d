//! The registry keys of one cluster, parsed for the startup decision. Any bytes are accepted.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::member::{MemberBuilder, RegistryMember};
use crate::id::{ClusterName, NodeId};
use crate::observe::fork::ForkRecords;
use crate::observe::registration::{
    BootstrapOrder, ClusterField, ParsedKey, RawKeyValue, RegistryKeys, RejoinOrder,
};
use crate::position::{Position, parse_uuid};
use crate::timestamp::Timestamp;

/// The port that is omitted from node ids.
const DEFAULT_PORT: u16 = 3306;
/// Longest value that is parsed, in bytes; valid fields are far shorter.
const VALUE_MAX: usize = 4096;

/// The node that founded the cluster: the value of the key `founder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FounderRecord {
    pub node: NodeId,
    /// When it created the key, by its own clock.
    pub founded_at: Option<Timestamp>,
    /// The identity of its data.
    pub data_id: Option<String>,
    /// Whether a server may have been started; assumed if the value does not say.
    pub started: bool,
    /// The history that it started, recorded once the cluster was Primary. No node joins before that.
    pub state_uuid: Option<Uuid>,
}

#[derive(Deserialize)]
struct RawFounderRecord {
    node: NodeId,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    started: Option<bool>,
    #[serde(default)]
    state_uuid: Option<String>,
}

impl FounderRecord {
    /// Parses the key's value; `None` if it is not a valid record.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let raw: RawFounderRecord = serde_json::from_slice(value).ok()?;
        Some(Self {
            node: raw.node.normalized(DEFAULT_PORT),
            founded_at: raw.at.and_then(|at| Timestamp::parse(&at)),
            data_id: raw.id,
            started: raw.started.unwrap_or(true),
            state_uuid: raw.state_uuid.and_then(|uuid| parse_uuid(&uuid)),
        })
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        serde_json::json!({
            "node": self.node,
            "at": self.founded_at,
            "state_uuid": self.state_uuid,
            "id": self.data_id,
            "started": self.started,
        })
        .to_string()
    }
}

/// The founder key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FounderKeyState {
    /// It does not exist.
    #[default]
    Absent,
    /// It is valid.
    Known {
        /// The parsed value.
        founder: FounderRecord,
        /// Its `mod_revision`.
        revision: i64,
    },
    /// It exists but cannot be parsed: some node founded the cluster.
    Unreadable {
        /// Its `mod_revision`.
        revision: i64,
    },
}

impl FounderKeyState {
    /// Parses the key.
    #[must_use]
    pub fn of_key(raw: &RawKeyValue) -> Self {
        match FounderRecord::parse(&raw.value) {
            Some(founder) => Self::Known {
                founder,
                revision: raw.mod_revision,
            },
            None => Self::Unreadable {
                revision: raw.mod_revision,
            },
        }
    }
}

impl BootstrapOrder {
    /// The order that `node` writes for itself once every expected member has reported; `attempt` makes it unique.
    #[must_use]
    pub fn automatic(node: &NodeId, position: &Position, attempt: &str) -> Self {
        Self {
            node: node.clone(),
            position: position.to_string(),
            action_id: Some(format!("auto-{attempt}")),
            data_id: None,
            signed: None,
        }
    }
}

/// The order key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OrderKeyState {
    /// It does not exist.
    #[default]
    Absent,
    /// It is valid.
    Known {
        /// The parsed value.
        order: BootstrapOrder,
        /// Its `mod_revision`.
        revision: i64,
        /// Its lease; 0 without one, and then no running action stands behind it.
        lease: i64,
    },
    /// It exists but cannot be parsed.
    Unreadable,
}

/// The key of the order to rejoin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RejoinKeyState {
    /// It does not exist, or cannot be parsed: no node accepts it.
    #[default]
    Absent,
    /// It is valid.
    Known {
        /// The parsed value.
        rejoin: RejoinOrder,
        /// Its `mod_revision`.
        revision: i64,
        /// Its lease; 0 without one, and then no running action stands behind it.
        lease: i64,
    },
}

/// All keys of one cluster at one revision.
#[derive(Clone, Debug, Default)]
pub struct RegistrySnapshot {
    pub founder: FounderKeyState,
    pub order: OrderKeyState,
    pub rejoin: RejoinKeyState,
    /// Where bootstraps continued the history.
    pub forks: ForkRecords,
    /// Every node that has at least one key.
    pub members: BTreeMap<NodeId, RegistryMember>,
    /// The prefix of the registry's keys, with a trailing slash.
    pub registry: String,
    pub(super) founder_key: Vec<u8>,
    pub(super) order_key: Vec<u8>,
}

impl RegistrySnapshot {
    /// Parses the keys of `cluster` in `raw`; others are skipped.
    #[must_use]
    pub fn from_keys<'a>(
        keys: &RegistryKeys,
        cluster: &ClusterName,
        raw: impl IntoIterator<Item = &'a RawKeyValue>,
    ) -> Self {
        let mut snapshot = Self {
            registry: keys.root_prefix(),
            founder_key: keys.cluster_key(cluster, ClusterField::Founder).into(),
            order_key: keys.cluster_key(cluster, ClusterField::Bootstrap).into(),
            ..Self::default()
        };
        let mut drafts: BTreeMap<NodeId, MemberBuilder> = BTreeMap::new();
        for raw in raw {
            match keys.parse(&raw.key) {
                ParsedKey::Cluster { cluster: of, field } if of == *cluster => match field {
                    ClusterField::Founder => snapshot.founder = FounderKeyState::of_key(raw),
                    ClusterField::Bootstrap => snapshot.order = order(raw),
                    ClusterField::Rejoin if raw.value.len() <= VALUE_MAX => {
                        snapshot.rejoin = rejoin(raw);
                    }
                    ClusterField::Fork(epoch) if raw.value.len() <= VALUE_MAX => {
                        snapshot.forks.insert(epoch, &raw.value);
                    }
                    ClusterField::Fork(_) | ClusterField::Rejoin => {}
                },
                ParsedKey::Node {
                    cluster: of,
                    node,
                    field,
                } if of == *cluster && raw.value.len() <= VALUE_MAX => drafts
                    .entry(node.normalized(DEFAULT_PORT))
                    .or_default()
                    .add(field, raw),
                _ => {}
            }
        }
        let finished = drafts.into_iter().map(|(id, draft)| (id, draft.build()));
        snapshot.members = finished.collect();
        snapshot
    }

    /// The Primary members except `own`.
    pub fn primaries_except<'a>(
        &'a self,
        own: &'a NodeId,
    ) -> impl Iterator<Item = (&'a NodeId, &'a RegistryMember)> {
        self.members_except(own)
            .filter(|(_, member)| member.is_primary())
    }

    /// All members except `own`.
    pub fn members_except<'a>(
        &'a self,
        own: &'a NodeId,
    ) -> impl Iterator<Item = (&'a NodeId, &'a RegistryMember)> {
        self.members.iter().filter(move |(id, _)| *id != own)
    }
}

fn order(raw: &RawKeyValue) -> OrderKeyState {
    match serde_json::from_slice::<BootstrapOrder>(&raw.value) {
        Ok(mut order) => {
            order.node = order.node.normalized(DEFAULT_PORT);
            OrderKeyState::Known {
                order,
                revision: raw.mod_revision,
                lease: raw.lease,
            }
        }
        Err(_) => OrderKeyState::Unreadable,
    }
}

fn rejoin(raw: &RawKeyValue) -> RejoinKeyState {
    match serde_json::from_slice::<RejoinOrder>(&raw.value) {
        Ok(mut rejoin) => {
            rejoin.order.node = rejoin.order.node.normalized(DEFAULT_PORT);
            RejoinKeyState::Known {
                rejoin,
                revision: raw.mod_revision,
                lease: raw.lease,
            }
        }
        Err(_) => RejoinKeyState::Absent,
    }
}
