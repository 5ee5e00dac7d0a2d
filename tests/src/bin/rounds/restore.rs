//! After the recovery everything is repaired, as whoever runs the machines would do it: what was killed is started,
//! what was cut is joined. The cluster must become whole by itself then.

use std::time::{Duration, Instant};

use acceptance::observer::Observer;
use anyhow::{Result, ensure};

use crate::round::Round;
use crate::stage::NODES;

/// Longest time until the cluster is whole.
const WHOLE: Duration = Duration::from_secs(150);
/// How long nobody may be Primary before people are asked again: components may merge by themselves.
const HOPELESS: Duration = Duration::from_secs(12);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// What an agent says of data that joining would discard.
pub(crate) const AHEAD: &str = "ahead of every Primary member";
/// How long that must stand: what is registered of members that have just died makes it be said for a moment.
const STANDS: Duration = Duration::from_secs(8);

/// What an agent has said of its data being ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// How often it had said so when that was last dealt with.
    dealt: usize,
    /// Since when it waits because of it.
    since: Option<Instant>,
}

impl Ahead {
    /// An agent that had said so `dealt` times in former rounds.
    pub(crate) const fn after(dealt: usize) -> Self {
        Self { dealt, since: None }
    }
}

impl Round<'_> {
    /// Repairs everything and waits for one cluster of all nodes.
    ///
    /// # Errors
    /// When the cluster does not become whole.
    pub(crate) async fn restore(&mut self) -> Result<()> {
        self.journal.note("everything is repaired");
        self.repair_all().await?;
        let end = Instant::now() + WHOLE;
        let mut hopeless = Instant::now();
        while let Err(error) = self.observer.whole(NODES) {
            ensure!(
                Instant::now() < end,
                "the cluster is not whole {WHOLE:?} after everything was repaired: {error:#}"
            );
            tokio::time::sleep(LOOK).await;
            self.start_ended()?;
            self.release().await?;
            self.put_aside().await?;
            if self.primary() {
                hopeless = Instant::now();
            } else if hopeless.elapsed() > HOPELESS {
                self.journal.note("nobody became Primary by itself");
                self.operate().await?;
                self.repair_all().await?;
                hopeless = Instant::now();
            }
        }
        Ok(())
    }

    async fn repair_all(&mut self) -> Result<()> {
        for node in self.conditions.of(|node| node.paused) {
            self.conditions.wake(self.stage, node);
        }
        self.conditions.heal(self.stage).await?;
        self.repair_etcd().await?;
        for console in &self.stage.consoles {
            if console.pid().is_none() {
                console.launch()?;
            }
        }
        for node in self.conditions.of(|node| node.down) {
            self.start(node)?;
        }
        Ok(())
    }

    /// Starts the etcd members that were killed.
    ///
    /// # Errors
    /// When one does not come up.
    pub(crate) async fn repair_etcd(&mut self) -> Result<()> {
        let members = self.stage.nodes.etcd().members();
        let missing = members.iter().filter(|member| member.pid().is_none());
        if missing.count() > 0 {
            self.journal.note("the killed members of etcd are started");
            self.stage.nodes.etcd().repair().await?;
        }
        Ok(())
    }

    /// Starts a container.
    ///
    /// # Errors
    /// When the agent cannot be run.
    pub(crate) fn start(&mut self, node: usize) -> Result<()> {
        self.journal.note(format!("start n{}", node + 1));
        self.conditions.start(self.stage, node)
    }

    /// Starts containers that have ended by themselves, as an orchestrator does.
    ///
    /// # Errors
    /// When the agent cannot be run.
    pub(crate) fn start_ended(&mut self) -> Result<()> {
        for node in self.conditions.of(|node| !node.down) {
            if !self.stage.node(node).alive() {
                self.journal.note(format!("n{} has ended", node + 1));
                self.start(node)?;
            }
        }
        Ok(())
    }

    /// Nodes that could not be told before that their isolation is over.
    async fn release(&mut self) -> Result<()> {
        if self.conditions.of(|node| node.isolated).is_empty() {
            return Ok(());
        }
        self.conditions.heal(self.stage).await
    }

    /// A node that holds more than the cluster went on from waits for people. They keep its data and let it join.
    async fn put_aside(&mut self) -> Result<()> {
        for node in self.conditions.of(|node| !node.down) {
            let same = self.stage.node(node);
            let said = same.said(AHEAD);
            let ahead = &mut self.ahead[node];
            // An agent that waits has no server; whoever has one did not stay with it.
            if answers(&self.observer, node) {
                *ahead = Ahead::after(said);
            }
            if said > ahead.dealt && ahead.since.get_or_insert_with(Instant::now).elapsed() > STANDS
            {
                *ahead = Ahead::after(said);
                same.kill().await?;
                same.put_data_aside()?;
                self.journal
                    .note(format!("n{} is ahead: its data are put aside", node + 1));
                self.aside += 1;
                self.start(node)?;
            }
        }
        Ok(())
    }
}

fn answers(observer: &Observer, node: usize) -> bool {
    let name = format!("n{}", node + 1);
    let nodes = observer.nodes();
    nodes
        .iter()
        .any(|(watched, answer)| watched.name == name && answer.is_some())
}
