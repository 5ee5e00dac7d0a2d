//! What a cluster of one database release must do, or of two while it is upgraded: the scenarios of `make test-matrix`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::galera::NodeId;
use ::galera::view::{ClusterView, NodeState, VerdictState};
use anyhow::{Context, Result, ensure};

use crate::eventually;
use crate::lab::console::LabConsole;
use crate::lab::homogeneous::{CLUSTER, HomogeneousLab, HomogeneousNode};
use crate::lab::release::ServerRelease;
use crate::load::{self, ConnectTarget, TargetSelector, WriteLoad};
use crate::observer::ClusterObserver;
use crate::recovery_team::RecoveryTeam;

mod recording;
mod scenarios;

/// Longest wait for a cluster to form, a state transfer included; several minutes on a slow machine under load.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest wait for the console to show what the nodes report.
const VIEW_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest wait for writers to get rows acknowledged.
const WRITE_TIMEOUT: Duration = Duration::from_secs(180);
/// The members, by number.
const MEMBERS: [usize; 3] = [1, 2, 3];
/// The password of the writers' account, which only this machine's clients use.
const WRITER_PASSWORD: &str = "writer";

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Three empty nodes form one cluster; the console shows it healthy, with its versions.
    Form,
    /// A node is killed, misses rows and gets them by an incremental state transfer.
    IncrementalTransfer,
    /// A node without data gets all by a full state transfer.
    FullTransfer,
    /// Two of three nodes are killed; the console's approved statement makes the third Primary.
    ApprovedStatement,
    /// All nodes are killed; their agents agree on the most advanced one.
    AgentsRestart,
    /// All nodes are killed and wait; the console's approved order starts the most advanced one.
    ApprovedOrder,
    /// The nodes are replaced by those of another release, one after the other.
    Upgrade(ServerRelease),
}

impl Scenario {
    /// Those that every release must pass, in the order that they are played in.
    pub const EVERY_RELEASE: [Self; 6] = [
        Self::Form,
        Self::IncrementalTransfer,
        Self::FullTransfer,
        Self::ApprovedStatement,
        Self::AgentsRestart,
        Self::ApprovedOrder,
    ];
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "three nodes form a cluster",
            Self::IncrementalTransfer => "killed node returns by IST",
            Self::FullTransfer => "empty node joins by SST (rsync)",
            Self::ApprovedStatement => "quorum lost, approved bootstrap",
            Self::AgentsRestart => "all killed, agents restart it",
            Self::ApprovedOrder => "all killed, approved order",
            Self::Upgrade(_) => "rolling upgrade",
        })
    }
}

/// A cluster of three with a console and clients that write all the time.
pub struct MatrixLab {
    // Dropped in this order.
    load: Option<WriteLoad>,
    team: RecoveryTeam,
    console: LabConsole,
    observer: ClusterObserver,
    lab: Arc<HomogeneousLab>,
}

impl MatrixLab {
    /// Plays [`Scenario::Form`] with servers and etcd of `release`.
    ///
    /// # Errors
    /// If the release is not unpacked, or no cluster is formed that the console shows as healthy.
    pub async fn form(release: ServerRelease) -> Result<Self> {
        let lab = Arc::new(HomogeneousLab::prepare_release(MEMBERS.len(), release).await?);
        let observer = ClusterObserver::start(lab.observed_nodes("console"))?;
        for node in lab.nodes() {
            node.start()?;
        }
        lab.wait_until_synced(&MEMBERS, FORMATION_TIMEOUT).await?;
        for statement in load::schema(WRITER_PASSWORD) {
            lab.node(1).execute(&statement).await?;
        }
        let console = LabConsole::start(lab.console_settings()).await?;
        let team = RecoveryTeam::sign_in_for(&console, CLUSTER).await?;
        let load = WriteLoad::start(MEMBERS.len() as u64, &write_anywhere(&lab))?;
        let matrix = Self {
            load: Some(load),
            team,
            console,
            observer,
            lab,
        };
        matrix.wait_until_healthy().await?;
        Ok(matrix)
    }

    /// Plays a scenario on the cluster, which is healthy before and afterwards. Returns how long it took.
    ///
    /// # Errors
    /// If it fails; names what was waited for.
    pub async fn play(&self, scenario: Scenario) -> Result<Duration> {
        let began = Instant::now();
        match scenario {
            Scenario::Form => self.wait_until_healthy().await?,
            Scenario::IncrementalTransfer => self.transfer_incrementally().await?,
            Scenario::FullTransfer => self.transfer_everything().await?,
            Scenario::ApprovedStatement => self.recover_by_statement().await?,
            Scenario::AgentsRestart => self.restart_by_agents().await?,
            Scenario::ApprovedOrder => self.recover_by_order().await?,
            Scenario::Upgrade(release) => self.upgrade(release).await?,
        }
        Ok(began.elapsed())
    }

    /// Ends the writing and returns how many rows were acknowledged: all are on every node, and at no time there were two
    /// Primary components.
    ///
    /// # Errors
    /// If that does not hold.
    pub async fn finish(mut self) -> Result<usize> {
        let load = self.load.take().context("the writers have ended")?;
        let rows = load.stop().await;
        ensure!(!rows.is_empty(), "nothing was written");
        for node in self.lab.nodes() {
            let options = node.socket_options("writer", WRITER_PASSWORD);
            let missing = load::missing_rows(options, &rows).await?;
            ensure!(
                missing.is_empty(),
                "{} lacks acknowledged rows: {missing:?}",
                node.id()?
            );
        }
        self.observer.verify()?;
        let verified = self.console.command(&["audit", "verify"]).await?;
        ensure!(verified.contains("the chain is intact"), "{verified}");
        Ok(rows.len())
    }

    /// The logs of the programs.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        let nodes = self.lab.nodes().iter();
        let nodes = nodes.flat_map(|node| [node.log(), node.error_log()]);
        nodes.chain([self.console.log().to_path_buf()]).collect()
    }

    /// Writes what node 1 answers to the statements that the console and the agent send, and the server's privileges and
    /// provider options, into one file for each in `directory`.
    ///
    /// # Errors
    /// If the node does not respond or a file cannot be written.
    pub async fn record(&self, directory: &Path) -> Result<()> {
        recording::record(self.lab.node(1), directory).await
    }

    async fn wait_until_healthy(&self) -> Result<()> {
        self.wait_for_view("a healthy cluster", |view| {
            ensure!(
                view.verdict.state == VerdictState::Healthy,
                "{:#?}",
                view.verdict
            );
            for node in self.lab.nodes() {
                check_node(view, node)?;
            }
            Ok(())
        })
        .await
    }

    async fn wait_for_view(
        &self,
        what: &str,
        check: impl Fn(&ClusterView) -> Result<()>,
    ) -> Result<()> {
        eventually(what, VIEW_TIMEOUT, async || {
            check(&self.team.operator.cluster(CLUSTER).await?)
        })
        .await
    }

    /// Waits until clients have got further rows acknowledged.
    async fn wait_for_rows(&self) -> Result<()> {
        let load = self.load.as_ref().context("the writers have ended")?;
        let before = load.acknowledged();
        eventually("acknowledged rows", WRITE_TIMEOUT, async || {
            let now = load.acknowledged();
            ensure!(now >= before + 20, "{} rows", now - before);
            Ok(())
        })
        .await
    }
}

/// The node's id in the console, which leaves out the port that is its own `--mysql-port`.
fn shown_id(node: &HomogeneousNode) -> Result<NodeId> {
    Ok(NodeId::new(&node.address().to_string(), None)?)
}

/// Whether the console shows the node Synced, with the version of its release.
fn check_node(view: &ClusterView, node: &HomogeneousNode) -> Result<()> {
    let id = shown_id(node)?;
    let shown = view.nodes.iter().find(|shown| shown.id == id);
    let shown = shown.with_context(|| format!("{id} is not shown"))?;
    ensure!(shown.state == NodeState::Synced, "{id}: {:?}", shown.state);
    if node.release() != ServerRelease::Installed {
        let expected = node.release().versions()?.mariadb;
        let version = shown.version.clone().unwrap_or_default();
        ensure!(
            version.starts_with(&expected),
            "{id} is shown with version {version}, and is {expected}"
        );
    }
    Ok(())
}

/// Writers go to one node after the other.
fn write_anywhere(lab: &Arc<HomogeneousLab>) -> TargetSelector {
    let targets: Vec<ConnectTarget> = lab
        .nodes()
        .iter()
        .map(|node| ConnectTarget {
            node: node.number().to_string(),
            options: node.socket_options("writer", WRITER_PASSWORD),
        })
        .collect();
    Arc::new(move |writer, sequence| {
        let count = targets.len() as u64;
        let index = writer.wrapping_add(sequence).checked_rem(count)?;
        targets.get(usize::try_from(index).ok()?).cloned()
    })
}
