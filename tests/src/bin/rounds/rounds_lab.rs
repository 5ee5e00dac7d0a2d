//! The environment of the rounds: three homogeneous nodes that never bootstrap automatically, three etcd members, two
//! console replicas, and a signed-in team for each replica.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use acceptance::lab::clock::LabClock;
use acceptance::lab::console::{ConsoleSettings, LabConsole};
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab, HomogeneousNode};
use acceptance::lab::network;
use acceptance::lab::ports::ReservedPort;
use acceptance::load::{ConnectTarget, TargetSelector, schema};
use acceptance::observer::ObservedNode;
use acceptance::recovery_team::RecoveryTeam;
use anyhow::{Context, Result};
use galera::NodeId;
use mysql_async::Opts;

/// Longest wait for three empty nodes to form a cluster.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(120);
/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// How many replicas of the console there are.
pub(crate) const CONSOLES: usize = 2;
/// How many members etcd has.
pub(crate) const ETCD_MEMBERS: usize = 3;
/// Account for observing and writing, through the node's own socket, which no partition affects. It has no privilege
/// that would give it the connection that a server reserves.
const LOCAL_USER: &str = "writer";
const LOCAL_PASSWORD: &str = "writes-and-reads";
/// What a console has seen of its records, in its directory.
const SEEN_DIRECTORY: &str = "seen";

/// A lab with everything that a round needs.
pub(crate) struct RoundsLab {
    // Dropped in this order.
    pub(crate) consoles: Vec<LabConsole>,
    /// The sessions at each replica.
    teams: Mutex<Vec<Arc<RecoveryTeam>>>,
    pub(crate) nodes: HomogeneousLab,
    arbitrator_port: ReservedPort,
    /// Whether nodes and consoles have clocks that can be set.
    pub(crate) has_clocks: bool,
}

impl RoundsLab {
    /// Starts everything; with `clocks`, nodes and consoles have clocks that can be set.
    ///
    /// # Errors
    /// If something does not start.
    pub(crate) async fn start(clocks: bool) -> Result<Self> {
        // The kernel takes a moment to forget a network.
        static NETWORKS: AtomicU8 = AtomicU8::new(1);
        let nodes = if network::in_own_namespace() {
            let subnet = NETWORKS.fetch_add(1, Ordering::Relaxed);
            HomogeneousLab::prepare_with_network(NODES, subnet).await?
        } else {
            HomogeneousLab::prepare(NODES).await?
        };
        let mut nodes = nodes.without_auto_bootstrap();
        if clocks {
            nodes = nodes.with_clocks()?;
        }
        for node in nodes.nodes() {
            node.start()?;
        }
        nodes
            .wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT)
            .await?;
        for statement in schema(LOCAL_PASSWORD) {
            nodes.node(1).execute(&statement).await?;
        }
        let mut consoles = Vec::new();
        for number in 1..=CONSOLES {
            let console = LabConsole::prepare(console_settings(&nodes, number, clocks)?)?;
            if number == 1 {
                for user in &console.settings().users {
                    console.add_user(user).await?;
                }
            }
            console.launch()?;
            console.wait_until_ready().await?;
            consoles.push(console);
        }
        let middle = nodes
            .network()
            .map_or(std::net::Ipv4Addr::LOCALHOST, network::LabNetwork::router);
        let lab = Self {
            consoles,
            teams: Mutex::default(),
            arbitrator_port: ReservedPort::reserve(middle)?,
            nodes,
            has_clocks: clocks,
        };
        lab.sign_in(0).await?;
        Ok(lab)
    }

    /// Signs everyone in at one replica; the sessions are those of every replica.
    ///
    /// # Errors
    /// If that is refused.
    pub(crate) async fn sign_in(&self, console: usize) -> Result<()> {
        let team = RecoveryTeam::sign_in_for(&self.consoles[console], CLUSTER).await?;
        let teams = self.consoles.iter().map(|replica| {
            let team = team.at_replica(replica)?;
            anyhow::Ok(Arc::new(team))
        });
        let teams = teams.collect::<Result<Vec<_>>>()?;
        *self.teams.lock().unwrap_or_else(PoisonError::into_inner) = teams;
        Ok(())
    }

    /// Those who work with a replica.
    pub(crate) fn team(&self, console: usize) -> Arc<RecoveryTeam> {
        let teams = self.teams.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&teams[console])
    }

    /// Deletes the consoles' state from etcd.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub(crate) async fn delete_state(&self) -> Result<()> {
        let prefix = &self.consoles[0].settings().state_prefix;
        self.nodes.etcd().delete_prefix(&format!("{prefix}/")).await
    }

    /// Deletes what every console has seen of its records.
    ///
    /// # Errors
    /// If a directory cannot be removed.
    pub(crate) fn forget_seen_records(&self) -> Result<()> {
        for console in &self.consoles {
            let seen = console.settings().directory.join(SEEN_DIRECTORY);
            std::fs::remove_dir_all(&seen)
                .and_then(|()| std::fs::create_dir(&seen))
                .with_context(|| seen.display().to_string())?;
        }
        Ok(())
    }

    /// Runs `state accept` beside the first console; returns what it printed.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) async fn accept_earlier_state(&self) -> Result<String> {
        let console = &self.consoles[0];
        let seen = console.settings().directory.join(SEEN_DIRECTORY);
        let seen = seen.display().to_string();
        let reason = "etcd was restored from a backup";
        let arguments = [
            "state",
            "accept",
            "--confirm",
            "--reason",
            reason,
            "--data-dir",
            &seen,
        ];
        console.command(&arguments).await
    }

    /// The value of `--cluster` with every member.
    ///
    /// # Errors
    /// Never with addresses.
    pub(crate) fn pinned_members(&self) -> Result<String> {
        let ids = self
            .nodes
            .nodes()
            .iter()
            .map(|node| Ok(node.id()?.to_string()));
        let ids = ids.collect::<Result<Vec<String>>>()?;
        Ok(format!("{CLUSTER}={}", ids.join(",")))
    }

    /// The port that an arbitrator listens on.
    pub(crate) fn arbitrator_port(&self) -> u16 {
        self.arbitrator_port.number()
    }

    /// The logs of all programs but etcd.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        let nodes = self.nodes.nodes().iter();
        let nodes = nodes.flat_map(|node| [node.log(), node.error_log()]);
        let consoles = self.consoles.iter();
        let consoles = consoles.map(|console| console.log().to_path_buf());
        nodes.chain(consoles).collect()
    }

    /// Which node has this id, with or without its port.
    pub(crate) fn index_of(&self, id: &NodeId) -> Option<usize> {
        let host = id.host();
        let mut nodes = self.nodes.nodes().iter();
        nodes.position(|node| node.address().to_string() == host)
    }

    /// How clients on the node's own machine connect.
    pub(crate) fn local_options(&self, index: usize) -> Opts {
        self.node(index).socket_options(LOCAL_USER, LOCAL_PASSWORD)
    }

    /// Node `index`, counted from 0.
    pub(crate) fn node(&self, index: usize) -> &HomogeneousNode {
        self.nodes.node(index + 1)
    }

    /// Every node, for an observer.
    pub(crate) fn observed_nodes(&self) -> Vec<ObservedNode> {
        let mut nodes = self.nodes.observed_nodes(LOCAL_USER);
        for (index, node) in nodes.iter_mut().enumerate() {
            node.options = self.local_options(index);
        }
        nodes
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

fn console_settings(
    nodes: &HomogeneousLab,
    number: usize,
    clocks: bool,
) -> Result<ConsoleSettings> {
    let settings = nodes.console_settings();
    let directory = settings.directory.with_extension(number.to_string());
    let seen = directory.join(SEEN_DIRECTORY);
    std::fs::create_dir_all(&seen)?;
    let clock = if clocks {
        Some(LabClock::create(&directory, "clock")?)
    } else {
        None
    };
    Ok(ConsoleSettings {
        extra_arguments: vec!["--data-dir".to_owned(), seen.display().to_string()],
        directory,
        clock,
        ..settings
    })
}
