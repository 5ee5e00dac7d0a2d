//! The lab: real etcd, real MariaDB Galera and the real programs of this project as child processes on loopback, with
//! the clients and the broken network that the acceptance tests, the demo and the benchmarks need.
//!
//! Nothing here outlives its owner: every value ends what it started when it is dropped, and children die with this
//! process even when it is killed.

pub mod api;
pub mod background;
pub mod lab;
pub mod live;
pub mod load;
pub mod observer;
pub mod poll;
pub mod proxy;
pub mod recovery_team;

pub use lab::Lab;
pub use poll::eventually;
