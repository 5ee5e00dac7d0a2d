//! A model of approved recovery: console replicas that pause and crash, a lock whose lease expires, two approvers, a
//! cluster whose network changes at the worst moment, and statements that arrive late.
//!
//! The action's state machine is not modelled but the real one: every change of a record is
//! `galera::recover::action::step`. The environment is modelled: etcd's compare-and-swap, Galera's quorum rules, what a
//! replica knows, and time.

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
