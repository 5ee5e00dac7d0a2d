//! `galera-agent run`: the first process of a homogeneous node. Looks, decides, starts the server and stands by it.
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
mod recover;
mod signals;
mod starter;
mod supervise;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use galera::registration::Phase;
use galera::startup::Data;
use registry::{Change, Registry, WatchEvent};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::now;
use crate::notify::Listener;
use crate::observation::Server;
use crate::probe::Probe;
use crate::report::{Identity as Reported, Passing, Reporter};
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
use signals::Signals;
use starter::{Start, Starter};

/// Time for the report to be withdrawn.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a data directory may still be in use: a killed server takes a moment to be gone.
const IN_USE: Duration = Duration::from_secs(5);
/// States that wait to be reported; more than that come together only when etcd is away.
const PASSING: usize = 16;

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
    let directory = opened(&variables).await?;
    let found = directory.examine(settings.cluster.as_str())?;
    let command = with_transfer(command, &settings, &variables, &workspace)?;
    let health = match settings.health {
        Some(address) => Some(sidecar::listen(address).await?),
        None => None,
    };
    let token = token()?;
    let listener = Listener::bind(&format!("galera-agent-{token}"), &self::token()?)
        .map_err(|error| Failure::Internal(format!("cannot listen for notifications: {error}")))?;
    let node = Node {
        settings,
        command,
        variables,
        directory,
        found,
        workspace,
        children: children.clone(),
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

/// The data directory; a server that is about to be gone is waited for.
async fn opened(variables: &Variables) -> Result<DataDir, Failure> {
    let end = Instant::now() + IN_USE;
    loop {
        match DataDir::open(&variables.datadir) {
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
        let health = self.health.take();
        let (publish, server) = watch::channel(Server::Unknown);
        let holder = Holder::new(publish.clone());
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
                holder: &holder,
                standing,
                wake: Arc::clone(&wake),
                identity,
                data: self.found.data.clone(),
                remains: self.found.remains,
                recovered: None,
            };
            let start = tokio::select! {
                start = start(&mut starter, reporter, &tasks, &server, &stop) => start?,
                name = signals.stop() => {
                    tracing::info!("Stopping on {name}; the server was not started");
                    return Ok(0);
                }
            };
            let identity = starter.identity.clone();
            let mut child = self.launch(&start)?;
            let ended = {
                let keeper = Keeper {
                    cluster: cluster.clone(),
                    identity: identity.clone(),
                    directory: self.directory.path().to_path_buf(),
                    period: self.settings.ttl / 3,
                };
                self.stand_by(&mut child, signals, &publish, &passing, &holder, async {
                    Box::pin(keeper.run(publish.subscribe(), Arc::clone(&lost))).await;
                })
                .await
            };
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
        let health = self.health.take();
        let (publish, server) = watch::channel(Server::Unknown);
        let holder = Holder::new(publish.clone());
        let work = async {
            self.identity()?;
            if let Data::Unrecovered { .. } = self.found.data {
                let saved = self.directory.saved_state()?;
                let (children, workspace) = (&self.children, &self.workspace);
                let outcome = recover::recover(&self.command, children, workspace, &saved).await?;
                tracing::info!("{}", outcome.line);
                start.position = outcome.data.position().cloned();
            }
            let line = "Joining the members that CLUSTER_JOIN names, without etcd";
            holder.say(Phase::Joining, &self.found.data, line);
            let mut child = self.launch(&start)?;
            let ended = self
                .stand_by(
                    &mut child,
                    signals,
                    &publish,
                    &mpsc::channel(1).0,
                    &holder,
                    std::future::pending(),
                )
                .await;
            Ok(said(ended))
        };
        tokio::select! {
            outcome = Box::pin(work) => outcome,
            () = serving(health, server.clone(), self.settings.policy.clone()) => {
                Err(Failure::Internal("the health endpoint ended".to_owned()))
            }
        }
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
        child: &mut Child,
        signals: &mut Signals,
        publish: &watch::Sender<Server>,
        passing: &mpsc::Sender<Passing>,
        holder: &Holder,
        keeping: impl Future<Output = ()>,
    ) -> Ended {
        let at_once = Arc::<Notify>::default();
        let probe = Probe::new(self.database(), self.settings.cluster.clone())
            .with_read_only(!self.settings.policy.available.read_only);
        let listening = async {
            loop {
                let event = self.listener.next().await;
                tracing::debug!(?event, "The server tells of a change");
                publish.send_modify(|server| *server = server.told(&event));
                // Some states are over before anybody could ask. Nobody waits where nobody reports.
                let _ = passing.try_send(Passing {
                    at: Instant::now(),
                    server: publish.borrow().clone(),
                });
                at_once.notify_one();
            }
        };
        let stopping = CancellationToken::new();
        let observing = async {
            tokio::select! {
                () = probe.run(publish.clone(), Arc::clone(&at_once)) => {}
                () = listening => {}
                () = stopping.cancelled() => {}
            }
            // The rest goes on until the server has ended.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = supervise::wait(child, signals, holder, &stopping) => ended,
            () = observing => Ended::Code(1),
            () = keeping => Ended::Code(1),
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

/// Makes the address and the identity its own, begins to report, and finds the way to start.
async fn start(
    starter: &mut Starter<'_>,
    reporter: Reporter,
    tasks: &TaskTracker,
    server: &watch::Receiver<Server>,
    stop: &CancellationToken,
) -> Result<Start, Failure> {
    // Etcd first: nothing is written into the directory before it has answered.
    starter.look().await;
    starter.identity.restore(starter.directory.path())?;
    starter.settle_in().await?;
    let line = "Looking at the data and the registry";
    starter.holder.say(Phase::Starting, &starter.data, line);
    tasks.spawn(reporter.run(server.clone(), stop.clone()));
    Box::pin(starter.run()).await
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

/// Tells of every change of the cluster's keys, and when something of ours was removed.
async fn watching(cluster: &Cluster, wake: &Notify, again: &Notify, lost: &Notify) {
    let prefix = cluster.keys.cluster_prefix(&cluster.name);
    let founder = cluster.key(galera::registration::ClusterField::Founder);
    let own = cluster.keys.node_prefix(&cluster.name, &cluster.node);
    let mut subscription = cluster.registry.watch(prefix);
    while let Some(event) = subscription.next().await {
        let removed = match &event {
            WatchEvent::Changes { changes, .. } => changes.iter().any(|change| match change {
                Change::Delete { key, .. } => {
                    key.starts_with(own.as_bytes()) || key == founder.as_bytes()
                }
                Change::Put(_) => false,
            }),
            // Another etcd may stand in the old one's place.
            WatchEvent::Reset { .. } => true,
            WatchEvent::Unreachable { .. } | WatchEvent::Reachable => false,
        };
        wake.notify_one();
        if removed {
            again.notify_one();
            lost.notify_one();
        }
    }
}

fn said(ended: Ended) -> u8 {
    match ended {
        Ended::Code(0) => tracing::info!("The server has ended"),
        ended => tracing::error!("The server has ended with {ended}"),
    }
    ended.exit_code()
}
