//! `serve`: everything is put together, runs, and ends in order.

mod admission;
mod connections;
mod progress;
mod service_manager;

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accounts::AccountCache;
use console_core::tasks::Tasks;
use embedded_etcd::{EmbeddedEtcd, EmbeddedEtcdError};
use galera::ReplicaId;
use galera::observe::registration::RegistryKeys;
use registry::v2::V2Registry;
use registry::{EtcdSettings, Registry, role_layout};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::assets::{Site, SiteError};
use crate::authority::{SealedState, StateSecretError};
use crate::composition::{BuildError, Console, Overrides};
use crate::config::{Config, EtcdConfig, LimitsConfig};
use crate::http::{self, AppState};
use crate::reload::{ConfigLoader, ConfigReload};
use crate::telemetry::TelemetryExport;
use admission::ConnectionTable;
use connections::{ConnectionRouters, TlsRouter};
use service_manager::ProofOfWork;

/// How long open requests and sockets may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the start waits for etcd to tell what its account may do.
const PERMISSION_TIMEOUT: Duration = Duration::from_secs(3);
/// File descriptors that connections leave to etcd, databases and files.
const RESERVED_FILES: u64 = 256;

/// Why the console did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        address: SocketAddr,
        /// What is in the way, with the remedy.
        reason: String,
        /// The system's kind of refusal.
        kind: ErrorKind,
    },
    /// No embedded etcd.
    #[error(transparent)]
    Embedded(#[from] EmbeddedEtcdError),
    /// Settings of etcd that can never work.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// etcd is older than the v3 API.
    #[error(
        "etcd at {endpoints} is version {version} and has no v3 API, in which the console keeps accounts, actions and the audit trail; \
         leave out --etcd-endpoints (an embedded etcd is started) or name an etcd 3.x there, and name this one with --registry-v2-endpoints"
    )]
    NoV3 {
        endpoints: String,
        /// The version that one of them reports.
        version: String,
    },
    /// The account of etcd has too few rights.
    #[error(
        "the etcd account of --etcd-user lacks {0}; `galera-console etcd-roles apply` creates roles that suffice"
    )]
    Permissions(String),
    /// The records in etcd cannot be used with the state secret.
    #[error(transparent)]
    StateSecret(#[from] StateSecretError),
    /// Invalid settings.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// TLS is unavailable.
    #[error("TLS cannot be used: {0}")]
    Tls(rustls::Error),
    /// The system does not tell us about signals.
    #[error("cannot wait for signals: {0}")]
    ShutdownSignals(std::io::Error),
}

/// The console's listeners, bound before anything else is started.
struct HttpListeners {
    main: TcpListener,
    metrics: Option<TcpListener>,
    /// Where their connections are served.
    runtime: Handle,
}

impl HttpListeners {
    fn bind(config: &Config, runtime: &Handle) -> Result<Self, StartError> {
        let _entered = runtime.enter();
        let main = bind(config.http.listen, "--listen")?;
        let metrics = config.http.metrics_listen;
        let metrics = metrics.map(|address| bind(address, "--metrics-listen"));
        Ok(Self {
            main,
            metrics: metrics.transpose()?,
            runtime: runtime.clone(),
        })
    }
}

fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, StartError> {
    connections::listen(address).map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::AddrInUse => format!("another program uses that port; stop it, or choose another with {flag}"),
            ErrorKind::PermissionDenied => {
                format!("this user may not use that port; choose one above 1023 with {flag}, or grant CAP_NET_BIND_SERVICE")
            }
            ErrorKind::AddrNotAvailable => format!("this machine does not have that address; choose another with {flag}"),
            _ => format!("{error}; choose another address with {flag}"),
        };
        StartError::Listen { address, reason, kind: error.kind() }
    })
}

/// Runs the console until a signal ends it. Requests are served on the runtime `http`, everything else on the caller's.
///
/// # Errors
/// [`StartError`]; once it has started, nothing but a signal ends it.
pub async fn serve(
    config: Config,
    load: ConfigLoader,
    http: &Handle,
    telemetry: ProcessTelemetry,
) -> Result<(), StartError> {
    let site = Site::load(&config.http.site_root)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let signals = Signals::new().map_err(StartError::ShutdownSignals)?;
    let listeners = HttpListeners::bind(&config, http)?;
    let files = raise_file_limit();
    let (embedded, settings) = match &config.etcd {
        EtcdConfig::Cluster(settings) => (None, (**settings).clone()),
        EtcdConfig::Embedded(path) => {
            let etcd = EmbeddedEtcd::start(path).await?;
            tracing::info!(data_dir = %path.display(), url = etcd.url(), "Embedded etcd started at {}", etcd.url());
            let settings = etcd.settings();
            (Some(etcd), settings)
        }
    };
    let limits = within_file_limit(config.limits, files);
    let start = StartInputs {
        config,
        load,
        limits,
        site,
        listeners,
        etcd: settings,
        signals,
        telemetry,
    };
    let ran = Box::pin(run(start)).await;
    if let Some(etcd) = embedded {
        etcd.stop().await;
    }
    ran
}

/// The name of this process, and the export of its traces and metrics.
#[derive(Debug)]
pub struct ProcessTelemetry {
    pub replica: ReplicaId,
    pub export: TelemetryExport,
}

/// What a console starts with.
struct StartInputs {
    config: Config,
    load: ConfigLoader,
    limits: LimitsConfig,
    site: Site,
    listeners: HttpListeners,
    etcd: EtcdSettings,
    signals: Signals,
    telemetry: ProcessTelemetry,
}

async fn run(start: StartInputs) -> Result<(), StartError> {
    let StartInputs {
        config,
        load,
        limits,
        site,
        listeners,
        etcd,
        signals,
        telemetry: ProcessTelemetry { replica, export },
    } = start;
    check_v3(&etcd).await?;
    let registry = Registry::connect(etcd)?;
    check_permissions(&registry, &config).await?;
    let state = SealedState::new(
        registry,
        &config.state_prefix,
        config.state_secret.as_ref(),
        replica.as_str(),
    );
    let state = state?;
    state
        .establish_if_reachable()
        .await
        .map_err(StateSecretError::from)?;
    let actor = replica.to_string();
    let overrides = Overrides {
        replica: Some(replica),
        export: export.metrics(),
        ..Overrides::default()
    };
    let console = Console::build(&config, site, state.registry, overrides)?;
    prepare_sign_in(&console);
    let Console { state, tasks } = console;
    let source = http::metrics_source(&state);
    let export = export.start(state.resolver.clone(), source);
    let export = export.map_err(BuildError::Otlp)?;
    let reload = ConfigReload::new(load, &config, state.clone(), actor).run(signals.hangup);
    let until = tasks.shutdown.clone();
    tasks.spawn(async move { _ = until.run_until_cancelled(reload).await });
    let mut signals = signals.stop;
    announce_addresses(&listeners, &state);
    // Each listener has separate limits: clients of one take no room from the other.
    let table = || {
        let (proxies, counters) = (&state.trusted_proxies, &state.limits.counters);
        Arc::new(ConnectionTable::new(
            limits,
            proxies.clone(),
            Arc::clone(counters),
        ))
    };
    let health_only = http::health_router(state.clone());
    let mut proof = ProofOfWork {
        health: health_only.clone(),
        http: listeners.runtime.clone(),
        accepting: Vec::new(),
    };
    if let Some(listener) = listeners.metrics {
        let routers = ConnectionRouters {
            full: http::metrics_router(state.clone()),
            health_only: health_only.clone(),
            tls: None,
        };
        let accepting = connections::accept(listener, routers, table(), tasks.clone());
        let accepting = tasks.tracker.spawn_on(accepting, &listeners.runtime);
        proof.accepting.push(accepting.abort_handle());
    }
    let routers = ConnectionRouters {
        full: http::router(state.clone()),
        health_only,
        tls: listener_tls(&state)?,
    };
    let accepting = connections::accept(listeners.main, routers, table(), tasks.clone());
    let accepting = tasks.tracker.spawn_on(accepting, &listeners.runtime);
    proof.accepting.push(accepting.abort_handle());
    drop(state);
    report_to_service_manager(&tasks, proof);
    let Tasks { tracker, shutdown } = tasks;
    let signal = signals.next().await;
    tracing::info!(signal, "{signal}: stopping");
    service_manager::report_stopping();
    shutdown.cancel();
    drain(&tracker, &mut signals).await;
    export.finish().await;
    Ok(())
}

/// Reports that the console is ready, and then that it works until it stops.
fn report_to_service_manager(tasks: &Tasks, proof: ProofOfWork) {
    let until = tasks.shutdown.clone();
    let feeding = service_manager::feed_watchdog(proof);
    tasks.spawn(async move { _ = until.run_until_cancelled(feeding).await });
    service_manager::report_ready();
}

/// Waits until every task has ended, another signal arrives or [`DRAIN_TIMEOUT`] is over.
async fn drain(tracker: &TaskTracker, signals: &mut StopSignals) {
    tracker.close();
    tokio::select! {
        () = tracker.wait() => tracing::info!("Stopped"),
        () = tokio::time::sleep(DRAIN_TIMEOUT) => {
            tracing::warn!(tasks = tracker.len(), "Stopped with {} tasks still running", tracker.len());
        }
        signal = signals.next() => tracing::warn!(signal, "{signal} again: stopped immediately"),
    }
}

/// Refuses to start with an etcd before version 3, which has the v2 API only. One that does not answer is not waited for.
async fn check_v3(etcd: &EtcdSettings) -> Result<(), StartError> {
    let Ok(Ok(version)) = timeout(
        PERMISSION_TIMEOUT,
        V2Registry::connect(etcd.clone())?.server_version(),
    )
    .await
    else {
        return Ok(());
    };
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major >= 3) {
        return Ok(());
    }
    let endpoints = etcd.endpoints.join(", ");
    Err(StartError::NoV3 { endpoints, version })
}

/// Refuses to start with an account of etcd that lacks a right. An etcd that does not answer soon is not waited for: the
/// errors of later calls name what is missing.
async fn check_permissions(registry: &Registry, config: &Config) -> Result<(), StartError> {
    let keys = RegistryKeys::new(&config.registry_prefix);
    let role = role_layout::console(&keys, &config.state_prefix);
    let checked = timeout(
        PERMISSION_TIMEOUT,
        registry.missing_permissions(&role.permissions),
    );
    match checked.await {
        Ok(Ok(missing)) if !missing.is_empty() => Err(StartError::Permissions(
            missing
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        )),
        Ok(Err(error)) if !error.is_transient() => Err(error.into()),
        _ => Ok(()),
    }
}

fn listener_tls(state: &AppState) -> Result<Option<TlsRouter>, StartError> {
    let Some(store) = &state.certificate else {
        return Ok(None);
    };
    let config = store.server_config().map_err(StartError::Tls)?;
    Ok(Some(TlsRouter {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        without_tls: http::tls_required_router(state.clone()),
    }))
}

/// Makes the first sign-in as fast as later ones, and warns when no account exists.
fn prepare_sign_in(console: &Console) {
    let (state, shutdown) = (console.state.clone(), console.tasks.shutdown.clone());
    console.tasks.spawn(async move {
        state.authenticator.warm_up().await;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = warn_without_accounts(state.authenticator.cache()) => {}
        }
    });
}

/// Logs how to create the first account while there is none to sign in with.
async fn warn_without_accounts(directory: &AccountCache) {
    loop {
        match directory.has_accounts() {
            Some(true) => return,
            Some(false) => {
                tracing::warn!(
                    "There is no account yet; create the first: galera-console user add NAME --role admin"
                );
                return;
            }
            None => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Says on standard output where the console is, for people and for programs that start it.
fn announce_addresses(listeners: &HttpListeners, state: &AppState) {
    if let Ok(address) = listeners.main.local_addr() {
        let scheme = if state.certificate.is_some() {
            "https"
        } else {
            "http"
        };
        let own = format!("{scheme}://{address}");
        let url = state
            .public_url
            .as_ref()
            .map_or_else(|| own.clone(), ToString::to_string);
        tracing::info!(%address, url, "Listening on {address}");
        print_line(&format!("galera-console listens on {own}"));
    }
    if let Some(Ok(address)) = listeners.metrics.as_ref().map(TcpListener::local_addr) {
        tracing::info!(%address, "Metrics on {address}");
        print_line(&format!(
            "galera-console serves metrics on http://{address}/metrics"
        ));
    }
}

/// The reader of standard output may be gone, which is no reason to fail.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// The limits, with no more connections than the system's limit of open files allows.
fn within_file_limit(limits: LimitsConfig, files: Option<u64>) -> LimitsConfig {
    let room = files.map_or(usize::MAX, |files| {
        usize::try_from(files.saturating_sub(RESERVED_FILES).max(1)).unwrap_or(usize::MAX)
    });
    if limits.connections > room {
        tracing::warn!(
            connections = room,
            "The limit of open files allows {room} connections instead of {}; raise it, or lower --max-connections",
            limits.connections
        );
    }
    LimitsConfig {
        connections: limits.connections.min(room),
        ..limits
    }
}

/// Every viewer takes a file descriptor, and the usual limit of 1024 is for programs that use select(2). Returns the limit
/// in force, if there is one.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "Could not raise the open-file limit");
        }
    }
    getrlimit(Resource::Nofile).current
}

/// The signals that the console handles.
struct Signals {
    stop: StopSignals,
    /// Requests to read the configuration again; the first is kept until the console has started.
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            stop: StopSignals::new()?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// The signals that end the console.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
