//! What the model consists of: replicas, records, messages, and everything that may happen.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use galera::recover::action::Action;

use crate::cluster::{NODES, NodeSet, SimulatedCluster};
use crate::record::VisibleCluster;

/// How far the model is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplorationBounds {
    /// Replicas of the console.
    pub replicas: usize,
    /// Requests at most.
    pub actions: usize,
    /// Approvals that an action needs, of two approvers.
    pub approvals: u32,
    /// Changes of the network, deaths and starts of servers.
    pub view_changes: u8,
    /// How many of the servers may die and start again.
    pub mortal_nodes: usize,
    /// Changes of what the console can reach.
    pub reachability_changes: u8,
    /// Deaths of replicas.
    pub crashes: u8,
    /// Locks that may be taken.
    pub locks: u8,
    /// Ticks of the clock.
    pub ticks: u8,
}

/// A rule that is left out on purpose, to show that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InjectedFlaw {
    /// Nothing is left out.
    #[default]
    None,
    /// A statement may arrive at any time after its intention.
    LateStatements,
    /// Nobody looks again between approval and statement.
    NoRecheck,
    /// A successor repeats a step whose outcome is not known.
    RepeatedStep,
}

/// The protocol with its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryModel {
    /// How far it goes.
    pub bounds: ExplorationBounds,
    /// What is left out.
    pub flaw: InjectedFlaw,
    /// How the cluster begins.
    pub initial: SimulatedCluster,
}

/// What a replica believes and is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Nothing.
    Idle,
    /// It took the lock with this fence and looked at the databases.
    Locked(u8, VisibleCluster),
    /// It wrote that it executes this action.
    Executing(u8, usize),
    /// It opened a connection and looked again.
    Connected(u8, usize, VisibleCluster),
    /// It wrote its intention and has not sent yet.
    Intended(u8, usize, VisibleCluster),
    /// It sent.
    Sent(u8, usize),
}

/// A statement on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingStatement {
    pub action: usize,
    /// To whom.
    pub node: usize,
    /// How often views had changed when the sender looked.
    pub view_changes: u8,
    /// The tick at which its connection was opened.
    pub tick: u8,
}

/// A record as etcd holds it: shared between states, and hashed once, when it is written.
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

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelState {
    pub cluster: SimulatedCluster,
    pub actions: Vec<HashedAction>,
    /// For each record, the first final state that it had.
    pub ended: Vec<Option<galera::recover::action::ActionState>>,
    /// For each record, how often a statement was sent.
    pub sent: Vec<u8>,
    /// For each record, how often it was begun.
    pub begun: Vec<u8>,
    /// The lock in etcd: who and with which fence.
    pub lock: Option<(usize, u8)>,
    /// The fence of the last lock.
    pub fence: u8,
    pub replicas: Vec<ReplicaState>,
    /// Statements on their way.
    pub statements: Vec<PendingStatement>,
    pub tick: u8,
    /// What is left of the sizes.
    pub reachability_changes: u8,
    /// What is left of the sizes.
    pub crashes: u8,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The network divides the nodes.
    Partition([u8; NODES]),
    /// A server dies.
    Kill(usize),
    /// A server starts.
    Start(usize),
    /// The console reaches these nodes from now on.
    SetReachable(NodeSet),
    Tick,
    /// An operator requests what the present plan says.
    Request,
    /// An approver approves the record as it is.
    Approve(usize, bool),
    /// The requester withdraws.
    Cancel(usize),
    /// Some replica says that a record's time is over.
    Expire(usize),
    /// The lock's lease ends, whatever its holder believes.
    LockExpires,
    /// A replica takes the lock and looks at the databases.
    Lock(usize),
    /// It begins the action.
    Begin(usize, usize),
    /// It continues another replica's action.
    TakeOver(usize, usize),
    /// It opens a connection and looks again.
    Connect(usize),
    /// It writes its intention.
    Intend(usize),
    /// It sends.
    Send(usize),
    /// A statement arrives.
    Arrive(usize),
    /// A statement is lost.
    Lose(usize),
    /// It writes that the database took the statement.
    Answer(usize),
    /// It looks at the outcome and writes it when it is proven or contradicted.
    Observe(usize),
    /// It finds out that its lock is gone or its action is over.
    GiveUp(usize),
    /// It crashes.
    Crash(usize),
}
