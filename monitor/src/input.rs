//! The inputs of a cluster monitor.

use std::collections::BTreeSet;

use galera::NodeId;
use galera::judge::known_positions::KnownPositions;
use registry::{KeyChange, LeaseId, RegistryEntry};

/// A monitor's inputs other than probe reports.
#[derive(Debug)]
pub(super) enum MonitorInput {
    /// Every key of the cluster.
    Reset(Vec<RegistryEntry>),
    /// Changes of some of them.
    Changes(Vec<KeyChange>),
    /// The recorded expected members.
    ExpectedMembers(BTreeSet<NodeId>),
    /// The recorded positions.
    KnownPositions(Box<KnownPositions>),
    /// The granted time to live of a lease, in seconds.
    LeaseTtl { lease: LeaseId, ttl: u64 },
}
