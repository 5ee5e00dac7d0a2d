//! `galera-agent run`: the main process of a homogeneous node. Decides how to start the server, starts it and
//! supervises it; or adopts a server that an earlier, killed agent started.
//!
//! Invariants: the data directory is not touched before etcd has responded; the server survives any etcd failure; it is
//! only stopped on request.

mod adopted_server;
mod children;
mod claim;
mod cluster;
mod cluster_watch;
mod command;
mod datadir;
mod durable_keys;
mod error;
mod identity;
mod initialize;
mod join;
mod phase_reporter;
mod recover;
mod signals;
mod startup_driver;
mod supervise;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use galera::Position;
use galera::observe::registration::{self, AgentPhase, MembersSeen, OrderVerifier};
use galera::startup::DataState;
use registry::{Registry, role_layout};
use sql_client::Tls;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::now;
use crate::health::{self, HealthListeners};
use crate::notify::{NotifyEndpoint, NotifyListener};
use crate::observation::ServerState;
use crate::probe::StatusProbe;
use crate::report::{ReportTarget, Reporter, TRANSIENT_STATES_MAX, TransientState};
use crate::settings::DatabaseSettings;
use crate::settings::run::{PeerDiscovery, RunSettings};
use crate::sidecar;

use adopted_server::AdoptedServer;
use children::{ChildProcess, Children, ProcessExit};
use cluster::ClusterRegistry;
use cluster_watch::watch_cluster;
use command::{ServerCommand, ServerVariables, Workspace, random_token};
use datadir::{DataDir, DataDirContents};
use durable_keys::DurableKeys;
pub use error::RunError;
use identity::DataIdentity;
use phase_reporter::PhaseReporter;
use signals::SignalStreams;
use startup_driver::{ServerStart, StartupDriver};
use supervise::SupervisedServer;

/// Time to withdraw the report.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a data directory in use: a killed server takes a moment to exit.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the node until its server exits. Returns the exit code.
///
/// # Errors
/// [`RunError`] if the server must not be started.
pub async fn run(settings: RunSettings, words: &[OsString]) -> Result<u8, RunError> {
    if rustix::process::geteuid().is_root() {
        return Err(RunError::Refused(
            "run the agent as the database user, not as root: the server refuses to run as root, and state transfers would fail"
                .to_owned(),
        ));
    }
    let system = |error: std::io::Error| RunError::Internal(error.to_string());
    let mut signals = SignalStreams::listen().map_err(system)?;
    let children = Children::default();
    let node = Box::pin(prepare_and_run(settings, words, &children, &mut signals));
    tokio::select! {
        ended = node => ended,
        reaped = children.clone().reap() => {
            Err(RunError::Internal(format!("cannot wait for child processes: {reaped:?}")))
        }
    }
}

/// Everything known before the start decision.
struct PreparedNode {
    settings: RunSettings,
    command: ServerCommand,
    variables: ServerVariables,
    directory: DataDir,
    contents: DataDirContents,
    /// How many members the data last had around them.
    members_seen: MembersSeen,
    workspace: Workspace,
    children: Children,
    /// A server that is already running.
    adopted: Option<AdoptedServer>,
    listener: NotifyListener,
    health: HealthListeners,
}

async fn prepare_and_run(
    settings: RunSettings,
    words: &[OsString],
    children: &Children,
    signals: &mut SignalStreams,
) -> Result<u8, RunError> {
    let workspace = Workspace::create()?;
    let command = ServerCommand::new(words)?;
    let variables = command.query_variables(children, &workspace).await?;
    let adopted = AdoptedServer::find(&variables.datadir).await?;
    let directory = open_data_dir(&variables, adopted.is_some()).await?;
    let contents = match &adopted {
        // The files of a running server do not show its position.
        Some(_) => DataDirContents {
            data: DataState::Empty,
            identity: directory.identity(settings.cluster.as_str())?,
            interrupted_init: false,
        },
        None => directory.examine(settings.cluster.as_str())?,
    };
    let (members_seen, remark) =
        directory.members_seen(settings.startup.expected_members.count())?;
    if let Some(remark) = remark.filter(|_| adopted.is_none()) {
        tracing::warn!("{remark}");
    }
    let command = with_sst_auth(command, &settings, &variables, &workspace)?;
    let health = sidecar::bind_health(settings.health, settings.liveness_socket.as_deref()).await?;
    let listener = bind_listener(adopted.as_ref())?;
    let node = PreparedNode {
        settings,
        command,
        variables,
        directory,
        contents,
        members_seen,
        workspace,
        children: children.clone(),
        adopted,
        listener,
        health,
    };
    match node.settings.discovery.clone() {
        PeerDiscovery::Registry(settings) => {
            let registry = Registry::connect(settings)
                .map_err(|error| sidecar::registry_setting_error(&error))?;
            // A server that runs already is supervised whatever the account may do.
            if node.adopted.is_none() {
                let settings = &node.settings;
                let (keys, cluster) = (&settings.keys, &settings.cluster);
                let role =
                    role_layout::agent_of_node(keys, cluster, &settings.node(node.variables.port));
                sidecar::check_permissions(&registry, &role.permissions).await?;
            }
            Box::pin(node.run_with_registry(registry, signals)).await
        }
        PeerDiscovery::Static(members) => {
            let start = ServerStart {
                join: Some(members),
                position: None,
            };
            Box::pin(node.run_without_registry(start, signals)).await
        }
    }
}

/// Listens for the server's notifications: on the endpoint of an adopted server, otherwise on a new one.
fn bind_listener(adopted: Option<&AdoptedServer>) -> Result<NotifyListener, RunError> {
    if let Some(place) = adopted.and_then(AdoptedServer::notify_endpoint) {
        match NotifyListener::bind(place.clone()) {
            Ok(listener) => return Ok(listener),
            Err(error) => tracing::warn!(
                "Cannot receive wsrep notifications; falling back to polling: {error}"
            ),
        }
    }
    NotifyListener::bind(NotifyEndpoint::from_tokens(
        &random_token()?,
        &random_token()?,
    ))
    .map_err(|error| RunError::Internal(format!("cannot listen for notifications: {error}")))
}

/// Opens the data directory. Waits for a server that is shutting down, unless the server is `known`.
async fn open_data_dir(variables: &ServerVariables, known: bool) -> Result<DataDir, RunError> {
    let end = Instant::now() + IN_USE_TIMEOUT;
    loop {
        match DataDir::open(&variables.datadir, known) {
            Err(RunError::Unavailable(_)) if Instant::now() < end => {
                sleep(IN_USE_TIMEOUT / 20).await
            }
            opened => return opened,
        }
    }
}

/// Passes the SST account in a private file: arguments are visible to every user.
fn with_sst_auth(
    command: ServerCommand,
    settings: &RunSettings,
    variables: &ServerVariables,
    workspace: &Workspace,
) -> Result<ServerCommand, RunError> {
    let Some(account) = &settings.sst else {
        let method = &variables.sst_method;
        return match method.contains("backup") || method.starts_with("mysqldump") {
            false => Ok(command),
            true => Err(RunError::Refused(format!(
                "XTRABACKUP_PASSWORD: is not set; wsrep_sst_method {method} requires an account"
            ))),
        };
    };
    let text = format!("{}:{}", account.user, account.password.expose());
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    command.with_private_settings(workspace, &format!("wsrep_sst_auth=\"{text}\""))
}

impl PreparedNode {
    async fn run_with_registry(
        mut self,
        registry: Registry,
        signals: &mut SignalStreams,
    ) -> Result<u8, RunError> {
        let (health, adopted) = (std::mem::take(&mut self.health), self.adopted.take());
        let (session, reporter) = RegistrySession::new(&self, registry);
        let watching = watch_cluster(
            &session.cluster,
            &session.changes,
            &session.rewrite,
            &session.keys_removed,
        );
        let (server, policy) = (session.server.clone(), self.settings.policy.clone());
        let outcome = tokio::select! {
            outcome = Box::pin(session.run(&self, reporter, adopted, signals)) => outcome,
            () = health::serve(health, server, policy) => {
                Err(RunError::Internal("the health endpoint stopped".to_owned()))
            }
            () = watching => Err(RunError::Internal("the registry watch stopped".to_owned())),
        };
        session.end().await;
        outcome
    }

    async fn run_without_registry(
        mut self,
        mut start: ServerStart,
        signals: &mut SignalStreams,
    ) -> Result<u8, RunError> {
        let (health, adopted) = (std::mem::take(&mut self.health), self.adopted.take());
        let (publish, server) = watch::channel(ServerState::Unknown);
        let phase_reporter = PhaseReporter::new(publish.clone());
        let work = async {
            let mut process = match adopted {
                Some(adopted) => Self::adopt(adopted, &phase_reporter),
                None => {
                    start.position = self.recover_position().await?;
                    let message = "Joining the members in CLUSTER_JOIN, without etcd";
                    phase_reporter.report(AgentPhase::Joining, &self.contents.data, message);
                    SupervisedServer::Child(self.launch(&start)?)
                }
            };
            let (transient_sender, maintaining) = (mpsc::channel(1).0, std::future::pending());
            let supervising = self.supervise(
                &mut process,
                signals,
                &publish,
                &transient_sender,
                &phase_reporter,
                maintaining,
            );
            let ended = supervise::infer_exit(supervising.await?, &self.directory);
            Ok(log_exit(ended))
        };
        tokio::select! {
            outcome = Box::pin(work) => outcome,
            () = health::serve(health, server.clone(), self.settings.policy.clone()) => {
                Err(RunError::Internal("the health endpoint stopped".to_owned()))
            }
        }
    }

    /// The position to start from, if the server cannot determine it itself.
    async fn recover_position(&self) -> Result<Option<Position>, RunError> {
        let DataState::Unrecovered { .. } = self.contents.data else {
            return Ok(None);
        };
        let saved = self.directory.saved_state()?;
        let (children, workspace) = (&self.children, &self.workspace);
        let outcome = recover::recover_position(&self.command, children, workspace, &saved).await?;
        tracing::info!("{}", outcome.message);
        if let DataState::Unrecoverable { why, .. } = &outcome.data
            && saved.position().is_some()
        {
            // Without etcd nothing shows whether the members have what these data have.
            return Err(RunError::Refused(format!(
                "{}: {why}; keep a copy and empty the directory to join",
                self.directory.path().display()
            )));
        }
        Ok(outcome.data.position().cloned())
    }

    /// Takes over `adopted` from the agent that started it.
    fn adopt(adopted: AdoptedServer, phase_reporter: &PhaseReporter) -> SupervisedServer {
        let message = format!(
            "Supervising process {}, a server that an earlier agent started on this data directory",
            adopted.pid()
        );
        phase_reporter.report(AgentPhase::Starting, &DataState::Empty, &message);
        SupervisedServer::Adopted(adopted)
    }

    /// The identity of the data; a new one if it has none.
    fn identity_or_new(&self) -> Result<DataIdentity, RunError> {
        match &self.contents.identity {
            Some(identity) => Ok(identity.clone()),
            None => DataIdentity::new(self.settings.cluster.as_str()),
        }
    }

    fn launch(&self, start: &ServerStart) -> Result<ChildProcess, RunError> {
        if let Some(discarding_reporter) = self.directory.set_aside_broken_view()? {
            tracing::warn!(
                "gvwstate.dat is truncated and would prevent the server from starting; renamed it to {}",
                discarding_reporter.display()
            );
        }
        let mut server = supervise::server_command(
            &self.command,
            &self.settings,
            self.variables.port,
            start,
            self.directory.path(),
            self.listener.endpoint(),
        );
        let child = self.children.spawn(&mut server).map_err(|error| {
            RunError::Unavailable(format!("{} cannot be run: {error}", self.command.name()))
        })?;
        let how = match &start.join {
            Some(_) => "to join",
            None => "as the first member",
        };
        tracing::info!(pid = child.id(), "Server started {how}");
        Ok(child)
    }

    /// Probes the server and forwards signals until it exits.
    async fn supervise(
        &self,
        process: &mut SupervisedServer,
        signals: &mut SignalStreams,
        publish: &watch::Sender<ServerState>,
        transient_sender: &mpsc::Sender<TransientState>,
        phase_reporter: &PhaseReporter,
        maintaining: impl Future<Output = Result<ProcessExit, RunError>>,
    ) -> Result<ProcessExit, RunError> {
        let probe_now = Arc::<Notify>::default();
        let probe = StatusProbe::new(self.database(), self.settings.cluster.clone());
        let stopping = CancellationToken::new();
        let probing = async {
            tokio::select! {
                () = probe.run(publish.clone(), Arc::clone(&probe_now)) => {}
                () = self.listener.run(publish, transient_sender, &probe_now) => {}
                () = stopping.cancelled() => {}
            }
            // Everything else continues until the server exits.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = supervise::wait(process, signals, phase_reporter, &stopping) => Ok(ended),
            () = probing => Ok(ProcessExit::Code(1)),
            failed = maintaining => failed,
        }
    }

    fn database(&self) -> DatabaseSettings {
        let settings = &self.settings;
        let account = settings.console.as_ref().unwrap_or(&settings.root);
        DatabaseSettings {
            host: settings.address.host().to_owned(),
            port: self.variables.port,
            socket: Some(self.variables.socket.clone()),
            tls: Tls::Off,
            user: account.user.clone(),
            password: Some(account.password.clone()),
        }
    }
}

/// What the tasks of a node with a registry share.
struct RegistrySession {
    cluster: ClusterRegistry,
    publish: watch::Sender<ServerState>,
    server: watch::Receiver<ServerState>,
    phase_reporter: PhaseReporter,
    transient_sender: mpsc::Sender<TransientState>,
    /// Notified of every change to the cluster's keys.
    changes: Arc<Notify>,
    /// Makes the reporter write all fields again.
    rewrite: Arc<Notify>,
    /// Makes the durable keys be written again.
    keys_removed: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RegistrySession {
    /// Also returns the reporter, which does not run yet.
    fn new(node: &PreparedNode, registry: Registry) -> (Self, Reporter) {
        let cluster = ClusterRegistry {
            registry,
            keys: node.settings.keys.clone(),
            name: node.settings.cluster.clone(),
            node: node.settings.node(node.variables.port),
        };
        let (publish, server) = watch::channel(ServerState::Unknown);
        let (transient_sender, transient_receiver) = mpsc::channel(TRANSIENT_STATES_MAX);
        let rewrite = Arc::<Notify>::default();
        let reporter = Reporter::new(
            cluster.registry.clone(),
            ReportTarget {
                keys: cluster.keys.clone(),
                cluster: cluster.name.clone(),
                node: cluster.node.clone(),
            },
            node.settings.ttl,
            now(),
        )
        .without_registration()
        .with_transient_states(transient_receiver)
        .with_rewrite_signal(Arc::clone(&rewrite));
        let session = Self {
            cluster,
            phase_reporter: PhaseReporter::new(publish.clone())
                .with_members_seen(node.members_seen.clone()),
            publish,
            server,
            transient_sender,
            changes: Arc::default(),
            rewrite,
            keys_removed: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        (session, reporter)
    }

    /// Starts or adopts the server and supervises it until it exits. Returns the exit code.
    async fn run(
        &self,
        node: &PreparedNode,
        reporter: Reporter,
        adopted: Option<AdoptedServer>,
        signals: &mut SignalStreams,
    ) -> Result<u8, RunError> {
        let identity = node.identity_or_new()?;
        let order_keys = node.settings.order_keys.as_ref();
        if order_keys.is_none() {
            tracing::warn!(
                "ORDER_PUBLIC_KEY_FILE is not set: this agent obeys no bootstrap order of a console"
            );
        }
        let key_ids = order_keys.map(OrderVerifier::key_ids).unwrap_or_default();
        let fork_epoch = watch::Sender::new(identity.fork_epoch);
        let reporter = reporter
            .with_constant_fields([
                ("data_id", identity.id.clone()),
                ("order_keys", registration::order_keys_value(&key_ids)),
            ])
            .with_fork_epoch(fork_epoch.subscribe());
        // When adopting a running server there is no start decision, so phase updates are discarded.
        let discarding_reporter = PhaseReporter::new(watch::Sender::new(ServerState::Unknown));
        let mut driver = StartupDriver {
            settings: &node.settings,
            cluster: &self.cluster,
            directory: &node.directory,
            command: &node.command,
            children: &node.children,
            workspace: &node.workspace,
            reporter: if adopted.is_some() {
                &discarding_reporter
            } else {
                &self.phase_reporter
            },
            lease_id: reporter.subscribe_lease_id(),
            fork_epoch: fork_epoch.clone(),
            changes: Arc::clone(&self.changes),
            identity,
            data: node.contents.data.clone(),
            members_seen: node.members_seen.clone(),
            interrupted_init: node.contents.interrupted_init,
            recovered_position: None,
            own_order: None,
            order_read: None,
        };
        let (mut process, idle_reporter) = match adopted {
            Some(adopted) => (
                PreparedNode::adopt(adopted, &self.phase_reporter),
                Some(reporter),
            ),
            None => {
                let start = tokio::select! {
                    start = self.decide_start(&mut driver, reporter) => start?,
                    name = signals.wait_for_stop() => {
                        tracing::info!("Stopping on {name}; the server has not been started");
                        return Ok(0);
                    }
                };
                (SupervisedServer::Child(node.launch(&start)?), None)
            }
        };
        let identity = driver.identity.clone();
        let maintaining = async {
            if let Some(reporter) = idle_reporter {
                self.claim_and_report(&mut driver, reporter).await?;
            }
            Err(self
                .maintain_durable_keys(node, identity.clone(), fork_epoch)
                .await)
        };
        let supervising = node.supervise(
            &mut process,
            signals,
            &self.publish,
            &self.transient_sender,
            &self.phase_reporter,
            maintaining,
        );
        let ended = supervise::infer_exit(supervising.await?, &node.directory);
        if ended.is_success() {
            supervise::record_stop(&self.cluster, &node.directory, &identity).await;
        }
        Ok(log_exit(ended))
    }

    /// Starts publishing, then decides how to start the server.
    async fn decide_start(
        &self,
        driver: &mut StartupDriver<'_>,
        reporter: Reporter,
    ) -> Result<ServerStart, RunError> {
        self.claim_and_report(driver, reporter).await?;
        Box::pin(driver.run()).await
    }

    /// Claims the address and the identity, then starts publishing.
    async fn claim_and_report(
        &self,
        driver: &mut StartupDriver<'_>,
        reporter: Reporter,
    ) -> Result<(), RunError> {
        // etcd first: nothing is written to the directory before it has responded.
        driver.read_cluster().await;
        driver.identity.restore(driver.directory.path())?;
        driver.claim_identity().await?;
        let message = "Reading the data directory and the registry";
        driver
            .reporter
            .report(AgentPhase::Starting, &driver.data, message);
        self.tasks
            .spawn(reporter.run(self.server.clone(), self.stop.clone()));
        Ok(())
    }

    /// Runs until dropped; returns only if it fails.
    async fn maintain_durable_keys(
        &self,
        node: &PreparedNode,
        identity: DataIdentity,
        fork_epoch: watch::Sender<u64>,
    ) -> RunError {
        let durable_keys = DurableKeys {
            fork_epoch,
            rewrite: Arc::clone(&self.rewrite),
            cluster: self.cluster.clone(),
            identity,
            data_dir: node.directory.path().to_path_buf(),
            interval: node.settings.ttl / 3,
        };
        Box::pin(durable_keys.run(self.publish.subscribe(), Arc::clone(&self.keys_removed))).await;
        RunError::Internal("the durable keys are no longer maintained".to_owned())
    }

    /// Withdraws the report. What is not withdrawn in time expires with its lease.
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(WITHDRAW_TIMEOUT, self.tasks.wait()).await;
    }
}

fn log_exit(ended: ProcessExit) -> u8 {
    match ended {
        ProcessExit::Code(0) => tracing::info!("Server exited"),
        ended => tracing::error!("Server exited with {ended}"),
    }
    ended.exit_code()
}
