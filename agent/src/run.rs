//! `galera-agent run`: the first process of a homogeneous node. Looks, decides, starts the server and stands by it; or
//! stands by the server that an earlier agent, killed since, has started.
//!
//! Invariants: nothing is done to the data before etcd has answered; the server outlives every trouble of etcd's; it is
//! only ever ended when somebody asks for that.

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
use galera::observe::registration::AgentPhase;
use galera::startup::DataState;
use registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::now;
use crate::notify::{NotifyEndpoint, NotifyListener};
use crate::observation::ServerState;
use crate::probe::StatusProbe;
use crate::report::{ReportTarget as Reported, Reporter, TRANSIENT_STATES_MAX, TransientState};
use crate::settings::DatabaseSettings;
use crate::settings::run::{PeerDiscovery, RunSettings};
use crate::{health, sidecar};

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

/// Time for the report to be withdrawn.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a data directory may still be in use: a killed server takes a moment to be gone.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the node until its server ends; its exit code.
///
/// # Errors
/// [`RunError`] when the server is not to be started.
pub async fn run(settings: RunSettings, words: &[OsString]) -> Result<u8, RunError> {
    if rustix::process::geteuid().is_root() {
        return Err(RunError::Refused(
            "run it as the database's user, not as root: the server refuses root, and state transfers fail for it"
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

/// What is known before anything is decided.
struct PreparedNode {
    settings: RunSettings,
    command: ServerCommand,
    variables: ServerVariables,
    directory: DataDir,
    contents: DataDirContents,
    workspace: Workspace,
    children: Children,
    /// The server that runs already.
    adopted: Option<AdoptedServer>,
    listener: NotifyListener,
    health: Option<TcpListener>,
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
    let living = AdoptedServer::find(&variables.datadir).await?;
    let directory = open_data_dir(&variables, living.is_some()).await?;
    let found = match &living {
        // What a running server has on disk says nothing of where it is.
        Some(_) => DataDirContents {
            data: DataState::Empty,
            identity: directory.identity(settings.cluster.as_str())?,
            interrupted_init: false,
        },
        None => directory.examine(settings.cluster.as_str())?,
    };
    let command = with_sst_auth(command, &settings, &variables, &workspace)?;
    let health = match settings.health {
        Some(address) => Some(sidecar::bind_health_endpoint(address).await?),
        None => None,
    };
    let listener = bind_listener(living.as_ref())?;
    let node = PreparedNode {
        settings,
        command,
        variables,
        directory,
        contents: found,
        workspace,
        children: children.clone(),
        adopted: living,
        listener,
        health,
    };
    match node.settings.discovery.clone() {
        PeerDiscovery::Registry(settings) => {
            let registry = Registry::connect(settings)
                .map_err(|error| sidecar::registry_setting_error(&error))?;
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

/// Listens for the server's notifications: where a server that runs already sends them, else at a new place.
fn bind_listener(living: Option<&AdoptedServer>) -> Result<NotifyListener, RunError> {
    if let Some(place) = living.and_then(AdoptedServer::notify_endpoint) {
        match NotifyListener::bind(place.clone()) {
            Ok(listener) => return Ok(listener),
            Err(error) => tracing::warn!(
                "The server's notifications are not heard, its state is only asked for: {error}"
            ),
        }
    }
    NotifyListener::bind(NotifyEndpoint::from_tokens(
        &random_token()?,
        &random_token()?,
    ))
    .map_err(|error| RunError::Internal(format!("cannot listen for notifications: {error}")))
}

/// The data directory; a server that is about to be gone is waited for, one that is `known` is not.
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

/// The state transfer's account reaches the server in a private file: arguments are for everybody to see.
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
                "XTRABACKUP_PASSWORD: is not set; wsrep_sst_method is {method}, which needs an account"
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
        let cluster = ClusterRegistry {
            registry,
            keys: self.settings.keys.clone(),
            name: self.settings.cluster.clone(),
            node: self.settings.node(self.variables.port),
        };
        let (health, living) = (self.health.take(), self.adopted.take());
        let (publish, server) = watch::channel(ServerState::Unknown);
        let holder = PhaseReporter::new(publish.clone());
        // Beside a running server nothing is decided, and what is done there is not the node's state.
        let aside = PhaseReporter::new(watch::Sender::new(ServerState::Unknown));
        let (wake, again) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let lost = Arc::<Notify>::default();
        let (passing, passed) = mpsc::channel(TRANSIENT_STATES_MAX);
        let reporter = Reporter::new(
            cluster.registry.clone(),
            Reported {
                keys: cluster.keys.clone(),
                cluster: cluster.name.clone(),
                node: cluster.node.clone(),
            },
            self.settings.ttl,
            now(),
        )
        .without_registration()
        .with_transient_states(passed)
        .with_rewrite_signal(Arc::clone(&again));
        let standing = reporter.subscribe_lease_id();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let work = async {
            let identity = self.identity_or_new()?;
            let mut starter = StartupDriver {
                settings: &self.settings,
                cluster: &cluster,
                directory: &self.directory,
                command: &self.command,
                children: &self.children,
                workspace: &self.workspace,
                reporter: if living.is_some() { &aside } else { &holder },
                lease_id: standing,
                changes: Arc::clone(&wake),
                identity,
                data: self.contents.data.clone(),
                interrupted_init: self.contents.interrupted_init,
                recovered_position: None,
            };
            let (mut process, unsettled) = match living {
                Some(living) => (Self::adopt(living, &holder), Some(reporter)),
                None => {
                    let start = tokio::select! {
                        start = decide_start(&mut starter, reporter, &tasks, &server, &stop) => start?,
                        name = signals.wait_for_stop() => {
                            tracing::info!("Stopping on {name}; the server was not started");
                            return Ok(0);
                        }
                    };
                    (SupervisedServer::Child(self.launch(&start)?), None)
                }
            };
            let identity = starter.identity.clone();
            let keeping = async {
                if let Some(reporter) = unsettled {
                    claim_and_report(&mut starter, reporter, &tasks, &server, &stop).await?;
                }
                let keeper = DurableKeys {
                    cluster: cluster.clone(),
                    identity: identity.clone(),
                    data_dir: self.directory.path().to_path_buf(),
                    interval: self.settings.ttl / 3,
                };
                Box::pin(keeper.run(publish.subscribe(), Arc::clone(&lost))).await;
                Err(RunError::Internal(
                    "the durable keys are not kept any more".to_owned(),
                ))
            };
            let standing =
                self.supervise(&mut process, signals, &publish, &passing, &holder, keeping);
            let ended = supervise::infer_exit(standing.await?, &self.directory);
            if ended.is_success() {
                supervise::record_stop(&cluster, &self.directory, &identity).await;
            }
            Ok(log_exit(ended))
        };
        let watching = watch_cluster(&cluster, &wake, &again, &lost);
        let outcome = tokio::select! {
            outcome = Box::pin(work) => outcome,
            () = serve_health(health, server.clone(), self.settings.policy.clone()) => {
                Err(RunError::Internal("the health endpoint ended".to_owned()))
            }
            () = watching => Err(RunError::Internal("the watch of the registry ended".to_owned())),
        };
        stop.cancel();
        tasks.close();
        // What is not withdrawn in time ends with its lease.
        let _ = timeout(WITHDRAW_TIMEOUT, tasks.wait()).await;
        outcome
    }

    async fn run_without_registry(
        mut self,
        mut start: ServerStart,
        signals: &mut SignalStreams,
    ) -> Result<u8, RunError> {
        let (health, living) = (self.health.take(), self.adopted.take());
        let (publish, server) = watch::channel(ServerState::Unknown);
        let holder = PhaseReporter::new(publish.clone());
        let work = async {
            let mut process = match living {
                Some(living) => Self::adopt(living, &holder),
                None => {
                    start.position = self.recover_position().await?;
                    let line = "Joining the members that CLUSTER_JOIN names, without etcd";
                    holder.report(AgentPhase::Joining, &self.contents.data, line);
                    SupervisedServer::Child(self.launch(&start)?)
                }
            };
            let (passing, keeping) = (mpsc::channel(1).0, std::future::pending());
            let standing =
                self.supervise(&mut process, signals, &publish, &passing, &holder, keeping);
            let ended = supervise::infer_exit(standing.await?, &self.directory);
            Ok(log_exit(ended))
        };
        tokio::select! {
            outcome = Box::pin(work) => outcome,
            () = serve_health(health, server.clone(), self.settings.policy.clone()) => {
                Err(RunError::Internal("the health endpoint ended".to_owned()))
            }
        }
    }

    /// Where the data are, when the server cannot know it by itself.
    async fn recover_position(&self) -> Result<Option<Position>, RunError> {
        let DataState::Unrecovered { .. } = self.contents.data else {
            return Ok(None);
        };
        let saved = self.directory.saved_state()?;
        let (children, workspace) = (&self.children, &self.workspace);
        let outcome = recover::recover_position(&self.command, children, workspace, &saved).await?;
        tracing::info!("{}", outcome.message);
        Ok(outcome.data.position().cloned())
    }

    /// Takes the place of the agent that has started `adopted`.
    fn adopt(living: AdoptedServer, holder: &PhaseReporter) -> SupervisedServer {
        let line = format!(
            "Standing by process {}, the server that an earlier agent has started on these data",
            living.pid()
        );
        holder.report(AgentPhase::Starting, &DataState::Empty, &line);
        SupervisedServer::Adopted(living)
    }

    /// The data's identity, made when they have none.
    fn identity_or_new(&self) -> Result<DataIdentity, RunError> {
        match &self.contents.identity {
            Some(identity) => Ok(identity.clone()),
            None => DataIdentity::new(self.settings.cluster.as_str()),
        }
    }

    fn launch(&self, start: &ServerStart) -> Result<ChildProcess, RunError> {
        if let Some(aside) = self.directory.set_aside_broken_view()? {
            tracing::warn!(
                "gvwstate.dat is cut off and would keep the server from starting; it is put aside as {}",
                aside.display()
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

    /// Reports on the server and passes signals on until it ends.
    async fn supervise(
        &self,
        process: &mut SupervisedServer,
        signals: &mut SignalStreams,
        publish: &watch::Sender<ServerState>,
        passing: &mpsc::Sender<TransientState>,
        holder: &PhaseReporter,
        keeping: impl Future<Output = Result<ProcessExit, RunError>>,
    ) -> Result<ProcessExit, RunError> {
        let at_once = Arc::<Notify>::default();
        let probe = StatusProbe::new(self.database(), self.settings.cluster.clone())
            .with_read_only(!self.settings.policy.availability.read_only);
        let stopping = CancellationToken::new();
        let observing = async {
            tokio::select! {
                () = probe.run(publish.clone(), Arc::clone(&at_once)) => {}
                () = self.listener.run(publish, passing, &at_once) => {}
                () = stopping.cancelled() => {}
            }
            // The rest goes on until the server has ended.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = supervise::wait(process, signals, holder, &stopping) => Ok(ended),
            () = observing => Ok(ProcessExit::Code(1)),
            failed = keeping => failed,
        }
    }

    fn database(&self) -> DatabaseSettings {
        let settings = &self.settings;
        let account = settings.console.as_ref().unwrap_or(&settings.root);
        DatabaseSettings {
            host: settings.address.host().to_owned(),
            port: self.variables.port,
            socket: Some(self.variables.socket.clone()),
            user: account.user.clone(),
            password: Some(account.password.clone()),
        }
    }
}

/// Begins to report, and finds the way to start.
async fn decide_start(
    starter: &mut StartupDriver<'_>,
    reporter: Reporter,
    tasks: &TaskTracker,
    server: &watch::Receiver<ServerState>,
    stop: &CancellationToken,
) -> Result<ServerStart, RunError> {
    claim_and_report(starter, reporter, tasks, server, stop).await?;
    Box::pin(starter.run()).await
}

/// Makes the address and the identity its own, and begins to report.
async fn claim_and_report(
    starter: &mut StartupDriver<'_>,
    reporter: Reporter,
    tasks: &TaskTracker,
    server: &watch::Receiver<ServerState>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    // Etcd first: nothing is written into the directory before it has answered.
    starter.read_cluster().await;
    starter.identity.restore(starter.directory.path())?;
    starter.claim_identity().await?;
    let line = "Looking at the data and the registry";
    starter
        .reporter
        .report(AgentPhase::Starting, &starter.data, line);
    tasks.spawn(reporter.run(server.clone(), stop.clone()));
    Ok(())
}

async fn serve_health(
    listener: Option<TcpListener>,
    server: watch::Receiver<ServerState>,
    policy: health::HealthPolicy,
) {
    match listener {
        Some(listener) => health::serve(listener, server, policy).await,
        None => std::future::pending().await,
    }
}

fn log_exit(ended: ProcessExit) -> u8 {
    match ended {
        ProcessExit::Code(0) => tracing::info!("The server has ended"),
        ended => tracing::error!("The server has ended with {ended}"),
    }
    ended.exit_code()
}
