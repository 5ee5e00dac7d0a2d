//! A plan: the result of checking an action now, with its evidence, exact steps, possible loss, and a digest.
//!
//! The types are the HTTP contract. No plan is ever withheld: a blocked one says which checks fail and why (I30).

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
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Makes a cluster without a Primary component Primary again.
    Bootstrap,
    /// Removes registrations of nodes that are gone.
    Cleanup,
    /// Removes every registration of a cluster that is no more.
    Decommission,
}

impl ActionKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Bootstrap, Self::Cleanup, Self::Decommission];

    /// The kind's word in JSON, paths and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Cleanup => "cleanup",
            Self::Decommission => "decommission",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came out of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// The evidence supports it.
    Pass,
    /// A person vouches for what no source can tell.
    Attested,
    /// The evidence is missing; that is never counted as support (I2).
    Unknown,
    /// The evidence speaks against it.
    Fail,
}

impl CheckStatus {
    /// Whether a plan may be carried out as far as this check goes.
    #[must_use]
    pub const fn permits(self) -> bool {
        matches!(self, Self::Pass | Self::Attested)
    }
}

/// A check's stable name. Text rather than an enumeration: a stored plan must stay readable for a replica of another
/// version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckCode(Cow<'static, str>);

macro_rules! check_codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        impl CheckCode {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($word));)*
        }
    };
}

check_codes! {
    /// The registry can be read, so that an action can be locked and recorded (I18).
    REGISTRY_READABLE = "registry_readable";
    /// Nobody switched recovery off.
    RECOVERY_ENABLED = "recovery_enabled";
    /// No other action of the cluster is open and no order stands (I13, I17).
    NO_OTHER_RECOVERY = "no_other_recovery";
    /// No node says or is registered to be Primary (I1).
    NOBODY_PRIMARY = "nobody_primary";
    /// Every expected member is accounted for (I2, I4).
    MEMBERS_ACCOUNTED = "members_accounted";
    /// Nobody who is attested stopped gives a sign of life.
    ATTESTATIONS_HOLD = "attestations_hold";
    /// Nobody donates or receives a state transfer (I13).
    NO_STATE_TRANSFER = "no_state_transfer";
    /// All positions belong to one history (I6).
    ONE_HISTORY = "one_history";
    /// There is something with a defined position to bootstrap from (I5, I6, I7, I8, I14).
    CANDIDATE = "candidate";
    /// Nothing that is left out is known to be ahead (I5).
    MOST_ADVANCED = "most_advanced";
    /// The position is not behind the highest ever seen (I9).
    NO_REGRESSION = "no_regression";
    /// The last Primary component that was seen is represented (I31).
    LAST_PRIMARY = "last_primary";
    /// The views have been the same for long enough; the cluster does not heal by itself (I12).
    SETTLED = "settled";
    /// One member can execute the statement (I14, I15).
    EXECUTOR_READY = "executor_ready";
    /// The console has an account that may send the statement.
    SQL_ACCOUNT = "sql_account";
    /// Every member's position is known (I4, I8).
    POSITIONS_KNOWN = "positions_known";
    /// An agent waits for the order.
    AGENT_WAITS = "agent_waits";
    /// The cluster has exactly one Primary component, by its own word (I27).
    CLUSTER_PRIMARY = "cluster_primary";
    /// No node starts, waits or recovers (I27).
    NOBODY_STARTING = "nobody_starting";
    /// The keys were read often and long enough (I25).
    READ_LONG_ENOUGH = "read_long_enough";
    /// A registration of a node that is Synced and verified Primary remains (I27, I28).
    KEEPS_VERIFIED = "keeps_verified";
    /// A registration that will be removed, and why (I25).
    STALE_REGISTRATION = "stale_registration";
    /// A registration that stays, and why.
    KEPT_REGISTRATION = "kept_registration";
    /// Keys that no dialect explains stay (I29).
    UNKNOWN_KEYS = "unknown_keys";
    /// There is anything to remove.
    SOMETHING_TO_DO = "something_to_do";
    /// Every member is attested decommissioned.
    ALL_ATTESTED = "all_attested";
    /// Nobody answers any more.
    NOBODY_ANSWERS = "nobody_answers";
}

impl CheckCode {
    /// The stable word.
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

/// Where a piece of evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceSource {
    /// The console's own SQL probe.
    Sql,
    /// A node's registration in etcd.
    Registry,
    /// A person's attestation.
    Attestation,
    /// What the console remembers.
    Memory,
    /// The console's own settings and actions.
    Console,
}

/// One fact that a check rests on (I33).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckEvidence {
    /// The node it is about; `null` when it is about none.
    pub node: Option<NodeId>,
    /// Where it comes from.
    pub source: EvidenceSource,
    /// When it was observed; not part of the digest.
    pub observed_at: Option<Timestamp>,
    /// The fact, without times: part of the digest.
    pub value: String,
}

/// Why a check may come out otherwise soon, although nothing happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransientCause {
    /// It rests on a state that a node leaves by itself within seconds.
    ShortLivedState,
    /// Who plans has not watched for long enough to tell.
    ShortObservation,
}

/// One check with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlanCheck {
    /// Its stable name.
    pub code: CheckCode,
    /// Its outcome.
    pub status: CheckStatus,
    /// A sentence for people that names the thing; not part of the digest.
    pub message: String,
    /// What it rests on, sorted.
    pub evidence: Vec<CheckEvidence>,
    /// Whether it may come out otherwise soon; known to who has just planned, and neither stored nor part of the digest.
    #[serde(skip)]
    pub transient: Option<TransientCause>,
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// One statement to one member of a running component.
    Statement,
    /// An order to the agent of a stopped node.
    Order,
    /// Nobody but a person at the node can do it.
    ByHand,
    /// Compared deletions in the registry.
    Registry,
}

/// What a plan acts on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlanTarget {
    /// How.
    pub mechanism: Mechanism,
    /// Who executes: the statement, or the order.
    pub node: Option<NodeId>,
    /// The component or, of a stopped cluster, the node that becomes Primary; sorted.
    #[serde(default)]
    pub members: Vec<NodeId>,
    /// The position that the cluster goes on from.
    pub position: Option<Position>,
    /// Members who become Primary again with it.
    #[serde(default)]
    pub revives: Vec<NodeId>,
    /// Members who stay outside until they return by themselves or somebody starts them.
    #[serde(default)]
    pub leaves_out: Vec<NodeId>,
    /// Nodes whose registration is removed.
    #[serde(default)]
    pub removes: Vec<NodeId>,
}

/// One exact step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlanStep {
    /// One statement sent to one node.
    Statement {
        /// The node.
        node: NodeId,
        /// The statement, a constant of the console (I20).
        statement: String,
    },
    /// One compared write to the registry.
    Key {
        /// The whole key.
        key: String,
        /// The revision that the key must still have; 0: it must not exist.
        mod_revision: i64,
        /// The value to write; `null` deletes the key.
        value: Option<String>,
    },
}

/// A command for a person at a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManualCommand {
    /// Where to type it; `null`: anywhere.
    pub node: Option<NodeId>,
    /// The exact line.
    pub command: String,
    /// What it is for.
    pub why: String,
}

/// What may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LossEstimate {
    /// Transactions that are known to exist elsewhere and would be lost; `null` when that cannot be known.
    pub transactions: Option<u64>,
    /// The reason for that number, in a sentence or two.
    pub explanation: String,
}

/// The result of checking an action now.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// What it would do.
    pub kind: ActionKind,
    /// The cluster.
    pub cluster: ClusterName,
    /// Covers everything the decision rests on except times: lower-case hexadecimal SHA-256.
    pub digest: String,
    /// Whether every check permits it and there is something to do.
    pub executable: bool,
    /// When it was computed.
    pub computed_at: Timestamp,
    /// The outcome in one sentence.
    #[serde(default)]
    pub summary: String,
    /// Every check, in a fixed order.
    pub checks: Vec<PlanCheck>,
    /// What it acts on; `null` when there is nothing to act on.
    pub target: Option<PlanTarget>,
    /// The exact steps, in order.
    pub steps: Vec<PlanStep>,
    /// What takes the steps back, in order; empty when nothing can.
    #[serde(default)]
    pub undo: Vec<PlanStep>,
    /// The same by hand, where that is possible.
    #[serde(default)]
    pub commands: Vec<ManualCommand>,
    /// What may be lost.
    pub loss: LossEstimate,
    /// The attestations that were taken into account.
    #[serde(default)]
    pub attestations: Vec<Attestation>,
}

impl Plan {
    /// The check called `code`; `None` when this plan has none of the kind.
    #[must_use]
    pub fn check(&self, code: &CheckCode) -> Option<&PlanCheck> {
        self.checks.iter().find(|check| check.code == *code)
    }

    /// The checks that forbid to carry it out.
    pub fn failing(&self) -> impl Iterator<Item = &PlanCheck> {
        self.checks.iter().filter(|check| !check.status.permits())
    }
}
