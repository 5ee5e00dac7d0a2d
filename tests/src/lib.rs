//! The lab: real etcd, real MariaDB Galera and this project's programs as child processes on loopback, with the clients
//! and the breakable network for the acceptance tests, the demo and the benchmarks.
//!
//! Nothing outlives its owner: every value stops what it started when it is dropped, and children die with this process
//! even if it is killed.

pub mod api;
pub mod background;
pub mod lab;
pub mod live;
pub mod load;
pub mod observer;
pub mod poll;
pub mod proxy;
pub mod recovery_team;
pub mod version_matrix;

pub use lab::Lab;
pub use poll::eventually;
