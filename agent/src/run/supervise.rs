//! The running server: started or taken over, told what others want, waited for.

use std::path::Path;
use std::time::Duration;

use galera::Position;
use galera::observe::registration::AgentPhase;
use galera::startup::DataState;
use rustix::process::Signal;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::adopted_server::{self, AdoptedServer};
use super::children::{ChildProcess, ProcessExit};
use super::cluster::ClusterRegistry;
use super::command::ServerCommand;
use super::datadir::DataDir;
use super::identity::DataIdentity;
use super::join;
use super::phase_reporter::PhaseReporter;
use super::signals::{SignalRequest, SignalStreams};
use super::startup_driver::ServerStart;
use crate::notify::{self, NotifyEndpoint};
use crate::settings;
use crate::settings::run::RunSettings;

/// Time to record the final position; after that the registry says less, but nothing wrong.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);

/// The server that this agent stands by.
pub(super) enum SupervisedServer {
    /// It was started here.
    Child(ChildProcess),
    /// An earlier agent started it.
    Adopted(AdoptedServer),
}

impl SupervisedServer {
    async fn wait(&mut self) -> ProcessExit {
        match self {
            Self::Child(child) => child.wait().await,
            Self::Adopted(living) => {
                living.wait().await;
                ProcessExit::Unknown
            }
        }
    }

    fn signal(&self, signal: Signal) {
        match self {
            Self::Child(child) => child.signal(signal),
            Self::Adopted(living) => living.signal(signal),
        }
    }
}

/// The server's command for `start` on the data in `directory`, where notifications are heard at `place`.
#[must_use]
pub(super) fn server_command(
    command: &ServerCommand,
    settings: &RunSettings,
    port: u16,
    start: &ServerStart,
    directory: &Path,
    place: &NotifyEndpoint,
) -> std::process::Command {
    let node = settings.node(port);
    let mut server = command.server_command();
    let address = match &start.join {
        Some(members) => join::cluster_address(members, settings.galera_port),
        None => "gcomm://".to_owned(),
    };
    let incoming = galera::NodeId::new(node.host(), Some(port))
        .map_or_else(|_| node.to_string(), |node| node.to_string());
    // The server notifies nobody when a name has any other character.
    let name = settings
        .name
        .clone()
        .unwrap_or_else(|| node.to_string().replace([':', '[', ']'], "-"));
    server
        .arg(format!("--wsrep-cluster-name={}", settings.cluster))
        .arg(format!("--wsrep-cluster-address={address}"))
        .arg(format!("--wsrep-node-name={name}"))
        .arg(format!(
            "--wsrep-node-address={}",
            join::gcomm_address(&node, settings.galera_port)
        ))
        .arg(format!("--wsrep-node-incoming-address={incoming}"));
    if let Ok(own) = std::env::current_exe() {
        // The kernel's word for a program that was replaced since, as by an upgrade; the new one does as well.
        let own = own.display().to_string();
        let own = own.strip_suffix(" (deleted)").unwrap_or(&own);
        server.arg(format!("--wsrep-notify-cmd={own} notify"));
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
    server.env(notify::VARIABLE, place.to_env_value());
    server.env(
        adopted_server::DATA_VARIABLE,
        adopted_server::canonical(directory),
    );
    server
}

/// Waits for the server's end and passes on what is wished meanwhile. Says how it ended.
pub(super) async fn wait(
    process: &mut SupervisedServer,
    signals: &mut SignalStreams,
    holder: &PhaseReporter,
    stopping: &CancellationToken,
) -> ProcessExit {
    loop {
        let wish = tokio::select! {
            ended = process.wait() => return ended,
            wish = signals.next() => wish,
        };
        match wish {
            SignalRequest::Stop(name) => {
                // Before the word is said: the probe must not take it back.
                stopping.cancel();
                let line = format!("Stopping the server on {name}");
                holder.report(AgentPhase::Stopping, &DataState::Empty, &line);
                process.signal(Signal::TERM);
            }
            SignalRequest::Forward(signal) => process.signal(signal),
        }
    }
}

/// How the server on `directory` has ended: where nobody was told, the position that a clean stop leaves behind tells.
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

/// Records where the data are after a clean stop, so that this node need not come back for others to know.
pub(super) async fn record_stop(
    cluster: &ClusterRegistry,
    directory: &DataDir,
    identity: &DataIdentity,
) {
    let position: Option<Position> = directory
        .saved_state()
        .ok()
        .and_then(|state| state.position());
    let Some(position) = position else {
        tracing::warn!(
            "The server stopped without leaving its position; it is recovered at the next start"
        );
        return;
    };
    let record = Box::pin(cluster.register(&identity.id, Some(position.clone()), Some(&position)));
    match timeout(RECORD_TIMEOUT, record).await {
        Ok(Ok(())) => tracing::info!("Stopped cleanly at {position}, recorded in the registry"),
        Ok(Err(error)) => tracing::warn!("Stopped cleanly at {position}, not recorded: {error}"),
        Err(_) => tracing::warn!("Stopped cleanly at {position}, not recorded in time"),
    }
}
