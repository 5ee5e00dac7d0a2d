//! Two people who recover the cluster with the plans of the consoles.

use galera::NodeId;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::ActionKind;
use rand::Rng;

use super::{FaultSchedule, POLL};

impl FaultSchedule {
    /// Two people recover: they attest what is true, and only that.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        if self.random.random_bool(0.5) {
            self.fence_paused();
        }
        if self.approved.is_some() {
            self.wait();
            return Ok(());
        }
        let Some(console) = self.running_console() else {
            return Ok(());
        };
        // A request that no account could approve blocks the next one.
        if let Some(id) = self.pending.clone() {
            self.cancel(&id);
        }
        let mut stopped = self.stopped_members();
        let mut plan = self.plan(console, ActionKind::Bootstrap, &attest_stopped(&stopped));
        // Most of what forbids a plan at first is that too little time has passed.
        for _ in 0..self.random.random_range(0..40) {
            let executable = plan.as_ref().is_some_and(|plan| plan.executable);
            if executable || !self.cluster.primary_components().is_empty() {
                break;
            }
            self.now += POLL;
            self.turn();
            stopped = self.stopped_members();
            plan = self.plan(console, ActionKind::Bootstrap, &attest_stopped(&stopped));
        }
        let Some(plan) = plan else {
            return Ok(());
        };
        if !plan.executable {
            return self.check_refusal(&plan);
        }
        let Some(id) = self.request(console, &plan, &attest_stopped(&stopped), None) else {
            return Ok(());
        };
        // Until the approval, anything may happen.
        for _ in 0..self.random.random_range(0..3) {
            self.fail();
        }
        self.wait();
        let present = self.stopped_members();
        if !stopped.iter().all(|node| present.contains(node)) {
            self.note("what was attested is no longer true");
            self.cancel(&id);
            return Ok(());
        }
        self.approve(id, &plan);
        // While it is carried out, too.
        for _ in 0..self.random.random_range(0..6) {
            if self.approved.is_none() {
                break;
            }
            if self.random.random_bool(0.3) {
                self.fail();
            }
            self.now += POLL;
            self.turn();
            self.judge()?;
        }
        Ok(())
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
                if node.arbitrator {
                    return false;
                }
                let mut namesakes = self.cluster.nodes().iter();
                let none_runs =
                    namesakes.all(|other| other.id != node.id || other.server.is_none());
                none_runs && !agent.running || self.fenced.contains(index)
            })
            .map(|(_, (node, _))| node.id.clone())
            .collect()
    }
}

/// Attestations that these members are stopped.
fn attest_stopped(nodes: &[NodeId]) -> Vec<Attestation> {
    let attestation = |node| attest(node, AttestedState::Stopped);
    nodes.iter().map(attestation).collect()
}

pub(super) fn attest(node: &NodeId, statement: AttestedState) -> Attestation {
    Attestation {
        node: node.clone(),
        statement,
        saved_state: None,
    }
}
