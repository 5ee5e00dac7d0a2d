//! What observations mean: components, node states and the verdict of a cluster.

pub mod cluster;
pub mod known_positions;
