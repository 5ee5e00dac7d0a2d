//! Parses `SHOW GLOBAL STATUS LIKE 'wsrep_%'`.
//!
//! Parsing never fails: a value that cannot be parsed is `None`, never a default.

mod counters;
mod option_statement;
mod quorum_options;
mod service_options;

use std::sync::Arc;

use uuid::Uuid;

use crate::id::NodeId;
use crate::invisible::show_invisible;
use crate::observe::server_details::ServerDetails;
use crate::position::{Position, parse_seqno, parse_uuid};
use crate::view::{ClusterStatus, NodeState};

pub use counters::ReplicationCounters;
pub use option_statement::option_statements;
pub use quorum_options::QuorumOptions;
pub use service_options::ServiceOptions;

/// Longest free text kept of one value, in characters; longer text is truncated.
pub const TEXT_MAX: usize = 256;
/// Most members that a list of addresses may have; a longer one is not a list of cluster members.
pub const MEMBERS_MAX: usize = 256;

/// `wsrep_local_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalState {
    /// 0: not in a Primary component.
    Undefined,
    /// 1: requests or receives a state transfer.
    Joiner,
    /// 2: donor, or desynced on purpose.
    Donor,
    /// 3: has received its state, is catching up.
    Joined,
    /// 4: up to date.
    Synced,
    /// 5: lost an inconsistency vote.
    Error,
}

impl LocalState {
    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Undefined,
            1 => Self::Joiner,
            2 => Self::Donor,
            3 => Self::Joined,
            4 => Self::Synced,
            5 => Self::Error,
            _ => return None,
        })
    }

    /// The state that a comment describes; older dialects store only its first word (`Joining:`).
    fn from_comment(comment: &str) -> Option<Self> {
        let is = |word: &str| starts_with_word(comment, word);
        Some(if is("Joining") || is("Joiner") {
            Self::Joiner
        } else if is("Donor") {
            Self::Donor
        } else if is("Joined") {
            Self::Joined
        } else if is("Synced") {
            Self::Synced
        } else if is("Inconsistent") {
            Self::Error
        } else if is("Initialized") || is("Destroyed") {
            Self::Undefined
        } else {
            return None;
        })
    }
}

/// Whether `text` starts with `word`, case-insensitively and at a word boundary.
fn starts_with_word(text: &str, word: &str) -> bool {
    let text = text.as_bytes();
    text.len() >= word.len()
        && text[..word.len()].eq_ignore_ascii_case(word.as_bytes())
        && text
            .get(word.len())
            .is_none_or(|next| !next.is_ascii_alphanumeric())
}

/// One entry of `wsrep_incoming_addresses`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberAddress {
    /// An address that names a node.
    Known(NodeId),
    /// `AUTO`, or `unspecified` while components merge: a member without a known address.
    Unnamed,
    /// Empty or `undefined`: an arbitrator.
    Arbitrator,
    /// Text that is not an address.
    Unreadable(String),
}

impl MemberAddress {
    /// The node that it names.
    #[must_use]
    pub const fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Known(id) => Some(id),
            _ => None,
        }
    }

    /// Parses one entry.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("undefined") {
            Self::Arbitrator
        } else if ["AUTO", "unspecified"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
        {
            Self::Unnamed
        } else {
            text.parse()
                .map_or_else(|_| Self::Unreadable(truncate_text(text)), Self::Known)
        }
    }
}

/// The different member lists among `lists`; all members of a view report the same one.
pub fn distinct_lists<'a>(
    lists: impl IntoIterator<Item = &'a [MemberAddress]>,
) -> Vec<&'a [MemberAddress]> {
    let mut distinct: Vec<&[MemberAddress]> = Vec::new();
    for list in lists {
        if !distinct.contains(&list) {
            distinct.push(list);
        }
    }
    distinct
}

/// Parses `wsrep_incoming_addresses`. Empty text is an empty list: the node is in no component.
#[must_use]
pub fn parse_incoming_addresses(text: &str) -> Vec<MemberAddress> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    if text.split(',').nth(MEMBERS_MAX).is_some() {
        return vec![MemberAddress::Unreadable(truncate_text(text))];
    }
    text.split(',').map(MemberAddress::parse).collect()
}

/// Parses `wsrep_cluster_status`, whose spelling differs between sources (I33).
#[must_use]
pub fn parse_cluster_status(text: &str) -> Option<ClusterStatus> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("Primary") {
        Some(ClusterStatus::Primary)
    } else if text.eq_ignore_ascii_case("non-Primary") || text.eq_ignore_ascii_case("non_primary") {
        Some(ClusterStatus::NonPrimary)
    } else if text.eq_ignore_ascii_case("Disconnected") {
        Some(ClusterStatus::Disconnected)
    } else {
        None
    }
}

/// The status that a node reports. A field is `None` (or empty) if it is missing, undefined or cannot be parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WsrepStatus {
    /// `wsrep_local_state`; from the comment when the number is missing.
    pub local_state: Option<LocalState>,
    /// `wsrep_local_state_comment`, unaltered.
    pub local_state_comment: Option<String>,
    /// `wsrep_cluster_status`.
    pub cluster_status: Option<ClusterStatus>,
    /// `wsrep_cluster_status`, unaltered.
    pub cluster_status_text: Option<String>,
    /// `wsrep_cluster_state_uuid`, not nil.
    pub cluster_state_uuid: Option<Uuid>,
    /// `wsrep_local_state_uuid`, not nil.
    pub local_state_uuid: Option<Uuid>,
    /// `wsrep_last_committed`.
    pub last_committed: Option<u64>,
    /// `wsrep_cluster_conf_id`; undefined in a non-Primary component.
    pub conf_id: Option<u64>,
    /// `wsrep_cluster_size`: members of this component, arbitrators included.
    pub cluster_size: Option<u64>,
    /// `wsrep_local_index`: the node's own index in `incoming_addresses`.
    pub local_index: Option<u64>,
    /// `wsrep_incoming_addresses`: one entry per member of this component.
    pub incoming_addresses: Vec<MemberAddress>,
    /// `wsrep_cluster_weight`: the votes of the Primary component together; 0 outside one. Unlike the other values about
    /// the component it does not wait for a lock.
    pub cluster_weight: Option<u64>,
    /// `wsrep_gcomm_uuid`: the process's identity within a view, not nil.
    pub gcomm_uuid: Option<Uuid>,
    /// `server_uuid`, a variable of MySQL that identifies a data directory; MariaDB has none.
    pub server_uuid: Option<Uuid>,
    /// `wsrep_ready`.
    pub ready: Option<bool>,
    /// `wsrep_connected`.
    pub connected: Option<bool>,
    /// `wsrep_local_recv_queue`, in write-sets.
    pub recv_queue: Option<u64>,
    /// `wsrep_local_send_queue`, in write-sets.
    pub send_queue: Option<u64>,
    /// `wsrep_flow_control_paused_ns`: nanoseconds paused since the server started.
    pub flow_control_paused_ns: Option<u64>,
    /// `wsrep_flow_control_sent`: how often this node asked the others to pause, since the server started.
    pub flow_control_sent: Option<u64>,
    /// `wsrep_gmcast_segment`.
    pub segment: Option<u64>,
    /// `wsrep_local_cached_downto`: the oldest transaction in the write-set cache.
    pub cached_from: Option<u64>,
    /// `wsrep_evs_state`: `OPERATIONAL`, `GATHER`, `INSTALL`, …
    pub evs_state: Option<String>,
    /// `wsrep_evs_evict_list`: processes, by their `wsrep_gcomm_uuid`, that this node no longer admits to a view.
    pub evicted: Vec<Uuid>,
    /// `wsrep_desync_count`: above zero while desynced on purpose.
    pub desync_count: Option<u64>,
    /// `wsrep_node_name`, a variable rather than a status.
    pub node_name: Option<String>,
    /// `version`, a variable rather than a status.
    pub version: Option<String>,
    /// `extra_port`, a variable rather than a status: a port with connections of its own, also when `max_connections` are in use.
    pub extra_port: Option<u16>,
    /// Whether the variable `wsrep_provider_pc_bootstrap` exists: the server has provider options as variables.
    pub provider_plugin: bool,
    /// The provider's options about quorum, variables rather than a status.
    pub quorum_options: QuorumOptions,
    /// Variables with which the server refuses work.
    pub service_options: ServiceOptions,
    /// What the provider counts.
    pub counters: ReplicationCounters,
    /// Further variables and status, read less often; `None` if they were not read.
    pub details: Option<Arc<ServerDetails>>,
    /// Whether the server's account of its component is proven to be out of date ([`Self::discard_frozen_view`]).
    pub frozen: bool,
}

impl WsrepStatus {
    /// Parses rows of name and value, in any order. Names are case-insensitive; unknown ones are skipped.
    ///
    /// Rows of `SHOW GLOBAL VARIABLES` (`wsrep_node_name`, `version`) may be among them.
    pub fn from_rows<K: AsRef<str>, V: AsRef<str>>(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut status = Self::default();
        let mut number = None;
        for (name, value) in rows {
            status.apply_row(name.as_ref(), value.as_ref(), &mut number);
        }
        status.local_state = number.or_else(|| {
            status
                .local_state_comment
                .as_deref()
                .and_then(LocalState::from_comment)
        });
        status
    }

    fn apply_row(&mut self, name: &str, value: &str, state: &mut Option<LocalState>) {
        let mut lower = [0_u8; 40];
        let Some(slot) = lower.get_mut(..name.len()) else {
            return;
        };
        slot.copy_from_slice(name.as_bytes());
        slot.make_ascii_lowercase();
        let name: &[u8] = slot;
        match name {
            b"wsrep_local_state" => *state = parse_seqno(value).and_then(LocalState::from_number),
            b"wsrep_local_state_comment" => self.local_state_comment = non_empty_text(value),
            b"wsrep_cluster_status" => {
                self.cluster_status = parse_cluster_status(value);
                self.cluster_status_text = non_empty_text(value);
            }
            b"wsrep_cluster_state_uuid" => self.cluster_state_uuid = parse_uuid(value),
            b"wsrep_local_state_uuid" => self.local_state_uuid = parse_uuid(value),
            b"wsrep_last_committed" => self.last_committed = parse_seqno(value),
            b"wsrep_cluster_conf_id" => self.conf_id = parse_seqno(value),
            b"wsrep_cluster_size" => self.cluster_size = parse_seqno(value),
            b"wsrep_local_index" => self.local_index = parse_seqno(value),
            b"wsrep_incoming_addresses" => {
                self.incoming_addresses = parse_incoming_addresses(value)
            }
            b"wsrep_cluster_weight" => self.cluster_weight = parse_seqno(value),
            b"wsrep_gcomm_uuid" => self.gcomm_uuid = parse_uuid(value),
            b"server_uuid" => self.server_uuid = parse_uuid(value),
            b"wsrep_ready" => self.ready = parse_on_off(value),
            b"wsrep_connected" => self.connected = parse_on_off(value),
            b"wsrep_local_recv_queue" => self.recv_queue = parse_seqno(value),
            b"wsrep_local_send_queue" => self.send_queue = parse_seqno(value),
            b"wsrep_flow_control_paused_ns" => self.flow_control_paused_ns = parse_seqno(value),
            b"wsrep_flow_control_sent" => self.flow_control_sent = parse_seqno(value),
            b"wsrep_gmcast_segment" => self.segment = parse_seqno(value),
            b"wsrep_local_cached_downto" => self.cached_from = parse_cached_from(value),
            b"wsrep_evs_state" => self.evs_state = non_empty_text(value),
            b"wsrep_evs_evict_list" => self.evicted = parse_evict_list(value),
            b"wsrep_desync_count" => self.desync_count = parse_seqno(value),
            b"wsrep_node_name" => {
                self.node_name = non_empty_text(value).map(|name| show_invisible(&name));
            }
            b"version" => self.version = non_empty_text(value),
            b"extra_port" => self.extra_port = value.parse().ok().filter(|port| *port > 0),
            b"wsrep_provider_pc_bootstrap" => self.provider_plugin = true,
            b"wsrep_provider_options" => self.quorum_options.apply_list(value),
            b"wsrep_provider_pc_weight" => self.quorum_options.apply("pc.weight", value),
            b"wsrep_provider_pc_ignore_sb" => self.quorum_options.apply("pc.ignore_sb", value),
            b"wsrep_provider_pc_ignore_quorum" => {
                self.quorum_options.apply("pc.ignore_quorum", value);
            }
            name => {
                if !self.counters.apply(name, value) {
                    self.service_options.apply(name, value);
                }
            }
        }
    }

    /// The node's state as the server reports it; `None` if it does not.
    ///
    /// A joiner may report state 0 and a non-Primary component for a moment, so its comment decides.
    #[must_use]
    pub fn node_state(&self) -> Option<NodeState> {
        let comment = self
            .local_state_comment
            .as_deref()
            .and_then(LocalState::from_comment);
        Some(match (comment, self.local_state?) {
            (Some(LocalState::Error), _) | (_, LocalState::Error) => NodeState::Inconsistent,
            (Some(LocalState::Joiner), LocalState::Undefined) | (_, LocalState::Joiner) => {
                NodeState::Joining
            }
            (_, LocalState::Undefined) => NodeState::Initialized,
            // A disconnected node is in sync with nothing, whatever state it still reports.
            _ if self.cluster_status == Some(ClusterStatus::Disconnected) => NodeState::Initialized,
            (_, LocalState::Donor) => NodeState::Donor,
            (_, LocalState::Joined) => NodeState::Joined,
            (_, LocalState::Synced) => NodeState::Synced,
        })
    }

    /// Whether the server reports its group, but neither state nor position: with `wsrep_on=OFF` it does not read the
    /// provider's status.
    #[must_use]
    pub fn lacks_provider_status(&self) -> bool {
        self.cluster_status_text.is_some()
            && self.local_state_comment.is_none()
            && self.local_state.is_none()
            && self.last_committed.is_none()
            && self.evs_state.is_none()
    }

    /// Whether the node reports that its state transfer failed (`Joining: State Transfer failed`), so that its data is not
    /// a state of the cluster.
    #[must_use]
    pub fn transfer_failed(&self) -> bool {
        let comment = self.local_state_comment.as_deref();
        comment.is_some_and(|comment| comment.to_ascii_lowercase().contains("failed"))
    }

    /// What identifies the server's process: `wsrep_gcomm_uuid`, or `server_uuid` of a server without it.
    #[must_use]
    pub fn process(&self) -> Option<Uuid> {
        self.gcomm_uuid.or(self.server_uuid)
    }

    /// The history of its data: `wsrep_local_state_uuid`, or else that of its component.
    #[must_use]
    pub fn history(&self) -> Option<Uuid> {
        self.local_state_uuid.or(self.cluster_state_uuid)
    }

    /// The node's own position. Its history is that of its data, which differs from the component's if it needs a state
    /// transfer.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        Position::new(self.history()?, self.last_committed?)
    }

    /// Whether the server reports Primary although its group counts no vote. Its status is written when the server
    /// processes a view, which a lock (`FLUSH TABLES WITH READ LOCK`) delays without limit, while the group's own
    /// figures are current. For a moment it is true during every view change.
    #[must_use]
    pub fn contradicts_its_group(&self) -> bool {
        let operational = |state: &String| state.eq_ignore_ascii_case("OPERATIONAL");
        // A Primary component of members without votes has none either.
        let has_vote = self.quorum_options.weight != Some(0);
        self.cluster_status == Some(ClusterStatus::Primary)
            && self.cluster_weight == Some(0)
            && self.evs_state.as_ref().is_none_or(operational)
            && (has_vote || self.recv_queue.is_some_and(|queue| queue > 0))
    }

    /// Removes what the server reports of a component that it is no longer in (I42): it counts as non-Primary, in a view
    /// that names no other member.
    pub fn discard_frozen_view(&mut self) {
        self.frozen = true;
        self.cluster_status = Some(ClusterStatus::NonPrimary);
        self.conf_id = None;
        self.cluster_size = None;
        self.local_index = None;
        self.incoming_addresses = Vec::new();
        if self.local_state != Some(LocalState::Error) {
            self.local_state = Some(LocalState::Undefined);
        }
    }

    /// Whether `other` is of the same view: same process, component and members.
    #[must_use]
    pub fn same_view(&self, other: &Self) -> bool {
        self.cluster_status == other.cluster_status
            && self.conf_id == other.conf_id
            && self.cluster_size == other.cluster_size
            && self.local_index == other.local_index
            && self.gcomm_uuid == other.gcomm_uuid
            && self.cluster_state_uuid == other.cluster_state_uuid
            && self.incoming_addresses == other.incoming_addresses
    }
}

/// Parses a list of process UUIDs; other entries are skipped.
fn parse_evict_list(value: &str) -> Vec<Uuid> {
    let parts = value.split(|c: char| c == ',' || c.is_whitespace());
    parts.filter_map(parse_uuid).take(MEMBERS_MAX).collect()
}

/// An empty cache is reported as 0, or as -1 in either representation.
fn parse_cached_from(value: &str) -> Option<u64> {
    parse_seqno(value).filter(|seqno| *seqno > 0)
}

fn parse_on_off(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("ON") || value == "1" {
        Some(true)
    } else if value.eq_ignore_ascii_case("OFF") || value == "0" {
        Some(false)
    } else {
        None
    }
}

fn non_empty_text(value: &str) -> Option<String> {
    let value = value.trim();
    (!value.is_empty()).then(|| truncate_text(value))
}

/// At most [`TEXT_MAX`] characters of `value`: values come from outside, and every viewer receives them.
pub(crate) fn truncate_text(value: &str) -> String {
    match value.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_without_a_known_address_are_not_nodes() {
        let parsed = parse_incoming_addresses("10.0.0.1:3306,unspecified,AUTO,undefined,");
        let known = MemberAddress::Known("10.0.0.1:3306".parse().unwrap());
        let (auto, blank) = (MemberAddress::Unnamed, MemberAddress::Arbitrator);
        assert_eq!(
            parsed,
            [known, auto.clone(), auto, blank.clone(), blank],
            "galera lists a member as unspecified until it has sent its address"
        );
    }
}
