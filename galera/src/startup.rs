//! What a node of a homogeneous cluster does when it starts: one function from what its data directory holds and what
//! the registry says to a decision with its reason.
//!
//! Nothing here depends on a clock: who is alive is told by leases, so that a clock that is an hour off changes nothing.
//! The decision is a proposal; whoever carries it out compares in etcd what it rests on ([`FounderClaim`], [`KeyPrecondition`]).

mod founding;
mod joining;
mod member;
mod recovery;
mod registry_snapshot;
mod wsrep_event;

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::id::{ClusterName, NodeId};
use crate::observe::registration::BootstrapOrder;
use crate::position::Position;

pub use member::{CleanStop, RegistrationRecord, RegistryMember, ReportedPosition};
pub use registry_snapshot::{FounderKeyState, FounderRecord, OrderKeyState, RegistrySnapshot};
pub use wsrep_event::WsrepEvent;

/// What the data directory of the starting node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataState {
    /// Nothing, or only what this node itself prepared for founding and never ran.
    Empty,
    /// Files without a history of their own (an interrupted state transfer): only good for joining.
    Incomplete {
        /// What shows it.
        why: String,
    },
    /// A history whose position must be recovered from the storage engine first (I8).
    Unrecovered {
        /// The history, as far as grastate.dat tells.
        uuid: Option<Uuid>,
    },
    /// A history at an exactly known position.
    AtPosition(Position),
    /// A history that cannot be told or trusted: recovery failed, or transactions had to be decided by force.
    Unrecoverable {
        /// The history, as far as it is known.
        uuid: Option<Uuid>,
        /// Why.
        why: String,
    },
}

impl DataState {
    /// The position, when it is known and trusted.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::AtPosition(position) => Some(position),
            _ => None,
        }
    }

    /// Whether there is something that could be lost.
    #[must_use]
    pub const fn has_history(&self) -> bool {
        matches!(
            self,
            Self::Unrecovered { .. } | Self::AtPosition(_) | Self::Unrecoverable { .. }
        )
    }
}

/// The starting node.
#[derive(Clone, Debug)]
pub struct StartingNode {
    /// The cluster that it is told to belong to.
    pub cluster: ClusterName,
    /// Its identity in the registry.
    pub node: NodeId,
    /// The identity of its data, which outlives addresses.
    pub data_id: String,
    /// What its data directory holds.
    pub data: DataState,
    /// The orders that it obeyed before: none is obeyed twice.
    pub obeyed_orders: BTreeSet<String>,
}

/// Whether a stopped cluster may come back by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoBootstrap {
    /// Only by an approved order.
    #[default]
    Never,
    /// When every expected member has reported its position.
    AllReported,
}

/// Who must have reported, beside those that the registry knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExpectedMembers {
    /// Nobody: the durable registrations are all.
    #[default]
    Registered,
    /// At least so many members.
    Count(usize),
    /// These members.
    Members(BTreeSet<NodeId>),
}

/// What the operator decided beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupSettings {
    /// Whether a stopped cluster may come back by itself.
    pub auto_bootstrap: AutoBootstrap,
    /// Who must have reported.
    pub expected_members: ExpectedMembers,
}

/// How the founder key must be for founding to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FounderClaim {
    /// It does not exist; creating it decides who founds.
    Create,
    /// It is ours, of this revision, and no server was started yet or nobody can have joined it.
    Continue {
        /// The key's `mod_revision`.
        revision: i64,
    },
    /// Its owner is gone and never started a server: replacing this revision ends its claim.
    TakeOver {
        /// The key's `mod_revision`.
        revision: i64,
    },
}

/// What a transaction must compare before a decision may be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPrecondition {
    /// The key does not exist.
    Absent(Vec<u8>),
    /// The key was last changed at this revision.
    Unchanged(Vec<u8>, i64),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupAction {
    /// Initialize the data directory and found the cluster, as the owner of the founder key.
    FoundCluster(FounderClaim),
    /// Join these members, every one Synced and Primary by its registration.
    Join {
        /// In the order of their names.
        members: Vec<NodeId>,
    },
    /// Ask the storage engine for the position, then decide again.
    RecoverPosition,
    /// Do nothing until something changes.
    Wait {
        /// For whom, when it is about members.
        members: Vec<NodeId>,
    },
    /// Give itself the order to bootstrap, if everything still is as expected.
    Bootstrap {
        /// The node's own position.
        position: Position,
        /// What must be compared.
        preconditions: Vec<KeyPrecondition>,
    },
    /// Bootstrap now, as ordered.
    FollowOrder {
        /// The order.
        order: BootstrapOrder,
        /// The `mod_revision` of its key.
        revision: i64,
    },
    /// Do nothing at all and say why: a person must decide.
    Refuse,
}

/// What is to be done and, in one sentence, what was seen and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupDecision {
    /// What is to be done.
    pub action: StartupAction,
    /// For the log, the health endpoint and whoever waits.
    pub explanation: String,
}

impl StartupDecision {
    fn new(action: StartupAction, sentence: impl Into<String>) -> Self {
        Self {
            action,
            explanation: sentence.into(),
        }
    }

    fn wait(members: Vec<NodeId>, sentence: impl Into<String>) -> Self {
        Self::new(StartupAction::Wait { members }, sentence)
    }

    fn refuse(sentence: impl Into<String>) -> Self {
        Self::new(StartupAction::Refuse, sentence)
    }
}

/// Decides what `own` does now that the registry says `seen`.
#[must_use]
pub fn decide(
    own: &StartingNode,
    seen: &RegistrySnapshot,
    settings: &StartupSettings,
) -> StartupDecision {
    if seen.primaries_except(&own.node).next().is_some() {
        return joining::decide(own, seen);
    }
    match (&own.data, &seen.founder) {
        (DataState::Unrecovered { .. }, _) => recover_position(own),
        (DataState::Empty, FounderKeyState::Absent) => founding::found_new_cluster(own, seen),
        (_, FounderKeyState::Known { founder, revision })
            if founder.data_id.as_deref() == Some(&own.data_id) =>
        {
            founding::continue_own_founding(own, seen, settings, founder, *revision)
        }
        (DataState::Empty, FounderKeyState::Known { founder, revision }) if !founder.started => {
            founding::await_or_take_over_founding(own, seen, founder, *revision)
        }
        _ => recovery::decide(own, seen, settings),
    }
}

fn recover_position(own: &StartingNode) -> StartupDecision {
    StartupDecision::new(
        StartupAction::RecoverPosition,
        format!(
            "The data of {} do not tell their position; asking the storage engine for it before anything else",
            own.node
        ),
    )
}

/// `n1, n2 and n3`, for sentences.
fn join_names<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    match names.split_last() {
        None => "nobody".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}
