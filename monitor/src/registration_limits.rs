//! What is kept of a cluster's registrations, of both APIs of etcd.

/// Longest value accepted, in bytes; no field of any dialect comes near it.
pub(super) const VALUE_MAX: usize = 4096;
/// The field that holds a node's state.
pub(super) const STATE_FIELD: &str = "wsrep_local_state_comment";
/// Nodes kept per cluster, of v3 members and nodes with a lease first; keys of further nodes count as unrecognized.
pub(super) const NODES_MAX: usize = 256;
