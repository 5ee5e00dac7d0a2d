//! `galera-agent run`: the main process of a homogeneous node. Decides how to start the server, starts it and
//! supervises it; or adopts a server that an earlier, killed agent started.
//!
//! Invariants: the data directory is not touched before etcd has responded; the server survives any etcd failure; it is
//! only stopped on request, or to start it again where nothing can be lost (module `restart`).

mod accounts;
mod adopted_server;
pub(crate) mod children;
mod claim;
mod cluster;
mod cluster_watch;
pub(crate) mod command;
mod datadir;
mod durable_keys;
mod error;
mod identity;
mod initialize;
pub(crate) mod join;
mod keep_aside;
mod phase_reporter;
mod recover;
mod restart;
mod session;
pub(crate) mod signals;
mod startup_driver;
mod supervise;
mod system_user;
mod transfer_watch;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use galera::Position;
use galera::observe::registration::{AgentPhase, MembersSeen};
use galera::startup::DataState;
use registry::{Registry, Secret, role_layout};
use sql_client::Tls;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::health::{self, HealthListeners};
use crate::notify::{NotifyEndpoint, NotifyListener};
use crate::observation::ServerState;
use crate::probe::StatusProbe;
use crate::report::TransientState;
use crate::settings::DatabaseSettings;
use crate::settings::accounts::DatabaseAccount;
use crate::settings::run::{PeerDiscovery, RunSettings};
use crate::sidecar;

use accounts::AccountMaintenance;
use adopted_server::AdoptedServer;
use children::{ChildProcess, Children, ProcessExit};
use cluster_watch::watch_cluster;
use command::{PrivateDirectory, ServerCommand, ServerVariables, random_token};
use datadir::{DataDir, DataDirContents};
pub use error::RunError;
use identity::DataIdentity;
use phase_reporter::PhaseReporter;
use restart::RestartRequest;
use session::RegistrySession;
use signals::SignalStreams;
use startup_driver::ServerStart;
use supervise::{SupervisedServer, SupervisionEnd, SupervisionTasks};

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
    workspace: PrivateDirectory,
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
    if settings.accounts.console.is_none() {
        tracing::warn!(
            "CONSOLE_PASSWORD is not set: no account for the console is made, and a console learns of this node through etcd \
             only; set it on every node, and the same password on the console (--mysql-password-file)"
        );
    }
    let workspace = PrivateDirectory::create()?;
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
            unfinished_join: false,
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
    workspace: &PrivateDirectory,
) -> Result<ServerCommand, RunError> {
    let Some(account) = &settings.accounts.sst else {
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
        let (mut health, adopted) = (std::mem::take(&mut self.health), self.adopted.take());
        let (session, reporter) = RegistrySession::new(&self, registry);
        health.report_refusal = Some(reporter.watch_refusal());
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
                    self.directory
                        .finish_keeping(self.settings.cluster.as_str())?;
                    start.position = self.recover_position().await?;
                    self.begin_static_join()?;
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
                SupervisionTasks {
                    maintaining,
                    restart: std::future::pending(),
                },
            );
            let ended = supervise::infer_exit(supervising.await?.exit, &self.directory);
            Ok(log_exit(ended))
        };
        tokio::select! {
            outcome = Box::pin(work) => outcome,
            () = health::serve(health, server.clone(), self.settings.policy.clone()) => {
                Err(RunError::Internal("the health endpoint stopped".to_owned()))
            }
        }
    }

    /// Prepares the directory of a node that joins without etcd.
    fn begin_static_join(&self) -> Result<(), RunError> {
        if self.contents.unfinished_join
            && let Some(list) = self.directory.set_unfinished_aside()?
        {
            tracing::warn!(
                "The first state transfer of these data never completed; renamed what it left behind, as listed in {}",
                list.display()
            );
        }
        match self.contents.data {
            DataState::Empty => self.directory.begin_join(&self.identity_or_new()?),
            _ => Ok(()),
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

    /// How many members the data last had around them, after a stop on `request`: a clean one removes the file that has it.
    fn members_seen_after(&self, request: &RestartRequest) -> Result<MembersSeen, RunError> {
        let expected = self.settings.startup.expected_members.count();
        let now = self.directory.members_seen(expected)?.0;
        Ok(match now.members() >= request.members_seen.members() {
            true => now,
            false => request.members_seen.clone(),
        })
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
        let mut command = self.command.clone();
        let kept_inside = self.directory.has_kept_inside();
        if kept_inside {
            let line = format!("cpat={}", keep_aside::PRESERVED);
            command = command.with_private_group(&self.workspace, "sst", &line)?;
        }
        let mut server = supervise::server_command(
            &command,
            &self.settings,
            self.variables.port,
            start,
            self.directory.path(),
            self.listener.endpoint(),
        );
        if kept_inside {
            // A directory in the data directory is a database otherwise.
            server.arg(format!("--ignore-db-dirs={}", keep_aside::INSIDE));
        }
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
        tasks: SupervisionTasks<
            impl Future<Output = Result<ProcessExit, RunError>>,
            impl Future<Output = RestartRequest>,
        >,
    ) -> Result<SupervisionEnd, RunError> {
        let SupervisionTasks {
            maintaining,
            restart,
        } = tasks;
        let probe_now = Arc::<Notify>::default();
        let system_user = system_user::name();
        let accounts = AccountMaintenance::new(
            self.directory.path(),
            &self.variables.socket,
            self.settings.accounts.clone(),
            system_user.clone(),
        );
        let probe = StatusProbe::new(self.database(), self.settings.cluster.clone())
            .with_other_logins(self.other_logins(system_user));
        let stopping = CancellationToken::new();
        let probing = async {
            tokio::select! {
                () = probe.run(publish.clone(), Arc::clone(&probe_now)) => {}
                () = self.listener.run(publish, transient_sender, &probe_now) => {}
                () = accounts.run(publish.subscribe()) => {}
                () = stopping.cancelled() => {}
            }
            // Everything else continues until the server exits.
            std::future::pending::<()>().await;
        };
        let failed = |exit| SupervisionEnd {
            exit,
            restart: None,
        };
        tokio::select! {
            ended = supervise::wait(process, signals, phase_reporter, &stopping, restart) => Ok(ended),
            () = probing => Ok(failed(ProcessExit::Code(1))),
            ended = maintaining => ended.map(failed),
            failure = restart::maintain_join_mark(&self.directory, publish.subscribe()) => Err(failure),
        }
    }

    /// What the status is read with if the data lack the account of [`Self::database`] or have another password for it.
    fn other_logins(&self, system_user: Option<String>) -> Vec<DatabaseAccount> {
        let accounts = &self.settings.accounts;
        let root = accounts.console.as_ref().map(|_| accounts.root.clone());
        let own = system_user.map(|user| DatabaseAccount {
            user,
            password: Secret::new(String::new()),
        });
        root.into_iter().chain(own).collect()
    }

    fn database(&self) -> DatabaseSettings {
        let settings = &self.settings;
        let accounts = &settings.accounts;
        let account = accounts.console.as_ref().unwrap_or(&accounts.root);
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

fn log_exit(ended: ProcessExit) -> u8 {
    match ended {
        ProcessExit::Code(0) => tracing::info!("Server exited"),
        ended => tracing::error!("Server exited with {ended}"),
    }
    ended.exit_code()
}
