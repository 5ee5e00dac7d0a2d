//! What an agent publishes while its server does not run, and what its decision rests on.

use galera::observe::registration::{HeldData, HeldRange, MembersSeen, NO_POSITION};
use galera::startup::{DataState, OrderKeyState, OrderTrust, StartingNode};

use super::SimulatedAgent;
use crate::clock::at;
use crate::order_key::{order_key, trusted_keys};
use crate::registry::SimulatedRegistry;
use galera_specification::GaleraCluster;

impl SimulatedAgent {
    pub(super) fn publish_held(
        &mut self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        held: Option<HeldRange>,
    ) {
        match held {
            Some(range) => {
                let held = HeldData {
                    range,
                    obstacle: None,
                };
                self.publish(cluster, registry, "held", held.to_value());
            }
            None => registry.delete(&self.key(cluster, registry, "held")),
        }
    }

    /// The keys of a node whose server does not run.
    pub(super) fn publish_waiting(
        &mut self,
        cluster: &GaleraCluster,
        registry: &mut SimulatedRegistry,
        own: &StartingNode,
        phase: &str,
    ) {
        self.publish(cluster, registry, "phase", phase.to_owned());
        self.publish(cluster, registry, "data_id", self.data_id.clone());
        let key_id = order_key().public().id().to_owned();
        self.publish(cluster, registry, "order_keys", key_id);
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
    }

    pub(super) fn starting_node(
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
                keys: Some(trusted_keys()),
                now: at(now).shifted(self.clock_ahead),
                order_read_at: at(now).shifted(self.clock_ahead),
                own_lease: Some(lease),
                own_order: self.own_order.filter(|_| order_is_own),
                keep_obstacle: None,
            },
        }
    }
}
