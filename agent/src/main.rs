//! `galera-agent`: command line and exit codes.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use galera_agent::check::HealthPlace;
use galera_agent::settings::arbitrator::ArbitratorSettings;
use galera_agent::settings::run::RunSettings;
use galera_agent::settings::stop_check::StopCheckSettings;
use galera_agent::settings::{self, ReportSettings, SettingError, SettingsSource};
use galera_agent::{address, arbitrator, check, may_stop, notify, run, service_manager, sidecar};
use registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const PROGRAM: &str = "galera-agent";
/// Invalid usage or configuration (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// Internal error (`EX_SOFTWARE`).
const EXIT_INTERNAL: u8 = 70;
/// Missing permission for a file or an address (`EX_NOPERM`).
const EXIT_NO_PERMISSION: u8 = 77;

const REPORT_HELP: &str = "\
Settings are environment variables. Each can be given as NAME_FILE instead, the path of a file with the value:
  CLUSTER_NAME         the cluster, as in wsrep_cluster_name (required)
  DISCOVERY_SERVICE    etcd hosts, comma-separated: host, host:port or URL (required)
  TTL                  lease TTL of the report in seconds, 3 to 3600 [10]
  NODE_ADDRESS         identity of the node, host or host:port [first address of the host]
  REGISTRY_PREFIX      prefix of the registry keys [/galera]
  MYSQL_HOST, MYSQL_PORT, or MYSQL_SOCKET   database server [127.0.0.1, 3306]
  MYSQL_USER, MYSQL_PASSWORD_FILE           account with GRANT USAGE [console, none]
  MYSQL_TLS            off, preferred or required: TLS over TCP [required with MYSQL_TLS_CA, else off]
  MYSQL_TLS_CA, MYSQL_TLS_VERIFY            authority of the server's certificate; check ca or identity [none, identity]
  MYSQL_TLS_CERT, MYSQL_TLS_KEY             the agent's certificate, if the server asks for one [none]
  HEALTH_LISTEN        address of the health endpoint, or off [:9200]
  LIVENESS_SOCKET      socket for `galera-agent check`, or off [/run/galera-agent/PORT.sock or ADDRESS-PORT.sock]
  GALERA_AGENT_NOTIFY  NAME/SECRET: socket for `galera-agent notify`; set the same value for the server [none]
  ETCD_USER, ETCD_PASSWORD_FILE, ETCD_CA, ETCD_CERT, ETCD_KEY   access to etcd [none]
  RUST_LOG             log filter [info]
Exit codes: 0 success, 64 invalid usage or configuration, 70 internal error, 77 permission denied.";

const RUN_HELP: &str = "\
In addition to the settings of `report` (except MYSQL_HOST, MYSQL_PORT, MYSQL_SOCKET, MYSQL_USER and GALERA_AGENT_NOTIFY):
  CLUSTER_JOIN         members to join without etcd, instead of DISCOVERY_SERVICE [none]
  MYSQL_ROOT_PASSWORD  password of root@localhost (required)
  MYSQL_ROOT_HOST      host from which a second root account may connect [none]
  XTRABACKUP_USER, XTRABACKUP_PASSWORD   account for state transfers [xtrabackup; required for mariabackup]
  CONSOLE_USER, CONSOLE_PASSWORD         read-only account [console; not created without a password]
  RECOVERY_USER, RECOVERY_PASSWORD       account that may bootstrap [recovery; not created without a password]
  GALERA_PORT          group communication port of every member [4567]
  NODE_NAME            wsrep_node_name [the node's identity]
  AUTO_BOOTSTRAP       all-reported: bootstrap a stopped cluster when all expected members have reported [never]
  ORDER_PUBLIC_KEY_FILE  public keys (PEM) of the consoles whose bootstrap orders are accepted [none: no order is accepted]
  EXPECTED_MEMBERS     number of members, or their names, also for founding [the durable registrations]
  AVAILABLE_WHEN_DONOR, AVAILABLE_WHEN_READONLY   whether donors and read-only nodes are healthy [0, 1]
  HEALTH_DISABLE_FILE  the node is unhealthy while this file exists [/var/tmp/galera-agent.disabled]
Exit codes: the server's (128 plus the signal number if killed; for a server that an earlier agent started only 0 for a
clean stop, otherwise 1), 0 stopped before the server was started, 64 invalid usage or configuration or foreign data,
69 data in use or a program missing, 70 internal error, 77 permission denied.";

const ARBITRATOR_HELP: &str = "\
Settings are environment variables. Each can be given as NAME_FILE instead, the path of a file with the value:
  CLUSTER_NAME         the cluster, as in wsrep_cluster_name (required)
  DISCOVERY_SERVICE    etcd hosts, comma-separated: host, host:port or URL (required)
  TTL                  lease TTL of the report in seconds, 3 to 3600 [10]
  REGISTRY_PREFIX      prefix of the registry keys [/galera]
  ARBITRATOR_NAME      its name in the cluster and in the registry [the host's name]
  ARBITRATOR_LISTEN    where it listens for members, address:port [0.0.0.0:GALERA_PORT]
  ARBITRATOR_DIRECTORY its working directory, for gvwstate.dat [/var/lib/galera-arbitrator]
  ARBITRATOR_OPTIONS   further options of the provider, such as socket.ssl_cert [none]
  GALERA_PORT          group communication port of every member [4567]
  ETCD_USER, ETCD_PASSWORD_FILE, ETCD_CA, ETCD_CERT, ETCD_KEY   access to etcd [none]
  RUST_LOG             log filter [info]
Exit codes: those of garbd (128 plus the signal number if killed), 0 stopped on request, 64 invalid usage or configuration, or a
name in use, 69 garbd is missing, 70 internal error, 77 permission denied.";

const MAY_STOP_HELP: &str = "\
Settings are those of `report` or `run`. The members are read with CONSOLE_USER and CONSOLE_PASSWORD, or without
CONSOLE_PASSWORD with MYSQL_USER and MYSQL_PASSWORD; the account needs GRANT USAGE on every member.
Before a stop: galera-agent may-stop --wait 300 && systemctl stop mariadb
Exit codes: 0 yes, 1 no, 2 cannot tell, 64 invalid usage or configuration, 70 internal error, 77 permission denied.";

#[derive(Parser)]
#[command(version = env!("BUILD_VERSION"), about = "Run a Galera node, or report it to the registry", after_help = REPORT_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Report a server that is started by other means, until stopped.
    #[command(after_help = REPORT_HELP)]
    Report,
    /// Found, join or recover the cluster with this server, and supervise it until it exits.
    #[command(after_help = RUN_HELP)]
    Run {
        /// Server command and arguments, after --.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
    /// Run an arbitrator (garbd): join the members that are Primary, and report it to the registry until it exits.
    #[command(after_help = ARBITRATOR_HELP)]
    Arbitrator {
        /// Its command and further arguments, after --, by default garbd.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Forward a notification from the server's wsrep_notify_cmd to the agent. `run` configures this; for `report`, set
    /// it manually.
    Notify {
        /// Arguments that the server passes to wsrep_notify_cmd.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Query the agent on this host, at LIVENESS_SOCKET or HEALTH_LISTEN: exit code 0 if healthy, 1 if not.
    Check {
        /// Only check that the agent responds, whatever the server's state. For liveness checks.
        #[arg(long)]
        live: bool,
    },
    /// Tell whether this node may be stopped now: exit code 0 yes, 1 no, 2 cannot tell. Reads the registry and every
    /// member; nothing is changed.
    #[command(after_help = MAY_STOP_HELP)]
    MayStop {
        /// Ask again until the answer is yes, for this many seconds at most.
        #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=3600))]
        wait: u16,
    },
    /// Print the script that completes commands in a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write one for each command.
    Man {
        /// Write a page for each command to DIR instead, such as /usr/local/share/man/man1.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match Cli::try_parse().map(|cli| cli.command) {
        Ok(Command::Report) => report(),
        Ok(Command::Run { command }) => run(&command),
        Ok(Command::Arbitrator { command }) => arbitrate(&command),
        Ok(Command::Notify { arguments }) => send_notification(&arguments),
        Ok(Command::Check { live }) => check(live),
        Ok(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
            // clap_complete names the hyphen of a program's name in two ways, and then completes no subcommand.
            let script = String::from_utf8_lossy(&script);
            print_generated(
                script
                    .replace("galera__subcmd__agent", "galera__agent")
                    .as_bytes(),
            )
        }
        Ok(Command::Man { directory }) => man(directory.as_deref()),
        Ok(Command::MayStop { wait }) => may_stop(Duration::from_secs(wait.into())),
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Nothing can be reported if even this cannot be printed.
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}

fn man(directory: Option<&Path>) -> ExitCode {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        return match clap_mangen::Man::new(Cli::command()).render(&mut page) {
            Ok(()) => print_generated(&page),
            Err(_) => ExitCode::from(EXIT_INTERNAL),
        };
    };
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let directory = directory.display();
            let _ = writeln!(
                std::io::stderr(),
                "{PROGRAM}: cannot write manual pages to {directory}: {error}"
            );
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn print_generated(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_INTERNAL),
    }
}

fn report() -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let settings =
        init_logging(&source).and_then(|()| ReportSettings::read(&source, address::first));
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return reject_setting(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(report_until_stopped(settings)))
    {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => reject_setting(&error),
        Err(error) => {
            eprintln!("galera-agent: {error:#}");
            ExitCode::from(EXIT_INTERNAL)
        }
    }
}

fn reject_setting(error: &SettingError) -> ExitCode {
    eprintln!("galera-agent: {error}");
    ExitCode::from(if error.permission_denied {
        EXIT_NO_PERMISSION
    } else {
        EXIT_USAGE
    })
}

/// The server waits for this command, so it returns quickly and never fails.
fn send_notification(arguments: &[String]) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    match source.optional(notify::VARIABLE) {
        Ok(Some(text)) => match source.parse::<notify::NotifyEndpoint>(notify::VARIABLE, &text) {
            Ok(endpoint) => {
                if let Err(error) = notify::send(&endpoint, arguments) {
                    eprintln!("galera-agent: cannot notify the agent: {error}");
                }
            }
            Err(error) => eprintln!("galera-agent: {error}"),
        },
        Ok(None) => eprintln!(
            "galera-agent: {} is not set; this command is for wsrep_notify_cmd",
            notify::VARIABLE
        ),
        Err(error) => eprintln!("galera-agent: {error}"),
    }
    ExitCode::SUCCESS
}

fn check(live: bool) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let place = settings::health_address(&source).and_then(|endpoint| {
        let socket = settings::liveness_socket(&source, endpoint)?;
        HealthPlace::new(socket, endpoint).ok_or_else(|| {
            let why = "is off and LIVENESS_SOCKET is not set, so there is nothing to query";
            source.invalid("HEALTH_LISTEN", why.to_owned())
        })
    });
    let place = match place {
        Ok(place) => place,
        Err(error) => return reject_setting(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(check::query_health(&place, live)),
        Err(error) => {
            eprintln!("galera-agent: {error}");
            return ExitCode::from(EXIT_INTERNAL);
        }
    };
    match outcome {
        Ok((true, line)) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Ok((false, line)) => {
            println!("{line}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn may_stop(limit: Duration) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let settings = match StopCheckSettings::read(&source, address::first) {
        Ok(settings) => settings,
        Err(error) => return reject_setting(&error),
    };
    // Process-wide TLS provider; this fails only if one is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let registry = match Registry::connect(settings.registry.clone()) {
        Ok(registry) => registry,
        Err(error) => return reject_setting(&sidecar::registry_setting_error(&error)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let asking = may_stop::wait_until_allowed(&settings, &registry, limit);
    match runtime {
        Ok(runtime) => {
            let report = runtime.block_on(asking);
            println!("{}", report.text);
            ExitCode::from(report.exit_code())
        }
        Err(error) => {
            eprintln!("galera-agent: {error}");
            ExitCode::from(EXIT_INTERNAL)
        }
    }
}

fn run(command: &[OsString]) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let settings = init_logging(&source).and_then(|()| RunSettings::read(&source, address::first));
    match settings {
        Ok(settings) => supervise(run::run(settings, command)),
        Err(error) => reject_setting(&error),
    }
}

fn arbitrate(command: &[OsString]) -> ExitCode {
    let source = SettingsSource::new(|name| std::env::var_os(name));
    let settings =
        init_logging(&source).and_then(|()| ArbitratorSettings::read(&source, address::first));
    match settings {
        Ok(settings) => supervise(arbitrator::run(settings, command)),
        Err(error) => reject_setting(&error),
    }
}

/// Runs `process` to its end, and exits as it did.
fn supervise(process: impl Future<Output = Result<u8, run::RunError>>) -> ExitCode {
    // Process-wide TLS provider; this fails only if one is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(process),
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
    // Process-wide TLS provider; this fails only if one is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let signals = async {
        let name = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hangup.recv() => tracing::warn!(
                    "SIGHUP: settings are those of the environment at the start; restart the agent to change them"
                ),
            }
        };
        tracing::info!("Stopping on {name}; the database keeps running");
        service_manager::report_stopping();
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
        source.invalid(
            "RUST_LOG",
            format!("{directives:?} is not a valid filter: {error}"),
        )
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(|| galera::log_line::LineWriter)
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use testing::documents::{ParsedCommand, check_commands};
    use testing::source_commands::check_source_commands;

    use super::*;

    fn parse(words: &[String]) -> ParsedCommand {
        let line = std::iter::once(PROGRAM).chain(words.iter().map(String::as_str));
        match Cli::try_parse_from(line) {
            Ok(_) => ParsedCommand::Complete,
            Err(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ParsedCommand::Complete,
                ErrorKind::MissingSubcommand
                | ErrorKind::MissingRequiredArgument
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ParsedCommand::Incomplete,
                _ => ParsedCommand::Refused(error.to_string()),
            },
        }
    }

    #[test]
    fn commands_in_documents_are_accepted() {
        check_commands(PROGRAM, &[], parse);
    }

    #[test]
    fn commands_that_are_shown_are_accepted() {
        check_source_commands(PROGRAM, &[], parse);
    }
}
