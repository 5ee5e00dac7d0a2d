//! What one console observes by SQL and in the registry: the evidence that its real plans and verdicts rest on.

use std::collections::{BTreeMap, BTreeSet};

use galera::judge::cluster::{changed_members, fold};
use galera::judge::known_positions::KnownPositions;
use galera::judge::unseen_bootstraps::unseen_bootstraps;
use galera::observe::fork::ForkRecords;
use galera::observe::observation::{Evidence, ProbeError, ProbeErrorKind, RegistryObservation};
use galera::observe::registration::{ClusterField, ParsedKey, RegisteredFields};
use galera::observe::started_bootstrap::StartedBootstrap;
use galera::observe::wsrep::WsrepStatus;
use galera::recover::bootstrap::RecoverySettings;
use galera::view::{ClusterView, RegistryHealth};
use galera::{ClusterName, NodeId, Timestamp};

use crate::clock::at;
use crate::registry::SimulatedRegistry;
use galera_specification::{GaleraCluster, NodeIndex, ProbeResult};

/// The observations of a console; its members are pinned.
#[derive(Clone, Debug)]
pub struct SimulatedConsole {
    evidence: Evidence,
    positions: KnownPositions,
    settings: RecoverySettings,
    view: Option<ClusterView>,
    /// Members of the Primary component that it has yet to record.
    pending_members: Option<BTreeSet<NodeId>>,
    /// Nodes that its network does not reach.
    pub unreachable: BTreeSet<NodeIndex>,
    forks: ForkRecords,
    /// By how many milliseconds its clock is ahead.
    clock_ahead: i64,
}

impl SimulatedConsole {
    /// A console that has observed nothing yet.
    #[must_use]
    pub fn new(name: ClusterName, members: impl IntoIterator<Item = NodeId>) -> Self {
        let health = RegistryHealth {
            reachable: true,
            since: at(0),
            error: None,
        };
        let mut evidence = Evidence::new(name, health);
        evidence.configured_members = members.into_iter().collect();
        evidence.first_view = false;
        Self {
            evidence,
            positions: KnownPositions::default(),
            settings: RecoverySettings::default(),
            view: None,
            pending_members: None,
            unreachable: BTreeSet::new(),
            forks: ForkRecords::default(),
            clock_ahead: 0,
        }
    }

    /// Restarts it: positions and members are durable, observations are not.
    pub fn restart(&mut self) {
        self.evidence.probes.clear();
        self.view = None;
    }

    /// Sets its clock, as `monitor::cluster_monitor` follows that: ages stay what they are.
    pub fn set_clock(&mut self, ahead: i64) {
        let step = ahead - self.clock_ahead;
        self.clock_ahead = ahead;
        for probe in self.evidence.probes.values_mut() {
            probe.follow_clock(step);
        }
    }

    /// Probes every node and reads the registry at `now` by its clock. `started` are bootstraps without proven outcome.
    pub fn observe(
        &mut self,
        cluster: &GaleraCluster,
        registry: &SimulatedRegistry,
        started: &[StartedBootstrap],
        now: Timestamp,
    ) {
        self.read(registry);
        for (index, node) in cluster.nodes().iter().enumerate() {
            if node.arbitrator {
                continue;
            }
            let mut reachable = cluster.nodes().iter().enumerate();
            let shadowed = self.unreachable.contains(&index)
                && reachable.any(|(other, named)| {
                    named.id == node.id && !self.unreachable.contains(&other)
                });
            if shadowed {
                continue;
            }
            let result = if self.unreachable.contains(&index) {
                ProbeResult::Silent
            } else {
                cluster.probe(index)
            };
            let probe = self.evidence.probes.entry(node.id.clone()).or_default();
            let failure = |kind: ProbeErrorKind| ProbeError {
                kind,
                message: kind.as_str().to_owned(),
            };
            match result {
                ProbeResult::Rows(rows) => probe.record_success(now, WsrepStatus::from_rows(rows)),
                ProbeResult::Refused => probe.record_failure(now, failure(ProbeErrorKind::Refused)),
                ProbeResult::Silent => probe.record_failure(now, failure(ProbeErrorKind::TimedOut)),
            }
        }
        self.evidence.last_primary_votes = self.positions.last_votes();
        self.evidence
            .address_uses
            .clone_from(&self.positions.address_uses);
        let port = self.settings.fold.default_port;
        let recorded = StartedBootstrap::of_forks(&self.forks, port);
        self.evidence.unseen_bootstraps =
            unseen_bootstraps(started.iter().cloned().chain(recorded), &self.positions);
    }

    /// Judges what was observed, and remembers positions.
    pub fn judge(&mut self, now: Timestamp) {
        let view = fold(&self.evidence, now, &self.settings.fold, self.view.as_ref());
        let recorded = &self.evidence.last_primary_members;
        if let Some(members) = changed_members(&view, self.view.as_ref(), recorded) {
            self.evidence.last_primary_members.clone_from(&members);
            self.pending_members = Some(members);
        }
        self.positions
            .update(&self.evidence, now, &self.settings.fold);
        self.view = Some(view);
    }

    /// The members of a Primary component that it records: whichever replica sees them change does, the leader or not.
    pub fn take_pending_members(&mut self) -> Option<BTreeSet<NodeId>> {
        self.pending_members.take()
    }

    /// Merges what another replica has recorded.
    pub fn merge(&mut self, positions: &KnownPositions, members: &BTreeSet<NodeId>) {
        self.positions.merge(positions);
        if !members.is_empty() {
            self.evidence.last_primary_members = members.clone();
        }
    }

    /// Reads the registry.
    pub fn read(&mut self, registry: &SimulatedRegistry) {
        let mut nodes: BTreeMap<NodeId, (Option<u64>, BTreeMap<String, String>)> = BTreeMap::new();
        self.forks = ForkRecords::default();
        for entry in registry.entries() {
            let value = String::from_utf8_lossy(&entry.value).into_owned();
            match registry.keys.parse(&entry.key) {
                ParsedKey::Node { node, field, .. } => {
                    let (last_put, fields) = nodes.entry(node).or_default();
                    let put_at = (entry.lease != 0).then(|| registry.put_at(&entry.key));
                    *last_put = (*last_put).max(put_at);
                    fields.insert(field.as_str().to_owned(), value);
                }
                ParsedKey::Cluster {
                    field: ClusterField::Fork(epoch),
                    ..
                } => self.forks.insert(epoch, &entry.value),
                _ => {}
            }
        }
        let ahead = self.clock_ahead;
        let observation =
            |last_put: Option<u64>, fields: BTreeMap<String, String>| RegistryObservation {
                durable: fields.contains_key("registered"),
                fields: RegisteredFields::from(fields),
                last_put_at: last_put.map(|millis| at(millis).shifted(ahead)),
                leased: last_put.is_some(),
                ttl: last_put.map(|_| 10),
                ..RegistryObservation::default()
            };
        let nodes = nodes.into_iter();
        self.evidence.registrations = nodes
            .map(|(id, (last_put, fields))| (id, observation(last_put, fields)))
            .collect();
    }

    /// The last view.
    #[must_use]
    pub const fn view(&self) -> Option<&ClusterView> {
        self.view.as_ref()
    }

    /// What it knows of the cluster.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The positions that it remembers.
    #[must_use]
    pub const fn positions(&self) -> &KnownPositions {
        &self.positions
    }
}
