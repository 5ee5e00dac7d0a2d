//! After the recovery everything is repaired, as an operator would do: killed processes are started and the network is
//! healed. The cluster must then become whole automatically.

use std::time::{Duration, Instant};

use acceptance::observer::ClusterObserver;
use anyhow::{Result, ensure};

use crate::round::Round;
use crate::rounds_lab::NODES;

/// Longest time until the cluster is whole.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(150);
/// How long no node may be Primary before the operators act again: components may still merge.
const NO_PRIMARY_TIMEOUT: Duration = Duration::from_secs(12);
/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The agent's message about data that joining would discard.
pub(crate) const AHEAD_MESSAGE: &str = "ahead of every Primary member";
/// How long that must last: stale registrations of members that have just died cause it briefly.
const AHEAD_STEADY: Duration = Duration::from_secs(8);

/// Tracks an agent's messages that its data is ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AheadTracker {
    /// Number of messages when this was last handled.
    handled: usize,
    /// Since when it waits because of it.
    since: Option<Instant>,
}

impl AheadTracker {
    /// An agent that had logged `handled` messages in earlier rounds.
    pub(crate) const fn after(handled: usize) -> Self {
        Self {
            handled,
            since: None,
        }
    }
}

impl Round<'_> {
    /// Repairs everything and waits until all nodes form one cluster.
    ///
    /// # Errors
    /// If the cluster does not become whole.
    pub(crate) async fn restore(&mut self) -> Result<()> {
        self.journal.note("repairing everything");
        self.repair_all().await?;
        let end = Instant::now() + WHOLE_TIMEOUT;
        let mut hopeless = Instant::now();
        while let Err(error) = self.observer.ensure_all_synced(NODES) {
            ensure!(
                Instant::now() < end,
                "the cluster is not whole {WHOLE_TIMEOUT:?} after everything was repaired: {error:#}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
            self.start_ended()?;
            self.end_isolation().await?;
            self.set_data_aside().await?;
            if self.has_steady_primary() {
                hopeless = Instant::now();
            } else if hopeless.elapsed() > NO_PRIMARY_TIMEOUT {
                self.journal.note("no node became Primary automatically");
                self.recover_cluster().await?;
                self.repair_all().await?;
                hopeless = Instant::now();
            }
        }
        Ok(())
    }

    async fn repair_all(&mut self) -> Result<()> {
        for node in self.conditions.nodes_where(|node| node.paused) {
            self.conditions.resume(self.lab, node);
        }
        self.conditions.heal(self.lab).await?;
        self.repair_etcd().await?;
        for console in &self.lab.consoles {
            if console.pid().is_none() {
                console.launch()?;
            }
        }
        for node in self.conditions.nodes_where(|node| node.down) {
            self.start(node)?;
        }
        Ok(())
    }

    /// Starts the etcd members that were killed.
    ///
    /// # Errors
    /// If one does not start.
    pub(crate) async fn repair_etcd(&mut self) -> Result<()> {
        let members = self.lab.nodes.etcd().members();
        let missing = members.iter().filter(|member| member.pid().is_none());
        if missing.count() > 0 {
            self.journal.note("starting the killed etcd members");
            self.lab.nodes.etcd().repair().await?;
        }
        Ok(())
    }

    /// Starts a container.
    ///
    /// # Errors
    /// If the agent cannot be run.
    pub(crate) fn start(&mut self, node: usize) -> Result<()> {
        self.journal.note(format!("start n{}", node + 1));
        self.conditions.start(self.lab, node)
    }

    /// Starts containers that have exited, as an orchestrator does.
    ///
    /// # Errors
    /// If the agent cannot be run.
    pub(crate) fn start_ended(&mut self) -> Result<()> {
        for node in self.conditions.nodes_where(|node| !node.down) {
            if !self.lab.node(node).is_alive() {
                self.journal.note(format!("n{} has exited", node + 1));
                self.start(node)?;
            }
        }
        Ok(())
    }

    /// Ends the isolation of nodes that were unreachable when the network was healed.
    async fn end_isolation(&mut self) -> Result<()> {
        if self.conditions.nodes_where(|node| node.isolated).is_empty() {
            return Ok(());
        }
        self.conditions.heal(self.lab).await
    }

    /// A node that is ahead of the cluster's new history waits for an operator, who keeps a copy of its data and lets
    /// it join.
    async fn set_data_aside(&mut self) -> Result<()> {
        for node in self.conditions.nodes_where(|node| !node.down) {
            let same = self.lab.node(node);
            let reported = same.count_log_lines(AHEAD_MESSAGE);
            let ahead = &mut self.ahead[node];
            // A waiting agent has no server; a node that responds is not waiting.
            if is_answering(&self.observer, node) {
                *ahead = AheadTracker::after(reported);
            }
            if reported > ahead.handled
                && ahead.since.get_or_insert_with(Instant::now).elapsed() > AHEAD_STEADY
            {
                *ahead = AheadTracker::after(reported);
                same.kill().await?;
                same.set_data_aside()?;
                self.journal
                    .note(format!("n{} is ahead: its data are put aside", node + 1));
                self.data_set_aside += 1;
                self.start(node)?;
            }
        }
        Ok(())
    }
}

fn is_answering(observer: &ClusterObserver, node: usize) -> bool {
    let name = format!("n{}", node + 1);
    let nodes = observer.nodes();
    nodes
        .iter()
        .any(|(watched, answer)| watched.name == name && answer.is_some())
}
