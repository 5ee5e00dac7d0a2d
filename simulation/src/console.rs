//! A console: what it observed by SQL and in the registry, and its real plans.

use std::collections::{BTreeMap, BTreeSet};

use galera::judge::cluster::{changed_members, fold};
use galera::judge::known_positions::KnownPositions;
use galera::judge::unseen_bootstraps::unseen_bootstraps;
use galera::observe::fork::{ForkRecord, ForkRecords};
use galera::observe::observation::{Evidence, ProbeError, ProbeErrorKind, RegistryObservation};
use galera::observe::registration::{
    BootstrapOrder, ClusterField, OrderSignature, ParsedKey, RegisteredFields,
};
use galera::observe::started_bootstrap::StartedBootstrap;
use galera::observe::wsrep::WsrepStatus;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::bootstrap::{
    BootstrapOutcome, RecoveryCase, RecoveryContext, RecoverySettings, fork_of_proven_statement,
    fork_of_statement, order, plan, verify,
};
use galera::recover::plan::{Plan, PlanTarget};
use galera::view::{ClusterView, RegistryHealth};
use galera::{ActionId, ClusterName, NodeId};

use crate::agent::ORDER_KEY;
use crate::clock::at;
use crate::registry::SimulatedRegistry;
use crate::specification::{GaleraCluster, NodeIndex, ProbeResult};

/// Milliseconds after its approval until which an agent obeys an order.
const ORDER_LIFETIME: u64 = 300_000;

/// A console; its members are pinned.
#[derive(Clone, Debug)]
pub struct SimulatedConsole {
    evidence: Evidence,
    positions: KnownPositions,
    settings: RecoverySettings,
    view: Option<ClusterView>,
    /// Nodes that its network does not reach.
    pub unreachable: BTreeSet<NodeIndex>,
    forks: ForkRecords,
    order: Option<String>,
    /// What actions sent, whose outcome is not proven. They are in etcd.
    unproven: BTreeMap<ActionId, StartedBootstrap>,
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
            unreachable: BTreeSet::new(),
            forks: ForkRecords::default(),
            order: None,
            unproven: BTreeMap::new(),
        }
    }

    /// Restarts it: positions and members are durable, observations are not.
    pub fn restart(&mut self) {
        self.evidence.probes.clear();
        self.view = None;
    }

    /// Probes every node and reads the registry at `now`, in milliseconds since the beginning.
    pub fn observe(&mut self, cluster: &GaleraCluster, registry: &SimulatedRegistry, now: u64) {
        self.read(registry);
        for (index, node) in cluster.nodes().iter().enumerate() {
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
                ProbeResult::Rows(rows) => {
                    probe.record_success(at(now), WsrepStatus::from_rows(rows))
                }
                ProbeResult::Refused => {
                    probe.record_failure(at(now), failure(ProbeErrorKind::Refused))
                }
                ProbeResult::Silent => {
                    probe.record_failure(at(now), failure(ProbeErrorKind::TimedOut))
                }
            }
        }
        self.evidence.last_primary_votes = self.positions.last_votes();
        let port = self.settings.fold.default_port;
        let recorded = StartedBootstrap::of_forks(&self.forks, port);
        self.evidence.unseen_bootstraps = unseen_bootstraps(
            self.unproven.values().cloned().chain(recorded),
            &self.positions,
        );
        let view = fold(
            &self.evidence,
            at(now),
            &self.settings.fold,
            self.view.as_ref(),
        );
        let recorded = &self.evidence.last_primary_members;
        if let Some(members) = changed_members(&view, self.view.as_ref(), recorded) {
            self.evidence.last_primary_members = members;
        }
        self.positions
            .update(&self.evidence, at(now), &self.settings.fold);
        self.view = Some(view);
    }

    fn read(&mut self, registry: &SimulatedRegistry) {
        let mut nodes: BTreeMap<NodeId, (Option<u64>, BTreeMap<String, String>)> = BTreeMap::new();
        self.forks = ForkRecords::default();
        self.order = None;
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
                ParsedKey::Cluster {
                    field: ClusterField::Bootstrap,
                    ..
                } => self.order = Some(value),
                _ => {}
            }
        }
        let observation =
            |last_put: Option<u64>, fields: BTreeMap<String, String>| RegistryObservation {
                durable: fields.contains_key("registered"),
                fields: RegisteredFields::from(fields),
                last_put_at: last_put.map(at),
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

    /// The plan of a bootstrap at `now`, with these members attested as stopped.
    #[must_use]
    pub fn plan(&self, stopped: &[NodeId], now: u64) -> Plan {
        let attestations = attest(stopped);
        let context = self.context();
        plan(&self.case(&attestations, &context, now))
    }

    /// The signed order of `plan`.
    #[must_use]
    pub fn order(&self, plan: &Plan, action: &ActionId, now: u64) -> Option<BootstrapOrder> {
        let mut order = order(plan, action)?;
        let registration = self.evidence.registrations.get(&order.node);
        let epoch = registration.and_then(|seen| seen.fields.get("fork_epoch"));
        order.signed = Some(Box::new(OrderSignature {
            registry: "/galera/".to_owned(),
            cluster: self.evidence.name.to_string(),
            not_before: at(now),
            expires_at: at(now + ORDER_LIFETIME),
            fork_epoch: epoch.map_or(0, |epoch| galera::observe::fork::parse_epoch(epoch)),
            key_id: ORDER_KEY.to_owned(),
            signature: String::new(),
        }));
        Some(order)
    }

    /// Records that the statement of `action` may be sent now.
    pub fn intend(&mut self, target: &PlanTarget, action: &ActionId, now: u64) {
        if let Some(position) = &target.position {
            let started = StartedBootstrap {
                history: position.uuid,
                seqno: position.seqno,
                members: target.members.iter().chain(&target.node).cloned().collect(),
                at: Some(at(now)),
            };
            self.unproven.insert(action.clone(), started);
        }
    }

    /// Whether the nodes prove the outcome of `action`, which is then recorded.
    pub fn prove(&mut self, target: &PlanTarget, action: &ActionId, now: u64) -> bool {
        let context = self.context();
        let outcome = verify(target, &self.case(&[], &context, now));
        let proven = outcome == BootstrapOutcome::Proven;
        if proven {
            self.unproven.remove(action);
        }
        proven
    }

    /// The fork that the statement of `action` makes.
    #[must_use]
    pub fn fork(
        &self,
        target: &PlanTarget,
        action: &ActionId,
        now: u64,
    ) -> Option<(u64, ForkRecord)> {
        let context = self.context();
        let fork = fork_of_statement(target, action, &self.case(&[], &context, now));
        fork.ok().flatten()
    }

    /// The same once its outcome is proven, if it is not recorded.
    #[must_use]
    pub fn missing_fork(
        &self,
        target: &PlanTarget,
        action: &ActionId,
        now: u64,
    ) -> Option<(u64, ForkRecord)> {
        let context = self.context();
        let fork = fork_of_proven_statement(target, action, &self.case(&[], &context, now));
        fork.ok().flatten()
    }

    fn context(&self) -> RecoveryContext {
        RecoveryContext {
            standing_order: self.order.clone(),
            order_key: Some(ORDER_KEY.to_owned()),
            forks: self.forks.clone(),
            ..RecoveryContext::default()
        }
    }

    const fn case<'a>(
        &'a self,
        attestations: &'a [Attestation],
        context: &'a RecoveryContext,
        now: u64,
    ) -> RecoveryCase<'a> {
        RecoveryCase {
            evidence: &self.evidence,
            history: &self.positions,
            attestations,
            context,
            settings: &self.settings,
            now: at(now),
        }
    }
}

fn attest(stopped: &[NodeId]) -> Vec<Attestation> {
    let attestation = |node: &NodeId| Attestation {
        node: node.clone(),
        statement: AttestedState::Stopped,
        saved_state: None,
    };
    stopped.iter().map(attestation).collect()
}
