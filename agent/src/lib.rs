//! The node agent: reports one Galera node to the registry and answers load balancers for it.
//!
//! Invariant: the database is only ever read (SHOW). Nothing that happens to etcd or to this agent changes it.

pub mod address;
pub mod health;
pub mod notice;
pub mod observation;
pub mod probe;
pub mod report;
pub mod settings;
pub mod sidecar;
