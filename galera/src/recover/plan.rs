//! Plans: the result of checking an action now, with evidence, exact steps, possible loss and a digest.
//!
//! The types are the HTTP contract. A blocked plan is shown too, with the checks that fail and why (I30).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeId};
use crate::position::Position;
use crate::recover::attestation::Attestation;
use crate::timestamp::Timestamp;

#[cfg(feature = "decide")]
mod comparison;
#[cfg(feature = "decide")]
pub(crate) mod digest;

#[cfg(feature = "decide")]
pub use comparison::PlanComparison;

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Makes a cluster without a Primary component Primary.
    Bootstrap,
    /// Removes stale registrations.
    Cleanup,
    /// Removes every registration of a retired cluster.
    Decommission,
    /// Forgets remembered positions that no member has reached.
    Positions,
    /// Makes a member that is held back keep its data aside and join empty.
    Rejoin,
}

impl ActionKind {
    pub const ALL: [Self; 5] = [
        Self::Bootstrap,
        Self::Cleanup,
        Self::Decommission,
        Self::Positions,
        Self::Rejoin,
    ];

    /// The kind as in JSON, paths and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Cleanup => "cleanup",
            Self::Decommission => "decommission",
            Self::Positions => "positions",
            Self::Rejoin => "rejoin",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// The evidence supports it.
    Pass,
    /// No source can show it; an operator attested it.
    Attested,
    /// The evidence is missing, which never counts as support (I2).
    Unknown,
    /// The evidence contradicts it.
    Fail,
}

impl CheckStatus {
    /// Whether this result allows the plan to be executed.
    #[must_use]
    pub const fn permits(self) -> bool {
        matches!(self, Self::Pass | Self::Attested)
    }
}

/// A check's stable code. A string rather than an enum, so that a replica of another version can read a stored plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct CheckCode(Cow<'static, str>);

macro_rules! check_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl CheckCode {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($code));)*
        }
    };
}

check_codes! {
    /// The registry can be read, so an action can be locked and recorded (I18).
    REGISTRY_READABLE = "registry_readable";
    /// Recovery is not paused.
    RECOVERY_ENABLED = "recovery_enabled";
    /// No other action of the cluster is open and no order is pending (I13, I17).
    NO_OTHER_RECOVERY = "no_other_recovery";
    /// No node reports or is registered as Primary (I1).
    NOBODY_PRIMARY = "nobody_primary";
    /// Every expected member is accounted for (I2, I4).
    MEMBERS_ACCOUNTED = "members_accounted";
    /// No member saw more members than are known, and the registry was not lost (I36); only in plans with such evidence.
    MEMBERS_KNOWN = "members_known";
    /// Every registered node that is not confirmed as a member is attested; only in plans that have one.
    UNCONFIRMED_NODES = "unconfirmed_nodes";
    /// No attested node shows a sign of life.
    ATTESTATIONS_HOLD = "attestations_hold";
    /// No state transfer is in progress (I13).
    NO_STATE_TRANSFER = "no_state_transfer";
    /// All positions belong to one history (I6).
    ONE_HISTORY = "one_history";
    /// Where a provider ignores the rules of quorum, every member is accounted for (I43); only in plans with such a member.
    QUORUM_RULES = "quorum_rules";
    /// No member has transactions that a later fork of its history continued without (I35); only in plans with forks.
    NO_FORK = "no_fork";
    /// There is a component or node with a valid position to bootstrap from (I5, I6, I7, I8, I14).
    CANDIDATE = "candidate";
    /// No excluded member is known to be ahead (I5).
    MOST_ADVANCED = "most_advanced";
    /// The position is not below the highest ever seen (I9).
    NO_REGRESSION = "no_regression";
    /// The last Primary component seen is represented (I31).
    LAST_PRIMARY = "last_primary";
    /// The views have been stable for long enough; the cluster will not become Primary automatically (I12).
    SETTLED = "settled";
    /// One member can execute the statement (I14, I15).
    EXECUTOR_READY = "executor_ready";
    /// The console has a recovery account.
    SQL_ACCOUNT = "sql_account";
    /// Every member's position is known (I4, I8).
    POSITIONS_KNOWN = "positions_known";
    /// The chosen node's agent is waiting for an order.
    AGENT_WAITS = "agent_waits";
    /// The chosen node's agent accepts orders from this console.
    ORDER_ACCEPTED = "order_accepted";
    /// No node depends on a registry in etcd v2, whose scripts read no orders; only in plans of clusters that have one.
    V2_REGISTRY = "v2_registry";
    /// The member waits because of transactions that the cluster continued without (I35).
    MEMBER_HELD = "member_held";
    /// A Synced member can send its data to one that joins empty.
    DONOR_AVAILABLE = "donor_available";
    /// The member's agent can keep its data aside.
    KEEPS_DATA = "keeps_data";
    /// The nodes report exactly one Primary component (I27).
    CLUSTER_PRIMARY = "cluster_primary";
    /// No node is starting, waiting or recovering (I27).
    NOBODY_STARTING = "nobody_starting";
    /// The keys have been read for long enough (I25).
    READ_LONG_ENOUGH = "read_long_enough";
    /// A registration of a node verified as Synced and Primary remains (I27, I28).
    KEEPS_VERIFIED = "keeps_verified";
    /// A registration that is removed, and why (I25).
    STALE_REGISTRATION = "stale_registration";
    /// A registration that is kept, and why.
    KEPT_REGISTRATION = "kept_registration";
    /// Unrecognized keys are left in place (I29).
    UNKNOWN_KEYS = "unknown_keys";
    /// There is a registration to remove.
    SOMETHING_TO_DO = "something_to_do";
    /// Every member is attested as decommissioned.
    ALL_ATTESTED = "all_attested";
    /// No node answers and no lease exists.
    NOBODY_ANSWERS = "nobody_answers";
}

impl CheckCode {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CheckCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The source of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EvidenceSource {
    /// The console's own SQL probe.
    Sql,
    /// A node's registration in etcd.
    Registry,
    /// An operator's attestation.
    Attestation,
    /// Positions and views that the console stored earlier.
    Memory,
    /// The console's own settings and actions.
    Console,
}

/// A fact that a check is based on (I33).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckEvidence {
    pub node: Option<NodeId>,
    pub source: EvidenceSource,
    /// Not part of the digest.
    pub observed_at: Option<Timestamp>,
    /// The fact without times; part of the digest.
    pub value: String,
}

/// Why a check's result may change soon although nothing happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransientCause {
    /// It depends on a state that a node leaves within seconds.
    ShortLivedState,
    /// The planning replica has not observed the cluster for long enough.
    ShortObservation,
}

/// A check with its result and evidence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanCheck {
    pub code: CheckCode,
    pub status: CheckStatus,
    /// The result in a sentence; not part of the digest.
    pub message: String,
    /// Sorted.
    pub evidence: Vec<CheckEvidence>,
    /// When the check will pass if nothing changes until then; not part of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_at: Option<Timestamp>,
    /// Set if the result may change soon. Known only when the plan was just computed: neither stored nor part of the
    /// digest.
    #[serde(skip)]
    pub transient: Option<TransientCause>,
}

/// How a plan is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// One statement to one member of a running component.
    Statement,
    /// An order to the agent of a stopped node.
    Order,
    /// Commands that an operator runs on the nodes.
    ByHand,
    /// Compare-and-delete in the registry.
    Registry,
}

/// What a plan acts on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanTarget {
    pub mechanism: Mechanism,
    /// The node that executes the statement or the order.
    pub node: Option<NodeId>,
    /// The process that executes the statement (`wsrep_gcomm_uuid`, or `server_uuid`); compared on the connection that
    /// sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The component, or in a stopped cluster the node, that becomes Primary; sorted.
    #[serde(default)]
    pub members: Vec<NodeId>,
    /// The position that the cluster continues from.
    pub position: Option<Position>,
    /// Members that become Primary with it.
    #[serde(default)]
    pub revives: Vec<NodeId>,
    /// Members that stay outside until they rejoin or are started.
    #[serde(default)]
    pub leaves_out: Vec<NodeId>,
    /// Nodes whose registrations are removed.
    #[serde(default)]
    pub removes: Vec<NodeId>,
}

/// One exact step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum PlanStep {
    /// One statement, sent to one node.
    Statement {
        node: NodeId,
        /// A constant chosen by dialect (I20).
        statement: String,
    },
    /// One compared write to the registry.
    Key {
        key: String,
        /// The revision that the key must still have; 0 if it must not exist.
        mod_revision: i64,
        /// The value to write; `null` deletes the key.
        value: Option<String>,
    },
}

/// A command for an operator to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManualCommand {
    /// Where to run it; `null` if that does not matter.
    pub node: Option<NodeId>,
    pub command: String,
    pub why: String,
}

/// The estimated loss of transactions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LossEstimate {
    /// Number of transactions known to exist elsewhere that would be lost; `null` if that cannot be known.
    pub transactions: Option<u64>,
    /// `true` if more than `transactions` may be lost, because the data of some member are not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Explains the number, in a sentence or two.
    pub explanation: String,
}

/// The digest of a plan: lower-case hexadecimal SHA-256 of everything that the decision is based on, except times.
///
/// It is only compared, so any text is accepted; text that is not a digest matches no plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct PlanDigest(String);

impl PlanDigest {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of checking an action now, bound by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Plan {
    pub kind: ActionKind,
    pub cluster: ClusterName,
    pub digest: PlanDigest,
    /// Whether every check permits it and it has a step.
    pub executable: bool,
    pub computed_at: Timestamp,
    /// The result in one sentence.
    #[serde(default)]
    pub summary: String,
    /// In a fixed order.
    pub checks: Vec<PlanCheck>,
    /// `null` if there is nothing to act on.
    pub target: Option<PlanTarget>,
    /// In order of execution.
    pub steps: Vec<PlanStep>,
    /// Steps that undo the plan, in order; empty if it cannot be undone.
    #[serde(default)]
    pub undo: Vec<PlanStep>,
    /// Why agents of members wait, in their own words: text for people, on which nothing rests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentReason>,
    /// Set while the plan lacks what only a person can confirm; not part of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_confirm: Option<OpenConfirmation>,
    /// The same as commands for an operator, where possible.
    #[serde(default)]
    pub commands: Vec<ManualCommand>,
    pub loss: LossEstimate,
    /// The attestations that the plan is based on.
    #[serde(default)]
    pub attestations: Vec<Attestation>,
}

/// Members that could be Primary, unreachable from the console: a person must confirm that they are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenConfirmation {
    /// Sorted; each can be attested.
    pub nodes: Vec<NodeId>,
    /// What the attestations say beyond these nodes, in a sentence: arbitrators cannot be attested by name.
    pub implies: Option<String>,
}

/// Why a node's agent waits, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentReason {
    pub node: NodeId,
    /// One line of at most 500 bytes.
    pub waiting_for: String,
}

impl Plan {
    /// The check with this code, if the plan has one.
    #[must_use]
    pub fn check(&self, code: &CheckCode) -> Option<&PlanCheck> {
        self.checks.iter().find(|check| check.code == *code)
    }

    /// When the last blocking check will pass, if each of them only needs time.
    #[must_use]
    pub fn expected_at(&self) -> Option<Timestamp> {
        let times: Option<Vec<Timestamp>> = self.failing().map(|check| check.expected_at).collect();
        times?.into_iter().max()
    }

    /// The checks that block the plan.
    pub fn failing(&self) -> impl Iterator<Item = &PlanCheck> {
        self.checks.iter().filter(|check| !check.status.permits())
    }
}
