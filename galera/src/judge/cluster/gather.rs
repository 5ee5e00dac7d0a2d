//! The evidence put in order: one entry a node, whatever it is called, and addresses resolved to nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::Settings;
use super::facts::{Answer, Facts, Sql, judged, sql};
use crate::id::NodeId;
use crate::observe::observation::{Evidence, RegistryObservation, SqlObservation};
use crate::observe::wsrep::{MemberAddress, WsrepStatus};
use crate::timestamp::Timestamp;
use crate::view::ClusterStatus;

/// The whole evidence in order.
pub(crate) struct Gathered<'a> {
    /// Sorted by identity.
    pub(crate) nodes: Vec<Facts<'a>>,
    pub(crate) expected: Vec<NodeId>,
    aliases: BTreeMap<NodeId, NodeId>,
    default_port: u16,
}

impl<'a> Gathered<'a> {
    /// Marks who came into a Primary view that began after its own probe had begun to fail.
    fn mark_returning(&mut self, answers: &[(&NodeId, Answer<'a>)]) {
        for (_, answer) in answers {
            if !answer.witnessed || answer.status.cluster_status != Some(ClusterStatus::Primary) {
                continue;
            }
            for address in known(&answer.status.incoming_addresses) {
                let Some(node) = self.resolve(address) else {
                    continue;
                };
                let facts = &mut self.nodes[node];
                if let Sql::Failing { error, since } = facts.sql {
                    facts.returning |= error.kind.shut() && answer.since > since.plus(super::RACE);
                }
            }
        }
    }

    /// The node that a known address names.
    pub(crate) fn resolve(&self, address: &NodeId) -> Option<usize> {
        let address = address.clone().normalized(self.default_port);
        let id = self.aliases.get(&address).unwrap_or(&address);
        self.nodes.binary_search_by(|facts| facts.id.cmp(id)).ok()
    }
}

/// Puts the evidence in order as of `now`.
pub(crate) fn gather<'a>(
    evidence: &'a Evidence,
    now: Timestamp,
    settings: &Settings,
) -> Gathered<'a> {
    let port = settings.default_port;
    let expected = expected_members(evidence, port);
    let mut probes: BTreeMap<NodeId, &SqlObservation> = BTreeMap::new();
    for (id, probe) in &evidence.sql {
        let kept = probes.entry(id.clone().normalized(port)).or_insert(probe);
        if last_attempt(probe) > last_attempt(kept) {
            *kept = probe;
        }
    }
    let mut registered: BTreeMap<NodeId, &RegistryObservation> = BTreeMap::new();
    for (id, seen) in &evidence.registry {
        let kept = registered
            .entry(id.clone().normalized(port))
            .or_insert(seen);
        if seen.last_put_at > kept.last_put_at {
            *kept = seen;
        }
    }
    let mut ids: BTreeSet<NodeId> = expected
        .iter()
        .chain(probes.keys())
        .chain(registered.keys())
        .cloned()
        .collect();
    let answers: Vec<(&NodeId, Answer<'_>)> = probes
        .iter()
        .filter_map(|(id, probe)| match sql(Some(probe), now, settings) {
            Sql::Fresh(answer) => Some((id, answer)),
            _ => None,
        })
        .collect();
    let aliases = aliases(&probes, &answers, &ids, port);
    for (_, answer) in &answers {
        for address in known(&answer.status.incoming_addresses) {
            let address = address.clone().normalized(port);
            ids.insert(aliases.get(&address).cloned().unwrap_or(address));
        }
    }
    let nodes = ids
        .into_iter()
        .map(|id| Facts {
            expected: expected.contains(&id),
            probe: probes.get(&id).copied(),
            sql: sql(probes.get(&id).copied(), now, settings),
            registered: registered
                .get(&id)
                .map(|seen| judged(seen, &evidence.registry_health, now, settings)),
            returning: false,
            id,
        })
        .collect();
    let mut gathered = Gathered {
        nodes,
        expected: expected.into_iter().collect(),
        aliases,
        default_port: port,
    };
    gathered.mark_returning(&answers);
    gathered
}

/// The denominator (I4): configuration, durable registrations and the last Primary view.
fn expected_members(evidence: &Evidence, port: u16) -> BTreeSet<NodeId> {
    let durable = evidence.registry.iter().filter(|(_, seen)| seen.durable);
    evidence
        .configured
        .iter()
        .chain(&evidence.last_primary)
        .chain(durable.map(|(id, _)| id))
        .map(|id| id.clone().normalized(port))
        .collect()
}

fn last_attempt(probe: &SqlObservation) -> Option<Timestamp> {
    let answered = probe.status.as_ref().map(|(at, _)| *at);
    answered.max(probe.error.as_ref().map(|(at, _)| *at))
}

fn known(addresses: &[MemberAddress]) -> impl Iterator<Item = &NodeId> {
    addresses.iter().filter_map(|address| match address {
        MemberAddress::Known(id) => Some(id),
        _ => None,
    })
}

/// Addresses that nodes give themselves in their own lists, where the console knows them by another name. What a node
/// said before it fell silent counts until another one claims the same.
fn aliases(
    probes: &BTreeMap<NodeId, &SqlObservation>,
    answers: &[(&NodeId, Answer<'_>)],
    ids: &BTreeSet<NodeId>,
    port: u16,
) -> BTreeMap<NodeId, NodeId> {
    let mut claims = BTreeMap::new();
    for (id, answer) in answers {
        claim(&mut claims, id, answer.status, ids, port);
    }
    let mut former = BTreeMap::new();
    for (id, probe) in probes {
        if let Some((_, status)) = &probe.status {
            claim(&mut former, id, status, ids, port);
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

fn claim(
    claims: &mut BTreeMap<NodeId, Option<NodeId>>,
    id: &NodeId,
    status: &WsrepStatus,
    ids: &BTreeSet<NodeId>,
    port: u16,
) {
    let own = status
        .local_index
        .and_then(|index| usize::try_from(index).ok());
    let Some(MemberAddress::Known(address)) =
        own.and_then(|own| status.incoming_addresses.get(own))
    else {
        return;
    };
    let address = address.clone().normalized(port);
    if ids.contains(&address) {
        return;
    }
    // Claimed by two nodes, it identifies neither.
    claims
        .entry(address)
        .and_modify(|claimant| *claimant = None)
        .or_insert_with(|| Some(id.clone()));
}
