//! A model of approved recovery: console replicas that pause and crash, a lock whose lease ends, two approvers, a
//! cluster whose network changes at the worst moment, and statements that arrive late.
//!
//! The life of an action is not modelled but real: every change of a record is `galera::recover::action::step`. What is modelled
//! is the surroundings: etcd's compare, the database's quorum rules, what a replica believes, and time.

mod cluster;
mod properties;
mod record;
mod state;
mod transition;

pub use cluster::{NODES, SimulatedCluster};
pub use state::{
    ExplorationBounds, HashedAction, InjectedFlaw, ModelState, PendingStatement, RecoveryModel,
    ReplicaState, Transition,
};
