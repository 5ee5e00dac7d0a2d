//! Gathers the evidence: one entry per node, under whatever names it is known, and addresses resolved to nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::FoldSettings;
use super::node_facts::{NodeFacts, ProbeAnswer, ProbeState, assess_registration, probe_state};
use super::processes::{self, KnownIds, SharedProcesses, own_address};
use crate::id::NodeId;
use crate::judge::address_uses::LocatedData;
use crate::judge::confirmation;
use crate::observe::observation::{Evidence, RegistryObservation, SqlObservation};
use crate::observe::wsrep::{MemberAddress, WsrepStatus, distinct_lists};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// The evidence per node.
pub(crate) struct GatheredEvidence<'a> {
    /// In natural order.
    pub(crate) nodes: Vec<NodeFacts<'a>>,
    pub(crate) expected_members: Vec<NodeId>,
    /// Known nodes that are not confirmed as members and count for nothing; in natural order.
    pub(crate) unconfirmed: Vec<NodeFacts<'a>>,
    aliases: BTreeMap<NodeId, NodeId>,
    default_port: u16,
}

impl<'a> GatheredEvidence<'a> {
    /// Marks nodes that entered a Primary view that began after their probe had begun to fail.
    fn mark_rejoining(&mut self, answers: &[(&NodeId, ProbeAnswer<'a>)]) {
        let failing =
            |facts: &NodeFacts<'_>| matches!(facts.probe_state, ProbeState::Failing { .. });
        if !self.nodes.iter().any(failing) {
            return;
        }
        for (_, answer) in answers {
            if !answer.view_start_observed
                || answer.status.cluster_status != Some(ClusterStatus::Primary)
            {
                continue;
            }
            for address in answer
                .status
                .incoming_addresses
                .iter()
                .filter_map(MemberAddress::node)
            {
                let Some(node) = self.resolve_address(address) else {
                    continue;
                };
                let facts = &mut self.nodes[node];
                if let ProbeState::Failing { error, since } = facts.probe_state {
                    facts.rejoining |= error.kind.rejects_connections()
                        && answer.view_since > since.plus(super::RACE_MARGIN);
                }
            }
        }
    }

    /// The index of the node that a known address names.
    pub(crate) fn resolve_address(&self, address: &NodeId) -> Option<usize> {
        let address = address.clone().normalized(self.default_port);
        let id = self.aliases.get(&address).unwrap_or(&address);
        let place = self
            .nodes
            .binary_search_by(|facts| facts.id.natural_cmp(id));
        place.ok()
    }
}

/// Gathers the evidence per node as of `now`.
pub(crate) fn gather<'a>(
    evidence: &'a Evidence,
    now: Timestamp,
    settings: &FoldSettings,
) -> GatheredEvidence<'a> {
    let port = settings.default_port;
    let unconfirmed = confirmation::unconfirmed(evidence, now, settings);
    let located = Arc::new(LocatedData::of(evidence, &unconfirmed, now, settings));
    let mut expected = expected_members(evidence, &unconfirmed, port);
    let mut probes: BTreeMap<NodeId, &SqlObservation> = BTreeMap::new();
    for (id, probe) in &evidence.probes {
        let kept = probes.entry(id.clone().normalized(port)).or_insert(probe);
        if last_attempt(probe) > last_attempt(kept) {
            *kept = probe;
        }
    }
    let mut registered: BTreeMap<NodeId, &RegistryObservation> = BTreeMap::new();
    for (id, observation) in &evidence.registrations {
        let kept = registered
            .entry(id.clone().normalized(port))
            .or_insert(observation);
        if observation.last_put_at > kept.last_put_at {
            *kept = observation;
        }
    }
    let assess =
        |observation| assess_registration(observation, &evidence.registry_health, now, settings);
    let facts = |id: NodeId,
                 expected: bool,
                 probe: Option<&'a SqlObservation>,
                 registration: Option<&'a RegistryObservation>| NodeFacts {
        expected,
        probe,
        probe_state: probe_state(probe, now, settings),
        registration: registration.map(assess),
        rejoining: false,
        names: Vec::new(),
        address_use: evidence.address_uses.get(&id),
        was_member: evidence.last_primary_members.contains(&id),
        located: Arc::clone(&located),
        displaced_by: None,
        id,
    };
    let unconfirmed = in_natural_order(unconfirmed)
        .into_iter()
        .map(|id| {
            let (probe, registration) = (probes.remove(&id), registered.remove(&id));
            facts(id, false, probe, registration)
        })
        .collect();
    let shared = find_shared(evidence, &probes, &registered, now, settings);
    unite(
        &shared,
        &mut expected,
        &mut probes,
        &mut registered,
        &|seen| assess(seen).fresh,
        &|probe| {
            matches!(
                probe_state(Some(probe), now, settings),
                ProbeState::Fresh(_)
            )
        },
    );
    let mut ids: BTreeSet<NodeId> = expected
        .iter()
        .chain(probes.keys())
        .chain(registered.keys())
        .cloned()
        .collect();
    let answers: Vec<(&NodeId, ProbeAnswer<'_>)> = probes
        .iter()
        .filter_map(
            |(id, probe)| match probe_state(Some(probe), now, settings) {
                ProbeState::Fresh(answer) => Some((id, answer)),
                _ => None,
            },
        )
        .collect();
    let mut aliases = find_aliases(&probes, &answers, &ids, port);
    aliases.extend(shared.names.clone());
    let lists = answers
        .iter()
        .map(|(_, answer)| &answer.status.incoming_addresses[..]);
    for address in distinct_lists(lists)
        .into_iter()
        .flatten()
        .filter_map(MemberAddress::node)
    {
        let address = address.clone().normalized(port);
        ids.insert(aliases.get(&address).cloned().unwrap_or(address));
    }
    let nodes = in_natural_order(ids)
        .into_iter()
        .map(|id| {
            let (probe, registration) = (probes.get(&id).copied(), registered.get(&id).copied());
            let names = shared.names.iter().filter(|(_, main)| **main == id);
            NodeFacts {
                names: names.map(|(name, _)| name.clone()).collect(),
                displaced_by: shared.displaced.get(&id).cloned(),
                ..facts(id.clone(), expected.contains(&id), probe, registration)
            }
        })
        .collect();
    let mut gathered = GatheredEvidence {
        nodes,
        expected_members: in_natural_order(expected),
        unconfirmed,
        aliases,
        default_port: port,
    };
    gathered.mark_rejoining(&answers);
    gathered
}

/// The order of nodes in views, lists and messages.
fn in_natural_order(ids: BTreeSet<NodeId>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = ids.into_iter().collect();
    ids.sort_by(NodeId::natural_cmp);
    ids
}

/// The ids that name one process.
fn find_shared(
    evidence: &Evidence,
    probes: &BTreeMap<NodeId, &SqlObservation>,
    registered: &BTreeMap<NodeId, &RegistryObservation>,
    now: Timestamp,
    settings: &FoldSettings,
) -> SharedProcesses {
    if !processes::any_shared(probes.values().copied()) {
        return SharedProcesses::default();
    }
    let port = settings.default_port;
    let normalized = |ids: &BTreeSet<NodeId>| -> BTreeSet<NodeId> {
        let ids = ids.iter().map(|id| id.clone().normalized(port));
        ids.collect()
    };
    let states = probes
        .iter()
        .map(|(id, probe)| (id.clone(), probe_state(Some(probe), now, settings)))
        .collect();
    SharedProcesses::find(&KnownIds {
        probes,
        states: &states,
        registered,
        is_live: &|seen| assess_registration(seen, &evidence.registry_health, now, settings).fresh,
        configured: &normalized(&evidence.configured_members),
        last_primary: &normalized(&evidence.last_primary_members),
        default_port: port,
        settle_time: settings.settle_time,
    })
}

/// Moves what is known under further names of a node to the id that it is known by. An answer at the address of a
/// displaced member says nothing about that member.
fn unite<'a>(
    shared: &SharedProcesses,
    expected: &mut BTreeSet<NodeId>,
    probes: &mut BTreeMap<NodeId, &'a SqlObservation>,
    registered: &mut BTreeMap<NodeId, &'a RegistryObservation>,
    is_live: &dyn Fn(&'a RegistryObservation) -> bool,
    answers: &dyn Fn(&'a SqlObservation) -> bool,
) {
    for id in shared.displaced.keys() {
        probes.remove(id);
    }
    for (name, main) in &shared.names {
        if expected.remove(name) {
            expected.insert(main.clone());
        }
        if let Some(probe) = probes.remove(name)
            && answers(probe)
        {
            let kept = probes.entry(main.clone()).or_insert(probe);
            if !answers(kept) {
                *kept = probe;
            }
        }
        if let Some(seen) = registered.remove(name) {
            let kept = registered.entry(main.clone()).or_insert(seen);
            if is_live(seen) && !is_live(kept) {
                *kept = seen;
            }
        }
    }
}

/// The expected members (I4): configuration, durable registrations and the last Primary view.
fn expected_members(
    evidence: &Evidence,
    unconfirmed: &BTreeSet<NodeId>,
    port: u16,
) -> BTreeSet<NodeId> {
    let durable = evidence
        .registrations
        .iter()
        .filter(|(_, observation)| observation.durable);
    evidence
        .configured_members
        .iter()
        .chain(&evidence.last_primary_members)
        .chain(durable.map(|(id, _)| id))
        .map(|id| id.clone().normalized(port))
        .filter(|id| !unconfirmed.contains(id))
        .collect()
}

fn last_attempt(probe: &SqlObservation) -> Option<Timestamp> {
    let answered = probe.status.as_ref().map(|(at, _)| *at);
    answered.max(probe.error.as_ref().map(|(at, _)| *at))
}

/// The addresses under which nodes list themselves, where the console knows them by another name. The last answer of a
/// node that has stopped answering is valid until another node claims the same address.
fn find_aliases(
    probes: &BTreeMap<NodeId, &SqlObservation>,
    answers: &[(&NodeId, ProbeAnswer<'_>)],
    ids: &BTreeSet<NodeId>,
    port: u16,
) -> BTreeMap<NodeId, NodeId> {
    let mut claims = BTreeMap::new();
    for (id, answer) in answers {
        record_claim(&mut claims, id, answer.status, ids, port);
    }
    let mut former = BTreeMap::new();
    for (id, probe) in probes {
        if let Some((_, status)) = &probe.status {
            record_claim(&mut former, id, status, ids, port);
        }
    }
    for (address, claimant) in former {
        claims.entry(address).or_insert(claimant);
    }
    claims
        .into_iter()
        .filter_map(|(address, id)| Some((address, id?)))
        .collect()
}

fn record_claim(
    claims: &mut BTreeMap<NodeId, Option<NodeId>>,
    id: &NodeId,
    status: &WsrepStatus,
    ids: &BTreeSet<NodeId>,
    port: u16,
) {
    let Some(address) = own_address(status, port) else {
        return;
    };
    if ids.contains(&address) {
        return;
    }
    // Claimed by two nodes, it identifies neither.
    claims
        .entry(address)
        .and_modify(|claimant| *claimant = None)
        .or_insert_with(|| Some(id.clone()));
}
