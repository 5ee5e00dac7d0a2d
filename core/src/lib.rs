//! What the parts of the console share: who is signed in, the audit trail, the election of a leader, published views.

pub mod audit;
pub mod clock;
pub mod keyspace;
pub mod leader;
pub mod net;
pub mod published;
pub mod repository;
pub mod session;
pub mod tasks;
