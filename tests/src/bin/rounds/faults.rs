//! What fails.

use std::fmt;
use std::time::Duration;

/// Something that fails. Nodes, members and consoles are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoundFault {
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
    /// The data of a node are copied, for [`RoundFault::Rewind`]; the node is restarted for that.
    SaveData(usize),
    /// A node gets an older copy of its data, as from a restored volume.
    Rewind(usize),
    /// A node is replaced by an empty container under the same address.
    Replace(usize),
    /// The others stop, this node continues alone and is killed. It returns once the cluster has passed it.
    Ahead(usize),
    /// A server is paused; its agent continues.
    PauseServer(usize),
    /// An agent is paused; its server continues.
    PauseAgent(usize),
    /// A session runs FLUSH TABLES WITH READ LOCK and keeps the lock.
    Lock(usize),
    /// Applications use every connection of a server.
    Fill(usize),
    /// Each node's weight in the quorum is set.
    Weights([u8; 3]),
    /// An arbitrator joins, on the router's side of the network.
    Arbitrator,
    /// The arbitrator is killed.
    KillArbitrator,
    /// A backup of etcd is made, for [`RoundFault::RestoreEtcd`].
    SaveEtcd,
    /// etcd loses everything.
    EmptyEtcd,
    /// etcd is restored from the backup.
    RestoreEtcd,
    /// The consoles' state is deleted from etcd.
    DeleteState,
    /// A clock is set to so many seconds after the machine's.
    Clock(ClockOwner, i64),
    /// A node starts empty, and one end of its full state transfer is killed.
    InterruptTransfer(usize, TransferEnd),
    /// A node starts empty, on a disk that is too small for the data.
    FullDisk(usize),
}

/// Whose clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockOwner {
    /// Agent and server of a node.
    Node(usize),
    /// A replica of the console.
    Console(usize),
}

/// An end of a state transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferEnd {
    /// The node that sends.
    Donor,
    /// The node that receives.
    Joiner,
}

impl fmt::Display for RoundFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |nodes: &[usize]| {
            let names: Vec<String> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
            names.join("+")
        };
        let name = |node: &usize| names(&[*node]);
        match self {
            Self::Kill(nodes) => write!(f, "kill {}", names(nodes)),
            Self::Pause(node) => write!(f, "pause {}", name(node)),
            Self::Isolate(nodes) => write!(f, "isolate {}", names(nodes)),
            Self::Partition(node) => write!(f, "partition {} from the others", name(node)),
            Self::PartitionAll => f.write_str("partition all from each other"),
            Self::Unplug(nodes) => write!(f, "unplug {}", names(nodes)),
            Self::Hide(one, other) => write!(f, "hide {}", names(&[*one, *other])),
            Self::Etcd(member) => write!(f, "kill etcd e{}", member + 1),
            Self::EtcdQuorum(member) => write!(f, "kill etcd but e{}", member + 1),
            Self::Console(console) => write!(f, "kill console {}", console + 1),
            Self::SaveData(node) => write!(f, "copy the data of {}", name(node)),
            Self::Rewind(node) => write!(f, "start {} on the copy", name(node)),
            Self::Replace(node) => write!(f, "start {} empty", name(node)),
            Self::Ahead(node) => write!(f, "continue on {} alone and kill it", name(node)),
            Self::PauseServer(node) => write!(f, "pause the server of {}", name(node)),
            Self::PauseAgent(node) => write!(f, "pause the agent of {}", name(node)),
            Self::Lock(node) => write!(f, "lock {}", name(node)),
            Self::Fill(node) => write!(f, "use every connection of {}", name(node)),
            Self::Weights(weights) => write!(f, "weights {weights:?}"),
            Self::Arbitrator => f.write_str("start an arbitrator"),
            Self::KillArbitrator => f.write_str("kill the arbitrator"),
            Self::SaveEtcd => f.write_str("back etcd up"),
            Self::EmptyEtcd => f.write_str("empty etcd"),
            Self::RestoreEtcd => f.write_str("restore etcd"),
            Self::DeleteState => f.write_str("delete the console's state"),
            Self::Clock(ClockOwner::Node(node), seconds) => {
                write!(f, "clock of {} {seconds:+} s", name(node))
            }
            Self::Clock(ClockOwner::Console(console), seconds) => {
                write!(f, "clock of console {} {seconds:+} s", console + 1)
            }
            Self::InterruptTransfer(node, TransferEnd::Donor) => {
                write!(f, "kill the donor of {}", name(node))
            }
            Self::InterruptTransfer(node, TransferEnd::Joiner) => {
                write!(f, "kill {} while it receives data", name(node))
            }
            Self::FullDisk(node) => write!(f, "start {} empty on a small disk", name(node)),
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
    /// The server that is to run the statement, or the agent that is to obey the order, is paused for so long.
    PauseTarget(Duration),
}
