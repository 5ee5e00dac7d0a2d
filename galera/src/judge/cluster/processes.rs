//! One process under several names: a virtual IP, a name with several addresses, a second spelling, a renamed host. Its
//! ids become one node, which is counted once.
//!
//! `wsrep_gcomm_uuid` identifies a process. An id that answered with it last, and no longer does, still names its node
//! until it answers as another one. An id of a member that answers as another member is not a name of that member: its
//! address was given to another server, and what became of the member is unknown (I2, I34).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::node_facts::{ProbeAnswer, ProbeState};
use super::rivals::period_overlap;
use crate::id::NodeId;
use crate::observe::observation::{RegistryObservation, SqlObservation};
use crate::observe::wsrep::{MemberAddress, WsrepStatus};
use crate::view::ClusterStatus;

/// The evidence that ids are compared by. Ids are normalized.
pub(super) struct KnownIds<'a, 'e> {
    pub(super) probes: &'a BTreeMap<NodeId, &'e SqlObservation>,
    pub(super) states: &'a BTreeMap<NodeId, ProbeState<'e>>,
    pub(super) registered: &'a BTreeMap<NodeId, &'e RegistryObservation>,
    /// Whether a registration is valid now.
    pub(super) is_live: &'a dyn Fn(&RegistryObservation) -> bool,
    pub(super) configured: &'a BTreeSet<NodeId>,
    pub(super) last_primary: &'a BTreeSet<NodeId>,
    pub(super) default_port: u16,
    pub(super) settle_time: Duration,
}

/// Which ids name the process of another one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SharedProcesses {
    /// Further names of a node, and the id that it is known by.
    pub(super) names: BTreeMap<NodeId, NodeId>,
    /// Members whose address leads to the server of another member.
    pub(super) displaced: BTreeMap<NodeId, NodeId>,
}

/// Whether any process answered two probes last: the usual case is that none did.
pub(super) fn any_shared<'a>(probes: impl Iterator<Item = &'a SqlObservation>) -> bool {
    let mut processes: Vec<Uuid> = probes
        .filter_map(|probe| probe.status.as_ref()?.1.gcomm_uuid)
        .collect();
    processes.sort_unstable();
    processes.windows(2).any(|pair| pair[0] == pair[1])
}

impl SharedProcesses {
    pub(super) fn find(known: &KnownIds<'_, '_>) -> Self {
        let mut processes: BTreeMap<Uuid, Vec<&NodeId>> = BTreeMap::new();
        for (id, probe) in known.probes {
            let last = probe.status.as_ref().and_then(|(_, last)| last.gcomm_uuid);
            if let Some(process) = last {
                processes.entry(process).or_default().push(id);
            }
        }
        let mut shared = Self::default();
        for ids in processes.into_values().filter(|ids| ids.len() > 1) {
            shared.add(known, &ids);
        }
        shared
    }

    /// Adds the ids that last answered as one process.
    fn add(&mut self, known: &KnownIds<'_, '_>, ids: &[&NodeId]) {
        let Some(&main) = ids.iter().max_by_key(|id| known.rank(id)) else {
            return;
        };
        for &id in ids.iter().filter(|id| **id != main) {
            if known.are_two_processes(id, main) {
                continue;
            }
            if known.is_other_member(id, main) {
                if known.answer(id).is_some() {
                    self.displaced.insert(id.clone(), main.clone());
                }
            } else {
                self.names.insert(id.clone(), main.clone());
            }
        }
    }
}

impl<'e> KnownIds<'_, 'e> {
    fn answer(&self, id: &NodeId) -> Option<ProbeAnswer<'e>> {
        match self.states.get(id) {
            Some(ProbeState::Fresh(answer)) => Some(*answer),
            _ => None,
        }
    }

    /// The id by which a process is known: the one that its agent registers, by which orders and keys name it; then the
    /// one that the group knows it by; the same on every replica.
    fn rank(&self, id: &NodeId) -> impl Ord + use<> {
        let registered = self.registered.get(id);
        let listed = self
            .probes
            .get(id)
            .and_then(|probe| probe.status.as_ref())
            .and_then(|(_, status)| own_address(status, self.default_port));
        (
            registered.is_some_and(|seen| (self.is_live)(seen)),
            registered.is_some(),
            listed.as_ref() == Some(id),
            self.last_primary.contains(id),
            self.configured.contains(id),
            std::cmp::Reverse(id.clone()),
        )
    }

    /// Whether two ids that report one process are two: a copied machine restores the identity in its gvwstate.dat. One
    /// process reports one view, apart from the moment in which that changes.
    fn are_two_processes(&self, one: &NodeId, other: &NodeId) -> bool {
        let (Some(one), Some(other)) = (self.answer(one), self.answer(other)) else {
            return false;
        };
        let period =
            |answer: &ProbeAnswer<'_>| (answer.view_since.unix_millis(), answer.at.unix_millis());
        !one.status.same_view(other.status)
            && one.status.frozen == other.status.frozen
            && period_overlap(period(&one), period(&other)) >= Some(self.settle_time)
    }

    /// Whether `id` is known as a member besides `main`: a view had both. A newer Primary view that names all of its
    /// members, but not `id`, shows that the cluster no longer counts it.
    fn is_other_member(&self, id: &NodeId, main: &NodeId) -> bool {
        let lists = |list: &[MemberAddress], id: &NodeId| {
            let mut nodes = list.iter().filter_map(MemberAddress::node);
            nodes.any(|node| node.clone().normalized(self.default_port) == *id)
        };
        let mut complete = false;
        for answer in self.states.keys().filter_map(|id| self.answer(id)) {
            let status = answer.status;
            let list = &status.incoming_addresses;
            if lists(list, id) && lists(list, main) {
                return true;
            }
            let named = |member: &MemberAddress| {
                matches!(member, MemberAddress::Known(_) | MemberAddress::Arbitrator)
            };
            complete |= status.cluster_status == Some(ClusterStatus::Primary)
                && has_whole_list(status)
                && list.iter().all(named);
        }
        !complete && self.last_primary.contains(id) && self.last_primary.contains(main)
    }
}

/// Whether the list of members has one entry for each member of the view. One that lacks an entry, as without an
/// arbitrator's, shifts every index after it.
pub(super) fn has_whole_list(status: &WsrepStatus) -> bool {
    let length = u64::try_from(status.incoming_addresses.len()).ok();
    length.is_some_and(|length| length > 0 && status.cluster_size.is_none_or(|size| size == length))
}

/// The address under which a server lists itself, normalized; `None` if its index does not name an entry reliably.
pub(super) fn own_address(status: &WsrepStatus, default_port: u16) -> Option<NodeId> {
    if !has_whole_list(status) {
        return None;
    }
    let own = usize::try_from(status.local_index?).ok()?;
    let address = status.incoming_addresses.get(own)?.node()?;
    Some(address.clone().normalized(default_port))
}
