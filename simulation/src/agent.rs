//! An agent (`galera-agent run`): its real start decision, and the keys that it writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use galera::Position;
use galera::observe::fork::{ForkRecord, ForkRecords};
use galera::observe::registration::{
    BootstrapOrder, CleanStop, ClusterField, MembersSeen, NO_POSITION, OrderVerifier,
    RegistrationRecord, SignatureCheck,
};
use galera::startup::{
    DataState, FounderRecord, OrderKeyState, OrderTrust, StartingNode, StartupAction,
    StartupSettings, decide,
};

use crate::clock::at;
use crate::registry::SimulatedRegistry;
use crate::specification::{GaleraCluster, NodeData, NodeIndex, ProbeResult};

/// The name of the key that signs the orders of consoles.
pub const ORDER_KEY: &str = "k1";

/// Milliseconds until the lease of a dead agent expires.
const TTL: u64 = 10_000;

/// The public key of the console; signatures are not forged in schedules.
#[derive(Debug)]
struct TrustedKey;

impl OrderVerifier for TrustedKey {
    fn verify(&self, key_id: &str, _: &[u8], _: &str) -> SignatureCheck {
        match key_id {
            ORDER_KEY => SignatureCheck::Valid,
            _ => SignatureCheck::UnknownKey,
        }
    }

    fn key_ids(&self) -> Vec<String> {
        vec![ORDER_KEY.to_owned()]
    }
}

/// The container of one node: an agent and the server that it starts.
#[derive(Clone, Debug)]
pub struct SimulatedAgent {
    node: NodeIndex,
    /// The identity of the data in its directory.
    data_id: String,
    fork_epoch: u64,
    fork: Option<ForkRecord>,
    obeyed_orders: BTreeSet<String>,
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
    lease: Option<i64>,
    /// When the lease of a dead agent expires.
    expires_at: Option<u64>,
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
            ignores_forks: false,
            keeps_identity: false,
            running: true,
            started_server: true,
            recovered: false,
            own_order: None,
            lease: None,
            expires_at: None,
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
        if let Some(position) = cluster.nodes()[self.node].data.position() {
            self.register(cluster, registry, Some(position));
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
            return None;
        }
        self.decide(cluster, registry, settings, now)
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
        stopped: Option<Position>,
    ) {
        let key = self.key(cluster, registry, "registered");
        let known = registry
            .get(&key)
            .map(|value| RegistrationRecord::parse(value.as_bytes()));
        let own = known
            .as_ref()
            .is_none_or(|known| known.id.as_deref() == Some(&self.data_id));
        if own {
            let record = RegistrationRecord {
                id: Some(self.data_id.clone()),
                stopped: stopped.map(|position| CleanStop { position, at: None }),
                ..RegistrationRecord::default()
            };
            if known.as_ref() != Some(&record) {
                registry.put(&key, record.to_value(), 0);
            }
        }
    }

    /// The keys of a running server.
    fn report(&mut self, cluster: &GaleraCluster, registry: &mut SimulatedRegistry) {
        let lease = self.lease(registry);
        let ProbeResult::Rows(rows) = cluster.probe(self.node) else {
            // A server that does not answer loses its status keys.
            self.clear_status(cluster, registry);
            return;
        };
        let own = &cluster.nodes()[self.node];
        let primary = own
            .server
            .as_ref()
            .is_some_and(|server| server.is_primary());
        for (name, value) in rows {
            let key = self.key(cluster, registry, &name);
            registry.put(&key, value, lease);
        }
        self.publish(cluster, registry, "phase", "running".to_owned());
        registry.delete(&self.key(cluster, registry, "recovered_position"));
        if let (true, Some(position)) = (primary, own.data.position()) {
            let founder = registry
                .keys
                .cluster_key(&registry.cluster, ClusterField::Founder);
            if registry.get(&founder).is_none() {
                let record = FounderRecord {
                    node: own.id.clone(),
                    founded_at: None,
                    data_id: Some(self.data_id.clone()),
                    started: true,
                    state_uuid: Some(position.uuid),
                };
                registry.put(&founder, record.to_value(), 0);
            }
            self.register(cluster, registry, None);
            let key = self.key(cluster, registry, "highest_position");
            registry.put(&key, position.to_string(), 0);
            self.follow_forks(cluster, registry, &position);
            let order = registry
                .keys
                .cluster_key(&registry.cluster, ClusterField::Bootstrap);
            registry.delete(&order);
        }
        self.publish(cluster, registry, "fork_epoch", self.fork_epoch.to_string());
    }

    fn follow_forks(
        &mut self,
        cluster: &GaleraCluster,
        registry: &SimulatedRegistry,
        position: &Position,
    ) {
        let snapshot = registry.snapshot();
        let epoch = snapshot.fork_of_component(&cluster.nodes()[self.node].id, position.uuid);
        if epoch > self.fork_epoch {
            self.fork_epoch = epoch;
            self.fork = snapshot.forks.get(epoch).cloned();
        }
    }

    fn clear_status(&self, cluster: &GaleraCluster, registry: &mut SimulatedRegistry) {
        let prefix = self.key(cluster, registry, "wsrep_");
        let keys: Vec<String> = registry
            .entries()
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
        let phase = match decision.action {
            StartupAction::Wait { .. } => "waiting",
            _ => "starting",
        };
        self.publish(cluster, registry, "phase", phase.to_owned());
        self.publish(cluster, registry, "data_id", self.data_id.clone());
        self.publish(cluster, registry, "order_keys", ORDER_KEY.to_owned());
        self.publish(cluster, registry, "fork_epoch", self.fork_epoch.to_string());
        let position = match &own.data {
            DataState::AtPosition(position) => Some(position.to_string()),
            DataState::Empty => Some(NO_POSITION.to_owned()),
            _ => None,
        };
        if let Some(position) = position {
            self.publish(cluster, registry, "recovered_position", position);
        }
        if let Some(seen) = &own.members_seen {
            self.publish(cluster, registry, "members_seen", seen.to_value());
        }
        match decision.action {
            StartupAction::RecoverPosition => self.recovered = true,
            StartupAction::Join { .. } => {
                self.register(cluster, registry, None);
                self.started_server = cluster.start(self.node).is_ok();
                return Some("joins".to_owned());
            }
            StartupAction::Bootstrap {
                position,
                preconditions,
            } => {
                if registry.holds(&preconditions) {
                    let order = BootstrapOrder::automatic(&own.node, &position, &now.to_string());
                    let key = registry
                        .keys
                        .cluster_key(&registry.cluster, ClusterField::Bootstrap);
                    let lease = self.lease(registry);
                    self.own_order = Some(registry.put(&key, order.to_value(), lease));
                }
            }
            StartupAction::FollowOrder { order, .. } => {
                let action = order.action_id.unwrap_or_default();
                let (epoch, record) = registry.snapshot().next_fork(&own, &action)?;
                let key = registry
                    .keys
                    .cluster_key(&registry.cluster, ClusterField::Fork(epoch));
                registry.put(&key, record.to_value(), 0);
                (self.fork_epoch, self.fork) = (epoch, Some(record));
                self.obeyed_orders.insert(action);
                cluster.node_mut(self.node).data.safe_to_bootstrap = true;
                self.started_server = cluster.start_new_cluster(self.node).is_ok();
                return Some(format!("bootstraps as ordered, fork {epoch}"));
            }
            StartupAction::WithdrawOrder { .. } => {
                let key = registry
                    .keys
                    .cluster_key(&registry.cluster, ClusterField::Bootstrap);
                registry.delete(&key);
            }
            StartupAction::Refuse => self.kill(now),
            // No plan of these schedules orders a node to rejoin.
            StartupAction::Wait { .. }
            | StartupAction::Rejoin { .. }
            | StartupAction::FoundCluster(_) => {}
        }
        None
    }

    fn starting_node(
        &mut self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        now: u64,
    ) -> StartingNode {
        let node = &cluster.nodes()[self.node];
        let data = match node.data.position() {
            None => DataState::Empty,
            Some(position) if self.recovered || node.data.clean => DataState::AtPosition(position),
            Some(position) => DataState::Unrecovered {
                uuid: Some(position.uuid),
            },
        };
        let members_seen = node.data.saved_view.as_ref().map(|saved| MembersSeen {
            count: saved.view.members.len(),
            view: Some(saved.view.conf_id),
            ..MembersSeen::default()
        });
        let lease = self.lease(registry);
        let order_is_own = matches!(
            registry.snapshot().order,
            OrderKeyState::Known { revision, .. } if Some(revision) == self.own_order
        );
        StartingNode {
            cluster: registry.cluster.clone(),
            node: node.id.clone(),
            data_id: self.data_id.clone(),
            data,
            members_seen,
            fork_epoch: self.fork_epoch,
            fork: self.fork.clone(),
            founding: false,
            obeyed_orders: self.obeyed_orders.clone(),
            orders: OrderTrust {
                keys: Some(Arc::new(TrustedKey)),
                now: at(now),
                order_read_at: at(now),
                own_lease: Some(lease),
                own_order: self.own_order.filter(|_| order_is_own),
                keep_obstacle: None,
            },
        }
    }
}
