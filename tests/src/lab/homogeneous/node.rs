//! One homogeneous node: an agent that starts its server, as a container does.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::galera::id::NodeId;
use ::galera::observe::saved_state::GraState;
use ::galera::position::Position;
use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use rustix::process::Signal;

use super::{CLUSTER, HomogeneousPorts, ORDER_PUBLIC_KEY, PASSWORD, TTL, chown};
use crate::eventually;
use crate::lab::clock::LabClock;
use crate::lab::etcd::LabEtcd;
use crate::lab::galera::PATIENT_TIMEOUTS;
use crate::lab::network::HostPlacement;
use crate::lab::process::{LabProcess, Program};
use crate::lab::release::ServerRelease;
use crate::lab::template::server_user;

/// Longest wait for one statement.
const STATEMENT: Duration = Duration::from_secs(60);
/// Longest wait for a server to exit.
const GONE: Duration = Duration::from_secs(120);

pub struct HomogeneousNode {
    pub(super) number: usize,
    address: Ipv4Addr,
    pub(super) directory: PathBuf,
    ports: Arc<HomogeneousPorts>,
    program: Program,
    clock: Option<LabClock>,
    release: Mutex<ServerRelease>,
    process: Mutex<Option<LabProcess>>,
    /// Killed agents whose servers, in the same process group, are still running.
    killed_agents: Mutex<Vec<LabProcess>>,
}

impl HomogeneousNode {
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

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// Its server's error log.
    #[must_use]
    pub fn error_log(&self) -> PathBuf {
        self.directory.join("error.log")
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts its agent.
    ///
    /// # Errors
    /// If it is already running.
    pub fn start(&self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts its agent with further variables.
    ///
    /// # Errors
    /// If it is already running.
    pub fn start_with(&self, variables: &[(&str, &str)]) -> Result<()> {
        let program = self.program.clone().of_release(self.release());
        let program = variables
            .iter()
            .fold(program, |program, (name, value)| program.env(name, *value));
        let mut process = self.process();
        ensure!(
            !process.as_ref().is_some_and(LabProcess::is_alive),
            "node {} runs already",
            self.number
        );
        *process = Some(program.start()?);
        Ok(())
    }

    /// Which release its server is, from its next start on.
    pub fn switch_release(&self, release: ServerRelease) {
        *self.release.lock().unwrap_or_else(PoisonError::into_inner) = release;
    }

    /// Which release its server is.
    #[must_use]
    pub fn release(&self) -> ServerRelease {
        *self.release.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SIGKILL for agent and server, as when a container is killed. Both have exited afterwards.
    ///
    /// # Errors
    /// If the server does not exit.
    pub async fn kill(&self) -> Result<()> {
        let servers = self.servers();
        self.process().take();
        self.wait_until_gone(&servers).await
    }

    /// SIGKILL for the server only; its agent must then exit. Returns the agent's exit code.
    ///
    /// # Errors
    /// If there is no server or the agent does not exit.
    pub async fn kill_server(&self) -> Result<Option<i32>> {
        self.signal_servers(Signal::KILL)?;
        self.wait().await
    }

    /// Drops and refuses (`true`) or accepts again (`false`) every connection to the other nodes; SQL is not affected.
    ///
    /// # Errors
    /// If the server refuses the setting.
    pub async fn isolate(&self, isolated: bool) -> Result<()> {
        let value = u8::from(isolated);
        self.execute(&format!(
            "SET GLOBAL wsrep_provider_options = 'gmcast.isolate={value}'"
        ))
        .await
    }

    /// Whether its agent runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.process().as_ref().is_some_and(LabProcess::is_alive)
    }

    /// The same node, always started with this variable.
    pub(super) fn with_variable(self, name: &str, value: &str) -> Self {
        Self {
            program: self.program.env(name, value),
            ..self
        }
    }

    /// The same node with a clock that only its agent and server read.
    pub(super) fn with_clock(self, clock: LabClock) -> Self {
        Self {
            program: self.program.own_envs(clock.environment()),
            clock: Some(clock),
            ..self
        }
    }

    /// The clock of agent and server; `None` if it is the machine's.
    #[must_use]
    pub const fn clock(&self) -> Option<&LabClock> {
        self.clock.as_ref()
    }

    /// Where the other members reach it.
    #[must_use]
    pub fn group_address(&self) -> String {
        format!("{}:{}", self.address, self.ports.gcomm.number())
    }

    /// The port of group communication, which every node has.
    pub(super) fn group_port(&self) -> u16 {
        self.ports.gcomm.number()
    }

    /// The port that it serves SQL on.
    pub(super) fn mysql_port(&self) -> u16 {
        self.ports.mysql.number()
    }

    /// Its number, counted from 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// SIGKILL for the agent only; its server keeps running.
    ///
    /// # Errors
    /// If it is not running.
    pub fn kill_agent(&self) -> Result<()> {
        let agent = self.process().take().context("it does not run")?;
        agent.signal(Signal::KILL)?;
        let mut survived = self
            .killed_agents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        survived.push(agent);
        Ok(())
    }

    /// SIGTERM for its agent. Returns the exit code.
    ///
    /// # Errors
    /// If it does not exit.
    pub async fn stop(&self) -> Result<Option<i32>> {
        if let Some(process) = self.process().as_ref() {
            process.signal(Signal::TERM)?;
        }
        self.wait().await
    }

    /// Waits for its agent's end. Returns the exit code.
    ///
    /// # Errors
    /// If it does not exit.
    pub async fn wait(&self) -> Result<Option<i32>> {
        eventually(&format!("node {} to end", self.number), GONE, async || {
            let process = self.process();
            let process = process.as_ref().context("it does not run")?;
            ensure!(!process.is_alive(), "it runs still");
            Ok(process.status().and_then(|status| status.code()))
        })
        .await
    }

    /// Fails when its agent has ended, quoting its log.
    ///
    /// # Errors
    /// If that does not hold.
    pub fn ensure_running(&self) -> Result<()> {
        match self.process().as_ref() {
            Some(process) => process.ensure_running(),
            None => bail!("node {} does not run", self.number),
        }
    }

    /// Waits for a line of the agent's log that contains `text`.
    ///
    /// # Errors
    /// If there is none within `patience`.
    pub async fn wait_for_log(&self, text: &str, patience: Duration) -> Result<String> {
        let what = format!("node {} to log {text:?}", self.number);
        eventually(&what, patience, async || {
            let log = fs::read_to_string(self.log())?;
            let line = log.lines().rev().find(|line| line.contains(text));
            Ok(line.context("it does not")?.to_owned())
        })
        .await
    }

    /// How many of its agent's lines contain `text`.
    #[must_use]
    pub fn count_log_lines(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// Its `wsrep_…` status, as the console would read it.
    ///
    /// # Errors
    /// If it does not respond in time.
    pub async fn wsrep(&self) -> Result<BTreeMap<String, String>> {
        let rows: Vec<(String, String)> = self
            .query("console", "SHOW GLOBAL STATUS LIKE 'wsrep_%'")
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// The position that its server is at.
    ///
    /// # Errors
    /// If it does not respond or has none.
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

    /// The server's saved state (grastate.dat).
    ///
    /// # Errors
    /// If there is no such file.
    pub fn saved_state(&self) -> Result<GraState> {
        let file = self.data().join("grastate.dat");
        let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
        Ok(GraState::parse(&bytes))
    }

    /// Runs a statement as `root` through the socket.
    ///
    /// # Errors
    /// If the node does not respond in time or the statement fails.
    pub async fn execute(&self, statement: &str) -> Result<()> {
        let _: Vec<mysql_async::Row> = self.query("root", statement).await?;
        Ok(())
    }

    /// The rows of a statement, run by `user`.
    ///
    /// # Errors
    /// If the node does not respond in time or the statement fails.
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
        if user == "root" {
            return self.socket_options(user, PASSWORD);
        }
        connect_options(user, PASSWORD)
            .ip_or_hostname(self.address.to_string())
            .tcp_port(self.ports.mysql.number())
            .into()
    }

    /// How `user` connects through the socket, which no partition affects.
    #[must_use]
    pub fn socket_options(&self, user: &str, password: &str) -> Opts {
        let socket = self.directory.join("sql.sock").display().to_string();
        connect_options(user, password).socket(Some(socket)).into()
    }

    /// The answer of its health endpoint at `path`.
    ///
    /// # Errors
    /// If it does not respond.
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
    #[must_use]
    pub fn servers(&self) -> Vec<i32> {
        let pid = self.process().as_ref().map(LabProcess::pid);
        let children =
            pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok());
        let children = children.unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    async fn wait_until_gone(&self, pids: &[i32]) -> Result<()> {
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

    pub(super) fn process(&self) -> MutexGuard<'_, Option<LabProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect_options(user: &str, password: &str) -> OptsBuilder {
    OptsBuilder::default()
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(false)
        // If it were unset, the driver would query it, and a server without a Primary component would refuse.
        .max_allowed_packet(Some(1 << 20))
        .wait_timeout(Some(600))
}

/// Node `number` in `directory` at `place`; nothing is started yet.
pub(super) fn make_node(
    directory: &Path,
    etcd: &LabEtcd,
    ports: &Arc<HomogeneousPorts>,
    number: usize,
    place: &HostPlacement,
) -> Result<HomogeneousNode> {
    let address = place.address;
    let own = directory.join(format!("same{number}"));
    for path in [&own, &own.join("data"), &own.join("tmp")] {
        fs::create_dir(path)?;
        if let Some(user) = server_user() {
            chown(path, user)?;
        }
    }
    let secret = directory.join("password").display().to_string();
    let path = |name: &str| own.join(name).display().to_string();
    let HomogeneousPorts {
        mysql,
        gcomm,
        ist,
        sst,
        health,
    } = &**ports;
    let provider = format!(
        "gmcast.listen_addr=tcp://{address}:{gcomm};ist.recv_addr={address}:{ist};gcache.size=64M;\
         {PATIENT_TIMEOUTS}",
        gcomm = gcomm.number(),
        ist = ist.number(),
    );
    let mut program = Program::new(
        &format!("galera-agent run of node {number}"),
        directory.join("galera-agent"),
        &own.join("agent.log"),
    )
    .in_namespace(place.namespace.as_deref())
    .user(server_user())
    .env("CLUSTER_NAME", CLUSTER)
    .env("DISCOVERY_SERVICE", etcd.endpoints().join(","))
    .env("TTL", TTL.to_string())
    .env("NODE_ADDRESS", address.to_string())
    .env("GALERA_PORT", gcomm.number().to_string())
    .env("AUTO_BOOTSTRAP", "all-reported")
    .env(
        "ORDER_PUBLIC_KEY_FILE",
        directory.join(ORDER_PUBLIC_KEY).display().to_string(),
    )
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
    Ok(HomogeneousNode {
        number,
        address,
        directory: own,
        ports: Arc::clone(ports),
        program,
        clock: None,
        release: Mutex::default(),
        process: Mutex::default(),
        killed_agents: Mutex::default(),
    })
}
