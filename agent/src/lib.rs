//! The node agent: runs a Galera node or only reports it, and serves its health endpoint.
//!
//! Invariant: a running server is only read (SHOW). No failure of etcd or of this agent changes it.

pub mod address;
pub mod arbitrator;
pub mod check;
pub mod clock;
pub mod health;
pub mod liveness_socket;
pub mod may_stop;
pub mod notify;
pub mod observation;
pub mod outage_log;
pub mod probe;
pub mod report;
pub mod run;
pub mod service_manager;
pub mod settings;
pub mod sidecar;
