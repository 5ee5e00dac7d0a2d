//! Evaluates observations: components, node states and the verdict on a cluster.

mod address_uses;
pub mod cluster;
pub mod confirmation;
pub mod history_alarms;
pub mod known_positions;
pub mod quorum;
pub mod service;
pub mod unseen_bootstraps;
