//! What operators do when a plan is blocked: the remedies of docs/recovery.md, one at a time.

use acceptance::lab::homogeneous::CLUSTER;
use anyhow::Result;
use galera::recover::plan::{CheckCode, Plan};
use galera::view::{ClusterStatus, ClusterView, ReasonCode};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::faults::RoundFault;
use crate::round::Round;

impl Round<'_> {
    /// Does one of the things that unblock a plan, as described in docs/recovery.md. `plan` is the blocked one, if the
    /// console gives any.
    ///
    /// # Errors
    /// If something cannot be done.
    pub(super) async fn assist(&mut self, plan: Option<&Plan>) -> Result<()> {
        self.repair_etcd().await?;
        if self.regain_memory().await? {
            return Ok(());
        }
        for (index, console) in self.lab.consoles.iter().enumerate() {
            if console.pid().is_none() {
                self.journal
                    .note(format!("console {} is started again", index + 1));
                console.launch()?;
            }
        }
        if self.end_sessions_in_the_way().await? {
            return Ok(());
        }
        let fails = |code: &CheckCode| {
            plan.is_some_and(|plan| plan.failing().any(|check| check.code == *code))
        };
        if fails(&CheckCode::POSITIONS_KNOWN) && self.restart_servers_without_group().await? {
            return Ok(());
        }
        if fails(&CheckCode::MEMBERS_KNOWN) && !self.members_pinned {
            return self.pin_members().await;
        }
        if self.conditions.clocks_differ && self.random.random_bool(0.5) {
            self.journal.note("the clocks are corrected");
            return self.conditions.correct_clocks(self.lab);
        }
        let replaced = self
            .conditions
            .nodes_where(|node| node.former_data.is_some());
        if let Some(node) = replaced.first().copied()
            && (!self.gives_up || fails(&CheckCode::NO_REGRESSION))
        {
            return self.put_data_back(node).await;
        }
        let paused = self
            .conditions
            .nodes_where(|node| node.paused || node.agent_paused);
        let mut down = self
            .conditions
            .nodes_where(|node| node.down && node.returns_after.is_none());
        down.shuffle(&mut self.random);
        if let Some(node) = paused.first().copied() {
            if self.random.random_bool(0.5) {
                return self.inflict(&RoundFault::Kill(vec![node])).await;
            }
            self.journal.note(format!("resume n{}", node + 1));
            self.conditions.resume(self.lab, node);
        } else if let Some(node) = self.unplugged_primary() {
            // Its clients are beside it: it only stops serving them without power.
            return self.inflict(&RoundFault::Kill(vec![node])).await;
        } else if !down.is_empty() {
            self.reconnect(&down).await?;
            let count = if self.random.random_bool(0.5) {
                1
            } else {
                down.len()
            };
            for node in down.into_iter().take(count) {
                self.start(node)?;
            }
        } else {
            self.journal
                .note("network and group connections are repaired");
            self.conditions.heal(self.lab).await?;
        }
        self.start_ended()
    }

    /// Ends the sessions that the console names as the cause: locks, and those that use every connection.
    async fn end_sessions_in_the_way(&mut self) -> Result<bool> {
        let Some(console) = self.any_console() else {
            return Ok(false);
        };
        let Ok(view) = self.lab.team(console).operator.cluster(CLUSTER).await else {
            return Ok(false);
        };
        let mut ended = false;
        for node in self.frozen_nodes(&view) {
            match self.conditions.kill_locking_sessions(self.lab, node).await {
                Ok(sessions) => {
                    self.journal.note(format!(
                        "{sessions} locking session(s) on n{} are killed",
                        node + 1
                    ));
                    ended |= sessions > 0;
                }
                Err(error) => self.journal.note(format!("n{}: {error:#}", node + 1)),
            }
        }
        for node in self.full_nodes(&view) {
            match self.conditions.free_connections(self.lab, node).await {
                Ok(()) => {
                    self.journal
                        .note(format!("max_connections of n{} is raised", node + 1));
                    ended = true;
                }
                Err(error) => self.journal.note(format!("n{}: {error:#}", node + 1)),
            }
        }
        Ok(ended)
    }

    /// Restarts the containers of servers that left their group for good, as after an exception of its protocol, and run on.
    async fn restart_servers_without_group(&mut self) -> Result<bool> {
        let Some(console) = self.any_console() else {
            return Ok(false);
        };
        let Ok(view) = self.lab.team(console).operator.cluster(CLUSTER).await else {
            return Ok(false);
        };
        let without = view
            .nodes
            .iter()
            .filter(|node| node.cluster_status == Some(ClusterStatus::Disconnected));
        let nodes: Vec<usize> = without
            .filter_map(|node| self.lab.index_of(&node.id))
            .collect();
        for &node in &nodes {
            self.journal
                .note(format!("n{} is in no group: it is restarted", node + 1));
            self.conditions.kill(self.lab, &[node]).await?;
            self.start(node)?;
        }
        Ok(!nodes.is_empty())
    }

    fn frozen_nodes(&self, view: &ClusterView) -> Vec<usize> {
        let reasons = view.verdict.reasons.iter();
        let frozen = reasons.filter(|reason| reason.code == ReasonCode::StatusFrozen);
        frozen
            .filter_map(|reason| self.lab.index_of(reason.node.as_ref()?))
            .collect()
    }

    fn full_nodes(&self, view: &ClusterView) -> Vec<usize> {
        let full = view.nodes.iter().filter(|node| {
            let mut errors = node
                .sources
                .iter()
                .filter_map(|source| source.error.as_ref());
            errors.any(|error| error.contains("max_connections"))
        });
        full.filter_map(|node| self.lab.index_of(&node.id))
            .collect()
    }

    /// The container is stopped and starts with the data that are registered at its address.
    async fn put_data_back(&mut self, node: usize) -> Result<()> {
        let Some(former) = self.conditions.nodes[node].former_data.take() else {
            return Ok(());
        };
        self.journal
            .note(format!("n{} gets its former data back", node + 1));
        self.conditions.kill(self.lab, &[node]).await?;
        self.conditions.disks.retain(|(full, _)| *full != node);
        self.lab.node(node).replace_data(&former)?;
        self.start(node)
    }

    fn unplugged_primary(&self) -> Option<usize> {
        let unplugged = self
            .conditions
            .nodes_where(|node| node.unplugged && !node.down);
        let primary = |node: &usize| self.says_primary(*node) == Some(true);
        unplugged.into_iter().find(primary)
    }

    /// A container that cannot reach etcd would wait for it.
    async fn reconnect(&mut self, nodes: &[usize]) -> Result<()> {
        let unplugged = |node: &usize| self.conditions.nodes[*node].unplugged;
        if nodes.iter().any(unplugged) {
            self.journal
                .note("network and group connections are repaired");
            self.conditions.heal(self.lab).await?;
        }
        Ok(())
    }
}
