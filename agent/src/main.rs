//! `galera-agent`: the command line, the exit codes and nothing else.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use galera_agent::settings::run::RunSettings;
use galera_agent::settings::{self, ReportSettings, SettingError, SettingsSource};
use galera_agent::{address, check, notify, run, sidecar};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Wrong usage or configuration.
const EXIT_USAGE: u8 = 64;
/// Our own fault.
const EXIT_INTERNAL: u8 = 70;
/// No permission for a file or address.
const EXIT_NO_PERMISSION: u8 = 77;

const REPORT_HELP: &str = "\
Settings are environment variables; each may be given as NAME_FILE, a file that holds the value:
  CLUSTER_NAME         the cluster, as in wsrep_cluster_name (required)
  DISCOVERY_SERVICE    etcd hosts, comma-separated: host, host:port or URL (required)
  TTL                  lifetime of the report in seconds, 3 to 3600 [10]
  NODE_ADDRESS         the node's identity, host or host:port [first address of the host]
  REGISTRY_PREFIX      where the registry's keys begin [/galera]
  MYSQL_HOST, MYSQL_PORT, or MYSQL_SOCKET   the database [127.0.0.1, 3306]
  MYSQL_USER, MYSQL_PASSWORD_FILE           an account with GRANT USAGE [console, none]
  HEALTH_LISTEN        address of the health endpoint, or off [:9200]
  GALERA_AGENT_NOTIFY  NAME/SECRET: listens for `galera-agent notify`, where the server has the same value [none]
  ETCD_USER, ETCD_PASSWORD_FILE, ETCD_CA, ETCD_CERT, ETCD_KEY   access to etcd [none]
  RUST_LOG             which messages are logged [info]
Exit codes: 0 clean, 64 wrong usage or configuration, 70 a fault of the agent, 77 no permission.";

const RUN_HELP: &str = "\
Beside those of `report`, where MYSQL_HOST, MYSQL_PORT, MYSQL_SOCKET, MYSQL_USER and GALERA_AGENT_NOTIFY do not count:
  CLUSTER_JOIN         members to join without etcd, instead of DISCOVERY_SERVICE [none]
  MYSQL_ROOT_PASSWORD  of root@localhost (required)
  MYSQL_ROOT_HOST      from where a second root may connect [none]
  XTRABACKUP_USER, XTRABACKUP_PASSWORD   the state transfer's account [xtrabackup; required for mariabackup]
  CONSOLE_USER, CONSOLE_PASSWORD         an account that may only look [console; none is made]
  RECOVERY_USER, RECOVERY_PASSWORD       the account that may bootstrap [recovery; none is made]
  GALERA_PORT          group communication port of every member [4567]
  NODE_NAME            wsrep_node_name [the node's identity]
  AUTO_BOOTSTRAP       all-reported: a stopped cluster comes back when all expected members have reported [never]
  EXPECTED_MEMBERS     how many members there are, or their names [the durable registrations]
  AVAILABLE_WHEN_DONOR, AVAILABLE_WHEN_READONLY   whether these nodes are healthy [0, 1]
  HEALTH_DISABLE_FILE  while it exists, the node is not healthy [/var/tmp/galera-agent.disabled]
Exit codes: the server's own (128 and the signal's number when killed; of a server that an earlier agent started only
0 stopped cleanly, 1 not), 0 stopped before it was started, 64 wrong usage, configuration or foreign data, 69 data in use
or a program missing, 70 a fault of the agent, 77 no permission.";

#[derive(Parser)]
#[command(version, about = "Runs a Galera node, or reports one to the registry", after_help = REPORT_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Report on a server that something else starts, until stopped.
    #[command(after_help = REPORT_HELP)]
    Report,
    /// Found, join or recover the cluster with this server, and stand by it until it ends.
    #[command(after_help = RUN_HELP)]
    Run {
        /// The server and its arguments, after --.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
    /// Hand on what the server tells its wsrep_notify_cmd; `run` sets that, for `report` it is set by hand.
    Notify {
        /// What the server says.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Ask the health endpoint that HEALTH_LISTEN names: 0 healthy, 1 not.
    Check {
        /// Only whether the agent answers, whatever the server does: for checks that restart what fails.
        #[arg(long)]
        live: bool,
    },
}

fn main() -> ExitCode {
    match Cli::try_parse().map(|cli| cli.command) {
        Ok(Command::Report) => report(),
        Ok(Command::Run { command }) => run(&command),
        Ok(Command::Notify { arguments }) => send_notification(&arguments),
        Ok(Command::Check { live }) => check(live),
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Nothing is left to say when even this cannot be printed.
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

fn report() -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let settings =
        init_logging(&source).and_then(|()| ReportSettings::read(&source, address::first));
    let settings = match settings {
        Ok(settings) => settings,
        Err(wrong) => return reject_setting(&wrong),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(report_until_stopped(settings)))
    {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(wrong)) => reject_setting(&wrong),
        Err(error) => {
            eprintln!("galera-agent: {error:#}");
            ExitCode::from(EXIT_INTERNAL)
        }
    }
}

fn reject_setting(wrong: &SettingError) -> ExitCode {
    eprintln!("galera-agent: {wrong}");
    ExitCode::from(if wrong.permission_denied {
        EXIT_NO_PERMISSION
    } else {
        EXIT_USAGE
    })
}

/// The server waits for this: quick, and never a failure.
fn send_notification(arguments: &[String]) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    match source.optional(notify::VARIABLE) {
        Ok(Some(text)) => match source.parse::<notify::NotifyEndpoint>(notify::VARIABLE, &text) {
            Ok(place) => {
                if let Err(error) = notify::send(&place, arguments) {
                    eprintln!("galera-agent: the agent was not told: {error}");
                }
            }
            Err(wrong) => eprintln!("galera-agent: {wrong}"),
        },
        Ok(None) => eprintln!(
            "galera-agent: {} is not set; it is meant for wsrep_notify_cmd",
            notify::VARIABLE
        ),
        Err(wrong) => eprintln!("galera-agent: {wrong}"),
    }
    ExitCode::SUCCESS
}

fn check(live: bool) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let address = match settings::health_address(&source) {
        Ok(Some(address)) => address,
        Ok(None) => {
            return reject_setting(&source.invalid(
                "HEALTH_LISTEN",
                "is off, so there is nobody to ask".to_owned(),
            ));
        }
        Err(wrong) => return reject_setting(&wrong),
    };
    match check::query_health(address, live) {
        Ok((true, line)) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Ok((false, line)) => {
            println!("{line}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("the agent does not answer at {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &[OsString]) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let settings = init_logging(&source).and_then(|()| RunSettings::read(&source, address::first));
    let settings = match settings {
        Ok(settings) => settings,
        Err(wrong) => return reject_setting(&wrong),
    };
    // One provider for everything that speaks TLS; it only fails when one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run::run(settings, command)),
        Err(error) => Err(run::RunError::Internal(error.to_string())),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("galera-agent: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn report_until_stopped(
    settings: ReportSettings,
) -> anyhow::Result<Result<(), SettingError>> {
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

fn init_logging(source: &SettingsSource<'_>) -> Result<(), SettingError> {
    let directives = source
        .optional("RUST_LOG")?
        .unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&directives).map_err(|error| {
        source.invalid("RUST_LOG", format!("{directives:?} is no filter: {error}"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}
