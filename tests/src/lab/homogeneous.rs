//! Homogeneous nodes: `galera-agent run` with the same command everywhere, each on its own address and directory.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::galera::id::NodeId;
use ::galera::position::Position;
use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use registry::Registry;
use rustix::process::Signal;

use super::agent::write_secret;
use super::console::{ConsoleSettings, User};
use super::directory::Directory;
use super::etcd::Etcd;
use super::ports::Port;
use super::process::{Process, Program, tail};
use super::program;
use super::template::server_user;
use crate::eventually;

mod recorder;

pub use recorder::Recorder;

/// The name of the cluster that they form.
pub const CLUSTER: &str = "same";
/// Seconds; the least there is, so that what waits for leases is quick.
const TTL: u64 = 3;
/// Longest wait for one statement.
const STATEMENT: Duration = Duration::from_secs(5);
/// Longest wait for a server to be gone after its end was asked for.
const GONE: Duration = Duration::from_secs(30);

/// Nodes of which any may run.
pub struct Homogeneous {
    // Dropped in this order.
    nodes: Vec<SameNode>,
    etcd: Etcd,
    directory: Directory,
}

struct Ports {
    mysql: Port,
    gcomm: Port,
    ist: Port,
    sst: Port,
    health: Port,
}

/// A node.
pub struct SameNode {
    number: usize,
    address: Ipv4Addr,
    directory: PathBuf,
    ports: Arc<Ports>,
    program: Program,
    process: Mutex<Option<Process>>,
}

impl Homogeneous {
    /// Prepares `count` nodes with empty directories; nothing runs yet but etcd.
    ///
    /// # Errors
    /// When something is not installed.
    pub async fn prepare(count: usize) -> Result<Self> {
        let directory = Directory::create()?;
        let etcd = Etcd::start(&directory, 3).await?;
        let addresses = (1..=count)
            .map(|number| Ok(Ipv4Addr::new(127, 0, 1, u8::try_from(number)?)))
            .collect::<Result<Vec<_>>>()?;
        // As in containers, the ports are the same everywhere.
        let ports = Arc::new(Ports {
            mysql: Port::reserve_on(&addresses)?,
            gcomm: Port::reserve_on(&addresses)?,
            ist: Port::reserve_on(&addresses)?,
            sst: Port::reserve_on(&addresses)?,
            health: Port::reserve_on(&addresses)?,
        });
        let secret = directory.path().join("password");
        write_secret(&secret, PASSWORD)?;
        if let Some(user) = server_user() {
            give(&secret, user)?;
        }
        // The server's user must be able to reach it too, to notify the agent.
        fs::copy(
            program("galera-agent")?,
            directory.path().join("galera-agent"),
        )?;
        let nodes = addresses
            .into_iter()
            .enumerate()
            .map(|(index, address)| make(&directory, &etcd, &ports, index + 1, address))
            .collect::<Result<_>>()?;
        Ok(Self {
            nodes,
            etcd,
            directory,
        })
    }

    /// The same nodes, but nobody bootstraps without an approved order (`AUTO_BOOTSTRAP=never`).
    #[must_use]
    pub fn without_auto_bootstrap(mut self) -> Self {
        let nodes = self.nodes.into_iter();
        self.nodes = nodes
            .map(|node| SameNode {
                program: node.program.env("AUTO_BOOTSTRAP", "never"),
                ..node
            })
            .collect();
        self
    }

    /// Settings of a console for these nodes, with one account a role.
    #[must_use]
    pub fn console_settings(&self) -> ConsoleSettings {
        let port = self
            .nodes
            .first()
            .map_or(3306, |node| node.ports.mysql.number());
        ConsoleSettings {
            listen: None,
            etcd_endpoints: self.etcd.endpoints(),
            clusters: Vec::new(),
            mysql_port: port,
            mysql_password: PASSWORD.to_owned(),
            recovery: Some(("recovery".to_owned(), PASSWORD.to_owned())),
            state_prefix: "/console-same".to_owned(),
            more: Vec::new(),
            users: ["viewer", "operator", "approver", "admin"]
                .map(|role| User::new(role, role))
                .to_vec(),
            directory: self.directory.path().join("console"),
        }
    }

    /// Node `number`, counted from 1.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn node(&self, number: usize) -> &SameNode {
        &self.nodes[number - 1]
    }

    /// Every node.
    #[must_use]
    pub fn nodes(&self) -> &[SameNode] {
        &self.nodes
    }

    /// The etcd cluster.
    #[must_use]
    pub const fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// A client of its etcd.
    ///
    /// # Errors
    /// When its endpoints are none.
    pub fn registry(&self) -> Result<Registry> {
        Ok(Registry::connect(registry::Settings::new(
            self.etcd.endpoints(),
        ))?)
    }

    /// What the registry holds of the cluster, by key below the cluster's prefix.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn keys(&self) -> Result<BTreeMap<String, String>> {
        let prefix = format!("/galera/{CLUSTER}/");
        let listing = self.registry()?.list(prefix.clone()).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pairs = listing.entries.iter().map(|entry| {
            let key = text(&entry.key);
            let key = key.strip_prefix(&prefix).unwrap_or(&key).to_owned();
            (key, text(&entry.value))
        });
        Ok(pairs.collect())
    }

    /// Waits until all of `numbers` are Synced in one Primary component of exactly that many.
    ///
    /// # Errors
    /// When that takes longer than `patience`; says what each of them does.
    pub async fn whole(&self, numbers: &[usize], patience: Duration) -> Result<()> {
        let size = numbers.len().to_string();
        let waiting = eventually("one cluster", patience, async || {
            for number in numbers {
                let node = self.node(*number);
                node.check()?;
                let status = node.wsrep().await?;
                let read = |name: &str| status.get(name).map(String::as_str);
                ensure!(
                    read("wsrep_local_state_comment") == Some("Synced")
                        && read("wsrep_cluster_status") == Some("Primary")
                        && read("wsrep_cluster_size") == Some(&size),
                    "node {number} says {:?}, {:?}, {:?}",
                    read("wsrep_local_state_comment"),
                    read("wsrep_cluster_status"),
                    read("wsrep_cluster_size")
                );
            }
            Ok(())
        });
        waiting.await.map_err(|error| {
            let logs = self
                .nodes
                .iter()
                .map(|node| format!("\nnode {}:\n{}", node.number, tail(&node.log(), 12)));
            error.context(logs.collect::<String>())
        })
    }

    /// Remembers every value that keys of the cluster get from now on.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn recorder(&self) -> Result<Recorder> {
        Recorder::of(self.registry()?)
    }

    /// Where all files are.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// One password for every account of this lab.
const PASSWORD: &str = "one'for\\all\"";

fn give(path: &std::path::Path, user: &str) -> Result<()> {
    let given = std::process::Command::new("chown")
        .arg(format!("{user}:"))
        .arg(path)
        .status()?;
    ensure!(given.success(), "chown {}", path.display());
    Ok(())
}

fn make(
    directory: &Directory,
    etcd: &Etcd,
    ports: &Arc<Ports>,
    number: usize,
    address: Ipv4Addr,
) -> Result<SameNode> {
    let own = directory.path().join(format!("same{number}"));
    for path in [&own, &own.join("data"), &own.join("tmp")] {
        fs::create_dir(path)?;
        if let Some(user) = server_user() {
            give(path, user)?;
        }
    }
    let secret = directory.path().join("password").display().to_string();
    let path = |name: &str| own.join(name).display().to_string();
    let Ports {
        mysql,
        gcomm,
        ist,
        sst,
        health,
    } = &**ports;
    let provider = format!(
        "gmcast.listen_addr=tcp://{address}:{gcomm};ist.recv_addr={address}:{ist};gcache.size=64M;\
         evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;evs.install_timeout=PT4S",
        gcomm = gcomm.number(),
        ist = ist.number(),
    );
    let mut program = Program::new(
        &format!("galera-agent run of node {number}"),
        directory.path().join("galera-agent"),
        &own.join("agent.log"),
    )
    .user(server_user())
    .env("CLUSTER_NAME", CLUSTER)
    .env("DISCOVERY_SERVICE", etcd.endpoints().join(","))
    .env("TTL", TTL.to_string())
    .env("NODE_ADDRESS", address.to_string())
    .env("GALERA_PORT", gcomm.number().to_string())
    .env("AUTO_BOOTSTRAP", "all-reported")
    .env("HEALTH_LISTEN", format!("{address}:{}", health.number()));
    for name in ["MYSQL_ROOT", "XTRABACKUP", "CONSOLE", "RECOVERY"] {
        program = program.env(&format!("{name}_PASSWORD_FILE"), &secret);
    }
    let program = program
        .args(["run", "--", "mariadbd", "--no-defaults"])
        .arg(format!("--datadir={}", path("data")))
        .arg(format!("--tmpdir={}", path("tmp")))
        .arg(format!("--socket={}", path("sql.sock")))
        .arg(format!("--pid-file={}", path("pid")))
        .arg(format!("--log-error={}", path("error.log")))
        .arg(format!("--bind-address={address}"))
        .arg(format!("--port={}", mysql.number()))
        .args([
            "--skip-name-resolve",
            "--performance-schema=OFF",
            "--innodb-buffer-pool-size=32M",
        ])
        .args([
            "--innodb-log-file-size=16M",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
        ])
        .args([
            "--wsrep-on=ON",
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
        ])
        .arg("--wsrep-sst-method=rsync")
        .arg(format!(
            "--wsrep-sst-receive-address={address}:{}",
            sst.number()
        ))
        .arg(format!("--wsrep-provider-options={provider}"));
    Ok(SameNode {
        number,
        address,
        directory: own,
        ports: Arc::clone(ports),
        program,
        process: Mutex::default(),
    })
}

impl SameNode {
    /// Its identity in the registry.
    ///
    /// # Errors
    /// Never with an address.
    pub fn id(&self) -> Result<NodeId> {
        Ok(NodeId::new(
            &self.address.to_string(),
            Some(self.ports.mysql.number()),
        )?)
    }

    /// Its agent's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts its agent.
    ///
    /// # Errors
    /// When it runs already.
    pub fn start(&self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts its agent with further variables.
    ///
    /// # Errors
    /// When it runs already.
    pub fn start_with(&self, variables: &[(&str, &str)]) -> Result<()> {
        let program = variables
            .iter()
            .fold(self.program.clone(), |program, (name, value)| {
                program.env(name, *value)
            });
        let mut process = self.process();
        ensure!(
            !process.as_ref().is_some_and(Process::alive),
            "node {} runs already",
            self.number
        );
        *process = Some(program.start()?);
        Ok(())
    }

    /// SIGKILL for agent and server at once, as when a container is killed. They are gone afterwards.
    ///
    /// # Errors
    /// When the server outlives that.
    pub async fn kill(&self) -> Result<()> {
        let servers = self.servers();
        self.process().take();
        self.gone(&servers).await
    }

    /// SIGKILL for its server alone; its agent must end by itself. Returns the agent's exit code.
    ///
    /// # Errors
    /// When there is no server or the agent lives on.
    pub async fn kill_server(&self) -> Result<Option<i32>> {
        for server in self.servers() {
            let pid = rustix::process::Pid::from_raw(server).context("no process id")?;
            rustix::process::kill_process(pid, Signal::KILL)?;
        }
        self.ended().await
    }

    /// SIGKILL for its agent alone; its server lives on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_agent(&self) -> Result<()> {
        let process = self.process();
        process
            .as_ref()
            .context("it does not run")?
            .signal(Signal::KILL)
    }

    /// SIGTERM for its agent. Returns the exit code.
    ///
    /// # Errors
    /// When it lives on.
    pub async fn stop(&self) -> Result<Option<i32>> {
        if let Some(process) = self.process().as_ref() {
            process.signal(Signal::TERM)?;
        }
        self.ended().await
    }

    /// Waits for its agent's end. Returns the exit code.
    ///
    /// # Errors
    /// When it lives on.
    pub async fn ended(&self) -> Result<Option<i32>> {
        eventually(&format!("node {} to end", self.number), GONE, async || {
            let process = self.process();
            let process = process.as_ref().context("it does not run")?;
            ensure!(!process.alive(), "it runs still");
            Ok(process.status().and_then(|status| status.code()))
        })
        .await
    }

    /// Fails when its agent has ended, quoting its log.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        match self.process().as_ref() {
            Some(process) => process.check(),
            None => bail!("node {} does not run", self.number),
        }
    }

    /// Waits for a line of its agent's log that contains `text`.
    ///
    /// # Errors
    /// When there is none within `patience`.
    pub async fn says(&self, text: &str, patience: Duration) -> Result<String> {
        let what = format!("node {} to say {text:?}", self.number);
        eventually(&what, patience, async || {
            let log = fs::read_to_string(self.log())?;
            let line = log.lines().rev().find(|line| line.contains(text));
            Ok(line.context("it does not")?.to_owned())
        })
        .await
    }

    /// How many of its agent's lines contain `text`.
    #[must_use]
    pub fn said(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// Its `wsrep_…` status, as the console would read it.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn wsrep(&self) -> Result<BTreeMap<String, String>> {
        let rows: Vec<(String, String)> = self
            .query("console", "SHOW GLOBAL STATUS LIKE 'wsrep_%'")
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// The position that its server is at.
    ///
    /// # Errors
    /// When it does not answer or has none.
    pub async fn position(&self) -> Result<Position> {
        let status = self.wsrep().await?;
        let read = |name: &str| status.get(name).cloned().unwrap_or_default();
        let text = format!(
            "{}:{}",
            read("wsrep_cluster_state_uuid"),
            read("wsrep_last_committed")
        );
        Ok(text.parse()?)
    }

    /// Runs a statement as `root` through the socket.
    ///
    /// # Errors
    /// When the node does not answer in time or the statement fails.
    pub async fn execute(&self, statement: &str) -> Result<()> {
        let _: Vec<mysql_async::Row> = self.query("root", statement).await?;
        Ok(())
    }

    /// The rows of a statement, run by `user`.
    ///
    /// # Errors
    /// When the node does not answer in time or the statement fails.
    pub async fn query<R>(&self, user: &str, statement: &str) -> Result<Vec<R>>
    where
        R: mysql_async::prelude::FromRow + Send + 'static,
    {
        let work = async {
            let mut connection = Conn::new(self.options(user)).await?;
            let rows = connection.query(statement).await?;
            connection.disconnect().await?;
            anyhow::Ok(rows)
        };
        tokio::time::timeout(STATEMENT, work)
            .await
            .context("the node does not answer")?
    }

    /// How `user` connects: `root` through the socket, others as from afar.
    #[must_use]
    pub fn options(&self, user: &str) -> Opts {
        let options = OptsBuilder::default()
            .user(Some(user))
            .pass(Some(PASSWORD))
            .prefer_socket(false);
        if user == "root" {
            let socket = self.directory.join("sql.sock").display().to_string();
            return options.socket(Some(socket)).into();
        }
        options
            .ip_or_hostname(self.address.to_string())
            .tcp_port(self.ports.mysql.number())
            .into()
    }

    /// The answer of its health endpoint at `path`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn health(&self, path: &str) -> Result<(u16, String)> {
        let url = format!(
            "http://{}:{}{path}",
            self.address,
            self.ports.health.number()
        );
        let answer = reqwest::Client::new()
            .get(url)
            .timeout(STATEMENT)
            .send()
            .await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    }

    /// The servers that its agent has started.
    fn servers(&self) -> Vec<i32> {
        let pid = self.process().as_ref().map(Process::pid);
        let children =
            pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok());
        let children = children.unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    async fn gone(&self, pids: &[i32]) -> Result<()> {
        eventually("the server to be gone", GONE, async || {
            let living = pids.iter().find(|pid| {
                let status = fs::read_to_string(format!("/proc/{pid}/status"));
                status.is_ok_and(|status| !status.contains("State:\tZ"))
            });
            ensure!(living.is_none(), "{living:?} lives");
            Ok(())
        })
        .await
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
