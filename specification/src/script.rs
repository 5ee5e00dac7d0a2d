//! Scripts of faults that are played on the specification and on real servers alike.
//!
//! [`ScriptPlayer`] plays them on the specification. After each step [`ScriptPlayer::observe`] states what a client and the
//! files of each node must show once the group has settled; the lab compares that with real servers.

mod named;
mod observation;
mod player;
mod random;

use std::fmt;

use crate::NodeIndex;

pub use observation::{FileObservation, NodeObservation, OpenServer, ServerObservation};
pub use player::{ScriptPlayer, StepOutcome};

/// Synced nodes, and what happens to them one step after the other.
#[derive(Clone, Debug)]
pub struct GaleraScript {
    /// A unique name in lower case: `even_split`, `random:7`.
    pub name: String,
    /// `pc.weight` of each node when the cluster forms; their number is that of the nodes.
    pub weights: Vec<u64>,
    /// Whether an arbitrator is a member too; its index is the one after the last node's.
    pub arbitrator: bool,
    pub steps: Vec<ScriptStep>,
}

/// What happens between two observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptStep {
    /// The server starts, from its recovered position, and joins what it reaches.
    Start(NodeIndex),
    /// The same with `--wsrep-new-cluster`.
    StartNewCluster(NodeIndex),
    /// SIGKILL.
    Kill(NodeIndex),
    /// SIGTERM.
    Stop(NodeIndex),
    /// SIGSTOP.
    Pause(NodeIndex),
    /// SIGCONT.
    Resume(NodeIndex),
    /// `FLUSH TABLES WITH READ LOCK`.
    Lock(NodeIndex),
    /// `UNLOCK TABLES`.
    Unlock(NodeIndex),
    /// No packet passes between two nodes any more.
    Cut(NodeIndex, NodeIndex),
    /// All packets pass between two nodes again.
    Mend(NodeIndex, NodeIndex),
    /// All packets pass between all nodes. Which of them meet first is up to them.
    Heal,
    /// `SET GLOBAL wsrep_provider_options='pc.bootstrap=1'`.
    Bootstrap(NodeIndex),
    /// A client inserts a row with this number.
    Write(NodeIndex, u64),
    /// `safe_to_bootstrap: 1` is written into the grastate.dat of a stopped node.
    SetSafeToBootstrap(NodeIndex),
    /// gvwstate.dat of a stopped node is deleted.
    RemoveSavedView(NodeIndex),
    /// A stopped node gets an empty data directory.
    EmptyData(NodeIndex),
    /// More than [`crate::WAIT_PRIM_TIMEOUT`] passes.
    WaitPrimTimeout,
}

impl GaleraScript {
    /// A script for `nodes` nodes of weight 1 without an arbitrator.
    fn new(name: &str, nodes: usize, steps: impl Into<Vec<ScriptStep>>) -> Self {
        Self {
            name: name.to_owned(),
            weights: vec![1; nodes],
            arbitrator: false,
            steps: steps.into(),
        }
    }

    fn with_weights(mut self, weights: &[u64]) -> Self {
        self.weights = weights.to_vec();
        self
    }

    fn with_arbitrator(mut self) -> Self {
        self.arbitrator = true;
        self
    }

    /// All scripts that have a name of their own.
    #[must_use]
    pub fn named() -> Vec<Self> {
        named::all()
    }

    /// The script with this name: one of [`GaleraScript::named`], or `random:SEED`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        if let Some(seed) = name.strip_prefix("random:") {
            return Some(random::script(seed.parse().ok()?));
        }
        Self::named().into_iter().find(|script| script.name == name)
    }
}

impl fmt::Display for ScriptStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Start(node) => write!(f, "start n{}", node + 1),
            Self::StartNewCluster(node) => write!(f, "start n{} --wsrep-new-cluster", node + 1),
            Self::Kill(node) => write!(f, "kill n{}", node + 1),
            Self::Stop(node) => write!(f, "stop n{}", node + 1),
            Self::Pause(node) => write!(f, "pause n{}", node + 1),
            Self::Resume(node) => write!(f, "resume n{}", node + 1),
            Self::Lock(node) => write!(f, "lock all tables of n{}", node + 1),
            Self::Unlock(node) => write!(f, "unlock the tables of n{}", node + 1),
            Self::Cut(one, other) => write!(f, "cut n{} from n{}", one + 1, other + 1),
            Self::Mend(one, other) => write!(f, "mend n{} and n{}", one + 1, other + 1),
            Self::Heal => f.write_str("heal the network"),
            Self::Bootstrap(node) => write!(f, "bootstrap n{}", node + 1),
            Self::Write(node, number) => write!(f, "write {number} on n{}", node + 1),
            Self::SetSafeToBootstrap(node) => write!(f, "set safe_to_bootstrap on n{}", node + 1),
            Self::RemoveSavedView(node) => write!(f, "delete gvwstate.dat of n{}", node + 1),
            Self::EmptyData(node) => write!(f, "empty the data directory of n{}", node + 1),
            Self::WaitPrimTimeout => f.write_str("wait longer than pc.wait_prim_timeout"),
        }
    }
}
