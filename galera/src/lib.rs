//! The domain of Galera Console. Pure: no I/O, no async and no clock, and it builds for WebAssembly. Every function that
//! needs the time takes it as an argument, so that a decision can be replayed in a test.
//!
//! In the order in which data passes: [`observe`] parses what nodes and etcd report, [`judge`] folds it into a view with
//! a verdict, [`recover`] plans and tracks actions, [`record`] keeps history and audit trail, [`publish`] has the types
//! of the API, notifications and status pages. [`startup`] decides what a starting node does; `insight` answers
//! questions about a view.

#[macro_use]
mod named_variants;

pub mod access;
mod amounts;
pub mod id;
#[cfg(feature = "decide")]
pub mod insight;
pub mod invisible;
pub mod judge;
pub mod log_line;
mod name_order;
pub mod observe;
#[cfg(feature = "openapi")]
mod openapi;
pub mod position;
pub mod publish;
pub mod record;
pub mod recover;
pub mod startup;
pub mod timestamp;
pub mod view;

pub use id::{ActionId, ClusterName, NodeId, ReplicaId};
pub use position::{Position, Seqno};
pub use timestamp::Timestamp;
