//! `serve`: everything is put together, runs, and ends in order.

mod connections;

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accounts::{AccountCache, Authenticator};
use console_core::leader;
use embedded_etcd::{EmbeddedEtcd, EmbeddedEtcdError};
use history::{EventHistory, HistorySettings};
use monitor::mysql::MysqlSettings;
use monitor::{Monitor, MonitorSettings};
use notify::{self, NotificationService, NotifySettings};
use registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actions::{ActionService, ActionSettings, MonitorClusterAccess, RecoveryCredentials};
use crate::assets::{Site, SiteError};
use crate::config::{Config, EtcdConfig};
use crate::http::{self, AppContext, AppState};
use crate::status_pages::{self, PageAssets, StatusPageConfig, StatusPageDeps, StatusPageService};

/// How long open requests and sockets may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the lock of a replica that died keeps others from continuing its action.
const LOCK_TTL: Duration = Duration::from_secs(10);

/// Why the console did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
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
    /// Settings of notifications that can never work.
    #[error("notifications cannot be sent: {0}")]
    Notify(String),
    /// The system does not tell us about signals.
    #[error("cannot wait for signals: {0}")]
    ShutdownSignals(std::io::Error),
}

/// The console's listeners, bound before anything else is started.
struct HttpListeners {
    main: TcpListener,
    metrics: Option<TcpListener>,
}

impl HttpListeners {
    async fn bind(config: &Config) -> Result<Self, StartError> {
        let main = bind(config.http.listen, "--listen").await?;
        let metrics = match config.http.metrics_listen {
            Some(address) => Some(bind(address, "--metrics-listen").await?),
            None => None,
        };
        Ok(Self { main, metrics })
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
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

/// Runs the console until a signal ends it.
///
/// # Errors
/// [`StartError`]; once it has started, nothing but a signal ends it.
pub async fn serve(config: Config) -> Result<(), StartError> {
    let site = Site::load(&config.http.site_root)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let signals = Signals::new().map_err(StartError::ShutdownSignals)?;
    let listeners = HttpListeners::bind(&config).await?;
    raise_file_limit();
    let (embedded, settings) = match &config.etcd {
        EtcdConfig::Cluster(settings) => (None, (**settings).clone()),
        EtcdConfig::Embedded(path) => {
            let etcd = EmbeddedEtcd::start(path).await?;
            tracing::info!(data_dir = %path.display(), url = etcd.url(), "Embedded etcd started at {}", etcd.url());
            let settings = etcd.settings();
            (Some(etcd), settings)
        }
    };
    let ran = run(config, site, listeners, settings, signals).await;
    if let Some(etcd) = embedded {
        etcd.stop().await;
    }
    ran
}

async fn run(
    config: Config,
    site: Site,
    listeners: HttpListeners,
    etcd: registry::EtcdSettings,
    mut signals: Signals,
) -> Result<(), StartError> {
    let registry = Registry::connect(etcd)?;
    let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
    let state = assemble(&config, site, &registry, &tracker, &shutdown)?;
    announce_addresses(&listeners, &state);
    if let Some(listener) = listeners.metrics {
        let router = http::metrics_router(state.clone());
        tracker.spawn(connections::accept(
            listener,
            router,
            tracker.clone(),
            shutdown.clone(),
        ));
    }
    let router = http::router(state);
    tracker.spawn(connections::accept(
        listeners.main,
        router,
        tracker.clone(),
        shutdown.clone(),
    ));
    let signal = signals.next().await;
    tracing::info!(signal, "{signal}: stopping");
    shutdown.cancel();
    tracker.close();
    tokio::select! {
        () = tracker.wait() => tracing::info!("Stopped"),
        () = tokio::time::sleep(DRAIN_TIMEOUT) => {
            tracing::warn!(tasks = tracker.len(), "Stopped with {} tasks still running", tracker.len());
        }
        signal = signals.next() => tracing::warn!(signal, "{signal} again: stopped at once"),
    }
    Ok(())
}

fn assemble(
    config: &Config,
    site: Site,
    registry: &Registry,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<AppState, StartError> {
    let directory = AccountCache::new(&config.state_prefix);
    tracker.spawn(directory.clone().run(registry.clone(), shutdown.clone()));
    let authority = Authenticator::new(
        registry.clone(),
        &config.state_prefix,
        directory,
        config.http.session_lifetime,
    );
    let settings = MonitorSettings {
        clusters: config.clusters.clone(),
        registry_prefix: config.registry_prefix.clone(),
        state_prefix: config.state_prefix.clone(),
        mysql: MysqlSettings {
            user: config.mysql.user.clone(),
            password: config.mysql.password.clone(),
            port: config.mysql.port,
            tls_ca: config.mysql.tls_ca.clone(),
        },
        poll_interval: config.poll_interval,
        probe_timeout: config.probe_timeout,
    };
    let (mysql, plan) = (settings.mysql.clone(), settings.fold_settings());
    let hub = Monitor::start(
        settings,
        registry.clone(),
        tracker.clone(),
        shutdown.clone(),
    );
    let recovery = config.recovery.as_ref().map(|account| RecoveryCredentials {
        user: account.user.clone(),
        password: account.password.clone(),
    });
    let replica = replica_id();
    let (leadership, election) = leader::campaign(
        registry.clone(),
        &config.state_prefix,
        replica.clone(),
        shutdown.clone(),
    );
    tracker.spawn(election);
    let chronicle = HistorySettings {
        state_prefix: config.state_prefix.clone(),
        replica: replica.clone(),
        retention: config.history.retention,
        changes_max: config.history.changes_max,
    };
    let (chronicle, recording) = EventHistory::start(
        chronicle,
        registry.clone(),
        hub.clone(),
        leadership.clone(),
        shutdown.clone(),
    );
    tracker.spawn(recording);
    let desk = StatusPageConfig {
        state_prefix: config.state_prefix.clone(),
        replica: replica.clone(),
        assets: PageAssets {
            css: site.status_css.clone(),
            js: site.status_js.clone(),
            console_url: config.http.public_url.as_ref().map(ToString::to_string),
        },
    };
    let actions = ActionSettings {
        replica,
        registry_prefix: config.registry_prefix.clone(),
        state_prefix: config.state_prefix.clone(),
        plan: galera::recover::bootstrap::RecoverySettings {
            fold: plan,
            ..galera::recover::bootstrap::RecoverySettings::default()
        },
        approvals: config.approvals.per_kind.clone(),
        limits: galera::recover::action::ActionLimits {
            approvals_needed: config.approvals.default_count,
            pending_timeout: config.request_expiry,
            approved_timeout: config.approval_expiry,
            ..galera::recover::action::ActionLimits::default()
        },
        lock_ttl: LOCK_TTL,
        sql_account: recovery.is_some(),
    };
    let world = MonitorClusterAccess::new(hub.clone(), &mysql, recovery, config.probe_timeout);
    let actions = ActionService::start(
        actions,
        registry.clone(),
        Arc::new(world),
        tracker.clone(),
        shutdown.clone(),
    );
    let around = StatusPageDeps {
        registry: registry.clone(),
        trail: actions.trail().clone(),
        hub: hub.clone(),
        verdict_history: Arc::new(chronicle.clone()),
        leadership: leadership.clone(),
    };
    let status = StatusPageService::start(desk, around, tracker, shutdown);
    if config.approvals.allows_acting_alone() {
        let notice = "One person can act alone here: --approvals 0 is set.";
        hub.set_notices("approvals", vec![notice.to_owned()]);
    }
    let notify = NotifySettings {
        state_prefix: config.state_prefix.clone(),
        public_url: config.http.public_url.clone(),
        allowed_networks: config.notify.allow.clone(),
        ca_file: config.notify.ca.clone(),
        smtp: config.notify.smtp.clone(),
    };
    let sources = notify::NotifySources {
        history: chronicle.clone(),
        trail: actions.trail().clone(),
        directory: authority.cache().clone(),
        in_maintenance: status_pages::maintenance(&status),
    };
    let notify = NotificationService::start(
        &notify,
        registry.clone(),
        sources,
        leadership.clone(),
        tracker,
        shutdown,
    )
    .map_err(StartError::Notify)?;
    let state = AppState(Arc::new(AppContext {
        public_url: config.http.public_url.clone(),
        trusted_proxies: config.http.trusted_proxies.clone(),
        serves_metrics: config.http.metrics_listen.is_none(),
        authenticator: authority,
        monitor: hub,
        actions,
        history: chronicle,
        leadership,
        status_pages: status,
        notifications: notify,
        metrics: Arc::default(),
        site,
        shutdown: shutdown.clone(),
    }));
    let (early, stop) = (state.clone(), shutdown.clone());
    tracker.spawn(async move {
        early.authenticator.warm_up().await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = warn_without_accounts(early.authenticator.cache()) => {}
        }
    });
    Ok(state)
}

/// A name for this process: the host for people, the rest because no other process may have the same.
fn replica_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(63)
        .collect();
    format!("{host}/{:08x}", rand::random::<u32>())
}

/// A console that nobody can sign in to says how to change that.
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
        let url = state
            .public_url
            .as_ref()
            .map_or_else(|| format!("http://{address}"), ToString::to_string);
        tracing::info!(%address, url, "Listening on {address}");
        print_line(&format!("galera-console listens on http://{address}"));
    }
    if let Some(Ok(address)) = listeners.metrics.as_ref().map(TcpListener::local_addr) {
        tracing::info!(%address, "Metrics on {address}");
        print_line(&format!(
            "galera-console serves metrics on http://{address}/metrics"
        ));
    }
}

/// Whoever started the console may have stopped reading, which is no reason to fail.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Every viewer takes a file descriptor, and the usual limit of 1024 is for programs that use select(2).
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "The limit of open files stays as it is");
        }
    }
}

/// The signals that end the console.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
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
