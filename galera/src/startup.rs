//! What a node of a homogeneous cluster does when it starts: [`decide`] maps the state of its data directory
//! ([`StartingNode`], [`DataState`]) and of the registry ([`RegistrySnapshot`]) to a [`StartupDecision`].
//!
//! Nothing but the validity of a signed order ([`OrderTrust`]) depends on a clock: leases prove which nodes are alive, so
//! a wrong clock can make a node refuse an order, never do more than with the right one. The decision is a proposal; its executor compares in etcd the keys that it rests on ([`FounderClaim`], [`KeyPrecondition`]).

mod arbitrator;
mod durable_keys;
mod forks;
mod founding;
mod joining;
mod member;
mod order;
mod recovery;
mod registry_snapshot;
mod rejoin;
mod reports;
mod running;
mod wsrep_event;

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::id::{ClusterName, NodeId};
use crate::observe::fork::ForkRecord;
use crate::observe::registration::{BootstrapOrder, HeldRange, MembersSeen, RejoinOrder};
use crate::position::Position;

pub use crate::observe::registration::{CleanStop, RegistrationRecord};
pub use arbitrator::{ArbitratorDecision, decide_arbitrator};
pub use durable_keys::{
    ContinuedFork, FounderUpdate, PrimaryMembership, RegisteredData, RegistrationUpdate,
    ReplaceRegistration, raises_highest_position, update_founder, update_registration,
};
pub use member::{RegistryMember, ReportedPosition};
pub use order::OrderTrust;
pub use registry_snapshot::{
    FounderKeyState, FounderRecord, OrderKeyState, RegistrySnapshot, RejoinKeyState,
};
pub use running::{NonPrimaryDecision, NonPrimaryNode, decide_non_primary};
pub use wsrep_event::WsrepEvent;

/// What the data directory of the starting node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataState {
    /// Nothing, or only what this node initialized for founding and never started.
    Empty,
    /// Files without a usable history (an interrupted state transfer): the node can only join.
    Incomplete {
        /// The evidence, for messages.
        why: String,
    },
    /// A history whose position must be recovered from the storage engine first (I8).
    Unrecovered {
        /// The history, if grastate.dat names one.
        uuid: Option<Uuid>,
    },
    /// A history at an exactly known position.
    AtPosition(Position),
    /// A history whose position is unknown or not trusted: recovery failed, or prepared transactions were resolved by
    /// force.
    Unrecoverable {
        /// The history, if known.
        uuid: Option<Uuid>,
        /// The cause, for messages.
        why: String,
        /// The highest sequence number that grastate.dat or the storage engine names, if any.
        at_most: Option<u64>,
    },
}

impl DataState {
    /// The position, if known and trusted.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::AtPosition(position) => Some(position),
            _ => None,
        }
    }

    /// Whether there is data that could be lost.
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
    /// The cluster that it is configured for.
    pub cluster: ClusterName,
    /// Its identity in the registry.
    pub node: NodeId,
    /// The identity of its data, which outlives addresses.
    pub data_id: String,
    /// What its data directory holds.
    pub data: DataState,
    /// How many members its data last had around them, if known.
    pub members_seen: Option<MembersSeen>,
    /// The newest fork that its data continued; 0 for none.
    pub fork_epoch: u64,
    /// Its record, as it was when the data continued it.
    pub fork: Option<ForkRecord>,
    /// Whether this agent created the founder key for these data, and the history that they founded has not been recorded
    /// in it yet. Known from the data directory: the key alone proves nothing.
    pub founding: bool,
    /// The action ids of orders that it has followed: none is followed twice.
    pub obeyed_orders: BTreeSet<String>,
    /// What decides whether an order is accepted.
    pub orders: OrderTrust,
}

/// Whether a stopped cluster may bootstrap automatically.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoBootstrap {
    /// Only by an approved order.
    #[default]
    Never,
    /// When every expected member has reported its position.
    AllReported,
}

/// The members that must have reported, in addition to those that the registry lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExpectedMembers {
    /// No others: the durable registrations are complete.
    #[default]
    Registered,
    /// At least this many members in total.
    Count(usize),
    /// These members.
    Members(BTreeSet<NodeId>),
}

impl ExpectedMembers {
    /// How many members are required; 0 if no number is configured.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Registered => 0,
            Self::Count(count) => *count,
            Self::Members(members) => members.len(),
        }
    }
}

/// The operator's settings for automatic recovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupSettings {
    pub auto_bootstrap: AutoBootstrap,
    pub expected_members: ExpectedMembers,
}

/// The state of the founder key that founding requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FounderClaim {
    /// It does not exist; creating it decides who founds.
    Create,
    /// It is this node's, at this revision, and either no server was started or no node can have joined it.
    Continue {
        /// The key's `mod_revision`.
        revision: i64,
    },
    /// Its owner is gone and never started a server: replacing this revision takes the claim over.
    TakeOver {
        /// The key's `mod_revision`.
        revision: i64,
    },
}

/// What a transaction must compare before a decision is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPrecondition {
    /// The key does not exist.
    Absent(Vec<u8>),
    /// The key was last changed at this revision.
    Unchanged(Vec<u8>, i64),
}

/// What the node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupAction {
    /// Initialize the data directory and found the cluster, as the owner of the founder key.
    FoundCluster(FounderClaim),
    /// Join these members, each Synced and Primary by its registration.
    Join {
        /// Sorted by name.
        members: Vec<NodeId>,
    },
    /// Ask the storage engine for the position, then decide again.
    RecoverPosition,
    /// Do nothing until something changes.
    Wait {
        /// The members that are waited for, if any.
        members: Vec<NodeId>,
    },
    /// Write the bootstrap order for itself, if the preconditions still hold.
    Bootstrap {
        /// The node's own position.
        position: Position,
        preconditions: Vec<KeyPrecondition>,
    },
    /// Bootstrap now, as ordered.
    FollowOrder {
        order: BootstrapOrder,
        /// The `mod_revision` of its key.
        revision: i64,
    },
    /// Keep the data aside and decide again without them, as ordered.
    Rejoin {
        rejoin: RejoinOrder,
        /// The `mod_revision` of its key.
        revision: i64,
    },
    /// Remove the order under this agent's own lease, whose write was not confirmed, then decide again.
    WithdrawOrder {
        /// The `mod_revision` of its key.
        revision: i64,
    },
    /// Do nothing: an operator must decide.
    Refuse,
}

/// The action and its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupDecision {
    /// What the node does.
    pub action: StartupAction,
    /// What was snapshot and why this follows, in one or two sentences for the log and the health endpoint.
    pub explanation: String,
    /// Set while the node waits because of transactions that the cluster continued without, at a position that an order
    /// to rejoin can name.
    pub held: Option<HeldRange>,
}

impl StartupDecision {
    fn new(action: StartupAction, explanation: impl Into<String>) -> Self {
        Self {
            action,
            explanation: explanation.into(),
            held: None,
        }
    }

    fn wait(members: Vec<NodeId>, explanation: impl Into<String>) -> Self {
        Self::new(StartupAction::Wait { members }, explanation)
    }

    fn refuse(explanation: impl Into<String>) -> Self {
        Self::new(StartupAction::Refuse, explanation)
    }
}

/// Decides what `own` does, given the registry's state.
#[must_use]
pub fn decide(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    settings: &StartupSettings,
) -> StartupDecision {
    if snapshot.primaries_except(&own.node).next().is_some() {
        return joining::decide(own, snapshot);
    }
    match (&own.data, &snapshot.founder) {
        (DataState::Unrecovered { .. }, _) => recover_position(own),
        (DataState::Empty, FounderKeyState::Absent) => {
            founding::found_new_cluster(own, snapshot, settings)
        }
        (_, FounderKeyState::Known { founder, revision })
            if founder.data_id.as_deref() == Some(&own.data_id) && own.founding =>
        {
            founding::continue_own_founding(own, snapshot, settings, founder, *revision)
        }
        (DataState::Empty, FounderKeyState::Known { founder, .. })
            if founder.data_id.as_deref() == Some(&own.data_id) =>
        {
            founding::refuse_foreign_claim(own)
        }
        (DataState::Empty, FounderKeyState::Known { founder, revision }) if !founder.started => {
            founding::await_or_take_over_founding(own, snapshot, settings, founder, *revision)
        }
        _ => recovery::decide(own, snapshot, settings),
    }
}

fn recover_position(own: &StartingNode) -> StartupDecision {
    StartupDecision::new(
        StartupAction::RecoverPosition,
        format!(
            "Position of {} is unknown; recovering it with --wsrep-recover first",
            own.node
        ),
    )
}

/// `n1, n2 and n3`.
fn join_names<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    match names.split_last() {
        None => "no node".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}
