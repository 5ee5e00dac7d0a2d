//! A lab: etcd members, a Galera cluster, node agents and consoles on loopback, each a real process.

pub mod agent;
pub mod certificates;
pub mod clock;
pub mod console;
pub mod directory;
pub mod etcd;
pub mod etcd_security;
pub mod galera;
pub mod homogeneous;
pub mod network;
pub mod node;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod receivers;
pub mod release;
mod repair;
pub mod script;
pub mod template;
pub mod traffic;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use ::galera::id::NodeId;
use anyhow::{Context, Result};

use agent::AgentSidecar;
use console::{ConsoleSettings, LabConsole};
use directory::LabDirectory;
use etcd::LabEtcd;
use galera::{GaleraCluster, NodeProxies};
use node::GaleraNode;
use registry::{Registry, Transaction, WriteOp};

/// The default name of the lab's cluster.
pub const CLUSTER: &str = "lab";

/// Progress of a starting lab.
#[derive(Clone, Copy, Debug)]
pub enum LabProgress<'a> {
    /// A step begins.
    Started(&'a str),
    /// The step that began last has ended; how long it took.
    Done(Duration),
}

/// Describes a lab that is to be started.
pub struct LabBuilder {
    cluster: String,
    etcd: usize,
    secures_etcd: bool,
    nodes: usize,
    agents: bool,
    ttl: Duration,
    ist_bytes_per_second: Option<u64>,
    sql_proxies: bool,
    progress: Box<dyn Fn(LabProgress<'_>) + Send + Sync>,
}

impl LabBuilder {
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        name.clone_into(&mut self.cluster);
        self
    }

    /// How many etcd members (0, 1 or 3).
    #[must_use]
    pub const fn etcd(mut self, members: usize) -> Self {
        self.etcd = members;
        self
    }

    /// Gives etcd TLS and accounts, as deployments have them; by default it has neither.
    #[must_use]
    pub const fn secured_etcd(mut self) -> Self {
        self.secures_etcd = true;
        self
    }

    /// How many Galera nodes.
    #[must_use]
    pub const fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Whether a `galera-agent report` runs beside every node.
    #[must_use]
    pub const fn agents(mut self, agents: bool) -> Self {
        self.agents = agents;
        self
    }

    /// The agents' lease, as `TTL`.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Lets incremental state transfers pass at most this many bytes per second, so that they can be watched.
    #[must_use]
    pub const fn limit_ist(mut self, bytes_per_second: u64) -> Self {
        self.ist_bytes_per_second = Some(bytes_per_second);
        self
    }

    /// Puts a dedicated proxy in front of each node's SQL port, which consoles use; see [`GaleraNode::sql_proxy`].
    #[must_use]
    pub const fn sql_proxies(mut self) -> Self {
        self.sql_proxies = true;
        self
    }

    /// Called when a step begins and when it ends.
    #[must_use]
    pub fn progress(mut self, report: impl Fn(LabProgress<'_>) + Send + Sync + 'static) -> Self {
        self.progress = Box::new(report);
        self
    }

    /// Starts everything and waits until every node is Synced.
    ///
    /// # Errors
    /// If a program is missing or does not start; names it and quotes the end of its log. Everything already started is
    /// stopped.
    pub async fn start(self) -> Result<Lab> {
        let directory = LabDirectory::create()?;
        let step = StartStep::start(&self, &format!("etcd, {} member(s)", self.etcd));
        let etcd = if self.secures_etcd {
            LabEtcd::start_secured(&directory, self.etcd, &self.cluster).await?
        } else {
            LabEtcd::start(&directory, self.etcd).await?
        };
        step.finish();
        let step = StartStep::start(&self, "Data directories");
        let galera = GaleraCluster::prepare(
            &directory,
            &self.cluster,
            self.nodes,
            NodeProxies {
                ist_bytes_per_second: self.ist_bytes_per_second,
                sql: self.sql_proxies,
            },
        )
        .await?;
        step.finish();
        let step = StartStep::start(&self, &format!("MariaDB Galera, {} node(s)", self.nodes));
        galera.start().await?;
        step.finish();
        let mut lab = Lab {
            agents: Vec::new(),
            galera,
            etcd,
            cluster: self.cluster.clone(),
            ttl: self.ttl,
            directory,
        };
        if self.agents {
            let step = StartStep::start(&self, "galera-agent report beside every node");
            for number in 1..=self.nodes {
                lab.agents
                    .push(AgentSidecar::start(&lab, lab.node(number))?);
            }
            step.finish();
        }
        Ok(lab)
    }
}

/// A step of the start, reported when it begins and when it ends.
struct StartStep<'a> {
    builder: &'a LabBuilder,
    began: Instant,
}

impl<'a> StartStep<'a> {
    fn start(builder: &'a LabBuilder, name: &str) -> Self {
        (builder.progress)(LabProgress::Started(name));
        Self {
            builder,
            began: Instant::now(),
        }
    }

    fn finish(self) {
        (self.builder.progress)(LabProgress::Done(self.began.elapsed()));
    }
}

/// Everything that was started; dropping it ends all of it and removes its files.
pub struct Lab {
    // Dropped in this order: what depends on others first, the directory last.
    agents: Vec<AgentSidecar>,
    galera: GaleraCluster,
    etcd: LabEtcd,
    cluster: String,
    ttl: Duration,
    directory: LabDirectory,
}

impl Lab {
    /// By default: one etcd member, three nodes and no agents.
    #[must_use]
    pub fn builder() -> LabBuilder {
        LabBuilder {
            cluster: CLUSTER.to_owned(),
            etcd: 1,
            secures_etcd: false,
            nodes: 3,
            agents: false,
            ttl: Duration::from_secs(10),
            ist_bytes_per_second: None,
            sql_proxies: false,
            progress: Box::new(|_| {}),
        }
    }

    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The TTL that agents report with.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    #[must_use]
    pub const fn etcd(&self) -> &LabEtcd {
        &self.etcd
    }

    #[must_use]
    pub const fn galera(&self) -> &GaleraCluster {
        &self.galera
    }

    /// Node `number`, counted from 1 as in its name.
    ///
    /// # Panics
    /// If it does not exist.
    #[must_use]
    pub fn node(&self, number: usize) -> &GaleraNode {
        &self.galera.nodes()[number - 1]
    }

    #[must_use]
    pub fn nodes(&self) -> &[GaleraNode] {
        self.galera.nodes()
    }

    /// The identities of all nodes, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes().iter().map(|node| node.id().clone()).collect()
    }

    /// The agent of node `number`, counted from 1.
    ///
    /// # Panics
    /// If it does not exist.
    #[must_use]
    pub fn agent(&self, number: usize) -> &AgentSidecar {
        &self.agents[number - 1]
    }

    #[must_use]
    pub fn agents(&self) -> &[AgentSidecar] {
        &self.agents
    }

    /// Where all files of this lab are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A client of the lab's etcd.
    ///
    /// # Errors
    /// If the lab has none.
    pub fn registry(&self) -> Result<Registry> {
        Ok(Registry::connect(self.etcd.settings())?)
    }

    /// Settings of a console for this lab; [`LabConsole::start`] starts it.
    #[must_use]
    pub fn console_settings(&self) -> ConsoleSettings {
        ConsoleSettings::for_lab(self)
    }

    /// Starts a console on this lab as a user would.
    ///
    /// # Errors
    /// As [`LabConsole::start`].
    pub async fn console(&self) -> Result<LabConsole> {
        LabConsole::start(self.console_settings()).await
    }

    /// Restores a lab after a test: all members Synced in one Primary component, etcd and agents running.
    ///
    /// # Errors
    /// If that does not succeed; the lab should then be discarded.
    pub async fn repair(&self) -> Result<()> {
        self.etcd.repair().await.context("etcd does not recover")?;
        self.galera
            .repair()
            .await
            .context("the Galera cluster does not recover")?;
        for agent in &self.agents {
            agent.ensure_running()?;
        }
        self.clean_registry()
            .await
            .context("the registry cannot be cleaned")
    }

    /// Deletes every key of the registry that is not about a node of this lab.
    async fn clean_registry(&self) -> Result<()> {
        if self.etcd.members().is_empty() {
            return Ok(());
        }
        let registry = self.registry()?;
        let port = self.galera.port();
        let own = |key: &str| {
            self.ids().iter().any(|id| {
                // The agent names the port in its key when it is not MariaDB's own.
                [format!("{id}/"), format!("{id}:{port}/")]
                    .iter()
                    .any(|node| key.starts_with(&format!("/galera/{}/{node}", self.cluster)))
            })
        };
        for entry in registry.list("/galera/").await?.entries {
            let key = String::from_utf8_lossy(&entry.key);
            if !own(&key) {
                let delete = Transaction::new().then([WriteOp::delete(entry.key.clone())]);
                registry.transact(&delete).await?;
            }
        }
        Ok(())
    }
}

/// The directory of the built programs: `CONSOLE_BIN_DIR`, otherwise that of the current executable.
///
/// # Errors
/// If the current executable cannot be determined.
pub fn program_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("CONSOLE_BIN_DIR") {
        return Ok(directory.into());
    }
    let executable = std::env::current_exe().context("the path of this executable")?;
    let mut directory = executable.parent().unwrap_or(Path::new("/")).to_path_buf();
    // Test executables lie in deps/.
    if directory.ends_with("deps") {
        directory.pop();
    }
    Ok(directory)
}

/// The path of one of this project's programs.
///
/// # Errors
/// If it is not built; names the command that builds it.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = program_directory()?.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is missing; build it with: cargo build -p {name} (or set CONSOLE_BIN_DIR)",
        path.display()
    );
    Ok(path)
}

/// Runs one of this project's programs to its end, and prints what it printed.
///
/// # Errors
/// If it is not built, fails, or takes longer than `limit`; it is ended then.
pub async fn run_program(name: &str, arguments: &[&str], limit: Duration) -> Result<()> {
    let mut command = tokio::process::Command::new(program(name)?);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = command.kill_on_drop(true).spawn()?.wait_with_output();
    let ended = tokio::time::timeout(limit, run).await??;
    let printed = String::from_utf8_lossy(&ended.stdout);
    println!("{printed}");
    let failed = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "{printed}\n{failed}");
    Ok(())
}

/// Puts the node agent into `directory`, where the server's user can reach it: notifications are the server's own calls.
///
/// # Errors
/// If it is not built or cannot be copied.
fn copy_agent(directory: &Path) -> Result<PathBuf> {
    let (built, lent) = (program("galera-agent")?, directory.join("galera-agent"));
    // On another file system than this one the copy takes a moment.
    std::fs::hard_link(&built, &lent)
        .or_else(|_| std::fs::copy(&built, &lent).map(drop))
        .with_context(|| format!("copying {}", built.display()))?;
    Ok(lent)
}
