//! Which nodes count as members: a client that can write etcd can register any address, so a registration alone does not
//! make a member.
//!
//! A node is confirmed if the configuration pins it, if a confirmed member in a Primary component lists its address, or
//! if an operator admitted it. What an unconfirmed node reports is shown, and used for nothing else. A cluster that is
//! neither pinned nor recorded has no confirmed member to begin with: its first Primary component is accepted as it is,
//! together with the nodes that are durably registered by then ([`first_view`]).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::cluster::FoldSettings;
use super::cluster::node_facts::{ProbeAnswer, ProbeState, probe_state};
use crate::id::NodeId;
pub use crate::observe::confirmed_nodes::{ConfirmedBy, ConfirmedNode, ConfirmedNodes};
use crate::observe::observation::Evidence;
use crate::observe::wsrep::MemberAddress;
use crate::timestamp::Timestamp;
use crate::view::{ClusterStatus, ClusterView};

/// Recorded confirmations of one cluster; beyond this number those of nodes without a trace are dropped.
pub const CONFIRMED_MAX: usize = 512;

/// What the console stores about the members of a cluster (`expected/{cluster}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// The members of the newest complete Primary view.
    #[serde(default)]
    pub members: BTreeSet<NodeId>,
    /// The nodes that were ever confirmed; `None` in a record of version 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<ConfirmedNodes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Timestamp>,
}

impl MembershipRecord {
    /// This record with `members`, if given, and with `confirmed` added.
    #[must_use]
    pub fn updated(
        &self,
        members: Option<&BTreeSet<NodeId>>,
        confirmed: &ConfirmedNodes,
        now: Timestamp,
    ) -> Self {
        let members = members.unwrap_or(&self.members).clone();
        let mut all = self.confirmed.clone().unwrap_or_default();
        merge(&mut all, confirmed, |id| {
            members.contains(id) || confirmed.contains_key(id)
        });
        Self {
            members,
            confirmed: Some(all),
            recorded_at: Some(now),
        }
    }

    /// Whether it has `members`, if given, and all of `confirmed`.
    #[must_use]
    pub fn contains(&self, members: Option<&BTreeSet<NodeId>>, confirmed: &ConfirmedNodes) -> bool {
        let stored = |id: &NodeId, node: &ConfirmedNode| {
            let known = self.confirmed.as_ref().and_then(|all| all.get(id));
            known.is_some_and(|known| known.at >= node.at || known.address == node.address)
        };
        members.is_none_or(|members| *members == self.members)
            && self.confirmed.is_some()
            && confirmed.iter().all(|(id, node)| stored(id, node))
    }
}

/// Addresses that confirmed members list, and what follows for other nodes.
struct Confirmation<'a> {
    evidence: &'a Evidence,
    now: Timestamp,
    settings: &'a FoldSettings,
    /// Normalized; computed from the answers of confirmed members only.
    listed: BTreeSet<NodeId>,
}

impl<'a> Confirmation<'a> {
    fn new(evidence: &'a Evidence, now: Timestamp, settings: &'a FoldSettings) -> Self {
        let mut confirmation = Self {
            evidence,
            now,
            settings,
            listed: BTreeSet::new(),
        };
        let mut last: &[MemberAddress] = &[];
        let mut listed = BTreeSet::new();
        for id in evidence.probes.keys() {
            let Some(answer) = confirmation.answer(id) else {
                continue;
            };
            let list = &answer.status.incoming_addresses[..];
            if answer.status.cluster_status != Some(ClusterStatus::Primary)
                || list == last
                || !confirmation.is_confirmed(&confirmation.normalized(id))
            {
                continue;
            }
            last = list;
            let addresses = list.iter().filter_map(MemberAddress::node);
            listed.extend(addresses.map(|id| id.clone().normalized(settings.default_port)));
        }
        confirmation.listed = listed;
        confirmation
    }

    fn normalized(&self, id: &NodeId) -> NodeId {
        id.clone().normalized(self.settings.default_port)
    }

    fn answer(&self, id: &NodeId) -> Option<ProbeAnswer<'a>> {
        match probe_state(self.evidence.probes.get(id), self.now, self.settings) {
            ProbeState::Fresh(answer) => Some(answer),
            _ => None,
        }
    }

    /// The address at which `id` answers now.
    fn connected_to(&self, id: &NodeId) -> Option<NodeId> {
        self.answer(id)?;
        let address: SocketAddr = self.evidence.probes.get(id)?.connected_to?;
        let id = NodeId::new(&address.ip().to_string(), Some(address.port())).ok()?;
        Some(id.normalized(self.settings.default_port))
    }

    /// The listed address that the name `id` leads to.
    fn listed_address(&self, id: &NodeId) -> Option<NodeId> {
        self.connected_to(id)
            .filter(|address| self.listed.contains(address))
    }

    /// Whether the node counts. `id` is normalized.
    fn is_confirmed(&self, id: &NodeId) -> bool {
        let Evidence {
            configured_members,
            last_primary_members,
            confirmed,
            ..
        } = self.evidence;
        let port = self.settings.default_port;
        let pinned = || {
            configured_members
                .iter()
                .any(|pinned| pinned.clone().normalized(port) == *id)
        };
        if configured_members.contains(id) || self.listed.contains(id) {
            return true;
        }
        match confirmed.get(id) {
            Some(ConfirmedNode {
                address: Some(address),
                ..
            }) => match self.connected_to(id) {
                Some(now) => now == *address || self.listed.contains(&now),
                None => true,
            },
            Some(_) => true,
            None => {
                last_primary_members.contains(id) || pinned() || self.listed_address(id).is_some()
            }
        }
    }

    /// The known nodes that are not confirmed, normalized.
    fn unconfirmed(&self) -> BTreeSet<NodeId> {
        let known = self.evidence.probes.keys();
        known
            .chain(self.evidence.registrations.keys())
            .map(|id| self.normalized(id))
            .filter(|id| !self.is_confirmed(id))
            .collect()
    }
}

/// The nodes of `evidence` that do not count as members, normalized.
#[must_use]
pub fn unconfirmed(
    evidence: &Evidence,
    now: Timestamp,
    settings: &FoldSettings,
) -> BTreeSet<NodeId> {
    if evidence.first_view {
        return BTreeSet::new();
    }
    Confirmation::new(evidence, now, settings).unconfirmed()
}

/// The confirmations that `evidence` adds to the recorded ones: of nodes that a confirmed member lists now.
#[must_use]
pub fn newly_listed(
    evidence: &Evidence,
    now: Timestamp,
    settings: &FoldSettings,
) -> ConfirmedNodes {
    if evidence.first_view {
        return ConfirmedNodes::new();
    }
    let confirmation = Confirmation::new(evidence, now, settings);
    let listed = |address: Option<NodeId>| ConfirmedNode {
        by: ConfirmedBy::Listed,
        at: now,
        address,
    };
    let mut new: ConfirmedNodes = confirmation
        .listed
        .iter()
        .filter(|id| !evidence.confirmed.contains_key(*id))
        .map(|id| (id.clone(), listed(None)))
        .collect();
    for id in evidence.probes.keys() {
        let id = confirmation.normalized(id);
        let changes = match evidence.confirmed.get(&id) {
            // Under another address than recorded.
            Some(ConfirmedNode {
                address: Some(before),
                ..
            }) => confirmation.listed_address(&id).filter(|now| now != before),
            Some(_) => None,
            None if confirmation.listed.contains(&id)
                || evidence.configured_members.contains(&id) =>
            {
                None
            }
            None => confirmation.listed_address(&id),
        };
        if let Some(address) = changes {
            new.insert(id, listed(Some(address)));
        }
    }
    new
}

/// The confirmations of a cluster's first Primary component, `primary` of `view`: its members and all expected ones.
#[must_use]
pub fn first_view(view: &ClusterView, primary: &[NodeId]) -> ConfirmedNodes {
    let confirmed = ConfirmedNode {
        by: ConfirmedBy::FirstView,
        at: view.observed_at,
        address: None,
    };
    let members = view.expected_members.iter().chain(primary);
    members.map(|id| (id.clone(), confirmed.clone())).collect()
}

/// Adds `new` to `confirmed`. Beyond [`CONFIRMED_MAX`] the oldest are dropped that `keep` does not name.
pub fn merge(confirmed: &mut ConfirmedNodes, new: &ConfirmedNodes, keep: impl Fn(&NodeId) -> bool) {
    for (id, node) in new {
        match confirmed.get_mut(id) {
            Some(known) if known.at > node.at => {}
            // An admission or a first view does not depend on an address.
            Some(known) if known.address.is_none() && node.address.is_some() => {}
            _ => _ = confirmed.insert(id.clone(), node.clone()),
        }
    }
    let excess = confirmed.len().saturating_sub(CONFIRMED_MAX);
    if excess > 0 {
        let mut oldest: Vec<(Timestamp, NodeId)> = confirmed
            .iter()
            .filter(|(id, _)| !keep(id))
            .map(|(id, node)| (node.at, id.clone()))
            .collect();
        oldest.sort();
        for (_, id) in oldest.into_iter().take(excess) {
            confirmed.remove(&id);
        }
    }
}
