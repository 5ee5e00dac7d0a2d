//! One MariaDB server with Galera.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::galera::id::NodeId;
use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use rustix::process::Signal;

use super::ports::ReservedPort;
use super::process::{LabProcess, Program};
use super::template::{DataTemplate, server_user};
use super::traffic;
use crate::eventually;
use crate::proxy::ChaosProxy;

/// Longest wait for a node to be Synced after its start; a state transfer included.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest wait for one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all nodes of a cluster have in common.
pub(super) struct ClusterSettings {
    pub(super) cluster: String,
    pub(super) template: DataTemplate,
    /// The port for SQL, the same on every node's own address.
    pub(super) mysql: ReservedPort,
    /// `gcomm://…` with every node.
    pub(super) peers: String,
    /// Provider options about timeouts of group communication.
    pub(super) group_timeouts: &'static str,
    /// Whether commits are on disk before they are acknowledged.
    pub(super) durable: bool,
    /// The agent's program, where the server's user can reach it.
    pub(super) agent: PathBuf,
}

/// How a node is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStart {
    /// As the founder of a new cluster (`--wsrep-new-cluster`).
    Found,
    /// As the founder of a cluster of the same name that the other nodes cannot meet: a split.
    FoundSeparately,
    /// As a member of whatever cluster the other addresses form.
    Join,
}

/// A node; it may run or not.
pub struct GaleraNode {
    pub(super) number: usize,
    pub(super) id: NodeId,
    pub(super) address: Ipv4Addr,
    /// Its network namespace; `None` for this process's own.
    pub(super) namespace: Option<PathBuf>,
    /// `pc.weight` of its next start.
    pub(super) weight: AtomicU64,
    pub(super) directory: PathBuf,
    pub(super) gcomm: ReservedPort,
    pub(super) separate_gcomm: ReservedPort,
    pub(super) ist: ReservedPort,
    pub(super) sst: ReservedPort,
    pub(super) ist_proxy: Option<ChaosProxy>,
    pub(super) sql_proxy: Option<ChaosProxy>,
    /// Endpoint for notifications to the agent beside it (`GALERA_AGENT_NOTIFY`).
    pub(super) notify: String,
    pub(super) common: Arc<ClusterSettings>,
    pub(super) process: Mutex<Option<LabProcess>>,
}

impl GaleraNode {
    /// Its identity in the registry and in the console.
    #[must_use]
    pub const fn id(&self) -> &NodeId {
        &self.id
    }

    /// Its `wsrep_node_name`: `n1`, `n2`, …
    #[must_use]
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// The address that it serves on.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The port that it serves SQL on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.common.mysql.number()
    }

    /// The proxy in front of its SQL port, whose address is then its identity; `None` without SQL proxies. Its agent
    /// and the lab's own clients bypass it.
    #[must_use]
    pub const fn sql_proxy(&self) -> Option<&ChaosProxy> {
        self.sql_proxy.as_ref()
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("error.log")
    }

    /// Notifies its agent of `status` as the server does: with the same command and environment.
    ///
    /// # Errors
    /// If the command cannot be run.
    pub async fn notify(&self, status: &str) -> Result<()> {
        let mut command = tokio::process::Command::new(&self.common.agent);
        command
            .args(["notify", "--status", status])
            .env("GALERA_AGENT_NOTIFY", &self.notify);
        ensure!(command.status().await?.success(), "the command failed");
        Ok(())
    }

    /// Its socket, where `root` needs no password.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("sql.sock")
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process()
            .as_ref()
            .filter(|process| process.is_alive())
            .map(LabProcess::pid)
    }

    /// SIGKILL, as a crash.
    pub fn kill(&self) {
        self.process().take();
    }

    /// SIGTERM, as an orderly stop.
    ///
    /// # Errors
    /// If it is not running or had to be killed.
    pub async fn stop(&self) -> Result<()> {
        let process = self
            .process()
            .take()
            .with_context(|| format!("{} does not run", self.name()))?;
        process.stop(Duration::from_secs(60)).await.map(drop)
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process();
        process
            .as_ref()
            .with_context(|| format!("{} does not run", self.name()))?
            .signal(signal)
    }

    /// Starts it and waits until it is Synced.
    ///
    /// # Errors
    /// If it ends early or is not Synced in time; quotes its error log.
    pub async fn start(&self, start: NodeStart) -> Result<()> {
        self.launch(start).await?;
        self.wait_until_synced().await
    }

    /// Starts it without waiting for the cluster. After a crash its position is recovered first, as the start-up
    /// scripts of distributions do, so that it needs no whole state transfer.
    ///
    /// # Errors
    /// If it is already running or the program is missing.
    pub async fn launch(&self, start: NodeStart) -> Result<()> {
        ensure!(self.pid().is_none(), "{} runs already", self.name());
        let mut program = self.program(start);
        let separate = start == NodeStart::FoundSeparately;
        if !separate && self.crashed() {
            let position = self.recover().await?;
            program = program.arg(format!("--wsrep-start-position={position}"));
        }
        *self.process() = Some(program.start()?);
        Ok(())
    }

    /// Whether it has data but does not know how far they go.
    fn crashed(&self) -> bool {
        let saved = fs::read_to_string(self.data().join("grastate.dat")).unwrap_or_default();
        let undefined = |line: &str| {
            line.strip_prefix("seqno:")
                .is_some_and(|seqno| seqno.trim() == "-1")
        };
        saved.lines().any(undefined)
    }

    /// Reads the position from the storage engine (`--wsrep-recover`).
    async fn recover(&self) -> Result<String> {
        let log = self.directory.join("recovery.log");
        fs::remove_file(&log).ok();
        let program = self
            .program_with_log(NodeStart::Join, &log)
            .arg("--wsrep-recover");
        program.start()?.wait(SYNC_TIMEOUT).await?;
        let text = fs::read(&log)?;
        let text = String::from_utf8_lossy(&text);
        let mut found = text
            .lines()
            .filter_map(|line| line.split_once("Recovered position:"));
        let position = found
            .next_back()
            .map(|(_, position)| position.trim().to_owned());
        position.with_context(|| {
            format!(
                "{} recovered no position; see {}",
                self.name(),
                log.display()
            )
        })
    }

    /// Waits until it is Synced in a Primary component.
    ///
    /// # Errors
    /// If it ends early or is not in time.
    pub async fn wait_until_synced(&self) -> Result<()> {
        eventually(
            &format!("{} to be Synced", self.name()),
            SYNC_TIMEOUT,
            async || {
                self.ensure_running()?;
                let status = self.wsrep().await?;
                let read = |name: &str| status.get(name).map(String::as_str);
                let state = read("wsrep_local_state_comment");
                ensure!(
                    state == Some("Synced") && read("wsrep_cluster_status") == Some("Primary"),
                    "it reports {state:?}"
                );
                Ok(())
            },
        )
        .await
    }

    /// Fails when it does not run, quoting its error log.
    ///
    /// # Errors
    /// If that does not hold.
    pub fn ensure_running(&self) -> Result<()> {
        match self.process().as_ref() {
            Some(process) => process.ensure_running(),
            None => bail!("{} does not run", self.name()),
        }
    }

    /// Empties its data directory, so that it needs a whole state transfer. It must not run.
    ///
    /// # Errors
    /// If it runs or a file cannot be removed.
    pub fn wipe(&self) -> Result<()> {
        ensure!(self.pid().is_none(), "{} runs", self.name());
        fs::remove_dir_all(self.data()).ok();
        fs::create_dir(self.data())?;
        self.common.template.chown_to_server(&self.data())
    }

    /// Sets `pc.weight` of its next start.
    pub fn set_weight(&self, weight: u64) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// Gives it a new data directory with which it can found a cluster. It must not run.
    ///
    /// # Errors
    /// If it runs or the copy fails.
    pub async fn initialise(&self) -> Result<()> {
        ensure!(self.pid().is_none(), "{} runs", self.name());
        fs::remove_dir_all(self.data()).ok();
        self.common.template.copy_to(&self.data()).await
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

    /// Takes this node out of flow control (`true`), which it calls Donor/Desynced, or back.
    ///
    /// # Errors
    /// If the server refuses the setting.
    pub async fn desync(&self, desynced: bool) -> Result<()> {
        let value = u8::from(desynced);
        self.execute(&format!("SET GLOBAL wsrep_desync = {value}"))
            .await
    }

    /// Declares this node's component Primary.
    ///
    /// # Errors
    /// If the server refuses the statement.
    pub async fn bootstrap(&self) -> Result<()> {
        self.execute("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
            .await
    }

    /// Runs a statement as `root` through the socket.
    ///
    /// # Errors
    /// If the node does not respond in time or the statement fails.
    pub async fn execute(&self, statement: &str) -> Result<()> {
        let work = async {
            let mut connection = self.root().await?;
            connection.query_drop(statement).await?;
            connection.disconnect().await?;
            anyhow::Ok(())
        };
        tokio::time::timeout(STATEMENT_TIMEOUT, work)
            .await
            .context("the node does not answer")?
    }

    /// Its `wsrep_…` status, through the socket.
    ///
    /// # Errors
    /// If the node does not respond in time.
    pub async fn wsrep(&self) -> Result<BTreeMap<String, String>> {
        let work = async {
            let mut connection = self.root().await?;
            let rows: Vec<(String, String)> = connection
                .query("SHOW GLOBAL STATUS LIKE 'wsrep_%'")
                .await?;
            connection.disconnect().await?;
            anyhow::Ok(rows.into_iter().collect())
        };
        tokio::time::timeout(STATEMENT_TIMEOUT, work)
            .await
            .context("the node does not answer")?
    }

    /// A connection as `root` through the socket.
    ///
    /// # Errors
    /// If the node does not respond.
    pub async fn root(&self) -> Result<Conn> {
        let options = OptsBuilder::default()
            .user(Some("root"))
            .socket(Some(self.socket().display().to_string()));
        Ok(Conn::new(options).await?)
    }

    /// A connection as `app` to the database `demo`, over TCP.
    ///
    /// # Errors
    /// If the node does not respond.
    pub async fn app(&self) -> Result<Conn> {
        Ok(Conn::new(self.app_options()).await?)
    }

    /// A connection as `recovery`, which has SUPER and nothing else, over TCP.
    ///
    /// # Errors
    /// If the node does not respond.
    pub async fn recovery(&self) -> Result<Conn> {
        let options = OptsBuilder::default()
            .ip_or_hostname(self.address.to_string())
            .tcp_port(self.port())
            .user(Some("recovery"))
            .pass(Some(self.common.template.accounts.recovery.as_str()))
            .prefer_socket(false);
        Ok(Conn::new(options).await?)
    }

    pub(super) fn app_options(&self) -> Opts {
        traffic::app_options(
            self.address,
            self.port(),
            &self.common.template.accounts.app,
        )
    }

    /// Sets how many bytes per second incremental state transfers to this node may carry; `None` for no limit.
    ///
    /// # Errors
    /// If the lab was not built with slow transfers.
    pub fn limit_ist(&self, bytes_per_second: Option<u64>) -> Result<()> {
        let proxy = self
            .ist_proxy
            .as_ref()
            .context("the lab was built without slow_transfers")?;
        match bytes_per_second {
            Some(speed) => proxy.throttle(speed),
            None => proxy.pass(),
        }
        Ok(())
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn process(&self) -> MutexGuard<'_, Option<LabProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn program(&self, start: NodeStart) -> Program {
        self.program_with_log(start, &self.log())
    }

    fn program_with_log(&self, start: NodeStart, log: &Path) -> Program {
        let Self {
            address, common, ..
        } = self;
        let path = |file: &str| Path::display(&self.directory.join(file)).to_string();
        let ist = self
            .ist_proxy
            .as_ref()
            .map_or(self.ist.number(), |proxy| proxy.address().port());
        let gcomm = match start {
            // The other nodes keep using the port that they know.
            NodeStart::FoundSeparately => self.separate_gcomm.number(),
            NodeStart::Found | NodeStart::Join => self.gcomm.number(),
        };
        let provider_options = format!(
            "gmcast.listen_addr=tcp://{address}:{gcomm};ist.recv_addr={address}:{ist};ist.recv_bind={address}:{bind};\
             gcache.size=64M;pc.weight={weight};{timeouts}",
            bind = self.ist.number(),
            weight = self.weight.load(Ordering::Relaxed),
            timeouts = common.group_timeouts,
        );
        let program = Program::new(&format!("mariadbd {}", self.name()), "mariadbd", log)
            .in_namespace(self.namespace.as_deref())
            .user(server_user())
            .arg("--no-defaults")
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--tmpdir={}", path("tmp")))
            .arg(format!("--socket={}", path("sql.sock")))
            .arg(format!("--pid-file={}", path("pid")))
            .arg(format!("--bind-address={address}"))
            .arg(format!("--port={}", self.port()))
            .args([
                "--skip-name-resolve",
                "--performance-schema=OFF",
                "--innodb-buffer-pool-size=32M",
            ])
            .arg("--innodb-log-file-size=16M")
            .arg(format!(
                "--innodb-flush-log-at-trx-commit={}",
                u8::from(common.durable)
            ))
            .args([
                "--binlog-format=ROW",
                "--default-storage-engine=InnoDB",
                "--innodb-autoinc-lock-mode=2",
            ])
            .args([
                "--wsrep-on=ON",
                "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
            ])
            .arg(format!("--wsrep-cluster-name={}", common.cluster))
            .arg(format!("--wsrep-cluster-address={}", common.peers))
            .arg(format!("--wsrep-node-name={}", self.name()))
            .env("GALERA_AGENT_NOTIFY", self.notify.as_str())
            .arg(format!(
                "--wsrep-notify-cmd={} notify",
                common.agent.display()
            ))
            .arg(format!("--wsrep-node-address={address}:{gcomm}"))
            .arg(format!(
                "--wsrep-node-incoming-address={address}:{}",
                self.id.port().unwrap_or(self.port())
            ))
            .arg("--wsrep-sst-method=rsync")
            .arg(format!(
                "--wsrep-sst-receive-address={address}:{}",
                self.sst.number()
            ))
            .arg(format!("--wsrep-provider-options={provider_options}"));
        match start {
            NodeStart::Found | NodeStart::FoundSeparately => program.arg("--wsrep-new-cluster"),
            NodeStart::Join => program,
        }
    }
}
