//! The state of the model, its bounds, and its transitions.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use galera::recover::action::Action;

use crate::cluster::{NODES, NodeSet, SimulatedCluster};
use crate::record::VisibleCluster;

/// Bounds of the exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplorationBounds {
    pub replicas: usize,
    /// Maximum number of requests.
    pub actions: usize,
    /// Approvals that an action needs; there are two approvers.
    pub approvals: u32,
    /// Maximum number of partitions, crashes and starts of servers.
    pub view_changes: u8,
    /// How many of the servers may crash and restart.
    pub mortal_nodes: usize,
    /// Maximum number of changes of what the console can reach.
    pub reachability_changes: u8,
    /// Maximum number of crashes of replicas.
    pub crashes: u8,
    /// Maximum number of locks acquired.
    pub locks: u8,
    /// Ticks of the clock.
    pub ticks: u8,
}

/// A rule that is disabled on purpose, to show that the model detects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InjectedFlaw {
    /// Every rule is in force.
    #[default]
    None,
    /// A statement may arrive at any time after its intention.
    LateStatements,
    /// The plan is not computed again between approval and statement.
    NoRecheck,
    /// A successor repeats a step whose outcome is not known.
    RepeatedStep,
}

/// The protocol with its environment.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryModel {
    pub bounds: ExplorationBounds,
    pub flaw: InjectedFlaw,
    pub initial: SimulatedCluster,
}

/// What a replica has done so far, as far as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    Idle,
    /// It holds the lock with this fence and has observed the databases.
    Locked(u8, VisibleCluster),
    /// It has recorded that it executes this action.
    Executing(u8, usize),
    /// It has opened a connection and observed again.
    Connected(u8, usize, VisibleCluster),
    /// It has written its intention and not sent yet.
    Intended(u8, usize, VisibleCluster),
    /// It has sent the statement.
    Sent(u8, usize),
}

/// A statement in transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingStatement {
    pub action: usize,
    /// The node that receives it.
    pub node: usize,
    /// Number of view changes when the sender observed.
    pub view_changes: u8,
    /// The tick at which its connection was opened.
    pub tick: u8,
}

/// A record in etcd, shared between states and hashed once, when it is written.
#[derive(Clone, Debug)]
pub struct HashedAction(Arc<(u64, Action)>);

impl HashedAction {
    pub(crate) fn new(action: Action) -> Self {
        let mut hasher = DefaultHasher::new();
        action.hash(&mut hasher);
        Self(Arc::new((hasher.finish(), action)))
    }
}

impl Deref for HashedAction {
    type Target = Action;

    fn deref(&self) -> &Action {
        &self.0.1
    }
}

impl PartialEq for HashedAction {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for HashedAction {}

impl Hash for HashedAction {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.0.hash(hasher);
    }
}

/// The state of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelState {
    pub cluster: SimulatedCluster,
    pub actions: Vec<HashedAction>,
    /// For each record, its first final state.
    pub ended: Vec<Option<galera::recover::action::ActionState>>,
    /// For each record, how often a statement was sent.
    pub sent: Vec<u8>,
    /// For each record, how often it was started.
    pub begun: Vec<u8>,
    /// The lock in etcd: its holder and fence.
    pub lock: Option<(usize, u8)>,
    /// The fence of the last lock.
    pub fence: u8,
    pub replicas: Vec<ReplicaState>,
    /// Statements in transit.
    pub statements: Vec<PendingStatement>,
    pub tick: u8,
    /// What is left of the bound.
    pub reachability_changes: u8,
    /// What is left of the bound.
    pub crashes: u8,
}

/// One transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    Partition([u8; NODES]),
    Kill(usize),
    Start(usize),
    /// Sets which nodes the console can reach.
    SetReachable(NodeSet),
    Tick,
    /// An operator requests the current plan.
    Request,
    /// An approver approves the current record.
    Approve(usize, bool),
    /// The requester withdraws.
    Cancel(usize),
    /// A replica records that an action has expired.
    Expire(usize),
    /// The lock's lease expires, whether or not its holder knows.
    LockExpires,
    /// A replica acquires the lock and observes the databases.
    Lock(usize),
    /// It starts the action.
    Begin(usize, usize),
    /// It continues another replica's action.
    TakeOver(usize, usize),
    /// It opens a connection and observes again.
    Connect(usize),
    /// It writes its intention.
    Intend(usize),
    /// It sends the statement.
    Send(usize),
    /// A statement arrives.
    Arrive(usize),
    /// A statement is lost.
    Lose(usize),
    /// It records that the server accepted the statement.
    Answer(usize),
    /// It observes the outcome and records it if it is proven or contradicted.
    Observe(usize),
    /// It finds that its lock is lost or its action has ended.
    GiveUp(usize),
    Crash(usize),
}
