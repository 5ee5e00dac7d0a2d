//! The node agent: runs or only reports one Galera node, and answers load balancers for it.
//!
//! Invariant: a running server is only ever read (SHOW). Nothing that happens to etcd or to this agent changes it.

pub mod address;
pub mod check;
pub mod clock;
pub mod health;
pub mod notify;
pub mod observation;
pub mod outage_log;
pub mod probe;
pub mod report;
pub mod run;
pub mod settings;
pub mod sidecar;
