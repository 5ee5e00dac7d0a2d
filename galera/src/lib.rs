//! The domain of Galera Console: what is known about a cluster and what it means.
//!
//! Pure by construction: no I/O, no async, no clock of its own, and it builds for WebAssembly. Every function that
//! needs the time takes it as an argument, so that a decision can be replayed in a test.

pub mod access;
pub mod id;
pub mod judge;
pub mod observe;
pub mod position;
pub mod publish;
pub mod record;
pub mod recover;
pub mod startup;
pub mod timestamp;
pub mod view;

pub use id::{ClusterName, NodeId};
pub use position::{Position, Seqno};
pub use timestamp::Timestamp;
