//! `galera-agent run`: the first process of a homogeneous node. Looks, decides, starts the server and stands by it; or
//! stands by the server that an earlier agent, killed since, has started.
//!
//! Invariants: nothing is done to the data before etcd has answered; the server outlives every trouble of etcd's; it is
//! only ever ended when somebody asks for that.

mod children;
mod claim;
mod cluster;
mod command;
mod datadir;
mod failure;
mod holder;
mod identity;
mod initialize;
mod join;
mod keeper;
mod living;
mod recover;
mod signals;
mod starter;
mod supervise;
mod watching;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use galera::Position;
use galera::observe::registration::Phase;
use galera::startup::Data;
use registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::now;
use crate::notify::{Listener, Place};
use crate::observation::Server;
use crate::probe::Probe;
use crate::report::{Identity as Reported, PASSING, Passing, Reporter};
use crate::settings::Database;
use crate::settings::homogeneous::{Discovery, Run};
use crate::{health, sidecar};

use children::{Child, Children, Ended};
use cluster::Cluster;
use command::{ServerCommand, Variables, Workspace, token};
use datadir::{DataDir, Found};
pub use failure::Failure;
use holder::Holder;
use identity::Identity;
use keeper::Keeper;
use living::Living;
use signals::Signals;
use starter::{Start, Starter};
use supervise::Process;
use watching::watching;

/// Time for the report to be withdrawn.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a data directory may still be in use: a killed server takes a moment to be gone.
const IN_USE: Duration = Duration::from_secs(5);

/// Runs the node until its server ends; its exit code.
///
/// # Errors
/// [`Failure`] when the server is not to be started.
pub async fn run(settings: Run, words: &[OsString]) -> Result<u8, Failure> {
    if rustix::process::geteuid().is_root() {
        return Err(Failure::Refused(
            "run it as the database's user, not as root: the server refuses root, and state transfers fail for it"
                .to_owned(),
        ));
    }
    let system = |error: std::io::Error| Failure::Internal(error.to_string());
    let mut signals = Signals::listen().map_err(system)?;
    let children = Children::default();
    let node = Box::pin(prepared(settings, words, &children, &mut signals));
    tokio::select! {
        ended = node => ended,
        reaped = children.clone().reap() => {
            Err(Failure::Internal(format!("cannot wait for child processes: {reaped:?}")))
        }
    }
}

/// What is known before anything is decided.
struct Node {
    settings: Run,
    command: ServerCommand,
    variables: Variables,
    directory: DataDir,
    found: Found,
    workspace: Workspace,
    children: Children,
    /// The server that runs already.
    living: Option<Living>,
    listener: Listener,
    health: Option<TcpListener>,
}

async fn prepared(
    settings: Run,
    words: &[OsString],
    children: &Children,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let workspace = Workspace::create()?;
    let command = ServerCommand::new(words)?;
    let variables = command.ask(children, &workspace).await?;
    let living = Living::find(&variables.datadir).await?;
    let directory = opened(&variables, living.is_some()).await?;
    let found = match &living {
        // What a running server has on disk says nothing of where it is.
        Some(_) => Found {
            data: Data::Empty,
            identity: directory.identity(settings.cluster.as_str())?,
            remains: false,
        },
        None => directory.examine(settings.cluster.as_str())?,
    };
    let command = with_transfer(command, &settings, &variables, &workspace)?;
    let health = match settings.health {
        Some(address) => Some(sidecar::listen(address).await?),
        None => None,
    };
    let listener = listening(living.as_ref())?;
    let node = Node {
        settings,
        command,
        variables,
        directory,
        found,
        workspace,
        children: children.clone(),
        living,
        listener,
        health,
    };
    match node.settings.discovery.clone() {
        Discovery::Registry(settings) => {
            let registry =
                Registry::connect(settings).map_err(|error| sidecar::unusable(&error))?;
            Box::pin(node.with_registry(registry, signals)).await
        }
        Discovery::Fixed(members) => {
            let start = Start {
                join: Some(members),
                position: None,
            };
            Box::pin(node.without_registry(start, signals)).await
        }
    }
}

/// Listens for the server's notifications: where a server that runs already sends them, else at a new place.
fn listening(living: Option<&Living>) -> Result<Listener, Failure> {
    if let Some(place) = living.and_then(Living::place) {
        match Listener::bind(place.clone()) {
            Ok(listener) => return Ok(listener),
            Err(error) => tracing::warn!(
                "The server's notifications are not heard, its state is only asked for: {error}"
            ),
        }
    }
    Listener::bind(Place::random(&token()?, &token()?))
        .map_err(|error| Failure::Internal(format!("cannot listen for notifications: {error}")))
}

/// The data directory; a server that is about to be gone is waited for, one that is `known` is not.
async fn opened(variables: &Variables, known: bool) -> Result<DataDir, Failure> {
    let end = Instant::now() + IN_USE;
    loop {
        match DataDir::open(&variables.datadir, known) {
            Err(Failure::Unavailable(_)) if Instant::now() < end => sleep(IN_USE / 20).await,
            opened => return opened,
        }
    }
}

/// The state transfer's account reaches the server in a private file: arguments are for everybody to see.
fn with_transfer(
    command: ServerCommand,
    settings: &Run,
    variables: &Variables,
    workspace: &Workspace,
) -> Result<ServerCommand, Failure> {
    let Some(account) = &settings.transfer else {
        let method = &variables.sst_method;
        return match method.contains("backup") || method.starts_with("mysqldump") {
            false => Ok(command),
            true => Err(Failure::Refused(format!(
                "XTRABACKUP_PASSWORD: is not set; wsrep_sst_method is {method}, which needs an account"
            ))),
        };
    };
    let text = format!("{}:{}", account.user, account.password.expose());
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    command.with_settings(workspace, &format!("wsrep_sst_auth=\"{text}\""))
}

impl Node {
    async fn with_registry(
        mut self,
        registry: Registry,
        signals: &mut Signals,
    ) -> Result<u8, Failure> {
        let cluster = Cluster {
            registry,
            keys: self.settings.keys.clone(),
            name: self.settings.cluster.clone(),
            node: self.settings.node(self.variables.port),
        };
        let (health, living) = (self.health.take(), self.living.take());
        let (publish, server) = watch::channel(Server::Unknown);
        let holder = Holder::new(publish.clone());
        // Beside a running server nothing is decided, and what is done there is not the node's state.
        let aside = Holder::new(watch::Sender::new(Server::Unknown));
        let (wake, again) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let lost = Arc::<Notify>::default();
        let (passing, passed) = mpsc::channel(PASSING);
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
        .passing(passed)
        .repeating(Arc::clone(&again));
        let standing = reporter.standing();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let work = async {
            let identity = self.identity()?;
            let mut starter = Starter {
                settings: &self.settings,
                cluster: &cluster,
                directory: &self.directory,
                command: &self.command,
                children: &self.children,
                workspace: &self.workspace,
                holder: if living.is_some() { &aside } else { &holder },
                standing,
                wake: Arc::clone(&wake),
                identity,
                data: self.found.data.clone(),
                remains: self.found.remains,
                recovered: None,
            };
            let (mut process, unsettled) = match living {
                Some(living) => (Self::stand_in(living, &holder), Some(reporter)),
                None => {
                    let start = tokio::select! {
                        start = start(&mut starter, reporter, &tasks, &server, &stop) => start?,
                        name = signals.stop() => {
                            tracing::info!("Stopping on {name}; the server was not started");
                            return Ok(0);
                        }
                    };
                    (Process::Child(self.launch(&start)?), None)
                }
            };
            let identity = starter.identity.clone();
            let keeping = async {
                if let Some(reporter) = unsettled {
                    settle(&mut starter, reporter, &tasks, &server, &stop).await?;
                }
                let keeper = Keeper {
                    cluster: cluster.clone(),
                    identity: identity.clone(),
                    directory: self.directory.path().to_path_buf(),
                    period: self.settings.ttl / 3,
                };
                Box::pin(keeper.run(publish.subscribe(), Arc::clone(&lost))).await;
                Err(Failure::Internal(
                    "the durable keys are not kept any more".to_owned(),
                ))
            };
            let standing =
                self.stand_by(&mut process, signals, &publish, &passing, &holder, keeping);
            let ended = supervise::judged(standing.await?, &self.directory);
            if ended.is_success() {
                supervise::record_stop(&cluster, &self.directory, &identity).await;
            }
            Ok(said(ended))
        };
        let watching = watching(&cluster, &wake, &again, &lost);
        let outcome = tokio::select! {
            outcome = Box::pin(work) => outcome,
            () = serving(health, server.clone(), self.settings.policy.clone()) => {
                Err(Failure::Internal("the health endpoint ended".to_owned()))
            }
            () = watching => Err(Failure::Internal("the watch of the registry ended".to_owned())),
        };
        stop.cancel();
        tasks.close();
        // What is not withdrawn in time ends with its lease.
        let _ = timeout(FAREWELL, tasks.wait()).await;
        outcome
    }

    async fn without_registry(
        mut self,
        mut start: Start,
        signals: &mut Signals,
    ) -> Result<u8, Failure> {
        let (health, living) = (self.health.take(), self.living.take());
        let (publish, server) = watch::channel(Server::Unknown);
        let holder = Holder::new(publish.clone());
        let work = async {
            let mut process = match living {
                Some(living) => Self::stand_in(living, &holder),
                None => {
                    start.position = self.recovered().await?;
                    let line = "Joining the members that CLUSTER_JOIN names, without etcd";
                    holder.say(Phase::Joining, &self.found.data, line);
                    Process::Child(self.launch(&start)?)
                }
            };
            let (passing, keeping) = (mpsc::channel(1).0, std::future::pending());
            let standing =
                self.stand_by(&mut process, signals, &publish, &passing, &holder, keeping);
            let ended = supervise::judged(standing.await?, &self.directory);
            Ok(said(ended))
        };
        tokio::select! {
            outcome = Box::pin(work) => outcome,
            () = serving(health, server.clone(), self.settings.policy.clone()) => {
                Err(Failure::Internal("the health endpoint ended".to_owned()))
            }
        }
    }

    /// Where the data are, when the server cannot know it by itself.
    async fn recovered(&self) -> Result<Option<Position>, Failure> {
        let Data::Unrecovered { .. } = self.found.data else {
            return Ok(None);
        };
        let saved = self.directory.saved_state()?;
        let (children, workspace) = (&self.children, &self.workspace);
        let outcome = recover::recover(&self.command, children, workspace, &saved).await?;
        tracing::info!("{}", outcome.line);
        Ok(outcome.data.position().cloned())
    }

    /// Takes the place of the agent that has started `living`.
    fn stand_in(living: Living, holder: &Holder) -> Process {
        let line = format!(
            "Standing by process {}, the server that an earlier agent has started on these data",
            living.id()
        );
        holder.say(Phase::Starting, &Data::Empty, &line);
        Process::Living(living)
    }

    /// The data's identity, made when they have none.
    fn identity(&self) -> Result<Identity, Failure> {
        match &self.found.identity {
            Some(identity) => Ok(identity.clone()),
            None => Identity::new(self.settings.cluster.as_str()),
        }
    }

    fn launch(&self, start: &Start) -> Result<Child, Failure> {
        if let Some(aside) = self.directory.put_broken_view_aside()? {
            tracing::warn!(
                "gvwstate.dat is cut off and would keep the server from starting; it is put aside as {}",
                aside.display()
            );
        }
        let mut server = supervise::server(
            &self.command,
            &self.settings,
            self.variables.port,
            start,
            self.directory.path(),
            self.listener.place(),
        );
        let child = self.children.spawn(&mut server).map_err(|error| {
            Failure::Unavailable(format!("{} cannot be run: {error}", self.command.name()))
        })?;
        let how = match &start.join {
            Some(_) => "to join",
            None => "as the first member",
        };
        tracing::info!(pid = child.id(), "Server started {how}");
        Ok(child)
    }

    /// Reports on the server and passes signals on until it ends.
    async fn stand_by(
        &self,
        process: &mut Process,
        signals: &mut Signals,
        publish: &watch::Sender<Server>,
        passing: &mpsc::Sender<Passing>,
        holder: &Holder,
        keeping: impl Future<Output = Result<Ended, Failure>>,
    ) -> Result<Ended, Failure> {
        let at_once = Arc::<Notify>::default();
        let probe = Probe::new(self.database(), self.settings.cluster.clone())
            .with_read_only(!self.settings.policy.available.read_only);
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
            () = observing => Ok(Ended::Code(1)),
            failed = keeping => failed,
        }
    }

    fn database(&self) -> Database {
        let settings = &self.settings;
        let account = settings.console.as_ref().unwrap_or(&settings.root);
        Database {
            host: settings.address.host().to_owned(),
            port: self.variables.port,
            socket: Some(self.variables.socket.clone()),
            user: account.user.clone(),
            password: Some(account.password.clone()),
        }
    }
}

/// Begins to report, and finds the way to start.
async fn start(
    starter: &mut Starter<'_>,
    reporter: Reporter,
    tasks: &TaskTracker,
    server: &watch::Receiver<Server>,
    stop: &CancellationToken,
) -> Result<Start, Failure> {
    settle(starter, reporter, tasks, server, stop).await?;
    Box::pin(starter.run()).await
}

/// Makes the address and the identity its own, and begins to report.
async fn settle(
    starter: &mut Starter<'_>,
    reporter: Reporter,
    tasks: &TaskTracker,
    server: &watch::Receiver<Server>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    // Etcd first: nothing is written into the directory before it has answered.
    starter.look().await;
    starter.identity.restore(starter.directory.path())?;
    starter.settle_in().await?;
    let line = "Looking at the data and the registry";
    starter.holder.say(Phase::Starting, &starter.data, line);
    tasks.spawn(reporter.run(server.clone(), stop.clone()));
    Ok(())
}

async fn serving(
    listener: Option<TcpListener>,
    server: watch::Receiver<Server>,
    policy: health::Policy,
) {
    match listener {
        Some(listener) => health::serve(listener, server, policy).await,
        None => std::future::pending().await,
    }
}

fn said(ended: Ended) -> u8 {
    match ended {
        Ended::Code(0) => tracing::info!("The server has ended"),
        ended => tracing::error!("The server has ended with {ended}"),
    }
    ended.exit_code()
}
