//! `galera-agent`: the command line, the exit codes and nothing else.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use galera_agent::settings::{Settings, Source, Wrong};
use galera_agent::{address, sidecar};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Wrong usage or configuration.
const USAGE: u8 = 64;
/// Our own fault.
const INTERNAL: u8 = 70;
/// No permission for a file or address.
const NO_PERMISSION: u8 = 77;

const ENVIRONMENT: &str = "\
Settings are environment variables; each may be given as NAME_FILE, a file that holds the value:
  CLUSTER_NAME         the cluster, as in wsrep_cluster_name (required)
  DISCOVERY_SERVICE    etcd hosts, comma-separated: host, host:port or URL (required)
  TTL                  lifetime of the report in seconds, 3 to 3600 [10]
  NODE_ADDRESS         the node's identity, host or host:port [first address of the host]
  REGISTRY_PREFIX      where the registry's keys begin [/galera]
  MYSQL_HOST, MYSQL_PORT, or MYSQL_SOCKET   the database [127.0.0.1, 3306]
  MYSQL_USER, MYSQL_PASSWORD_FILE           an account with GRANT USAGE [console, none]
  HEALTH_LISTEN        address of the health endpoint, or off [:9200]
  ETCD_USER, ETCD_PASSWORD_FILE, ETCD_CA, ETCD_CERT, ETCD_KEY   access to etcd [none]
  RUST_LOG             which messages are logged [info]
Exit codes: 0 clean, 64 wrong usage or configuration, 70 a fault of the agent, 77 no permission.";

#[derive(Parser)]
#[command(version, about = "Reports a Galera node to the registry", after_help = ENVIRONMENT)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Report on a server that something else starts, until stopped.
    #[command(after_help = ENVIRONMENT)]
    Report,
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli {
            command: Command::Report,
        }) => report(),
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nothing is left to say when even this cannot be printed.
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

fn report() -> ExitCode {
    let source = Source::new(|name| std::env::var_os(name));
    let settings = log_as_asked(&source).and_then(|()| Settings::read(&source, address::first));
    let settings = match settings {
        Ok(settings) => settings,
        Err(wrong) => return refuse(&wrong),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(until_stopped(settings)))
    {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(wrong)) => refuse(&wrong),
        Err(error) => {
            eprintln!("galera-agent: {error:#}");
            ExitCode::from(INTERNAL)
        }
    }
}

fn refuse(wrong: &Wrong) -> ExitCode {
    eprintln!("galera-agent: {wrong}");
    ExitCode::from(if wrong.forbidden {
        NO_PERMISSION
    } else {
        USAGE
    })
}

async fn until_stopped(settings: Settings) -> anyhow::Result<Result<(), Wrong>> {
    // One provider for everything that speaks TLS; it only fails when one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = async {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("Stopping on {name}; the database is left alone");
        stop.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = sidecar::run(settings, stop.clone()) => Ok(outcome),
        () = signals => Ok(Ok(())),
    }
}

fn log_as_asked(source: &Source<'_>) -> Result<(), Wrong> {
    let directives = source
        .optional("RUST_LOG")?
        .unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&directives).map_err(|error| {
        source.wrong("RUST_LOG", format!("{directives:?} is no filter: {error}"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}
