//! Group communication: components, quorum, state transfers.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::data::{GaleraTransaction, SavedView};
use super::server::{PrimaryView, ProcessId, RunningServer, StateTransfer};
use super::{GaleraCluster, NodeIndex};

impl GaleraCluster {
    /// Lets every component form that the network and the running servers permit.
    pub fn settle(&mut self) {
        for component in self.connected_components() {
            self.form(&component);
        }
        self.continue_transfers();
        self.open_ports();
        self.end_unsuccessful_starts();
    }

    /// Servers that have waited too long for their first Primary view end ("failed to reach primary view").
    fn end_unsuccessful_starts(&mut self) {
        for node in 0..self.nodes.len() {
            let server = self.nodes[node].server.as_ref();
            let ends = server.is_some_and(|server| {
                !server.paused && server.waits_until.is_some_and(|until| until <= self.now)
            });
            if ends {
                self.kill(node, 0);
            }
        }
    }

    /// Running servers that reach each other; a paused one is in none.
    fn connected_components(&self) -> Vec<Vec<NodeIndex>> {
        let mut components: Vec<Vec<NodeIndex>> = Vec::new();
        for node in 0..self.nodes.len() {
            if self.participates(node) && !components.iter().any(|known| known.contains(&node)) {
                components.push(self.reached_from(node).into_iter().collect());
            }
        }
        components
    }

    fn participates(&self, node: NodeIndex) -> bool {
        let server = self.nodes[node].server.as_ref();
        server.is_some_and(|server| !server.paused && !server.disconnected)
    }

    /// Whether packets pass between two servers, and one of them connects to the other.
    fn linked(&self, one: NodeIndex, other: NodeIndex) -> bool {
        let connects = |from: NodeIndex, to: NodeIndex| {
            let server = self.nodes[from].server.as_ref();
            server.is_some_and(|server| match &server.known {
                Some(known) => known.contains(&to),
                // Addresses of arbitrators are in no wsrep_cluster_address.
                None => !self.nodes[to].arbitrator,
            })
        };
        self.packets_pass(one, other) && (connects(one, other) || connects(other, one))
    }

    /// The servers that packets from `node` reach, directly or through others; itself too.
    pub(super) fn reached_from(&self, node: NodeIndex) -> BTreeSet<NodeIndex> {
        let mut reached = BTreeSet::from([node]);
        let mut next = vec![node];
        while let Some(from) = next.pop() {
            for other in 0..self.nodes.len() {
                if self.participates(other) && self.linked(from, other) && reached.insert(other) {
                    next.push(other);
                }
            }
        }
        reached
    }

    fn form(&mut self, component: &[NodeIndex]) {
        let members: BTreeSet<NodeIndex> = component.iter().copied().collect();
        let survivors = self.abort_conflicting(component);
        if survivors.len() < component.len() {
            return self.form(&survivors);
        }
        let settled = component.iter().all(|&node| {
            let server = self.nodes[node].server.as_ref();
            server.is_some_and(|server| server.members == members)
        });
        let primary = component
            .iter()
            .find(|&&node| self.is_primary(node))
            .copied();
        if primary.is_some() && settled {
            return;
        }
        let last = primary.and_then(|node| self.last_primary(node));
        let continued = last.filter(|view| self.has_quorum(view, &members));
        if continued.is_none() && !settled {
            self.install_non_primary(component);
            self.exchange_states(component);
        }
        // Without quorum the members of the newest Primary view continue once all of them are here, also in the view in which
        // that quorum was lost.
        if let Some(view) = continued.or_else(|| self.complete_primary_view(component)) {
            self.install_primary(component, view.conf_id + 1);
        }
    }

    /// Each member learns the last Primary views of all others.
    fn exchange_states(&mut self, component: &[NodeIndex]) {
        let servers = component
            .iter()
            .filter_map(|&node| self.nodes[node].server.as_ref());
        let known: Vec<(ProcessId, PrimaryView)> = servers
            .flat_map(|server| {
                let own = server
                    .last_primary
                    .clone()
                    .map(|view| (server.process, view));
                let learned = server.learned.clone();
                own.into_iter().chain(learned)
            })
            .collect();
        for &node in component {
            if let Some(server) = self.nodes[node].server.as_mut() {
                for (process, view) in &known {
                    server
                        .learned
                        .entry(*process)
                        .or_insert_with(|| view.clone());
                }
            }
        }
    }

    fn is_primary(&self, node: NodeIndex) -> bool {
        self.nodes[node]
            .server
            .as_ref()
            .is_some_and(|server| server.primary)
    }

    fn last_primary(&self, node: NodeIndex) -> Option<PrimaryView> {
        self.nodes[node].server.as_ref()?.last_primary.clone()
    }

    /// Two Primary components that meet: the servers of the one with fewer views, or else of the younger one, leave the group for good
    /// ("aborting due to conflicting prims: older overrides"). Returns who is left.
    fn abort_conflicting(&mut self, component: &[NodeIndex]) -> Vec<NodeIndex> {
        // `ViewId::operator<` in `view.hpp`: the sequence number of the view, then the age of the process that it is named after.
        let rank = |server: &RunningServer| {
            let view = server.last_primary.as_ref()?;
            Some((view.conf_id, Reverse(*view.members.keys().next()?)))
        };
        let primary = component.iter().filter_map(|&node| {
            let server = self.nodes[node].server.as_ref()?;
            server.primary.then(|| (rank(server), server.view))
        });
        let Some((_, kept)) = primary.max() else {
            return component.to_vec();
        };
        let mut survivors = Vec::new();
        for &node in component {
            match self.nodes[node].server.as_mut() {
                Some(server) if server.primary && server.view != kept => {
                    server.primary = false;
                    server.disconnected = true;
                    server.members.clear();
                    server.addresses.clear();
                    server.transfer = None;
                }
                _ => survivors.push(node),
            }
        }
        survivors
    }

    /// More than half of the weights of the last Primary view, without members that left cleanly.
    fn has_quorum(&self, view: &PrimaryView, members: &BTreeSet<NodeIndex>) -> bool {
        let all: u64 = view.members.values().map(|(_, weight)| weight).sum();
        let present = view.members.iter().filter(|(process, (node, _))| {
            let server = self.nodes[*node].server.as_ref();
            members.contains(node) && server.is_some_and(|server| server.process == **process)
        });
        2 * present.map(|(_, (_, weight))| weight).sum::<u64>() > all
    }

    /// The newest Primary view that the members know, if all of its processes are here: they continue without help.
    fn complete_primary_view(&self, component: &[NodeIndex]) -> Option<PrimaryView> {
        let servers = component
            .iter()
            .filter_map(|&node| self.nodes[node].server.as_ref());
        let known =
            servers.flat_map(|server| server.last_primary.iter().chain(server.learned.values()));
        let Some(newest) = known.max_by_key(|view| view.conf_id) else {
            return self.complete_restored_view(component);
        };
        let complete = newest.members.iter().all(|(process, (node, _))| {
            let server = self.nodes[*node].server.as_ref();
            component.contains(node) && server.is_some_and(|server| server.process == *process)
        });
        (complete && !newest.members.is_empty()).then(|| newest.clone())
    }

    /// The newest view of the gvwstate.dat files, if exactly its members are here and none of them has been Primary since.
    fn complete_restored_view(&self, component: &[NodeIndex]) -> Option<PrimaryView> {
        let servers = component
            .iter()
            .filter_map(|&node| self.nodes[node].server.as_ref());
        let processes: BTreeSet<ProcessId> = servers.clone().map(|server| server.process).collect();
        let restored: Option<Vec<&PrimaryView>> =
            servers.map(|server| server.restored.as_ref()).collect();
        let newest = restored?.into_iter().max_by_key(|view| view.conf_id)?;
        newest
            .members
            .keys()
            .eq(processes.iter())
            .then(|| newest.clone())
    }

    pub(super) fn install_non_primary(&mut self, component: &[NodeIndex]) {
        self.views += 1;
        for &node in component {
            if let Some(server) = self.nodes[node].server.as_mut() {
                server.view = self.views;
                server.members = component.iter().copied().collect();
                server.addresses.retain(|member| component.contains(member));
                server.primary = false;
                if let Some(known) = server.known.as_mut() {
                    known.extend(component);
                }
            }
        }
    }

    /// A Primary view of `component`; members that lack something begin a state transfer.
    pub(super) fn install_primary(&mut self, component: &[NodeIndex], conf_id: u64) {
        let Some(representative) = self.representative(component) else {
            return;
        };
        let mut members = Vec::new();
        for &node in component {
            if node == representative || self.enter_primary(representative, node) {
                members.push(node);
            }
        }
        self.views += 1;
        let weights = members.iter().filter_map(|&node| {
            let server = self.nodes[node].server.as_ref()?;
            Some((server.process, (node, server.weight)))
        });
        let view = PrimaryView {
            conf_id,
            members: weights.collect(),
        };
        for &node in &members {
            let own = &mut self.nodes[node];
            let Some(server) = own.server.as_mut() else {
                continue;
            };
            if server.transfer.is_none() {
                let own_view = GaleraTransaction::View(self.views);
                own.data.transactions.push(own_view);
            }
            own.data.safe_to_bootstrap = members.len() == 1;
            server.view = self.views;
            server.members = members.iter().copied().collect();
            server.known = Some(server.members.clone());
            server.addresses.clone_from(&server.members);
            server.primary = true;
            server.last_primary = Some(view.clone());
            (server.restored, server.waits_until) = (None, None);
            server.learned.clear();
            server.conf_id = conf_id;
            own.data.saved_view = (!own.arbitrator).then(|| SavedView {
                process: server.process,
                view: view.clone(),
            });
        }
        self.open_ports();
    }

    /// The member whose state is that of the group: one that is Primary and Synced now, then of the newest Primary view, then
    /// with the highest position. An arbitrator only if no other member is Primary now.
    fn representative(&self, component: &[NodeIndex]) -> Option<NodeIndex> {
        let rank = |&node: &NodeIndex| {
            let own = &self.nodes[node];
            let server = own.server.as_ref();
            let synced = server.is_some_and(RunningServer::is_synced);
            let last = server.map_or(0, |server| server.conf_id);
            let history = own.data.history.is_some();
            (synced, !own.arbitrator, history, last, own.data.seqno())
        };
        component.iter().copied().max_by_key(rank)
    }

    /// Brings `joiner` to the state of the group, or begins the transfer that does. Returns whether it is still running.
    fn enter_primary(&mut self, representative: NodeIndex, joiner: NodeIndex) -> bool {
        let source = self.nodes[representative].data.clone();
        if self.nodes[joiner].arbitrator {
            self.nodes[joiner].data = source;
            return true;
        }
        if self.nodes[joiner]
            .server
            .as_ref()
            .is_some_and(|server| server.transfer.is_some())
        {
            // It continues, or is aborted, in `continue_transfers`.
            return true;
        }
        let was_member = self.nodes[joiner]
            .server
            .as_ref()
            .is_some_and(|server| server.last_primary.is_some() || server.restored.is_some());
        let data = &self.nodes[joiner].data;
        let own = data.seqno();
        let same_history = data.history.is_some() && data.history == source.history;
        if same_history && own == source.seqno() {
            return true;
        }
        if same_history && own > source.seqno() && was_member {
            // "Reversing history … Must abort."
            self.kill(joiner, 0);
            return false;
        }
        let donor = (!self.nodes[representative].arbitrator).then_some(representative);
        let incremental = donor.is_some_and(|donor| self.sends_incrementally(donor, joiner));
        let transfer = StateTransfer {
            donor,
            incremental,
            until: self.now + self.transfer_time,
        };
        match donor {
            Some(donor) if self.transfer_time == 0 => {
                self.complete_transfer(donor, joiner, incremental)
            }
            _ => {
                if let Some(server) = self.nodes[joiner].server.as_mut() {
                    server.transfer = Some(transfer);
                }
            }
        }
        true
    }

    /// Whether `donor` has in its gcache what `joiner` lacks (`replicator_str.cpp`).
    fn sends_incrementally(&self, donor: NodeIndex, joiner: NodeIndex) -> bool {
        let (source, data) = (&self.nodes[donor].data, &self.nodes[joiner].data);
        let first = self.nodes[donor]
            .server
            .as_ref()
            .map_or(1, |server| server.gcache_first);
        data.history.is_some()
            && data.history == source.history
            && data.seqno() <= source.seqno()
            && first <= data.seqno() + 1
    }

    fn complete_transfer(&mut self, donor: NodeIndex, joiner: NodeIndex, incremental: bool) {
        let source = self.nodes[donor].data.clone();
        let data = &mut self.nodes[joiner].data;
        if incremental {
            // What it has is not compared with what the donor has.
            let missing = source.transactions.iter().skip(data.transactions.len());
            data.transactions.extend(missing);
        } else {
            data.history = source.history;
            data.transactions.clone_from(&source.transactions);
        }
        let first_kept = source.seqno() + 1;
        if let Some(server) = self.nodes[joiner].server.as_mut() {
            server.transfer = None;
            if !incremental {
                server.gcache_first = first_kept;
            }
        }
    }

    /// Servers that are members open their SQL ports once they need no full transfer.
    fn open_ports(&mut self) {
        for node in &mut self.nodes {
            if let Some(server) = node.server.as_mut().filter(|server| server.primary) {
                let full = |transfer: &StateTransfer| !transfer.incremental;
                server.opened |= !server.transfer.as_ref().is_some_and(full);
            }
        }
    }

    /// Completes state transfers, breaks off those whose donor is gone, and begins those that waited for a donor.
    fn continue_transfers(&mut self) {
        for joiner in 0..self.nodes.len() {
            let Some(server) = self.nodes[joiner].server.as_ref().filter(|one| !one.paused) else {
                continue;
            };
            let Some(transfer) = server.transfer.clone() else {
                continue;
            };
            let serves = |node: NodeIndex| {
                let other = self.nodes[node].server.as_ref();
                other.is_some_and(|other| {
                    other.is_synced() && !other.paused && other.view == server.view
                })
            };
            match transfer.donor {
                Some(donor) if server.primary && serves(donor) => {
                    if transfer.until <= self.now {
                        self.complete_transfer(donor, joiner, transfer.incremental);
                    }
                }
                // A joiner without its donor, or outside the Primary component, aborts.
                Some(_) => self.kill(joiner, 0),
                None => {
                    let mut others = server.members.iter().copied();
                    let donor = others.find(|&node| !self.nodes[node].arbitrator && serves(node));
                    let (waits, now) = (server.primary, self.now);
                    if let Some(donor) = donor {
                        let incremental = self.sends_incrementally(donor, joiner);
                        let until = now + self.transfer_time;
                        if let Some(server) = self.nodes[joiner].server.as_mut() {
                            server.transfer = Some(StateTransfer {
                                donor: Some(donor),
                                incremental,
                                until,
                            });
                        }
                    } else if !waits && let Some(server) = self.nodes[joiner].server.as_mut() {
                        server.transfer = None;
                    }
                }
            }
        }
    }

    /// Whether a member receives a state transfer from `node`.
    pub(super) fn is_donor(&self, node: NodeIndex) -> bool {
        self.nodes.iter().any(|other| {
            let transfer = other
                .server
                .as_ref()
                .and_then(|server| server.transfer.as_ref());
            transfer.is_some_and(|transfer| transfer.donor == Some(node))
        })
    }
}
