//! The running server, started or adopted: its command message, signals and exit.

use std::path::Path;
use std::time::Duration;

use galera::Position;
use galera::observe::registration::AgentPhase;
use galera::startup::{CleanStop, DataState, ReplaceRegistration};
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::adopted_server::{self, AdoptedServer};
use super::children::{ChildProcess, ProcessExit};
use super::cluster::ClusterRegistry;
use super::command::ServerCommand;
use super::datadir::DataDir;
use super::identity::DataIdentity;
use super::join;
use super::phase_reporter::PhaseReporter;
use super::restart::RestartRequest;
use super::signals::{SignalRequest, SignalStreams};
use super::startup_driver::ServerStart;
use crate::clock::now;
use crate::notify::{self, NotifyEndpoint};
use crate::settings;
use crate::settings::run::RunSettings;

/// Time to record the final position. Without it the registry is incomplete, but not wrong.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a server that is restarted to stop: one that waits for a state transfer may not react to SIGTERM.
const RESTART_TIMEOUT: Duration = Duration::from_secs(30);

/// The server that this agent supervises.
pub(super) enum SupervisedServer {
    /// Started by this agent.
    Child(ChildProcess),
    /// Started by an earlier agent.
    Adopted(AdoptedServer),
}

impl SupervisedServer {
    async fn wait(&mut self) -> ProcessExit {
        match self {
            Self::Child(child) => child.wait().await,
            Self::Adopted(adopted) => {
                adopted.wait().await;
                ProcessExit::Unknown
            }
        }
    }

    fn signal(&self, signal: Signal) {
        match self {
            Self::Child(child) => child.signal(signal),
            Self::Adopted(adopted) => adopted.signal(signal),
        }
    }
}

/// The server's command message for `start` on the data in `directory`, with notifications sent to `endpoint`.
#[must_use]
pub(super) fn server_command(
    command: &ServerCommand,
    settings: &RunSettings,
    port: u16,
    start: &ServerStart,
    directory: &Path,
    endpoint: &NotifyEndpoint,
) -> std::process::Command {
    let node = settings.node(port);
    let mut server = command.server_command();
    let address = match &start.join {
        Some(members) => join::cluster_address(members, settings.galera_port),
        None => "gcomm://".to_owned(),
    };
    let incoming = galera::NodeId::new(node.host(), Some(port))
        .map_or_else(|_| node.to_string(), |node| node.to_string());
    // With any other character in the name the server skips its notifications.
    let name = settings
        .name
        .clone()
        .unwrap_or_else(|| node.to_string().replace([':', '[', ']'], "-"));
    server
        .arg(format!(
            "--wsrep-cluster-name={}",
            settings.cluster.wsrep_name()
        ))
        .arg(format!("--wsrep-cluster-address={address}"))
        .arg(format!("--wsrep-node-name={name}"))
        .arg(format!(
            "--wsrep-node-address={}",
            join::gcomm_address(&node, settings.galera_port)
        ))
        .arg(format!("--wsrep-node-incoming-address={incoming}"));
    if let Ok(executable) = std::env::current_exe() {
        // The kernel appends this to the path of a program that was replaced, as by an upgrade; the new one works as
        // well.
        let executable = executable.display().to_string();
        let executable = executable.strip_suffix(" (deleted)").unwrap_or(&executable);
        server.arg(format!("--wsrep-notify-cmd={executable} notify"));
    }
    if start.join.is_none() {
        server.arg("--wsrep-new-cluster");
    }
    if let Some(position) = &start.position {
        server.arg(format!("--wsrep-start-position={position}"));
    }
    for name in settings::run::SECRET_VARIABLES {
        server.env_remove(name);
    }
    server.env(notify::VARIABLE, endpoint.to_env_value());
    server.env(
        adopted_server::DATA_VARIABLE,
        adopted_server::canonical(directory),
    );
    server
}

/// What runs beside a server until it exits.
pub(super) struct SupervisionTasks<M, R> {
    /// Ends only if it fails.
    pub(super) maintaining: M,
    /// Ends with the reason when the server must be started again.
    pub(super) restart: R,
}

/// How a server exited, and whether it is started again.
pub(super) struct SupervisionEnd {
    pub(super) exit: ProcessExit,
    /// Why the agent stopped the server to start it again; `None` if it ended otherwise or a signal asked for the stop.
    pub(super) restart: Option<RestartRequest>,
}

/// Forwards signals, and stops the server on `restart`, until it exits.
pub(super) async fn wait(
    process: &mut SupervisedServer,
    signals: &mut SignalStreams,
    reporter: &PhaseReporter,
    stopping: &CancellationToken,
    restart: impl Future<Output = RestartRequest>,
) -> SupervisionEnd {
    let mut restart = std::pin::pin!(restart);
    let mut requested: Option<RestartRequest> = None;
    let mut kill_at: Option<Instant> = None;
    let mut stopped_by_signal = false;
    loop {
        let request = tokio::select! {
            exit = process.wait() => {
                let restart = requested.filter(|_| !stopped_by_signal);
                return SupervisionEnd { exit, restart };
            }
            request = signals.next() => request,
            found = &mut restart, if requested.is_none() && !stopped_by_signal => {
                stopping.cancel();
                tracing::warn!("{}", found.reason);
                reporter.report(AgentPhase::Stopping, &DataState::Empty, &found.reason);
                process.signal(Signal::TERM);
                kill_at = Some(Instant::now() + RESTART_TIMEOUT);
                requested = Some(found);
                continue;
            }
            () = async { sleep_until(kill_at.unwrap_or_else(Instant::now)).await }, if kill_at.is_some() => {
                tracing::warn!(
                    "The server did not stop within {} s; killing it",
                    RESTART_TIMEOUT.as_secs()
                );
                process.signal(Signal::KILL);
                kill_at = None;
                continue;
            }
        };
        match request {
            SignalRequest::Stop(name) => {
                stopped_by_signal = true;
                // Stop probing first: a probe must not replace the phase.
                stopping.cancel();
                let message = format!("Stopping the server on {name}");
                reporter.report(AgentPhase::Stopping, &DataState::Empty, &message);
                process.signal(Signal::TERM);
            }
            SignalRequest::Forward(signal) => process.signal(signal),
        }
    }
}

/// How the server on `directory` exited. If its exit code is unknown, a saved position proves a clean stop.
#[must_use]
pub(super) fn infer_exit(ended: ProcessExit, directory: &DataDir) -> ProcessExit {
    let clean = || {
        let saved = directory.saved_state();
        saved.is_ok_and(|state| state.position().is_some())
    };
    match ended {
        ProcessExit::Unknown if clean() => ProcessExit::Code(0),
        ended => ended,
    }
}

/// Records the position after a clean stop, and the newest fork that the data continued, so that other nodes know both
/// without this one.
pub(super) async fn record_stop(
    cluster: &ClusterRegistry,
    directory: &DataDir,
    identity: &DataIdentity,
    fork_epoch: u64,
) {
    let position: Option<Position> = directory
        .saved_state()
        .ok()
        .and_then(|state| state.position());
    let Some(position) = position else {
        tracing::warn!(
            "The server stopped without saving its position; it will be recovered at the next start"
        );
        return;
    };
    let record = Box::pin(cluster.register(
        &identity.id,
        ReplaceRegistration::OwnOnly,
        Some(CleanStop {
            position: position.clone(),
            at: Some(now()),
            fork_epoch: Some(fork_epoch),
        }),
        Some(&position),
    ));
    match timeout(RECORD_TIMEOUT, record).await {
        Ok(Ok(false)) => tracing::warn!(
            "Stopped cleanly at {position}, but the address is registered for other data; not recorded"
        ),
        Ok(Ok(true)) => tracing::info!("Stopped cleanly at {position}, recorded in the registry"),
        Ok(Err(error)) => {
            tracing::warn!("Stopped cleanly at {position}, but could not record it: {error}")
        }
        Err(_) => tracing::warn!("Stopped cleanly at {position}, but could not record it in time"),
    }
}
