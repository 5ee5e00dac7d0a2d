//! Faults that take several steps.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::faults::{RoundFault, TransferEnd};
use crate::round::Round;
use crate::rounds_lab::NODES;

/// Longest wait for a node that was restarted to be Synced again.
const REJOIN_TIMEOUT: Duration = Duration::from_secs(40);
/// Longest wait for a component or a state transfer to come about; the round continues without it.
const STAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a node writes alone before it is killed.
const ALONE: Duration = Duration::from_millis(1_200);
/// A state transfer takes about a second.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Less than the data of an empty server.
const SMALL_DISK: u64 = 8 << 20;

impl Round<'_> {
    /// Makes something fail.
    ///
    /// # Errors
    /// If the machine refuses.
    pub(crate) async fn inflict(&mut self, fault: &RoundFault) -> Result<()> {
        self.journal.note(fault.to_string());
        match fault {
            RoundFault::SaveData(node) => self.save_data(*node).await,
            RoundFault::Rewind(node) => self.rewind(*node).await,
            RoundFault::Replace(node) => self.replace(*node).await,
            RoundFault::Ahead(node) => self.leave_ahead(*node).await,
            RoundFault::InterruptTransfer(node, end) => self.interrupt_transfer(*node, *end).await,
            RoundFault::FullDisk(node) => self.fill_disk(*node).await,
            _ => self.conditions.apply(self.lab, fault).await,
        }
    }

    async fn save_data(&mut self, node: usize) -> Result<()> {
        self.conditions.kill(self.lab, &[node]).await?;
        self.conditions.nodes[node].copy = Some(self.lab.node(node).copy_data()?);
        self.conditions.start(self.lab, node)?;
        let end = Instant::now() + REJOIN_TIMEOUT;
        while self.observer.ensure_all_synced(NODES).is_err() && Instant::now() < end {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn rewind(&mut self, node: usize) -> Result<()> {
        let Some(copy) = self.conditions.nodes[node].copy.take() else {
            return Ok(());
        };
        self.conditions.kill(self.lab, &[node]).await?;
        let former = self.lab.node(node).replace_data(&copy)?;
        self.conditions.nodes[node].former_data = Some(former);
        self.conditions.start(self.lab, node)
    }

    async fn replace(&mut self, node: usize) -> Result<()> {
        self.empty_node(node).await?;
        self.conditions.start(self.lab, node)
    }

    async fn empty_node(&mut self, node: usize) -> Result<()> {
        self.conditions.kill(self.lab, &[node]).await?;
        let former = self.lab.node(node).set_data_aside()?;
        // If it was replaced before, those are the data that matter.
        self.conditions.nodes[node]
            .former_data
            .get_or_insert(former);
        Ok(())
    }

    async fn leave_ahead(&mut self, node: usize) -> Result<()> {
        for other in (0..NODES).filter(|other| *other != node) {
            self.lab.node(other).stop().await?;
            self.conditions.nodes[other].down = true;
        }
        let alone = |round: &Self| {
            let answer = round.answer(node)?;
            (answer.primary.is_some() && answer.size == "1").then_some(())
        };
        self.wait_for(alone).await;
        let acknowledged = self.load.acknowledged();
        let end = Instant::now() + ALONE;
        while Instant::now() < end || self.load.acknowledged() == acknowledged {
            if Instant::now() > end + STAGE_TIMEOUT {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let committed = self.answer(node).and_then(|answer| answer.committed);
        self.conditions.kill(self.lab, &[node]).await?;
        self.conditions.nodes[node].returns_after = committed;
        self.gives_up = true;
        self.journal
            .note(format!("n{} was at {committed:?}", node + 1));
        Ok(())
    }

    async fn interrupt_transfer(&mut self, joiner: usize, end: TransferEnd) -> Result<()> {
        self.replace(joiner).await?;
        let donor = |round: &Self| {
            let mut others = (0..NODES).filter(|node| *node != joiner);
            others.find(|node| {
                let answer = round.answer(*node);
                answer.is_some_and(|answer| answer.state.starts_with("Donor"))
            })
        };
        let Some(donor) = self.wait_for(donor).await else {
            self.journal.note("no state transfer was seen");
            return Ok(());
        };
        let killed = match end {
            TransferEnd::Donor => donor,
            TransferEnd::Joiner => joiner,
        };
        self.journal
            .note(format!("n{} sends, kill n{}", donor + 1, killed + 1));
        self.conditions.kill(self.lab, &[killed]).await
    }

    async fn fill_disk(&mut self, node: usize) -> Result<()> {
        if self.lab.nodes.network().is_none() {
            self.journal.note("without root no file system is mounted");
            return Ok(());
        }
        self.empty_node(node).await?;
        let disk = self.lab.node(node).mount_small_disk(SMALL_DISK)?;
        self.conditions.disks.push((node, disk));
        self.conditions.start(self.lab, node)
    }

    /// What `find` finds, or `None` if it does not in time.
    async fn wait_for<T>(&self, find: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let end = Instant::now() + STAGE_TIMEOUT;
        loop {
            let found = find(self);
            if found.is_some() || Instant::now() > end {
                return found;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
