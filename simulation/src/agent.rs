//! An agent (`galera-agent run`): its real start decision, and the keys that it writes.

mod waiting;

use std::collections::BTreeSet;

use galera::Position;
use galera::observe::fork::{ForkRecord, ForkRecords};
use galera::observe::registration::{BootstrapOrder, CleanStop, ClusterField, RegistrationRecord};
use galera::observe::wsrep::WsrepStatus;
use galera::startup::{
    ContinuedFork, FounderUpdate, NonPrimaryDecision, NonPrimaryNode, OrderKeyState,
    PrimaryMembership, RegisteredData, RegistrationUpdate, ReplaceRegistration, StartupAction,
    StartupSettings, decide, decide_non_primary, raises_highest_position, update_founder,
    update_registration,
};

use crate::clock::at;
use crate::registry::SimulatedRegistry;
use galera_specification::{GaleraCluster, NodeData, NodeIndex, ProbeResult};

/// Milliseconds until the lease of a dead agent expires.
pub const TTL: u64 = 10_000;

/// Milliseconds after which an agent writes a key although nothing changed.
const HEARTBEAT: u64 = 9_000;

/// Milliseconds for which the reason of a restart must hold.
const SETTLE_TIME: u64 = 60_000;

/// The key that changes with every commit: written with a state, or as the heartbeat.
const COMMIT_FIELD: &str = "wsrep_last_committed";

/// The container of one node: an agent and the server that it starts.
#[derive(Clone, Debug)]
pub struct SimulatedAgent {
    node: NodeIndex,
    /// The identity of the data in its directory.
    data_id: String,
    fork_epoch: u64,
    fork: Option<ForkRecord>,
    obeyed_orders: BTreeSet<String>,
    /// Number of directories kept aside.
    generations: u64,
    /// Whether it decides as if no fork were recorded, to prove that this would be noticed.
    pub ignores_forks: bool,
    /// Whether new data get the identity of the former ones, to prove that this would be noticed.
    pub keeps_identity: bool,
    /// Whether its container runs.
    pub running: bool,
    /// Whether it has started the server.
    started_server: bool,
    /// Whether the storage engine was asked for the position.
    recovered: bool,
    own_order: Option<i64>,
    /// The order that it has just obeyed.
    obeyed: Option<String>,
    lease: Option<i64>,
    /// When the lease of a dead agent expires.
    expires_at: Option<u64>,
    /// By how many milliseconds the clock of its host is ahead.
    pub clock_ahead: i64,
    /// Since when its server stands still without being Primary, at a position.
    standstill: Option<(u64, u64)>,
    /// The position that its server last had outside a Primary component.
    position_apart: Option<Position>,
    /// Whether its server was merged with a component that lacks its transactions.
    diverged: bool,
    /// Since when its server waits for its data while no member is Primary.
    waits_since: Option<u64>,
    /// Why it decided what it decided last, as its log and its health endpoint show.
    pub explanation: String,
}

impl SimulatedAgent {
    /// The agent of a node that runs already.
    #[must_use]
    pub fn new(node: NodeIndex) -> Self {
        Self {
            node,
            data_id: format!("data-{node}"),
            fork_epoch: 0,
            fork: None,
            obeyed_orders: BTreeSet::new(),
            generations: 0,
            ignores_forks: false,
            keeps_identity: false,
            running: true,
            started_server: true,
            recovered: false,
            own_order: None,
            obeyed: None,
            lease: None,
            expires_at: None,
            clock_ahead: 0,
            standstill: None,
            position_apart: None,
            diverged: false,
            waits_since: None,
            explanation: String::new(),
        }
    }

    /// The agent of a new, empty container under the same address, which may claim the same identity.
    #[must_use]
    pub fn successor(&self, node: NodeIndex, same_identity: bool) -> Self {
        let data_id = if same_identity {
            self.data_id.clone()
        } else {
            format!("data-{node}")
        };
        Self {
            data_id,
            ignores_forks: self.ignores_forks,
            keeps_identity: self.keeps_identity,
            running: false,
            ..Self::new(node)
        }
    }

    /// The container dies, without a chance to say so.
    pub fn kill(&mut self, now: u64) {
        self.running = false;
        self.own_order = None;
        self.expires_at = Some(now + TTL);
    }

    /// The container stops its server cleanly and records where.
    pub fn stop(&mut self, cluster: &GaleraCluster, registry: &mut SimulatedRegistry) {
        if let Some(position) = cluster.nodes()[self.node].data.position()
            && !cluster.nodes()[self.node].arbitrator
        {
            let stopped = CleanStop {
                position: position.clone(),
                at: None,
                fork_epoch: Some(self.fork_epoch),
            };
            self.register(
                cluster,
                registry,
                ReplaceRegistration::OwnOnly,
                Some(stopped),
            );
            self.raise_highest_position(cluster, registry, &position);
        }
        self.running = false;
        self.own_order = None;
        if let Some(lease) = self.lease.take() {
            registry.revoke(lease);
        }
    }

    /// Starts the container.
    pub fn start(&mut self, registry: &mut SimulatedRegistry) {
        if self.running {
            return;
        }
        if let Some(lease) = self.lease.take() {
            registry.revoke(lease);
        }
        self.expires_at = None;
        self.running = true;
        self.started_server = false;
        self.recovered = false;
    }

    /// Whether it has started its server.
    #[must_use]
    pub const fn runs_server(&self) -> bool {
        self.started_server
    }

    /// The action of the order by which it has just bootstrapped, once.
    pub const fn take_obeyed(&mut self) -> Option<String> {
        self.obeyed.take()
    }

    /// Empties the data directory of a stopped container, as a new container under the same address has it.
    pub fn replace(&mut self, cluster: &mut GaleraCluster, generation: u64) {
        cluster.node_mut(self.node).data = NodeData::default();
        if !self.keeps_identity {
            self.data_id = format!("data-{}-{generation}", self.node);
        }
        self.fork_epoch = 0;
        self.fork = None;
        self.obeyed_orders.clear();
    }

    /// One turn: expires, decides, or reports. Without etcd it does nothing, and its lease expires.
    pub fn act(
        &mut self,
        cluster: &mut GaleraCluster,
        registry: &mut SimulatedRegistry,
        settings: &StartupSettings,
        etcd: bool,
        now: u64,
    ) -> Option<String> {
        if cluster.nodes()[self.node].arbitrator {
            // An arbitrator has no agent; it is started again like any service.
            if self.running && cluster.nodes()[self.node].server.is_none() {
                let _ = cluster.start(self.node);
            }
            return None;
        }
        self.note_position_apart(cluster);
        if !self.running || !etcd {
            let expires_at = *self.expires_at.get_or_insert(now + TTL);
            if expires_at <= now
                && let Some(lease) = self.lease.take()
            {
                registry.revoke(lease);
                self.own_order = None;
            }
            if self.running && self.started_server && cluster.nodes()[self.node].server.is_none() {
                self.kill(now);
            }
            return None;
        }
        self.expires_at = None;
        if self.started_server {
            if cluster.nodes()[self.node].server.is_none() {
                // Its server has died: the container ends.
                self.kill(now);
                return Some("ends".to_owned());
            }
            self.report(cluster, registry);
            return self
                .leave_component(cluster, registry)
                .or_else(|| self.restart_join(cluster, registry, now))
                .or_else(|| self.restart_for_others(cluster, registry, now));
        }
        let acted = self.decide(cluster, registry, settings, now);
        self.write_heartbeat(cluster, registry, "phase");
        acted
    }

    /// Keeps the position of a server that responds outside a Primary component (`agent::run::durable_keys`).
    fn note_position_apart(&mut self, cluster: &GaleraCluster) {
        let node = &cluster.nodes()[self.node];
        let apart = node.server.as_ref().is_some_and(|server| {
            self.started_server && !server.is_primary() && server.has_opened() && !server.paused
        });
        if apart && let Some(position) = node.data.position() {
            self.position_apart = Some(position);
        }
    }

    /// Stops a server that was merged with a component that lacks its transactions (`agent::run::restart`).
    fn leave_component(
        &mut self,
        cluster: &mut GaleraCluster,
        registry: &mut SimulatedRegistry,
    ) -> Option<String> {
        if !std::mem::take(&mut self.diverged) {
            return None;
        }
        cluster.stop(self.node);
        self.clear_status(cluster, registry);
        (self.started_server, self.recovered) = (false, false);
        Some("stops its server: its component lacks transactions of it".to_owned())
    }

    /// Restarts a server that has accepted no connection yet while no member is Primary (`agent::run::restart`).
    fn restart_join(
        &mut self,
        cluster: &mut GaleraCluster,
        registry: &mut SimulatedRegistry,
        now: u64,
    ) -> Option<String> {
        let own = &cluster.nodes()[self.node];
        let server = own.server.as_ref()?;
        let waits = !server.has_opened() && !server.paused;
        let snapshot = registry.snapshot();
        if !waits || snapshot.primaries_except(&own.id).next().is_some() {
            self.waits_since = None;
            return None;
        }
        if now < *self.waits_since.get_or_insert(now) + SETTLE_TIME {
            return None;
        }
        self.waits_since = None;
        cluster.kill(self.node, 0);
        self.clear_status(cluster, registry);
        (self.started_server, self.recovered) = (false, false);
        Some("restarts its server: its donor is gone".to_owned())
    }

    /// Restarts a server that is not Primary while a more advanced member waits (`agent::run::restart`).
    fn restart_for_others(
        &mut self,
        cluster: &mut GaleraCluster,
        registry: &mut SimulatedRegistry,
        now: u64,
    ) -> Option<String> {
        let node = &cluster.nodes()[self.node];
        let server = node.server.as_ref()?;
        let own = NonPrimaryNode {
            node: node.id.clone(),
            position: node.data.position()?,
            fork_epoch: self.fork_epoch,
        };
        let stands_still = !server.is_primary()
            && server.has_opened()
            && !server.paused
            && matches!(
                decide_non_primary(&own, &registry.snapshot()),
                NonPrimaryDecision::Restart { .. }
            );
        let seqno = own.position.seqno;
        if !stands_still {
            self.standstill = None;
            return None;
        }
        match self.standstill {
            Some((at, since)) if at == seqno && now >= since + SETTLE_TIME => {
                self.standstill = None;
                cluster.stop(self.node);
                self.clear_status(cluster, registry);
                self.started_server = false;
                self.recovered = false;
                Some("restarts its server: a waiting member is ahead".to_owned())
            }
            Some((at, _)) if at == seqno => None,
            _ => {
                self.standstill = Some((seqno, now));
                None
            }
        }
    }

    /// Writes `field` again if that is due.
    fn write_heartbeat(
        &mut self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        field: &str,
    ) {
        let key = self.key(cluster, registry, field);
        let due = registry.put_at(key.as_bytes()) + HEARTBEAT <= registry.now();
        if let Some(value) = registry.get(&key).filter(|_| due) {
            let lease = self.lease(registry);
            registry.put(&key, value, lease);
        }
    }

    fn key(&self, cluster: &GaleraCluster, registry: &SimulatedRegistry, field: &str) -> String {
        let id = &cluster.nodes()[self.node].id;
        registry.keys.node_key(&registry.cluster, id, field)
    }

    fn lease(&mut self, registry: &mut SimulatedRegistry) -> i64 {
        *self.lease.get_or_insert_with(|| registry.grant())
    }

    fn register(
        &self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        replace: ReplaceRegistration,
        stopped: Option<CleanStop>,
    ) {
        let key = self.key(cluster, registry, "registered");
        let known = registry.get(&key);
        let known = known.map(|value| RegistrationRecord::parse(value.as_bytes()));
        let data = RegisteredData {
            id: &self.data_id,
            agent_version: "simulated",
            stopped,
        };
        // The time of a registration decides nothing.
        let update = update_registration(known.as_ref(), data, replace, at(0));
        if let RegistrationUpdate::Put(record) = update {
            registry.put(&key, record.to_value(), 0);
        }
    }

    fn raise_highest_position(
        &self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        position: &Position,
    ) {
        let key = self.key(cluster, registry, "highest_position");
        let known = registry.get(&key).and_then(|value| value.parse().ok());
        if raises_highest_position(known.as_ref(), position) {
            registry.put(&key, position.to_string(), 0);
        }
    }

    /// The keys of a running server.
    fn report(&mut self, cluster: &GaleraCluster, registry: &mut SimulatedRegistry) {
        let lease = self.lease(registry);
        let ProbeResult::Rows(rows) = cluster.probe(self.node) else {
            // A server that does not answer loses its status keys.
            self.clear_status(cluster, registry);
            let server = cluster.nodes()[self.node].server.as_ref();
            if server.is_some_and(|one| !one.has_opened() || one.transfer.is_some()) {
                self.publish(cluster, registry, "phase", "joining".to_owned());
            }
            self.write_heartbeat(cluster, registry, "phase");
            return;
        };
        let membership = PrimaryMembership::of(&WsrepStatus::from_rows(&rows));
        let before = registry.revision();
        self.publish(cluster, registry, "phase", "running".to_owned());
        self.publish(cluster, registry, "data_id", self.data_id.clone());
        for (name, value) in &rows {
            if name != COMMIT_FIELD {
                self.publish(cluster, registry, name, value.clone());
            }
        }
        let commit_key = self.key(cluster, registry, COMMIT_FIELD);
        let due = registry.put_at(commit_key.as_bytes()) + HEARTBEAT <= registry.now();
        let changed = registry.revision() > before || registry.get(&commit_key).is_none();
        if let Some(value) = rows.get(COMMIT_FIELD).filter(|_| changed || due) {
            registry.put(&commit_key, value.clone(), lease);
        }
        registry.delete(&self.key(cluster, registry, "recovered_position"));
        match membership {
            Some(membership) => self.maintain_durable_keys(cluster, registry, &membership),
            // The server that an order started has lost its Primary component before that was seen.
            None => self.remove_order(cluster, registry),
        }
        self.publish(cluster, registry, "fork_epoch", self.fork_epoch.to_string());
    }

    /// What `galera-agent run` writes while its server is a member of a Primary component.
    fn maintain_durable_keys(
        &mut self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        membership: &PrimaryMembership,
    ) {
        let id = &cluster.nodes()[self.node].id;
        let snapshot = registry.snapshot();
        let founder = update_founder(&snapshot.founder, id, &self.data_id, membership.uuid, at(0));
        if let FounderUpdate::Put(record) = founder {
            let key = self.cluster_key(registry, ClusterField::Founder);
            registry.put(&key, record.to_value(), 0);
        }
        self.register(cluster, registry, ReplaceRegistration::OfOtherData, None);
        if let Some(position) = &membership.position {
            self.raise_highest_position(cluster, registry, position);
        }
        let continued = snapshot.fork_of_member(id, membership.uuid, self.fork_epoch);
        let excess = continued.as_ref().and_then(|(epoch, _)| {
            let position = self.position_apart.as_ref()?;
            snapshot.excess_over_fork(id, position, self.fork_epoch, *epoch)
        });
        self.diverged = excess.is_some() && !self.ignores_forks;
        if !self.diverged {
            self.continue_fork(continued);
        }
        if let Some(record) = &self.fork
            && snapshot.forks.get(self.fork_epoch).is_none()
        {
            let key = self.cluster_key(registry, ClusterField::Fork(self.fork_epoch));
            registry.put(&key, record.to_value(), 0);
        }
        self.remove_order(cluster, registry);
    }

    /// Removes an order to this node, which has been obeyed.
    fn remove_order(&self, cluster: &GaleraCluster, registry: &mut SimulatedRegistry) {
        let id = &cluster.nodes()[self.node].id;
        if matches!(&registry.snapshot().order, OrderKeyState::Known { order, .. } if order.node == *id)
        {
            registry.delete(&self.cluster_key(registry, ClusterField::Bootstrap));
        }
    }

    fn continue_fork(&mut self, continued: Option<ContinuedFork>) {
        if let Some((epoch, record)) = continued {
            (self.fork_epoch, self.fork) = (epoch, record);
        }
    }

    /// Whether its data are registered at its address.
    fn is_registered(&self, cluster: &GaleraCluster, registry: &SimulatedRegistry) -> bool {
        let known = registry.get(&self.key(cluster, registry, "registered"));
        let known = known.map(|value| RegistrationRecord::parse(value.as_bytes()));
        known.is_some_and(|known| known.id.as_ref() == Some(&self.data_id))
    }

    fn cluster_key(&self, registry: &SimulatedRegistry, field: ClusterField) -> String {
        registry.keys.cluster_key(&registry.cluster, field)
    }

    fn clear_status(&self, cluster: &GaleraCluster, registry: &mut SimulatedRegistry) {
        let prefix = self.key(cluster, registry, "wsrep_");
        let keys: Vec<String> = registry
            .entries()
            .into_iter()
            .map(|entry| String::from_utf8_lossy(&entry.key).into_owned())
            .filter(|key| key.starts_with(&prefix))
            .collect();
        for key in keys {
            registry.delete(&key);
        }
    }

    fn publish(
        &mut self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        field: &str,
        value: String,
    ) {
        let (key, lease) = (self.key(cluster, registry, field), self.lease(registry));
        if registry.get(&key).as_ref() != Some(&value) {
            registry.put(&key, value, lease);
        }
    }

    fn decide(
        &mut self,
        cluster: &mut GaleraCluster,
        registry: &mut SimulatedRegistry,
        settings: &StartupSettings,
        now: u64,
    ) -> Option<String> {
        let mut own = self.starting_node(cluster, registry, now);
        if own.data.has_history() && !self.is_registered(cluster, registry) {
            // An emptied registry must not be taken for a new cluster.
            self.register(cluster, registry, ReplaceRegistration::OwnOnly, None);
        }
        let mut snapshot = registry.snapshot();
        if self.ignores_forks {
            snapshot.forks = ForkRecords::default();
            snapshot
                .members
                .values_mut()
                .for_each(|member| member.fork_epoch = 0);
            own.fork_epoch = 0;
        }
        let decision = decide(&own, &snapshot, settings);
        self.explanation.clone_from(&decision.explanation);
        let phase = match decision.action {
            StartupAction::Wait { .. } => "waiting",
            _ => "starting",
        };
        self.publish_waiting(cluster, registry, &own, phase);
        self.publish_held(cluster, registry, decision.held);
        match decision.action {
            StartupAction::RecoverPosition => {
                self.recovered = true;
                if let Some(position) = cluster.nodes()[self.node].data.position() {
                    self.raise_highest_position(cluster, registry, &position);
                }
            }
            StartupAction::Join { .. } => {
                // A node without data is registered once it has some.
                if own.data.has_history() || self.is_registered(cluster, registry) {
                    self.register(cluster, registry, ReplaceRegistration::OwnOnly, None);
                }
                let joined = snapshot.fork_to_join(&own.node, self.fork_epoch);
                self.continue_fork(joined);
                self.started_server = cluster.start(self.node).is_ok();
                return Some("joins".to_owned());
            }
            StartupAction::Bootstrap {
                position,
                preconditions,
            } => {
                if registry.holds(&preconditions) {
                    let order = BootstrapOrder::automatic(&own.node, &position, &now.to_string());
                    let key = self.cluster_key(registry, ClusterField::Bootstrap);
                    let lease = self.lease(registry);
                    self.own_order = Some(registry.put(&key, order.to_value(), lease));
                }
            }
            StartupAction::FollowOrder { order, .. } => {
                let action = order.action_id.unwrap_or_default();
                self.register(cluster, registry, ReplaceRegistration::OfOtherData, None);
                let (epoch, record) = registry.snapshot().next_fork(&own, &action)?;
                let key = self.cluster_key(registry, ClusterField::Fork(epoch));
                registry.put(&key, record.to_value(), 0);
                (self.fork_epoch, self.fork) = (epoch, Some(record));
                self.obeyed_orders.insert(action.clone());
                self.obeyed = Some(action);
                cluster.node_mut(self.node).data.safe_to_bootstrap = true;
                self.started_server = cluster.start_new_cluster(self.node).is_ok();
                return Some(format!("bootstraps as ordered, fork {epoch}"));
            }
            StartupAction::WithdrawOrder { .. } => {
                let key = self.cluster_key(registry, ClusterField::Bootstrap);
                registry.delete(&key);
            }
            StartupAction::Refuse => self.kill(now),
            StartupAction::Rejoin { rejoin, .. } => {
                let action = rejoin.order.action_id.unwrap_or_default();
                self.generations += 1;
                let generation = self.generations;
                cluster.node_mut(self.node).data = NodeData::default();
                self.data_id = format!("{}-kept-{generation}", self.data_id);
                (self.fork_epoch, self.fork) = (0, None);
                self.obeyed_orders.insert(action);
                self.recovered = false;
                self.register(cluster, registry, ReplaceRegistration::OfOtherData, None);
                return Some("keeps its data aside as ordered".to_owned());
            }
            StartupAction::Wait { .. } | StartupAction::FoundCluster(_) => {}
        }
        None
    }
}
