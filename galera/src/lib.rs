//! The domain of Galera Console: what is known about a cluster and what it means.
//!
//! Pure by construction: no I/O, no async, no clock of its own, and it builds for WebAssembly. Every function that
//! needs the time takes it as an argument, so that a decision can be replayed in a test.

pub mod access;
pub mod action;
pub mod api;
pub mod attestation;
pub mod audit;
#[cfg(feature = "decide")]
pub mod bootstrap;
pub mod chronicle;
#[cfg(feature = "decide")]
pub mod cleanup;
pub mod cluster;
pub mod history;
pub mod id;
pub mod notice;
pub mod observation;
pub mod plan;
pub mod position;
pub mod registration;
pub mod saved_state;
pub mod startup;
pub mod status;
pub mod timestamp;
pub mod uptime;
pub mod view;
pub mod wsrep;

pub use id::{ClusterName, NodeId};
pub use position::{Position, Seqno};
pub use timestamp::Timestamp;
