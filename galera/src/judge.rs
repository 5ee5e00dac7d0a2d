//! Evaluates observations: components, node states and the verdict on a cluster.

pub mod cluster;
pub mod known_positions;
