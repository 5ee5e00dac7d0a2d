//! What was done to the lab and not yet undone, and how faults are injected.

use std::path::PathBuf;

use acceptance::lab::homogeneous::SmallDisk;
use acceptance::lab::process::LabProcess;
use anyhow::Result;
use futures::future::join_all;
use mysql_async::Conn;

use crate::faults::{ClockOwner, RoundFault};
use crate::rounds_lab::{ETCD_MEMBERS, NODES, RoundsLab};

mod memory;
mod network;
mod sessions;
mod votes;

pub(crate) use memory::LostMemory;

/// What was done to a node and not yet undone.
#[derive(Debug, Default)]
pub(crate) struct NodeCondition {
    /// Its container was killed or stopped.
    pub(crate) down: bool,
    /// Its container, or only its server, is paused.
    pub(crate) paused: bool,
    /// Its agent alone is paused.
    pub(crate) agent_paused: bool,
    /// It refuses the connections of the group.
    pub(crate) isolated: bool,
    /// Its cable is pulled.
    pub(crate) unplugged: bool,
    /// It is to return only when the cluster has passed this position.
    pub(crate) returns_after: Option<u64>,
    /// Where its former data are, since it runs on others.
    pub(crate) former_data: Option<PathBuf>,
    /// The data that were registered at its address are gone for good.
    pub(crate) data_given_up: bool,
    /// The copy of its data.
    pub(crate) copy: Option<PathBuf>,
}

/// The state of everything that can fail.
#[derive(Default)]
pub(crate) struct LabConditions {
    pub(crate) nodes: [NodeCondition; NODES],
    /// Nodes that only the other hidden one sees.
    pub(crate) hidden: bool,
    /// Sessions that hold a lock, with their node.
    locks: Vec<(usize, Conn)>,
    /// Sessions of applications that use every connection, with their node.
    clients: Vec<(usize, Conn)>,
    arbitrator: Option<LabProcess>,
    pub(crate) had_arbitrator: bool,
    /// Whether weights differ from 1.
    pub(crate) weighted: bool,
    pub(crate) lost_memory: Option<LostMemory>,
    /// Whether clocks differ from the machine's.
    pub(crate) clocks_differ: bool,
    /// Disks that are too small, with their node.
    pub(crate) disks: Vec<(usize, SmallDisk)>,
}

impl LabConditions {
    /// Makes it so. Faults that take several steps are [`crate::round::Round`]'s.
    ///
    /// # Errors
    /// If the machine refuses; never because a node is in no state to fail in this way.
    pub(crate) async fn apply(&mut self, lab: &RoundsLab, fault: &RoundFault) -> Result<()> {
        match fault {
            RoundFault::Kill(nodes) => self.kill(lab, nodes).await?,
            RoundFault::Pause(node) => {
                if !self.nodes[*node].down && lab.node(*node).pause().is_ok() {
                    self.nodes[*node].paused = true;
                }
            }
            RoundFault::PauseServer(node) => {
                if !self.nodes[*node].down && lab.node(*node).pause_server(true).is_ok() {
                    self.nodes[*node].paused = true;
                }
            }
            RoundFault::PauseAgent(node) => {
                if !self.nodes[*node].down && lab.node(*node).pause_agent(true).is_ok() {
                    self.nodes[*node].agent_paused = true;
                }
            }
            RoundFault::Isolate(nodes) => {
                let able = |node: &&usize| !self.nodes[**node].down && !self.nodes[**node].paused;
                let able: Vec<usize> = nodes.iter().filter(able).copied().collect();
                let orders = able.iter().map(|node| lab.node(*node).isolate(true));
                let done = join_all(orders).await;
                for (node, done) in able.iter().zip(done) {
                    self.nodes[*node].isolated = done.is_ok();
                }
            }
            RoundFault::Etcd(member) => lab.nodes.etcd().member(member + 1).kill(),
            RoundFault::EtcdQuorum(spared) => {
                for member in (0..ETCD_MEMBERS).filter(|member| member != spared) {
                    lab.nodes.etcd().member(member + 1).kill();
                }
            }
            RoundFault::Console(console) => lab.consoles[*console].kill(),
            RoundFault::Clock(owner, seconds) => self.set_clock(lab, *owner, *seconds)?,
            RoundFault::Partition(_)
            | RoundFault::PartitionAll
            | RoundFault::Unplug(_)
            | RoundFault::Hide(..) => {
                self.apply_network_fault(lab, fault).await?;
            }
            RoundFault::Lock(node) => self.lock(lab, *node).await,
            RoundFault::Fill(node) => self.fill(lab, *node).await,
            RoundFault::Weights(weights) => self.set_weights(lab, *weights).await,
            RoundFault::Arbitrator => self.start_arbitrator(lab)?,
            RoundFault::KillArbitrator => drop(self.arbitrator.take()),
            RoundFault::SaveEtcd
            | RoundFault::EmptyEtcd
            | RoundFault::RestoreEtcd
            | RoundFault::DeleteState => {
                self.apply_memory_fault(lab, fault).await?;
            }
            RoundFault::SaveData(_)
            | RoundFault::Rewind(_)
            | RoundFault::Replace(_)
            | RoundFault::Ahead(_)
            | RoundFault::InterruptTransfer(..)
            | RoundFault::FullDisk(_) => anyhow::bail!("{fault} takes several steps"),
        }
        Ok(())
    }

    /// Kills containers.
    ///
    /// # Errors
    /// If a server does not exit.
    pub(crate) async fn kill(&mut self, lab: &RoundsLab, nodes: &[usize]) -> Result<()> {
        let kills = nodes.iter().map(|node| lab.node(*node).kill());
        for killed in join_all(kills).await {
            killed?;
        }
        for node in nodes {
            let node = &mut self.nodes[*node];
            node.down = true;
            (node.paused, node.agent_paused, node.isolated) = (false, false, false);
        }
        Ok(())
    }

    /// Wakes a paused container, server or agent.
    pub(crate) fn resume(&mut self, lab: &RoundsLab, index: usize) {
        // If it has exited in the meantime, it is started with the others that have.
        let _ = lab.node(index).resume();
        self.nodes[index].paused = false;
        self.nodes[index].agent_paused = false;
    }

    /// Starts a container again.
    ///
    /// # Errors
    /// If it is already running or the agent is missing.
    pub(crate) fn start(&mut self, lab: &RoundsLab, index: usize) -> Result<()> {
        lab.node(index).start()?;
        let node = &mut self.nodes[index];
        (node.down, node.paused, node.isolated) = (false, false, false);
        (node.agent_paused, node.returns_after) = (false, None);
        Ok(())
    }

    /// The nodes that are in this condition.
    pub(crate) fn nodes_where(&self, is: impl Fn(&NodeCondition) -> bool) -> Vec<usize> {
        (0..NODES).filter(|node| is(&self.nodes[*node])).collect()
    }

    fn set_clock(&mut self, lab: &RoundsLab, owner: ClockOwner, seconds: i64) -> Result<()> {
        let clock = match owner {
            ClockOwner::Node(node) => lab.node(node).clock(),
            ClockOwner::Console(console) => lab.consoles[console].settings().clock.as_ref(),
        };
        if let Some(clock) = clock {
            clock.set(seconds)?;
            self.clocks_differ = true;
        }
        Ok(())
    }

    /// Sets every clock to the machine's time.
    ///
    /// # Errors
    /// If a clock cannot be set.
    pub(crate) fn correct_clocks(&mut self, lab: &RoundsLab) -> Result<()> {
        if std::mem::take(&mut self.clocks_differ) {
            let nodes = lab.nodes.nodes().iter().filter_map(|node| node.clock());
            let consoles = lab.consoles.iter();
            let consoles = consoles.filter_map(|console| console.settings().clock.as_ref());
            for clock in nodes.chain(consoles) {
                clock.set(0)?;
            }
        }
        Ok(())
    }
}
