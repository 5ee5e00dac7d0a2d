//! The command line: flags come from the table of settings, exit codes from `sysexits.h`.

mod arguments;
mod audit;
mod client;
mod connect;
mod etcd_roles;
mod incident;
mod order_key;
mod output_file;
mod secret;
mod shell;
mod state;
mod token;
mod user;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ArgMatches;
use embedded_etcd::EmbeddedEtcdError;

use crate::composition::replica_id;
use crate::config::{
    self, ConfigError, ConfigInputs, ConfigProblem, SettingOrigin, read_file, settings,
};
use crate::reload::ConfigLoader;
use crate::serve::{ProcessTelemetry, StartError};
use crate::telemetry::{self, TelemetryExport};

/// How much lower the priority of requests is than that of monitoring.
const NICENESS: i32 = 5;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    Success = 0,
    /// The API refused a request of `ctl`, or an action did not succeed.
    Refused = 1,
    /// Wrong usage or configuration.
    Usage = 64,
    /// A required service is unavailable.
    Unavailable = 69,
    /// Internal error.
    Internal = 70,
    /// No result within the permitted time (`ctl`).
    TimedOut = 75,
    /// Permission denied by the operating system or etcd.
    NoPermission = 77,
}

impl From<ExitReason> for ExitCode {
    fn from(exit: ExitReason) -> Self {
        Self::from(exit as u8)
    }
}

/// A message for standard error, and the exit code.
#[derive(Debug)]
pub(crate) struct CliError {
    exit: ExitReason,
    message: String,
}

impl CliError {
    fn new(exit: ExitReason, message: impl std::fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(problems: ConfigError) -> Self {
        Self::new(ExitReason::Usage, problems)
    }
}

impl From<EmbeddedEtcdError> for CliError {
    fn from(error: EmbeddedEtcdError) -> Self {
        let exit = if error.is_permission() {
            ExitReason::NoPermission
        } else {
            ExitReason::Unavailable
        };
        Self::new(exit, error)
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Site(_)
            | StartError::NoV3 { .. }
            | StartError::Permissions(_)
            | StartError::Build(_) => Self::new(ExitReason::Usage, error),
            StartError::Registry(error) => error.into(),
            StartError::Listen {
                kind: std::io::ErrorKind::PermissionDenied,
                ..
            } => Self::new(ExitReason::NoPermission, error),
            StartError::Listen { .. } => Self::new(ExitReason::Unavailable, error),
            StartError::StateSecret(error) => error.into(),
            StartError::Embedded(error) => error.into(),
            StartError::Tls(_) | StartError::ShutdownSignals(_) => {
                Self::new(ExitReason::Internal, error)
            }
        }
    }
}

/// Runs the program with the arguments and environment of the process.
#[must_use]
pub fn main() -> ExitCode {
    let matches = match arguments::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let failed = error.use_stderr();
            let _ = error.print();
            return if failed {
                ExitReason::Usage
            } else {
                ExitReason::Success
            }
            .into();
        }
    };
    match dispatch(&matches) {
        Ok(()) => ExitReason::Success.into(),
        Err(CliError { exit, message }) => {
            let _ = writeln!(std::io::stderr(), "galera-console: {message}");
            exit.into()
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Result<(), CliError> {
    match matches.subcommand() {
        Some(("serve", matches)) => serve(matches),
        Some(("check-config", matches)) => check_config(matches),
        Some(("user", matches)) => user::run(matches),
        Some(("token", matches)) => token::run(matches),
        Some(("audit", matches)) => audit::run(matches),
        Some(("secret", matches)) => secret::run(matches),
        Some(("etcd-roles", matches)) => etcd_roles::run(matches),
        Some(("order-key", matches)) => order_key::run(matches),
        Some(("state", matches)) => state::run(matches),
        Some(("incident", matches)) => incident::run(matches),
        Some(("ctl", matches)) => client::ctl(matches),
        Some(("mcp", matches)) => client::mcp(matches),
        Some(("completions", matches)) => shell::completions(matches),
        Some(("man", matches)) => shell::man(matches),
        _ => Err(CliError::new(
            ExitReason::Usage,
            "no command given; see galera-console --help",
        )),
    }
}

fn serve(matches: &ArgMatches) -> Result<(), CliError> {
    let mut config = config::load(&collect_inputs(matches)?)?;
    let replica = replica_id();
    let (export, spans) = TelemetryExport::prepare(config.otlp.as_ref(), &replica);
    telemetry::init_with(&config.log, spans);
    let telemetry = ProcessTelemetry { replica, export };
    order_key::provide_for_embedded_etcd(&mut config)?;
    let http = http_runtime()?;
    let matches = matches.clone();
    let load: ConfigLoader = Arc::new(move || {
        let inputs = collect_inputs(&matches).map_err(|error| error.message)?;
        config::load(&inputs).map_err(|error| error.to_string())
    });
    let served = runtime()?.block_on(crate::serve::serve(config, load, http.handle(), telemetry));
    http.shutdown_background();
    Ok(served?)
}

fn check_config(matches: &ArgMatches) -> Result<(), CliError> {
    if matches.get_flag("table") {
        return print(&settings::markdown_table());
    }
    let config = config::load(&collect_inputs(matches)?)?;
    for warning in &config.warnings {
        let _ = writeln!(std::io::stderr(), "galera-console: warning: {warning}");
    }
    if let Err(error) = crate::assets::Site::load(&config.http.site_root) {
        let _ = writeln!(std::io::stderr(), "galera-console: warning: {error}");
    }
    print(&config.report())
}

fn print(text: &str) -> Result<(), CliError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::new(ExitReason::Internal, error))
        }
        _ => Ok(()),
    }
}

/// Few threads: the work is I/O-bound, and every thread costs memory.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    // One provider for every TLS library in the process; an error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    build_runtime(tokio::runtime::Builder::new_multi_thread().thread_name("console"))
}

/// The threads of requests: separate from those of probes and etcd watches, which would otherwise wait for them, and with
/// a lower priority when cores are scarce.
fn http_runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let lower_priority = || {
        // Of this thread; threads that it starts inherit it.
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "Could not set the priority of a thread");
        }
    };
    build_runtime(
        tokio::runtime::Builder::new_multi_thread()
            .thread_name("http")
            .on_thread_start(lower_priority),
    )
}

fn build_runtime(
    builder: &mut tokio::runtime::Builder,
) -> Result<tokio::runtime::Runtime, CliError> {
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4));
    builder
        .worker_threads(threads)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .map_err(|error| {
            CliError::new(
                ExitReason::Internal,
                format!("cannot start worker threads: {error}"),
            )
        })
}

/// Collects the inputs of the configuration from the process.
fn collect_inputs(matches: &ArgMatches) -> Result<ConfigInputs, CliError> {
    let environment = environment();
    let flags = arguments::flags(matches);
    let variable = settings::CONFIG.variable();
    let given = match matches.get_one::<String>(settings::CONFIG.flag) {
        Some(path) => Some((SettingOrigin::Flag(settings::CONFIG.flag), path.clone())),
        None => environment
            .get(&variable)
            .filter(|path| !path.is_empty())
            .map(|path| (SettingOrigin::Variable(variable), path.clone())),
    };
    let file = match given {
        Some((origin, path)) => {
            let path = PathBuf::from(path);
            let text = read_file(&path)
                .map_err(|message| ConfigError(vec![ConfigProblem { origin, message }]))?;
            Some((path, text))
        }
        None => None,
    };
    let program_dir = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(PathBuf::from))
        .unwrap_or_default();
    let state_dir = state_dir(&environment);
    Ok(ConfigInputs {
        flags,
        environment,
        file,
        program_dir,
        state_dir,
    })
}

/// The environment of the process.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

/// Default data directory of the embedded etcd.
fn state_dir(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let system = PathBuf::from("/var/lib/galera-console");
    if rustix::process::geteuid().is_root() && system.is_dir() {
        return Some(system.join("etcd"));
    }
    let directory = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = directory("XDG_STATE_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("galera-console/etcd"))
}

#[cfg(test)]
mod tests;
