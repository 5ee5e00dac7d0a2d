//! What reaches the owner of a cluster, apart from readings of its nodes.

use std::collections::BTreeSet;

use galera::NodeId;
use galera::judge::known_positions::KnownPositions;
use registry::{KeyChange, LeaseId, RegistryEntry};

/// What an owner is told, apart from the probes' reports.
#[derive(Debug)]
pub(super) enum MonitorInput {
    /// Every key of the cluster.
    Reset(Vec<RegistryEntry>),
    /// Changes of some of them.
    Changes(Vec<KeyChange>),
    /// The members that are remembered.
    ExpectedMembers(BTreeSet<NodeId>),
    /// The positions that are remembered.
    KnownPositions(Box<KnownPositions>),
    /// How long a lease was granted for, in seconds.
    LeaseTtl { lease: LeaseId, ttl: u64 },
}
