//! What the console says about a cluster: the immutable views that the API serves and the interface shows.
//!
//! Field names and words are the HTTP contract. Absent knowledge is `null`, never a default value.

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeId};
use crate::position::Position;
use crate::timestamp::Timestamp;

/// The console's judgement of a cluster, ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictState {
    /// One Primary component, every expected member in it and Synced.
    Healthy,
    /// A Primary component, but some expected member is not Synced in it.
    Degraded,
    /// The console lacks fresh evidence.
    Unknown,
    /// Someone answers, nobody is Primary.
    NoPrimary,
    /// Every expected member is positively refused or reports itself stopped.
    Down,
    /// Non-nil state UUIDs differ.
    Diverged,
    /// Two disjoint components say Primary.
    SplitBrain,
}

impl VerdictState {
    /// Every verdict, best first.
    pub const ALL: [Self; 7] = [
        Self::Healthy,
        Self::Degraded,
        Self::Unknown,
        Self::NoPrimary,
        Self::Down,
        Self::Diverged,
        Self::SplitBrain,
    ];

    /// The verdict's word in JSON, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::NoPrimary => "no_primary",
            Self::Down => "down",
            Self::Diverged => "diverged",
            Self::SplitBrain => "split_brain",
        }
    }
}

/// Why a verdict is what it is; stable words for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Every expected member is Synced in the one Primary component.
    AllSynced,
    /// A member does not answer SQL and is in no component.
    MemberUnreachable,
    /// An expected member that neither SQL nor the registry knows.
    MemberAbsent,
    /// A member whose agent says that it is stopped.
    MemberStopped,
    /// A member answers but is not Synced.
    MemberNotSynced,
    /// A member answers but belongs to no Primary component although one exists.
    MemberNotPrimary,
    /// A member lost an inconsistency vote.
    MemberInconsistent,
    /// A registration whose node neither answers SQL nor is in any member list.
    RegistrationWithoutNode,
    /// A node answers SQL but has no registration, although other members have one.
    NodeWithoutRegistration,
    /// A Primary component counts more members than are known (an arbitrator or an unconfigured node).
    UnknownMembers,
    /// Nobody who answers is Primary.
    NobodyPrimary,
    /// Two disjoint components both say Primary.
    RivalPrimaries,
    /// Components hold different histories.
    StateUuidsDiffer,
    /// Everybody refuses connections or is stopped.
    EverybodyDown,
    /// No fresh answer from any source.
    NoEvidence,
    /// The console cannot reach the databases, while the registry says that they run.
    SqlBlind,
    /// The account of the console is refused by a node.
    AccessDenied,
    /// Sources contradict each other.
    SourcesDisagree,
    /// The registry cannot be read; SQL facts go on.
    RegistryUnreachable,
    /// Registry entries that no dialect explains.
    RegistryGarbage,
    /// No console was running: in the chronicle only.
    ConsoleBlind,
}

/// One reason of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VerdictReason {
    /// The stable word.
    pub code: ReasonCode,
    /// The node it is about, where it is about one.
    pub node: Option<NodeId>,
    /// A sentence for people that names the thing.
    pub message: String,
}

/// A verdict with its reasons, most important first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The judgement.
    pub state: VerdictState,
    /// Why; never empty.
    pub reasons: Vec<VerdictReason>,
    /// When the console first came to this judgement (kept across equal judgements).
    pub since: Timestamp,
}

/// A component's or node's standing, from `wsrep_cluster_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
pub struct Component {
    /// Primary or not.
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

/// A node's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Part of the component and up to date.
    Synced,
    /// Donates its state, or is desynchronised on purpose.
    Donor,
    /// Has received its state and catches up.
    Joined,
    /// Receives its state (IST or SST).
    Joining,
    /// Runs, but is in no Primary component.
    Initialized,
    /// Lost an inconsistency vote; its data differs.
    Inconsistent,
    /// Says of itself, through its agent, that it is stopped.
    Stopped,
    /// Does not answer; the source carries the error.
    Unreachable,
    /// Expected, but neither source knows it.
    Absent,
    /// No fresh evidence.
    Unknown,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Synced,
        Self::Donor,
        Self::Joined,
        Self::Joining,
        Self::Initialized,
        Self::Inconsistent,
        Self::Stopped,
        Self::Unreachable,
        Self::Absent,
        Self::Unknown,
    ];

    /// Whether a node passes through it, at either end, while a state transfer goes on.
    #[must_use]
    pub const fn can_occur_in_transfer(self) -> bool {
        matches!(
            self,
            Self::Synced | Self::Donor | Self::Joined | Self::Joining
        )
    }

    /// The state's word in JSON, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Donor => "donor",
            Self::Joined => "joined",
            Self::Joining => "joining",
            Self::Initialized => "initialized",
            Self::Inconsistent => "inconsistent",
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The console's own SQL probe.
    Sql,
    /// The node's registration in etcd.
    Registry,
}

/// What one source said about a node, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Which source.
    pub kind: SourceKind,
    /// When it last said something; `null` when it never did.
    pub observed_at: Option<Timestamp>,
    /// Whether that is too long ago to be believed, or the source failed since.
    pub stale: bool,
    /// Why the source says nothing now.
    pub error: Option<String>,
    /// Since when it fails without interruption.
    pub failing_since: Option<Timestamp>,
    /// Its last words for the state, unaltered (`wsrep_local_state_comment`).
    pub state: Option<String>,
    /// Its last words for the component's status, unaltered.
    pub cluster_status: Option<String>,
    /// The last committed sequence number that it gave.
    pub seqno: Option<u64>,
    /// The registry's phase word (`starting`, `waiting`, `joining`, `running`, `stopping`).
    pub phase: Option<String>,
}

/// Everything the console says about one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node's identity.
    pub id: NodeId,
    /// `wsrep_node_name`.
    pub name: Option<String>,
    /// The state in one word.
    pub state: NodeState,
    /// The state in the server's own words (`Joining: receiving State Transfer`).
    pub state_comment: Option<String>,
    /// Standing of the component that it is in.
    pub cluster_status: Option<ClusterStatus>,
    /// Its last known position.
    pub position: Option<Position>,
    /// Whether the position is from fresh evidence.
    pub position_fresh: bool,
    /// Transactions behind the most advanced member of the same history.
    pub behind: Option<u64>,
    /// Commits per second.
    pub commit_rate: Option<f64>,
    /// Commits per second of the last polls, oldest first.
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
    /// Server version.
    pub version: Option<String>,
    /// `wsrep_gcomm_uuid`: the process's identity within a view.
    pub gcomm_uuid: Option<String>,
    /// `wsrep_evs_state`.
    pub evs_state: Option<String>,
    /// Whether the configuration, a durable registration or the last Primary view expects it.
    pub expected: bool,
    /// Whether the registry holds any key of it.
    pub registered: bool,
    /// What every source said.
    pub sources: Vec<SourceView>,
}

/// The console's own access to the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryHealth {
    /// Whether the registry can be read now.
    pub reachable: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// Everything the console says about one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The cluster's name.
    pub name: ClusterName,
    /// Grows with every published change of this replica; comparable within one connection only.
    pub revision: u64,
    /// When this view was computed.
    pub observed_at: Timestamp,
    /// The judgement.
    pub verdict: Verdict,
    /// Who is expected to be in the Primary component, sorted.
    pub expected_members: Vec<NodeId>,
    /// Components, Primary first.
    pub components: Vec<Component>,
    /// Nodes, sorted by identity.
    pub nodes: Vec<NodeView>,
    /// The console's access to the registry.
    pub registry: RegistryHealth,
}

/// A cluster in one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterSummary {
    /// The cluster's name.
    pub name: ClusterName,
    /// The revision of the view that it sums up.
    pub revision: u64,
    /// When that view was computed.
    pub observed_at: Timestamp,
    /// The judgement.
    pub verdict: Verdict,
    /// Expected members.
    pub expected: usize,
    /// Nodes that are Synced in a Primary component.
    pub synced: usize,
    /// The most advanced known position of a Primary component, else of any node.
    pub position: Option<Position>,
    /// Commits per second of the most advanced node.
    pub commit_rate: Option<f64>,
    /// Every node's identity and state, in the view's order.
    pub nodes: Vec<NodeSummary>,
    /// Whether the registry can be read now.
    pub registry_reachable: bool,
}

/// A node in a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// The node's identity.
    pub id: NodeId,
    /// `wsrep_node_name`.
    pub name: Option<String>,
    /// The state in one word.
    pub state: NodeState,
}

impl ClusterView {
    /// The view in one line.
    #[must_use]
    pub fn summary(&self) -> ClusterSummary {
        let is_synced = |n: &&NodeView| {
            n.state == NodeState::Synced && n.cluster_status == Some(ClusterStatus::Primary)
        };
        let leader = self
            .nodes
            .iter()
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
            revision: self.revision,
            observed_at: self.observed_at,
            verdict: self.verdict.clone(),
            expected: self.expected_members.len(),
            synced: self.nodes.iter().filter(is_synced).count(),
            position: leader.and_then(|n| n.position.clone()),
            commit_rate: leader.and_then(|n| n.commit_rate),
            nodes: self
                .nodes
                .iter()
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

/// One key of the registry, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryKeyView {
    /// The whole key; bytes that are no UTF-8 are replaced.
    pub key: String,
    /// The value; bytes that are no UTF-8 are replaced, at most [`RegistryKeyView::VALUE_SHOWN_MAX`] characters.
    pub value: String,
    /// The value's whole size in bytes.
    pub value_bytes: usize,
    /// Whether `value` shows less than the whole.
    pub truncated: bool,
    /// etcd's `mod_revision`.
    pub revision: i64,
    /// The lease in hexadecimal, as `etcdctl` prints it; `null` for durable keys.
    pub lease: Option<String>,
    /// Seconds until the lease expires; `null` when durable or not known.
    pub ttl: Option<i64>,
    /// The node it belongs to; `null` for keys of the cluster and unknown ones.
    pub node: Option<NodeId>,
    /// Whether a dialect of the key grammar explains it.
    pub known: bool,
    /// Whether it outlived what it speaks of.
    pub stale: bool,
    /// Why it is stale, or why it is unknown.
    pub reason: Option<String>,
}

impl RegistryKeyView {
    /// Longest value shown, in characters.
    pub const VALUE_SHOWN_MAX: usize = 4096;
}

/// The registry's keys of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryView {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The prefix that was read.
    pub prefix: String,
    /// etcd's revision of the reading.
    pub revision: i64,
    /// When it was read.
    pub observed_at: Timestamp,
    /// Every key, sorted.
    pub keys: Vec<RegistryKeyView>,
}
