//! The faults, and how they are injected and undone.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::rounds_lab::{CONSOLES, NODES, RoundsLab};

/// How many etcd members there are.
const MEMBERS: usize = 3;

/// Something that fails. Nodes, members and consoles are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Containers are killed, with agent and server.
    Kill(Vec<usize>),
    /// A container is paused: it keeps its connections and answers nothing.
    Pause(usize),
    /// Nodes refuse every connection of the group (`gmcast.isolate`); SQL is not affected.
    Isolate(Vec<usize>),
    /// The network drops everything between this node and the other nodes; consoles and etcd still reach all of them.
    Partition(usize),
    /// The network lets nothing through between any two nodes.
    PartitionAll,
    /// The cables of these nodes are pulled: neither nodes nor consoles nor etcd reach them.
    Unplug(Vec<usize>),
    /// These two see each other, but neither the third nor consoles nor etcd see them.
    Hide(usize, usize),
    /// A member of etcd is killed.
    Etcd(usize),
    /// Two members of etcd are killed: it has no quorum.
    EtcdQuorum(usize),
    /// A replica of the console is killed.
    Console(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |nodes: &[usize]| {
            let names: Vec<String> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
            names.join("+")
        };
        match self {
            Self::Kill(nodes) => write!(f, "kill {}", names(nodes)),
            Self::Pause(node) => write!(f, "pause {}", names(&[*node])),
            Self::Isolate(nodes) => write!(f, "isolate {}", names(nodes)),
            Self::Partition(node) => write!(f, "partition {} from the others", names(&[*node])),
            Self::PartitionAll => f.write_str("partition all from each other"),
            Self::Unplug(nodes) => write!(f, "unplug {}", names(nodes)),
            Self::Hide(one, other) => write!(f, "hide {}", names(&[*one, *other])),
            Self::Etcd(member) => write!(f, "kill etcd e{}", member + 1),
            Self::EtcdQuorum(member) => write!(f, "kill etcd but e{}", member + 1),
            Self::Console(console) => write!(f, "kill console {}", console + 1),
        }
    }
}

/// A disturbance at a critical moment: while a request is pending, or right after its approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// Nothing.
    None,
    /// The replica that took the request or the approval is killed.
    Console,
    /// A member of etcd is killed.
    Etcd(usize),
    /// etcd loses its quorum, for so long.
    EtcdQuorum(Duration),
    /// An orchestrator starts the killed containers again.
    Return,
    /// The network and the group connections are repaired.
    Heal,
}

/// What happens in a round, settled by its seed alone before it begins.
pub(crate) struct RoundScript {
    /// The faults, each after a pause.
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// For each action in turn: the disturbance between request and approval, and the one after the approval.
    pub(crate) disturbances: Vec<(Disturbance, Disturbance)>,
    /// Settles what depends on how things go.
    pub(crate) random: StdRng,
}

impl RoundScript {
    /// Draws a script. Without `network` nothing can be cut there.
    pub(crate) fn draw(mut random: StdRng, network: bool) -> Self {
        let count = random.random_range(2..=4);
        let faults = (0..count).map(|_| {
            let pause = Duration::from_millis(random.random_range(0..2_500));
            (pause, random_fault(&mut random, network))
        });
        let faults = faults.collect();
        let disturbances = (0..8).map(|_| {
            (
                random_disturbance(&mut random),
                random_disturbance(&mut random),
            )
        });
        let disturbances = disturbances.collect();
        Self {
            faults,
            disturbances,
            random,
        }
    }
}

fn random_fault(random: &mut StdRng, network: bool) -> Fault {
    let mut nodes: Vec<usize> = (0..NODES).collect();
    nodes.shuffle(random);
    let (one, two) = (nodes[0], nodes[1]);
    match random.random_range(0..if network { 100 } else { 62 }) {
        0..10 => Fault::Kill(vec![one]),
        10..20 => Fault::Kill(vec![one, two]),
        20..26 => Fault::Kill((0..NODES).collect()),
        26..34 => Fault::Pause(one),
        34..40 => Fault::Isolate(vec![one]),
        40..46 => Fault::Isolate((0..NODES).collect()),
        46..52 => Fault::Etcd(random.random_range(0..MEMBERS)),
        52..55 => Fault::EtcdQuorum(random.random_range(0..MEMBERS)),
        55..62 => Fault::Console(random.random_range(0..CONSOLES)),
        62..72 => Fault::Partition(one),
        72..78 => Fault::PartitionAll,
        78..85 => Fault::Unplug(vec![one]),
        85..93 => Fault::Unplug(vec![one, two]),
        _ => Fault::Hide(one, two),
    }
}

fn random_disturbance(random: &mut StdRng) -> Disturbance {
    let lost = Duration::from_millis(random.random_range(1_000..6_000));
    let member = random.random_range(0..MEMBERS);
    let disturbances = [
        (8, Disturbance::None),
        (3, Disturbance::Console),
        (2, Disturbance::Etcd(member)),
        (2, Disturbance::EtcdQuorum(lost)),
        (1, Disturbance::Return),
        (1, Disturbance::Heal),
    ];
    let drawn = disturbances.choose_weighted(random, |(weight, _)| *weight);
    drawn.map_or(Disturbance::None, |(_, disturbance)| disturbance.clone())
}

/// What was done to a node and not yet undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeCondition {
    /// Its container was killed.
    pub(crate) down: bool,
    /// Its container is paused.
    pub(crate) paused: bool,
    /// It refuses the connections of the group.
    pub(crate) isolated: bool,
    /// Its cable is pulled.
    pub(crate) unplugged: bool,
}

/// The state of everything that can fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabConditions {
    pub(crate) nodes: [NodeCondition; NODES],
    /// Nodes that only the other hidden one sees.
    pub(crate) hidden: bool,
}

impl LabConditions {
    /// Makes it so.
    ///
    /// # Errors
    /// If the machine refuses; never because a node is in no state to fail in this way.
    pub(crate) async fn apply(&mut self, lab: &RoundsLab, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill(nodes) => {
                let kills = nodes.iter().map(|node| lab.node(*node).kill());
                for killed in futures::future::join_all(kills).await {
                    killed?;
                }
                for node in nodes {
                    self.nodes[*node].down = true;
                    self.nodes[*node].paused = false;
                    self.nodes[*node].isolated = false;
                }
            }
            Fault::Pause(node) => {
                if !self.nodes[*node].down && lab.node(*node).pause().is_ok() {
                    self.nodes[*node].paused = true;
                }
            }
            Fault::Isolate(nodes) => {
                let able = |node: &&usize| !self.nodes[**node].down && !self.nodes[**node].paused;
                let able: Vec<usize> = nodes.iter().filter(able).copied().collect();
                let orders = able.iter().map(|node| lab.node(*node).isolate(true));
                let done = futures::future::join_all(orders).await;
                for (node, done) in able.iter().zip(done) {
                    self.nodes[*node].isolated = done.is_ok();
                }
            }
            Fault::Etcd(member) => lab.nodes.etcd().member(member + 1).kill(),
            Fault::EtcdQuorum(spared) => {
                for member in (0..MEMBERS).filter(|member| member != spared) {
                    lab.nodes.etcd().member(member + 1).kill();
                }
            }
            Fault::Console(console) => lab.consoles[*console].kill(),
            Fault::Partition(_) | Fault::PartitionAll | Fault::Unplug(_) | Fault::Hide(..) => {
                self.apply_network_fault(lab, fault).await?;
            }
        }
        Ok(())
    }

    async fn apply_network_fault(&mut self, lab: &RoundsLab, fault: &Fault) -> Result<()> {
        let Some(network) = lab.nodes.network() else {
            return Ok(());
        };
        let address = |node: usize| lab.node(node).address();
        match fault {
            Fault::Partition(one) => {
                for other in (0..NODES).filter(|other| other != one) {
                    network.cut(address(*one), address(other)).await?;
                }
            }
            Fault::PartitionAll => {
                for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                    network.cut(address(one), address(other)).await?;
                }
            }
            Fault::Unplug(nodes) => {
                for node in nodes {
                    network.unplug(address(*node)).await?;
                    self.nodes[*node].unplugged = true;
                }
            }
            Fault::Hide(one, other) => {
                for node in (0..NODES).filter(|node| node != one && node != other) {
                    network.cut(address(*one), address(node)).await?;
                    network.cut(address(*other), address(node)).await?;
                }
                for node in [one, other] {
                    network.hide_from_router(address(*node)).await?;
                }
                self.hidden = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Repairs network and group connections of all reachable nodes.
    ///
    /// # Errors
    /// If iproute2 fails.
    pub(crate) async fn heal(&mut self, lab: &RoundsLab) -> Result<()> {
        if let Some(network) = lab.nodes.network() {
            network.heal().await?;
        }
        self.hidden = false;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.unplugged = false;
            if node.isolated && !node.paused && lab.node(index).isolate(false).await.is_ok() {
                node.isolated = false;
            }
        }
        Ok(())
    }

    /// Wakes a paused container.
    pub(crate) fn resume(&mut self, lab: &RoundsLab, index: usize) {
        // If it has exited in the meantime, it is started with the others that have.
        let _ = lab.node(index).resume();
        self.nodes[index].paused = false;
    }

    /// Starts a container again.
    ///
    /// # Errors
    /// If it is already running or the agent is missing.
    pub(crate) fn start(&mut self, lab: &RoundsLab, index: usize) -> Result<()> {
        lab.node(index).start()?;
        let node = &mut self.nodes[index];
        (node.down, node.paused, node.isolated) = (false, false, false);
        Ok(())
    }

    /// The nodes that are in this condition.
    pub(crate) fn nodes_where(&self, is: impl Fn(&NodeCondition) -> bool) -> Vec<usize> {
        (0..NODES).filter(|node| is(&self.nodes[*node])).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_script_is_deterministic_per_seed() {
        let script = |seed, network| {
            let script = RoundScript::draw(StdRng::seed_from_u64(seed), network);
            (script.faults, script.disturbances)
        };
        assert_eq!(script(7, true), script(7, true));
        assert_ne!(script(7, true), script(8, true));
        let cut = |fault: &Fault| {
            matches!(
                fault,
                Fault::Partition(_) | Fault::PartitionAll | Fault::Unplug(_) | Fault::Hide(..)
            )
        };
        let some =
            |network| (0..200).any(|seed| script(seed, network).0.iter().any(|(_, f)| cut(f)));
        assert!(some(true) && !some(false));
    }
}
