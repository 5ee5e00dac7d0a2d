//! The state of a cluster as its monitor knows it, published whole so that plans rest on the same facts as the page.

use std::sync::Arc;

use galera::judge::confirmation::{self, MembershipRecord};
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::Evidence;
use galera::observe::registration::{RawKeyValue, V2Access, V2KeyValue};
use galera::recover::cleanup::RegistryReading;
use galera::view::RegistryHealth;
use galera::{NodeId, Timestamp};
use registry::{Listing, RegistryEntry};

use super::registrations::Registrations;
use crate::probe::ProbeReport;

/// Everything known about a cluster at one moment. Clones share what the sources reported.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// What the sources report.
    pub evidence: Evidence,
    /// Highest positions and last Primary views seen so far.
    pub known_positions: KnownPositions,
    pub(super) registrations: Registrations,
}

impl ClusterSnapshot {
    /// Applies a linearizable listing of the cluster's keys. An unchanged key keeps its age.
    pub fn apply_listing(&mut self, at: Timestamp, listing: &Listing) {
        self.registrations.set_members(&self.evidence);
        self.registrations.reset(at, listing.entries.clone());
        self.evidence.registrations = self.registrations.observations();
        self.evidence.unrecognized_keys = self.registrations.unknown_key_count();
        self.evidence.arbitrators = self.registrations.arbitrators();
        if !self.evidence.registry_health.reachable {
            self.evidence.registry_health = RegistryHealth {
                reachable: true,
                since: at,
                error: None,
            };
        }
    }

    /// Applies the recorded members: those that another replica confirmed count here as well.
    pub(crate) fn apply_membership(&mut self, record: Option<MembershipRecord>) {
        let Some(record) = record else {
            return;
        };
        if let Some(confirmed) = &record.confirmed {
            self.evidence.first_view = false;
            confirmation::merge(&mut self.evidence.confirmed, confirmed, |_| true);
        }
        self.evidence.last_primary_members.extend(record.members);
    }

    /// Applies a listing of the cluster's keys in etcd v2, or why there is none.
    pub(crate) fn apply_v2(&mut self, at: Timestamp, read: Result<Vec<V2KeyValue>, String>) {
        match read {
            Ok(keys) => {
                self.registrations.reset_v2(at, keys);
                self.evidence.registrations = self.registrations.observations();
                self.evidence.unrecognized_keys = self.registrations.unknown_key_count();
                self.evidence.v2_access = V2Access::Read;
            }
            Err(cause) => self.evidence.v2_access = V2Access::Unreadable(cause),
        }
    }

    /// Records that the registry could not be read.
    pub(crate) fn apply_registry_error(&mut self, at: Timestamp, error: &registry::Error) {
        self.evidence.registry_health = RegistryHealth {
            reachable: false,
            since: at,
            error: Some(error.to_string()),
        };
    }

    /// Applies an on-demand probe's report, unless a newer one is known.
    pub(crate) fn apply_probe(&mut self, report: ProbeReport) {
        let observation = self.evidence.probes.entry(report.node).or_default();
        let answered = observation.status.as_ref().map(|(at, _)| *at);
        let failed = observation.error.as_ref().map(|(at, _)| *at);
        if answered.max(failed).is_some_and(|newer| newer > report.at) {
            return;
        }
        match report.outcome {
            Ok(status) => {
                observation.record_success(report.at, status);
                observation.connected_to = report.connected_to;
            }
            Err(error) => observation.record_failure(report.at, error),
        }
    }

    /// Every node that is probed.
    #[must_use]
    pub fn probed_nodes(&self) -> Vec<NodeId> {
        self.evidence.probes.keys().cloned().collect()
    }
}

/// A listing in the form that the clean-up plan compares.
#[must_use]
pub fn registry_reading(at: Timestamp, listing: &Listing) -> RegistryReading {
    RegistryReading {
        at,
        revision: listing.revision,
        keys: listing.entries.iter().map(raw_key).collect(),
    }
}

fn raw_key(entry: &RegistryEntry) -> RawKeyValue {
    RawKeyValue {
        key: entry.key.clone(),
        value: entry.value.clone(),
        mod_revision: entry.mod_revision,
        lease: entry.lease,
        ttl: None,
    }
}

/// Readings of one cluster, oldest first.
pub(crate) type ReadingHistory = Arc<Vec<Arc<RegistryReading>>>;
