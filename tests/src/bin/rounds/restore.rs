//! After the recovery everything is repaired, as an operator would do: killed processes are started and the network is
//! healed. The cluster must then become whole automatically.

use std::time::{Duration, Instant};

use acceptance::eventually;
use acceptance::lab::process::tail;
use anyhow::{Result, ensure};
use tokio::time::timeout;

use crate::round::Round;
use crate::rounds_lab::NODES;

/// Longest time until the cluster is whole. A statement that is lost while the view changes takes a minute until its action ends as
/// unverified, and a donor whose joiner is gone is restarted after [`DONOR_STUCK`]; both can happen twice.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest wait for a write of one node.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the group after the weights were set.
const WEIGHTS_TIMEOUT: Duration = Duration::from_secs(30);
/// How long no node may be Primary before the operators act again: components may still merge.
const NO_PRIMARY_TIMEOUT: Duration = Duration::from_secs(12);
/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// What an agent reports (`waiting_for`) about data that joining would discard, or that must not join.
const AHEAD_REASONS: [&str; 3] = [
    "ahead of every Primary member",
    "are not those of cluster",
    "so which transactions only this node has is unknown",
];
/// How long that must last: stale registrations of members that have just died cause it briefly.
const AHEAD_STEADY: Duration = Duration::from_secs(8);
/// A state transfer of these data takes seconds.
const DONOR_STUCK: Duration = Duration::from_secs(40);
/// How long an orchestrator waits before it starts a container again.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// An operator reads the log of a container that exited so often in a row.
const EXITS_UNTIL_READ: u32 = 3;
/// What the last line of such a log may ask for.
const ASKS_FOR_EMPTY_DATA: &str = "keep a copy and empty the data directory";
/// Transactions that the cluster commits before a node that was ahead of it returns.
const PASSED: u64 = 20;

/// How often a container has exited since its server last answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ContainerExits {
    count: u32,
    /// When it last did, until it is started again.
    since: Option<Instant>,
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
        while let Err(error) = self.ensure_whole().await {
            ensure!(
                Instant::now() < end,
                "the cluster is not whole {WHOLE_TIMEOUT:?} after everything was repaired: {error:#}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
            self.start_ended()?;
            self.end_isolation().await?;
            self.start_passed()?;
            self.set_data_aside().await?;
            self.restart_stuck_donor().await?;
            if self.has_steady_primary() {
                hopeless = Instant::now();
            } else if hopeless.elapsed() > NO_PRIMARY_TIMEOUT {
                self.journal.note("no node became Primary automatically");
                self.recover_cluster().await?;
                self.repair_all().await?;
                hopeless = Instant::now();
            }
        }
        if self.conditions.weighted {
            self.conditions.reset_weights(self.lab).await;
            eventually("the weights to be equal", WEIGHTS_TIMEOUT, async || {
                self.observer.ensure_all_synced(NODES)
            })
            .await?;
        }
        Ok(())
    }

    /// Fails unless all nodes are in one component that orders what each of them writes. For seconds after a partition their status
    /// is that of the view before it, and a server whose weight is then set never answers again.
    async fn ensure_whole(&self) -> Result<()> {
        self.observer.ensure_all_synced(NODES)?;
        for node in 0..NODES {
            let statement = "CREATE DATABASE IF NOT EXISTS written_by_all";
            let written = self.lab.node(node).execute(statement);
            timeout(WRITE_TIMEOUT, written).await??;
        }
        self.observer.ensure_all_synced(NODES)
    }

    async fn repair_all(&mut self) -> Result<()> {
        self.resumes.clear();
        for node in self
            .conditions
            .nodes_where(|node| node.paused || node.agent_paused)
        {
            self.conditions.resume(self.lab, node);
        }
        self.conditions.correct_clocks(self.lab)?;
        self.conditions.end_sessions(self.lab).await;
        self.conditions.stop_arbitrator().await;
        self.conditions.heal(self.lab).await?;
        self.repair_etcd().await?;
        self.regain_memory().await?;
        for (node, disk) in std::mem::take(&mut self.conditions.disks) {
            self.conditions.kill(self.lab, &[node]).await?;
            drop(disk);
        }
        for console in &self.lab.consoles {
            if console.pid().is_none() {
                console.launch()?;
            }
        }
        for node in self
            .conditions
            .nodes_where(|node| node.down && node.returns_after.is_none())
        {
            self.start(node)?;
        }
        Ok(())
    }

    /// Starts nodes that were ahead of the bootstrap, once the cluster has passed them.
    fn start_passed(&mut self) -> Result<()> {
        for node in self.conditions.nodes_where(|node| node.down) {
            let Some(position) = self.conditions.nodes[node].returns_after else {
                continue;
            };
            let committed = (0..NODES).filter_map(|node| {
                let answer = self.answer(node)?;
                answer.primary.as_ref()?;
                answer.committed
            });
            if committed
                .max()
                .is_some_and(|newest| newest > position + PASSED)
            {
                self.start(node)?;
            }
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

    /// Starts containers that have exited, as an orchestrator does. One that exits again and again has its log read by an
    /// operator: if the agent asks for an empty directory, it gets one, and the data are kept aside.
    ///
    /// # Errors
    /// If the agent cannot be run.
    pub(crate) fn start_ended(&mut self) -> Result<()> {
        for node in self.conditions.nodes_where(|node| !node.down) {
            if self.lab.node(node).is_alive() {
                if self.answer(node).is_some() {
                    self.exits[node] = ContainerExits::default();
                }
                continue;
            }
            let since = *self.exits[node].since.get_or_insert_with(Instant::now);
            if since.elapsed() < RESTART_DELAY {
                continue;
            }
            let exits = &mut self.exits[node];
            exits.since = None;
            exits.count += 1;
            let log = tail(&self.lab.node(node).log(), 1);
            self.journal
                .note(format!("n{} has exited: {log}", node + 1));
            if exits.count >= EXITS_UNTIL_READ && log.contains(ASKS_FOR_EMPTY_DATA) {
                exits.count = 0;
                self.lab.node(node).set_data_aside()?;
                self.conditions.nodes[node].data_given_up = true;
                self.journal
                    .note(format!("n{}: its data are put aside", node + 1));
                self.data_set_aside += 1;
            }
            self.start(node)?;
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

    /// A node that has been donor for long without a state transfer is restarted, as docs/recovery.md says.
    async fn restart_stuck_donor(&mut self) -> Result<()> {
        for node in 0..NODES {
            let donates = self
                .answer(node)
                .is_some_and(|answer| answer.state.starts_with("Donor"));
            if !donates {
                self.donor_since[node] = None;
                continue;
            }
            let since = *self.donor_since[node].get_or_insert_with(Instant::now);
            if since.elapsed() > DONOR_STUCK {
                self.donor_since[node] = None;
                self.journal.note(format!(
                    "n{} has been donor for {DONOR_STUCK:?}: it is restarted",
                    node + 1
                ));
                self.conditions.kill(self.lab, &[node]).await?;
                self.start(node)?;
            }
        }
        Ok(())
    }

    /// A node that is ahead of the cluster's new history waits for an operator, who keeps a copy of its data and lets it
    /// start empty.
    async fn set_data_aside(&mut self) -> Result<()> {
        for node in self.ahead_nodes().await {
            let since = *self.ahead[node].get_or_insert_with(Instant::now);
            if since.elapsed() < AHEAD_STEADY {
                continue;
            }
            self.ahead[node] = None;
            self.conditions.kill(self.lab, &[node]).await?;
            self.lab.node(node).set_data_aside()?;
            self.conditions.nodes[node].data_given_up = true;
            self.journal
                .note(format!("n{} is ahead: its data are put aside", node + 1));
            self.data_set_aside += 1;
            self.start(node)?;
        }
        Ok(())
    }

    /// The nodes whose agents report that they wait because of their data.
    async fn ahead_nodes(&mut self) -> Vec<usize> {
        let keys = self.lab.nodes.keys().await.unwrap_or_default();
        let waits = |node: &usize| {
            let id = self.lab.node(*node).id().ok()?;
            let reason = keys.get(&format!("{id}/waiting_for"))?;
            let ahead = AHEAD_REASONS.iter().any(|known| reason.contains(known));
            (ahead && !self.conditions.nodes[*node].down).then_some(())
        };
        let waiting: Vec<usize> = (0..NODES).filter(|node| waits(node).is_some()).collect();
        for node in (0..NODES).filter(|node| !waiting.contains(node)) {
            self.ahead[node] = None;
        }
        waiting
    }
}
