//! The immutable views of a cluster that the API serves and the interface shows.
//!
//! Field and variant names are the HTTP contract. Unknown values are `null`, never a default.

mod arbitrator;
mod comparison;
mod registry_keys;
mod transfer;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeId};
use crate::position::Position;
use crate::timestamp::Timestamp;

/// The labels of a cluster: values by key.
#[cfg(feature = "decide")]
pub type LabelMap = std::collections::BTreeMap<String, String>;
/// The labels of a cluster, each as `key=value`: the browser only shows them, and pays for every byte of code.
#[cfg(not(feature = "decide"))]
pub type LabelMap = Vec<String>;

/// Adds a label.
#[cfg(feature = "decide")]
pub fn add_label(labels: &mut LabelMap, key: &str, value: &str) {
    labels.insert(key.to_owned(), value.to_owned());
}

/// Adds a label.
#[cfg(not(feature = "decide"))]
pub fn add_label(labels: &mut LabelMap, key: &str, value: &str) {
    labels.push([key, "=", value].concat());
}

/// The labels, each as `key=value`.
#[cfg(feature = "decide")]
pub fn label_texts(labels: &LabelMap) -> impl Iterator<Item = String> {
    let labels = labels.iter();
    labels.map(|(key, value)| [key, "=", value].concat())
}

/// The labels, each as `key=value`.
#[cfg(not(feature = "decide"))]
pub fn label_texts(labels: &LabelMap) -> impl Iterator<Item = String> {
    labels.iter().cloned()
}

pub use arbitrator::{ArbitratorState, ArbitratorView};
pub use registry_keys::{
    MoveStepView, RegistryKeyView, RegistryView, SeqnoMeaning, V2KeyView, V2KeysView,
};
pub use transfer::{CompletedTransfer, TransferKind, TransferRole, TransferState, TransferView};

/// The verdict on a cluster, ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerdictState {
    /// One Primary component, every expected member in it and Synced.
    Healthy,
    /// A Primary component, but some expected member is not Synced in it.
    Degraded,
    /// The console lacks fresh evidence.
    Unknown,
    /// Some node answers, none is Primary.
    NoPrimary,
    /// Every expected member refuses connections or is reported as stopped by its agent.
    Down,
    /// Non-nil state UUIDs differ.
    Diverged,
    /// Two disjoint components report Primary.
    SplitBrain,
}

named_variants!(VerdictState {
    Healthy => "healthy",
    Degraded => "degraded",
    Unknown => "unknown",
    NoPrimary => "no_primary",
    Down => "down",
    Diverged => "diverged",
    SplitBrain => "split_brain",
});

/// Why a verdict holds: stable codes for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(not(feature = "decide"), derive(Default))]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Every expected member is Synced in the one Primary component.
    AllSynced,
    /// A member does not answer SQL.
    MemberUnreachable,
    /// An expected member is neither probed nor registered.
    MemberAbsent,
    /// A member is stopped, as its agent reports.
    MemberStopped,
    /// A member answers but is not Synced.
    MemberNotSynced,
    /// A member answers but belongs to no Primary component although one exists.
    MemberNotPrimary,
    /// A member lost an inconsistency vote.
    MemberInconsistent,
    /// A registered node neither answers SQL nor is in any member list.
    RegistrationWithoutNode,
    /// A node answers SQL but has no registration, although other members have one.
    NodeWithoutRegistration,
    /// A Primary component has more members than are known (an arbitrator or an unconfigured node).
    UnknownMembers,
    /// No node that answers is Primary.
    NobodyPrimary,
    /// No node that answers is Primary, but members out of sight could be (I43).
    NoPrimaryInSight,
    /// A node reports Primary, but its status is frozen by a lock (I42).
    StatusFrozen,
    /// A member has `pc.ignore_sb` or `pc.ignore_quorum` set.
    QuorumIgnored,
    /// Two disjoint components both report Primary.
    RivalPrimaries,
    /// Components hold different histories.
    StateUuidsDiffer,
    /// Every expected member refuses connections or is stopped.
    EverybodyDown,
    /// A Synced member in the Primary component refuses queries.
    QueriesRefused,
    /// Writes to a member are not replicated (`wsrep_on` is OFF).
    WritesNotReplicated,
    /// Every Synced member in the Primary component refuses writes.
    WritesRefused,
    /// Flow control pauses replication for much of the time.
    FlowControl,
    /// There is no fresh answer.
    #[cfg_attr(not(feature = "decide"), default)]
    NoEvidence,
    /// The console cannot reach a node whose registration reports it as running or Primary.
    SqlBlind,
    /// A node refuses the console's account.
    AccessDenied,
    /// Sources contradict each other.
    SourcesDisagree,
    /// The history of the data was replaced or fell back, or several components were Primary, and that is not acknowledged.
    HistoryAlarm,
    /// A Synced member may have other data than the rest, and that is not acknowledged.
    MemberDiverged,
    /// A registered node is not confirmed as a member and does not count.
    NodeUnconfirmed,
    /// The registry is unreachable; SQL monitoring continues.
    RegistryUnreachable,
    /// There are registry keys with an unrecognized format.
    RegistryGarbage,
    /// No replica was observing. Only in the history.
    ConsoleBlind,
}

/// One reason of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerdictReason {
    /// For programs; the browser shows the message alone.
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub code: ReasonCode,
    /// The node concerned, if it is about one.
    pub node: Option<NodeId>,
    /// A sentence for operators that names the node and the evidence.
    pub message: String,
}

/// A verdict with its reasons, most important first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Verdict {
    pub state: VerdictState,
    /// Never empty.
    pub reasons: Vec<VerdictReason>,
    /// Since when the verdict has had this state.
    pub since: Timestamp,
}

/// The status of a component, from `wsrep_cluster_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClusterStatus {
    /// Has quorum.
    Primary,
    /// Lost quorum.
    NonPrimary,
    /// Not connected to any group.
    Disconnected,
}

/// Nodes that see each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Component {
    pub status: ClusterStatus,
    /// Known members, sorted.
    pub members: Vec<NodeId>,
    /// `wsrep_cluster_state_uuid`; `null` when nil or unknown.
    pub state_uuid: Option<String>,
    /// `wsrep_cluster_conf_id`; `null` when undefined (non-Primary).
    pub conf_id: Option<u64>,
    /// `wsrep_cluster_size`: also counts members that the console cannot name (arbitrators).
    pub size: Option<u64>,
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Part of the component and up to date.
    Synced,
    /// A donor, or desynced on purpose.
    Donor,
    /// Has received its state and is catching up.
    Joined,
    /// Is receiving a state transfer (IST or SST).
    Joining,
    /// Running, but not in a Primary component.
    Initialized,
    /// Lost an inconsistency vote: its data differs.
    Inconsistent,
    /// Stopped, as its agent reports.
    Stopped,
    /// Does not answer SQL; the error is in its source.
    Unreachable,
    /// Expected, but neither probed nor registered.
    Absent,
    /// No fresh evidence.
    Unknown,
}

named_variants!(NodeState {
    Synced => "synced",
    Donor => "donor",
    Joined => "joined",
    Joining => "joining",
    Initialized => "initialized",
    Inconsistent => "inconsistent",
    Stopped => "stopped",
    Unreachable => "unreachable",
    Absent => "absent",
    Unknown => "unknown",
});

impl NodeState {
    /// Whether a node can be in this state before, during or after a state transfer.
    #[must_use]
    pub const fn can_occur_in_transfer(self) -> bool {
        matches!(
            self,
            Self::Synced | Self::Donor | Self::Joined | Self::Joining
        )
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The console's own SQL probe.
    Sql,
    /// The node's registration in etcd.
    Registry,
}

/// The last report of one source about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceView {
    pub kind: SourceKind,
    /// When it last reported; `null` if never.
    pub observed_at: Option<Timestamp>,
    /// Whether the report is too old, or the source has failed since.
    pub stale: bool,
    /// Why the source is failing.
    pub error: Option<String>,
    /// The kind of that failure, for programs (`access_denied`, `refused`); of SQL only, absent without a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub error_code: Option<String>,
    /// Since when it has been failing without interruption.
    pub failing_since: Option<Timestamp>,
    /// `wsrep_local_state_comment` as last reported, unaltered.
    pub state: Option<String>,
    /// `wsrep_cluster_status` as last reported, unaltered.
    pub cluster_status: Option<String>,
    /// `wsrep_last_committed` as last reported.
    pub seqno: Option<u64>,
    /// The agent's phase, from the registry only (`starting`, `waiting`, `joining`, `running`, `stopping`).
    pub phase: Option<String>,
}

/// Something that limits the use of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeFinding {
    /// For programs, stable; codes may be added.
    pub code: String,
    /// A sentence for operators, with the remedy.
    pub message: String,
}

/// The view of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeView {
    pub id: NodeId,
    /// `wsrep_node_name`.
    pub name: Option<String>,
    pub state: NodeState,
    /// `wsrep_local_state_comment` (`Joining: receiving State Transfer`).
    pub state_comment: Option<String>,
    /// The status of its component.
    pub cluster_status: Option<ClusterStatus>,
    /// Its last known position.
    pub position: Option<Position>,
    /// Whether the position is from fresh evidence.
    pub position_fresh: bool,
    /// How many transactions it is behind the most advanced member of the same history.
    pub behind: Option<u64>,
    /// Commits per second.
    pub commit_rate: Option<f64>,
    /// The last commit rates, per second, oldest first.
    pub recent_rates: Vec<f64>,
    /// `wsrep_local_recv_queue`: write-sets received but not applied.
    pub recv_queue: Option<u64>,
    /// `wsrep_local_send_queue`.
    pub send_queue: Option<u64>,
    /// Fraction (0 to 1) of the last poll interval during which flow control paused replication.
    pub flow_control_paused: Option<f64>,
    /// `wsrep_ready`.
    pub ready: Option<bool>,
    /// `wsrep_connected`.
    pub connected: Option<bool>,
    /// `wsrep_gmcast_segment`.
    pub segment: Option<u64>,
    /// `pc.weight`: its votes in the quorum.
    #[serde(default)]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub votes: Option<u8>,
    /// `wsrep_local_cached_downto`: the oldest transaction that it can send in an incremental state transfer; `null` if
    /// its cache is empty or unknown.
    #[serde(default)]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub cached_from: Option<u64>,
    /// The server's version.
    pub version: Option<String>,
    /// `wsrep_gcomm_uuid`: the process's identity within a view.
    pub gcomm_uuid: Option<String>,
    /// `wsrep_evs_state`.
    pub evs_state: Option<String>,
    /// Whether it is expected: configured, durably registered, or in the last Primary view.
    pub expected: bool,
    /// Whether the registry has any key of it.
    pub registered: bool,
    /// Whether nothing but its registration says that it is a member: it then counts for nothing.
    #[serde(default)]
    pub unconfirmed: bool,
    /// Other names and addresses of the process that answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub names: Vec<NodeId>,
    /// What limits the use of the node while it is a member; absent if nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub findings: Vec<NodeFinding>,
    /// The state transfer that it takes part in; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferView>,
    /// The last report of each source.
    pub sources: Vec<SourceView>,
}

impl NodeView {
    /// How messages name it: `name (id)`, or the id.
    #[cfg(feature = "decide")]
    #[must_use]
    pub fn label(&self) -> String {
        let id = self.id.to_string();
        match &self.name {
            Some(name) if *name != id => format!("{name} ({id})"),
            _ => id,
        }
    }
}

/// The votes behind a cluster's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuorumSummary {
    /// Votes of the Primary component; without one, of the members that the console sees.
    pub votes: u64,
    /// Votes of all members: the expected ones and arbitrators; without a Primary component, of the last one.
    pub total: u64,
    /// Those of `votes` that belong to arbitrators, which are in no list of members.
    pub arbitrators: u64,
    /// how many votes the Primary component can lose together and stay Primary; `null` without one. Members that stop in
    /// order are subtracted before and count as no loss.
    pub spare: Option<u64>,
    /// All of it in one line.
    pub summary: String,
}

/// The console's own access to the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegistryHealth {
    pub reachable: bool,
    /// Since when `reachable` has had its value.
    pub since: Timestamp,
    /// Why it is unreachable.
    pub error: Option<String>,
}

/// The view of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterView {
    pub name: ClusterName,
    /// Values by key, as the setting `--cluster-label` gives them; absent without any.
    #[serde(default, skip_serializing_if = "LabelMap::is_empty")]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub labels: LabelMap,
    /// Increases with every view that this replica publishes; comparable only within one connection.
    pub revision: u64,
    /// When this view was computed.
    pub observed_at: Timestamp,
    pub verdict: Verdict,
    /// The members that should be in the Primary component, sorted.
    pub expected_members: Vec<NodeId>,
    /// Primary components first.
    pub components: Vec<Component>,
    /// Sorted by id, unconfirmed ones last.
    pub nodes: Vec<NodeView>,
    /// The console's access to the registry.
    pub registry: RegistryHealth,
    /// `null` if no member answers, or if which component counts is disputed.
    #[serde(default)]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub quorum: Option<QuorumSummary>,
    /// Members of components that vote and have no data (`garbd`): those that an agent reports, by name, then those that only
    /// the size of a Primary component shows.
    #[serde(default)]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub arbitrators: Vec<ArbitratorView>,
    /// The last full state transfer that completed, as far as this replica has observed; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub last_transfer: Option<CompletedTransfer>,
}

/// A cluster in a list of clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterSummary {
    pub name: ClusterName,
    /// Values by key, as the setting `--cluster-label` gives them; absent without any.
    #[serde(default, skip_serializing_if = "LabelMap::is_empty")]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub labels: LabelMap,
    /// The revision of the summarized view.
    pub revision: u64,
    /// When that view was computed.
    pub observed_at: Timestamp,
    pub verdict: Verdict,
    /// The number of expected members.
    pub expected: usize,
    /// The number of nodes that are Synced in a Primary component.
    pub synced: usize,
    /// The most advanced known position of a Primary component, else of any node.
    pub position: Option<Position>,
    /// Commits per second of the most advanced node.
    pub commit_rate: Option<f64>,
    /// All nodes that count, in the order of the view.
    pub nodes: Vec<NodeSummary>,
    /// Whether the registry can be read now.
    pub registry_reachable: bool,
}

/// A node in a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeSummary {
    pub id: NodeId,
    /// `wsrep_node_name`.
    pub name: Option<String>,
    pub state: NodeState,
}

impl ClusterView {
    /// The node with the id `text`, or else the only one with that `wsrep_node_name`.
    #[must_use]
    pub fn node_named(&self, text: &str) -> Option<&NodeView> {
        let by_id = self.nodes.iter().find(|node| node.id.to_string() == text);
        let mut named = self
            .nodes
            .iter()
            .filter(|node| node.name.as_deref() == Some(text));
        by_id.or_else(|| named.next().filter(|_| named.next().is_none()))
    }

    /// The nodes that count: all but the unconfirmed ones.
    pub fn members(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(|node| !node.unconfirmed)
    }

    /// The nodes that are registered but not confirmed as members.
    pub fn unconfirmed_nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(|node| node.unconfirmed)
    }

    #[must_use]
    pub fn summary(&self) -> ClusterSummary {
        let is_synced = |n: &&NodeView| {
            n.state == NodeState::Synced && n.cluster_status == Some(ClusterStatus::Primary)
        };
        let leader = self
            .members()
            .filter(|n| n.position.is_some())
            .max_by_key(|n| {
                let primary = n.cluster_status == Some(ClusterStatus::Primary);
                (
                    n.position_fresh && primary,
                    n.position.as_ref().map(|p| p.seqno),
                )
            });
        ClusterSummary {
            name: self.name.clone(),
            labels: self.labels.clone(),
            revision: self.revision,
            observed_at: self.observed_at,
            verdict: self.verdict.clone(),
            expected: self.expected_members.len(),
            synced: self.members().filter(is_synced).count(),
            position: leader.and_then(|n| n.position.clone()),
            commit_rate: leader.and_then(|n| n.commit_rate),
            nodes: self
                .members()
                .map(|n| NodeSummary {
                    id: n.id.clone(),
                    name: n.name.clone(),
                    state: n.state,
                })
                .collect(),
            registry_reachable: self.registry.reachable,
        }
    }
}
