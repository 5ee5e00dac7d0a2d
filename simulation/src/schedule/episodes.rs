//! Sequences of faults that random ones rarely make up.

use rand::Rng;

use super::counts::FaultKind;
use super::{FaultSchedule, POLL, RemovedSafeguard};
use crate::access::{StatementFault, lock};
use galera_specification::NodeIndex;

/// Polls within which an action ends whose outcome is not seen.
const VERIFY_TURNS: u64 = 90;

impl FaultSchedule {
    /// Every node but one continues where neither console nor etcd sees it, dies, and returns after that one was
    /// bootstrapped.
    pub(super) fn lose_hidden_majority(&mut self) -> Result<(), String> {
        let nodes = self.shuffled();
        let (survivor, hidden) = (nodes[0], &nodes[1..]);
        self.note(format_args!("all but n{} are unplugged", survivor + 1));
        self.counts.add(FaultKind::HiddenMajority);
        for &node in hidden {
            self.unplugged.insert(node);
            self.hide_node(node);
            self.cluster.set_cut(survivor, node, true);
        }
        self.wait();
        self.write();
        if self.random.random_bool(0.3) {
            let hidden = hidden.to_vec();
            return self.replace_hidden(survivor, &hidden);
        }
        for &node in hidden {
            self.kill(node);
        }
        self.wait();
        self.recover()?;
        self.reconnect();
        self.judge()?;
        for _ in 0..self.random.random_range(0..4) {
            self.write();
            self.wait();
        }
        for &node in hidden {
            self.agents[node].start(&mut self.registry);
            self.wait();
            self.judge()?;
        }
        Ok(())
    }

    /// The orchestrator starts empty containers under the addresses of nodes that run on out of sight; these are not
    /// attested as stopped. The schedule ends with it.
    fn replace_hidden(&mut self, survivor: NodeIndex, hidden: &[NodeIndex]) -> Result<(), String> {
        let old: Vec<NodeIndex> = (0..self.agents.len())
            .filter(|&node| node != survivor)
            .collect();
        for &node in hidden {
            let id = self.cluster.nodes()[node].id.clone();
            self.note(format_args!("an empty container as {id}"));
            self.counts.add(FaultKind::EmptyContainers);
            let new = self.cluster.add_node(id);
            for &other in &old {
                self.cluster.set_cut(new, other, true);
            }
            let mut agent =
                self.agents[node].successor(new, self.removed == RemovedSafeguard::NoIdentityCheck);
            agent.start(&mut self.registry);
            self.agents.push(agent);
        }
        for _ in 0..3 {
            self.wait();
            self.judge()?;
            self.recover()?;
            self.judge()?;
        }
        self.ended = true;
        Ok(())
    }

    /// Two halves that do not see each other: the machine of one pauses with the statement, is fenced, and continues after
    /// the other half was bootstrapped.
    pub(super) fn delay_statement(&mut self) -> Result<(), String> {
        let nodes = self.shuffled();
        let half = nodes.len() / 2;
        for &one in &nodes[..half] {
            for &other in &nodes[half..] {
                self.cluster.set_cut(one, other, true);
            }
        }
        // An odd node dies first, so that neither half has quorum.
        if nodes.len() % 2 == 1 {
            let odd = nodes[nodes.len() - 1];
            self.kill(odd);
        }
        self.note("two halves");
        self.counts.add(FaultKind::TwoHalves);
        self.wait();
        lock(&self.shared).statement_fault = Some(StatementFault::Pause);
        self.recover()?;
        lock(&self.shared).statement_fault = None;
        for node in nodes {
            let server = self.cluster.nodes()[node].server.as_ref();
            if server.is_some_and(|server| server.paused) {
                // The whole host pauses: every node of that half.
                for other in self.cluster.nodes()[node]
                    .server
                    .iter()
                    .flat_map(|one| one.members.clone())
                    .collect::<Vec<_>>()
                {
                    self.cluster.set_paused(other, true, self.now);
                }
            }
        }
        self.fence_paused();
        self.wait();
        // The first action ends as unverified.
        for _ in 0..VERIFY_TURNS {
            if self.approved.is_none() {
                break;
            }
            self.now += POLL;
            self.turn();
            self.judge()?;
        }
        self.recover()?;
        for node in 0..self.agents.len() {
            self.cluster.set_paused(node, false, self.now);
        }
        self.judge()?;
        self.reconnect();
        Ok(())
    }
}
