//! What Galera does when nodes fail, return, are cut off and are bootstrapped, as an executable specification.
//!
//! Simplified on purpose: group communication reacts when [`GaleraCluster::settle`] is called, as after Galera's own
//! timeouts; a state transfer completes within it, unless [`GaleraCluster::set_transfer_time`] says otherwise. Sources of each rule: `gcomm/src/pc_proto.cpp` (quorum, merging,
//! `pc.bootstrap`), `gcs/src/gcs_state_msg.cpp` (representative), `galera/src/replicator_str.cpp` (kind of transfer).

mod data;
mod group;
pub mod script;
mod server;
mod status;

use std::collections::BTreeSet;

use galera::NodeId;
use uuid::Uuid;

pub use data::{GaleraTransaction, NodeData, SavedView};
pub use server::{
    LateStatement, PrimaryView, ProcessId, RunningServer, StateTransfer, StatementEffect,
};
pub use status::ProbeResult;

/// Milliseconds for which a server without a gvwstate.dat waits for a Primary component: `pc.announce_timeout` and
/// `pc.wait_prim_timeout`.
pub const WAIT_PRIM_TIMEOUT: u64 = 33_000;

/// Index of a node within its cluster.
pub type NodeIndex = usize;

/// One node: its data directory, and its server if that runs.
#[derive(Clone, Debug)]
pub struct SpecifiedNode {
    /// Its address in the registry and in member lists.
    pub id: NodeId,
    pub data: NodeData,
    pub server: Option<RunningServer>,
    /// `pc.weight` with which its server starts.
    pub weight: u64,
    /// Whether it is `garbd`: a voter without data, SQL or an address.
    pub arbitrator: bool,
}

/// A cluster and the network between its nodes.
#[derive(Clone, Debug, Default)]
pub struct GaleraCluster {
    nodes: Vec<SpecifiedNode>,
    /// Pairs of nodes, the smaller index first, between which no packet passes.
    cut: BTreeSet<(NodeIndex, NodeIndex)>,
    /// Number of processes started so far: the identity of the next one.
    processes: u64,
    /// Number of histories started so far.
    histories: u128,
    /// Number of Primary views so far, in all components.
    views: u64,
    /// Statements that took effect and were not yet asked for: where, and their numbers.
    bootstraps: Vec<(NodeIndex, u64)>,
    /// Milliseconds since the beginning.
    now: u64,
    /// Milliseconds that a state transfer takes.
    transfer_time: u64,
    /// Whether servers without a gvwstate.dat end after [`WAIT_PRIM_TIMEOUT`].
    limits_waits: bool,
}

/// Why a server was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRefusal {
    /// It runs.
    Running,
    /// `--wsrep-new-cluster` without `safe_to_bootstrap: 1` (`replicator_smm.cpp`).
    NotSafeToBootstrap,
}

impl SpecifiedNode {
    /// What is left of the data when `server` ends in a state transfer: nothing usable of a full one that a donor has begun.
    fn abandon_transfer(&mut self, server: &RunningServer) {
        if server
            .transfer
            .as_ref()
            .is_some_and(|transfer| !transfer.incremental && transfer.donor.is_some())
        {
            self.data = NodeData::default();
        }
    }
}

impl GaleraCluster {
    /// Stopped nodes with empty data directories.
    #[must_use]
    pub fn new(ids: impl IntoIterator<Item = NodeId>) -> Self {
        let mut cluster = Self::default();
        for id in ids {
            cluster.add_node(id);
        }
        cluster
    }

    /// All of `ids` Synced in one Primary component that the first one founded.
    #[must_use]
    pub fn formed(ids: impl IntoIterator<Item = NodeId>) -> Self {
        Self::formed_with(ids, &[])
    }

    /// The same, with these values of `pc.weight`; 1 for nodes without one.
    #[must_use]
    pub fn formed_with(ids: impl IntoIterator<Item = NodeId>, weights: &[u64]) -> Self {
        let mut cluster = Self::new(ids);
        for (node, weight) in cluster.nodes.iter_mut().zip(weights) {
            node.weight = *weight;
        }
        for node in 0..cluster.nodes.len() {
            if node == 0 {
                cluster.nodes[0].data.safe_to_bootstrap = true;
                let _ = cluster.start_new_cluster(0);
            } else {
                let _ = cluster.start(node);
            }
            cluster.settle();
        }
        cluster
    }

    /// Adds a stopped node with an empty data directory, perhaps under an address that another one has too. Returns its
    /// index.
    pub fn add_node(&mut self, id: NodeId) -> NodeIndex {
        self.nodes.push(SpecifiedNode {
            id,
            data: NodeData::default(),
            server: None,
            weight: 1,
            arbitrator: false,
        });
        self.nodes.len() - 1
    }

    /// Adds a stopped arbitrator. Returns its index.
    pub fn add_arbitrator(&mut self, id: NodeId) -> NodeIndex {
        let node = self.add_node(id);
        self.nodes[node].arbitrator = true;
        node
    }

    /// The time for state transfers, in milliseconds since the beginning.
    pub const fn advance_to(&mut self, now: u64) {
        self.now = now;
    }

    /// How many milliseconds state transfers take from now on.
    pub const fn set_transfer_time(&mut self, millis: u64) {
        self.transfer_time = millis;
    }

    /// From now on servers that start without a gvwstate.dat end unless they reach a Primary component in time.
    pub const fn limit_waits(&mut self) {
        self.limits_waits = true;
    }

    #[must_use]
    pub fn nodes(&self) -> &[SpecifiedNode] {
        &self.nodes
    }

    /// A node, to change its data directory while it is stopped, or its weight for the next start.
    pub fn node_mut(&mut self, node: NodeIndex) -> &mut SpecifiedNode {
        &mut self.nodes[node]
    }

    /// Drops every packet between two nodes, or lets them pass again.
    pub fn set_cut(&mut self, one: NodeIndex, other: NodeIndex, cut: bool) {
        let pair = (one.min(other), one.max(other));
        if cut {
            self.cut.insert(pair);
        } else {
            self.cut.remove(&pair);
        }
    }

    /// The pairs of nodes between which packets are dropped, the smaller index first.
    pub fn cuts(&self) -> impl Iterator<Item = (NodeIndex, NodeIndex)> {
        self.cut.iter().copied()
    }

    /// Lets every packet pass.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Starts a server that joins whatever component it reaches. With the gvwstate.dat of a crash it keeps its identity
    /// in the group (`pc.recovery`); without it, it ends unless it reaches a Primary component in time.
    ///
    /// # Errors
    /// If it runs.
    pub fn start(&mut self, node: NodeIndex) -> Result<(), StartRefusal> {
        if self.nodes[node].server.is_some() {
            return Err(StartRefusal::Running);
        }
        let restored = self.nodes[node].data.saved_view.clone();
        let process = match &restored {
            Some(saved) => saved.process,
            None => self.next_process(),
        };
        let own = &mut self.nodes[node];
        if own.arbitrator {
            own.data = NodeData::default();
        }
        own.data.clean = false;
        let waits_until =
            (self.limits_waits && restored.is_none()).then_some(self.now + WAIT_PRIM_TIMEOUT);
        let restored = restored.map(|saved| saved.view);
        let mut server = RunningServer::joining(process, own.weight, own.data.seqno(), restored);
        server.waits_until = waits_until;
        own.server = Some(server);
        Ok(())
    }

    /// Starts a server with `--wsrep-new-cluster`: Primary alone, with its own history or a new one.
    ///
    /// # Errors
    /// If it runs, or grastate.dat does not permit it.
    pub fn start_new_cluster(&mut self, node: NodeIndex) -> Result<(), StartRefusal> {
        if self.nodes[node].server.is_some() {
            return Err(StartRefusal::Running);
        }
        if !self.nodes[node].data.safe_to_bootstrap {
            // It has marked grastate.dat as that of a running server before it ends.
            self.nodes[node].data.clean = false;
            return Err(StartRefusal::NotSafeToBootstrap);
        }
        let process = self.next_process();
        if self.nodes[node].data.history.is_none() {
            self.histories += 1;
            self.nodes[node].data.history = Some(Uuid::from_u128(self.histories));
        }
        let own = &mut self.nodes[node];
        own.data.clean = false;
        own.data.saved_view = None;
        own.server = Some(RunningServer::joining(
            process,
            own.weight,
            own.data.seqno(),
            None,
        ));
        // conf_id starts again at 1.
        self.install_primary(&[node], 1);
        Ok(())
    }

    /// SIGKILL. The last `unflushed` transactions are lost, as with `innodb_flush_log_at_trx_commit=0`.
    pub fn kill(&mut self, node: NodeIndex, unflushed: usize) {
        let own = &mut self.nodes[node];
        if let Some(server) = own.server.take() {
            own.abandon_transfer(&server);
            let kept = own.data.transactions.len().saturating_sub(unflushed);
            own.data.transactions.truncate(kept);
        }
    }

    /// SIGTERM: the others learn that it left, so its vote no longer counts.
    pub fn stop(&mut self, node: NodeIndex) {
        let Some(server) = self.nodes[node].server.take() else {
            return;
        };
        self.nodes[node].abandon_transfer(&server);
        let last = server.is_primary() && server.members.len() == 1;
        let data = &mut self.nodes[node].data;
        data.clean = true;
        data.saved_view = None;
        data.safe_to_bootstrap = last;
        let members = server.members;
        for peer in members {
            let reachable = self.packets_pass(node, peer);
            if let Some(server) = self.nodes[peer].server.as_mut().filter(|_| reachable) {
                server.forget_leaver(node);
            }
        }
    }

    /// SIGSTOP or SIGCONT. Statements that arrived meanwhile are executed when it continues, at `now` by its own clock.
    pub fn set_paused(&mut self, node: NodeIndex, paused: bool, now: u64) {
        let Some(server) = self.nodes[node].server.as_mut() else {
            return;
        };
        server.paused = paused;
        if !paused {
            if self.is_expelled(node) {
                self.install_non_primary(&[node]);
            }
            let late = self.nodes[node]
                .server
                .as_mut()
                .map(|server| std::mem::take(&mut server.late));
            for statement in late.unwrap_or_default() {
                self.execute_bootstrap(node, statement, now);
            }
        }
    }

    /// Whether a member of its view has gone on without it.
    fn is_expelled(&self, node: NodeIndex) -> bool {
        let Some(server) = &self.nodes[node].server else {
            return false;
        };
        server.members.iter().any(|&member| {
            let other = self.nodes[member].server.as_ref();
            other.is_none_or(|other| other.view != server.view)
        })
    }

    /// `FLUSH TABLES WITH READ LOCK`, or `UNLOCK TABLES`: while it holds, status rows keep their values.
    pub fn set_locked(&mut self, node: NodeIndex, locked: bool) {
        if let Some(server) = self.nodes[node].server.as_mut() {
            server.locked = locked;
        }
        let rows = locked.then(|| self.status_rows(node)).flatten();
        if let Some(server) = self.nodes[node].server.as_mut() {
            server.frozen = rows;
        }
    }

    /// A client commits a write on `node`. Returns whether that was acknowledged: every member of the component must
    /// receive it, so a component that has lost a member acknowledges nothing until it has settled.
    pub fn write(&mut self, node: NodeIndex, write: u64) -> bool {
        let Some(server) = &self.nodes[node].server else {
            return false;
        };
        if !server.is_synced()
            || server.paused
            || server.frozen.is_some()
            || self.nodes[node].arbitrator
        {
            return false;
        }
        let members: Vec<NodeIndex> = server.members.iter().copied().collect();
        // Members that are cut from each other have it relayed by one that reaches both (`gmcast`).
        let reached = self.reached_from(node);
        let all_receive = members.iter().all(|&member| {
            let active = self.nodes[member].server.as_ref();
            reached.contains(&member) && active.is_some_and(|active| active.view == server.view)
        });
        if all_receive {
            for member in members {
                // A joiner queues it; it is part of what the donor has when the transfer ends.
                let own = &mut self.nodes[member];
                if own.server.as_ref().is_some_and(RunningServer::is_synced) {
                    own.data.transactions.push(GaleraTransaction::Write(write));
                }
            }
        }
        all_receive
    }

    /// The statement that makes a non-Primary component Primary, at `now` by the server's clock. Ignored where the
    /// component is Primary; a paused server executes it later.
    pub fn bootstrap(
        &mut self,
        node: NodeIndex,
        statement: LateStatement,
        now: u64,
    ) -> StatementEffect {
        match self.nodes[node].server.as_mut() {
            Some(server) if server.paused => {
                server.late.push(statement);
                StatementEffect::Pending
            }
            Some(_) => self.execute_bootstrap(node, statement, now),
            None => StatementEffect::Refused,
        }
    }

    /// The statements that took effect since this was last called: where, and their numbers.
    pub fn take_bootstraps(&mut self) -> Vec<(NodeIndex, u64)> {
        std::mem::take(&mut self.bootstraps)
    }

    fn execute_bootstrap(
        &mut self,
        node: NodeIndex,
        statement: LateStatement,
        now: u64,
    ) -> StatementEffect {
        let Some(server) = &self.nodes[node].server else {
            return StatementEffect::Refused;
        };
        let late = statement.deadline.is_some_and(|deadline| now >= deadline);
        if server.is_primary() || server.disconnected || late {
            return StatementEffect::Refused;
        }
        let members: Vec<NodeIndex> = server.members.iter().copied().collect();
        let known = members.iter().filter_map(|&member| {
            let server = self.nodes[member].server.as_ref()?;
            Some(server.last_primary.as_ref()?.conf_id)
        });
        let conf_id = known.max().unwrap_or(0) + 1;
        self.install_primary(&members, conf_id);
        self.bootstraps.push((node, statement.number));
        StatementEffect::Executed
    }

    /// The Primary components, as sets of nodes. More than one is a split brain. A paused server, which leaves its view when
    /// it continues, is in none.
    #[must_use]
    pub fn primary_components(&self) -> Vec<BTreeSet<NodeIndex>> {
        let mut found: Vec<(u64, BTreeSet<NodeIndex>)> = Vec::new();
        for (node, own) in self.nodes.iter().enumerate() {
            let Some(server) = own
                .server
                .as_ref()
                .filter(|server| server.is_primary() && !server.paused)
            else {
                continue;
            };
            match found.iter_mut().find(|(view, _)| *view == server.view) {
                Some((_, members)) => {
                    members.insert(node);
                }
                None => found.push((server.view, [node].into())),
            }
        }
        found.into_iter().map(|(_, members)| members).collect()
    }

    /// Whether two Synced members of one Primary component have different data.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        self.primary_components().iter().any(|members| {
            let synced = members.iter().filter(|&&node| {
                let own = &self.nodes[node];
                !own.arbitrator && own.server.as_ref().is_some_and(RunningServer::is_synced)
            });
            let mut data = synced.map(|&node| &self.nodes[node].data);
            data.next().is_some_and(|first| {
                data.any(|other| {
                    other.history != first.history || other.transactions != first.transactions
                })
            })
        })
    }

    /// Whether packets pass between two nodes.
    fn packets_pass(&self, one: NodeIndex, other: NodeIndex) -> bool {
        one == other || !self.cut.contains(&(one.min(other), one.max(other)))
    }

    const fn next_process(&mut self) -> ProcessId {
        self.processes += 1;
        ProcessId(self.processes)
    }
}
