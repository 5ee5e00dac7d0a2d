//! The environment of the rounds: three homogeneous nodes that never bootstrap automatically, three etcd members, two
//! console replicas, and a signed-in team for each replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use acceptance::lab::console::{ConsoleSettings, LabConsole};
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab, HomogeneousNode};
use acceptance::lab::network;
use acceptance::load::{ConnectTarget, TargetSelector, schema};
use acceptance::observer::ObservedNode;
use acceptance::recovery_team::RecoveryTeam;
use anyhow::Result;

/// Longest wait for three empty nodes to form a cluster.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(120);
/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// How many replicas of the console there are.
pub(crate) const CONSOLES: usize = 2;
/// Account for probing and writing: through the node's own socket, which no partition affects.
const LOCAL_USER: &str = "root";

/// A lab with everything that a round needs.
pub(crate) struct RoundsLab {
    // Dropped in this order.
    pub(crate) consoles: Vec<LabConsole>,
    /// Those who work with each replica.
    pub(crate) teams: Vec<RecoveryTeam>,
    pub(crate) nodes: HomogeneousLab,
}

impl RoundsLab {
    /// Starts everything.
    ///
    /// # Errors
    /// If something does not start.
    pub(crate) async fn start() -> Result<Self> {
        // The kernel takes a moment to forget a network.
        static NETWORKS: AtomicU8 = AtomicU8::new(1);
        let nodes = if network::in_own_namespace() {
            let subnet = NETWORKS.fetch_add(1, Ordering::Relaxed);
            HomogeneousLab::prepare_with_network(NODES, subnet).await?
        } else {
            HomogeneousLab::prepare(NODES).await?
        };
        let nodes = nodes.without_auto_bootstrap();
        for node in nodes.nodes() {
            node.start()?;
        }
        nodes
            .wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT)
            .await?;
        for statement in schema("writes-and-reads") {
            nodes.node(1).execute(&statement).await?;
        }
        let settings = nodes.console_settings();
        let first = LabConsole::start(settings.clone()).await?;
        let second = LabConsole::start(ConsoleSettings {
            // The accounts are there.
            users: Vec::new(),
            directory: settings.directory.with_extension("second"),
            ..settings.clone()
        })
        .await?;
        let mut team = vec![RecoveryTeam::sign_in_for(&first, CLUSTER).await?];
        team.push(team[0].at_replica(&second)?);
        Ok(Self {
            consoles: vec![first, second],
            teams: team,
            nodes,
        })
    }

    /// Node `index`, counted from 0.
    pub(crate) fn node(&self, index: usize) -> &HomogeneousNode {
        self.nodes.node(index + 1)
    }

    /// Every node, for an observer.
    pub(crate) fn observed_nodes(&self) -> Vec<ObservedNode> {
        self.nodes.observed_nodes(LOCAL_USER)
    }

    /// One local writer per node, so that every side of every partition is written to.
    pub(crate) fn target_selector(&self) -> TargetSelector {
        let nodes = self.observed_nodes();
        Arc::new(move |writer, _| {
            let node = nodes.get(usize::try_from(writer).ok()?)?;
            Some(ConnectTarget {
                node: node.name.clone(),
                options: node.options.clone(),
            })
        })
    }

    /// The replicas that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        let running = |index: &usize| self.consoles[*index].pid().is_some();
        (0..self.consoles.len()).filter(running).collect()
    }
}
