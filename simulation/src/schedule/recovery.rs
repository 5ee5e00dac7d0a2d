//! Two people who recover the cluster with the plans of a console.

use galera::observe::registration::ClusterField;
use galera::recover::plan::{Mechanism, Plan};
use galera::{ActionId, NodeId};
use rand::Rng;

use super::counts::FaultKind;
use super::{FaultSchedule, POLL, RemovedSafeguard, SentStatement};
use crate::clock::at;
use crate::specification::{LateStatement, NodeIndex};

/// Milliseconds after its approval until which a server executes a statement.
const STATEMENT_LIFETIME: u64 = 2_000;

impl FaultSchedule {
    /// Two people recover: they attest what is true, and only that.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        if self.random.random_bool(0.5) {
            self.fence_paused();
        }
        let mut plan = self.console.plan(&self.stopped_members(), self.now);
        // Most of what forbids a plan at first is that too little time has passed.
        for _ in 0..self.random.random_range(0..40) {
            if plan.executable || !self.cluster.primary_components().is_empty() {
                break;
            }
            self.now += POLL;
            self.turn();
            plan = self.console.plan(&self.stopped_members(), self.now);
        }
        let stopped = self.stopped_members();
        if !plan.executable {
            return self.check_refusal(&plan);
        }
        let Some(target) = plan.target.clone() else {
            return Ok(());
        };
        // Until the approval, anything may happen.
        for _ in 0..self.random.random_range(0..3) {
            self.fail();
        }
        self.wait();
        let still_true = stopped
            .iter()
            .all(|node| self.stopped_members().contains(node));
        let again = self.console.plan(&stopped, self.now);
        let unchanged = again.executable && again.digest == plan.digest;
        if !still_true || !unchanged {
            self.note("superseded");
            return Ok(());
        }
        self.counts.bootstraps += 1;
        let action = ActionId::new(
            at(self.now),
            u32::try_from(self.counts.bootstraps).unwrap_or(0),
        );
        match target.mechanism {
            Mechanism::Statement => {
                let node = target.node.as_ref().and_then(|id| self.index_of(id));
                node.map_or(Ok(()), |node| self.execute(node, &again, action))
            }
            Mechanism::Order => {
                self.order(&again, &action);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes the signed order of `plan`; what it gives up is judged when it is obeyed.
    fn order(&mut self, plan: &Plan, action: &ActionId) {
        if let Some(order) = self.console.order(plan, action, self.now) {
            self.note(format_args!(
                "order to {} at {}",
                order.node, order.position
            ));
            self.ordered_losses
                .insert(action.to_string(), plan.loss.transactions);
            let field = ClusterField::Bootstrap;
            let key = self
                .registry
                .keys
                .cluster_key(&self.registry.cluster, field);
            let lease = self.registry.grant();
            self.registry.put(&key, order.to_value(), lease);
        }
    }

    fn execute(&mut self, node: NodeIndex, plan: &Plan, action: ActionId) -> Result<(), String> {
        let deadline = match self.removed {
            RemovedSafeguard::NoDeadline => None,
            _ => Some(self.now + STATEMENT_LIFETIME),
        };
        let loss = plan.loss.transactions;
        if let Some(target) = &plan.target {
            let fork = self.console.fork(target, &action, self.now);
            // Nothing is sent without the record of its fork.
            if fork.is_some_and(|fork| !self.record_fork(&fork)) {
                return Ok(());
            }
            self.console.intend(target, &action, self.now);
        }
        self.note(format_args!("bootstrap n{}, loss {loss:?}", node + 1));
        // The machine may pause with the statement on its way.
        if self.pauses_at_statement || self.random.random_range(0..4) == 0 {
            self.note(format_args!("pause n{} first", node + 1));
            self.counts.add(FaultKind::PauseAtStatement);
            self.cluster.set_paused(node, true, self.now);
        }
        self.cluster
            .bootstrap(node, LateStatement { deadline }, self.now);
        self.cluster.settle();
        if let Some(target) = plan.target.clone() {
            self.unproven.push(SentStatement {
                action,
                target,
                at: self.now,
            });
        }
        self.give_up(node, loss)
    }

    /// Isolates every paused machine from clients and from the other nodes, as an operator does who cannot reach it.
    pub(super) fn fence_paused(&mut self) {
        for node in 0..self.cluster.nodes().len() {
            let server = self.cluster.nodes()[node].server.as_ref();
            if server.is_some_and(|server| server.paused) && self.fenced.insert(node) {
                self.note(format_args!("fence n{}", node + 1));
                let server = self.cluster.nodes()[node].server.as_ref();
                if server.is_some_and(|server| server.is_primary()) {
                    self.fenced_primaries.insert(node);
                }
                for other in 0..self.cluster.nodes().len() {
                    self.cluster.set_cut(node, other, true);
                }
            }
        }
    }

    /// Members that run no server, and fenced ones: what two people truthfully attest.
    pub(super) fn stopped_members(&self) -> Vec<NodeId> {
        let nodes = self.cluster.nodes().iter();
        nodes
            .zip(&self.agents)
            .enumerate()
            .filter(|(index, (node, agent))| {
                let mut namesakes = self.cluster.nodes().iter();
                let none_runs =
                    namesakes.all(|other| other.id != node.id || other.server.is_none());
                none_runs && !agent.running || self.fenced.contains(index)
            })
            .map(|(_, (node, _))| node.id.clone())
            .collect()
    }

    fn index_of(&self, id: &NodeId) -> Option<NodeIndex> {
        let mut nodes = self.cluster.nodes().iter().enumerate();
        nodes
            .find(|(node, own)| own.id == *id && !self.unplugged.contains(node))
            .map(|(node, _)| node)
    }
}
