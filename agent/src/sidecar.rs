//! `galera-agent report`: the agent beside a server that is started by other means.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use registry::{KeyPermission, Registry, role_layout};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::check::HealthPlace;
use crate::clock::now;
use crate::health::{self, HealthListeners};
use crate::liveness_socket::{LivenessSocket, LivenessSocketError};
use crate::notify::{self, NotifyEndpoint, NotifyListener};
use crate::observation::ServerState;
use crate::probe::StatusProbe;
use crate::report::{ReportTarget, Reporter, TRANSIENT_STATES_MAX};
use crate::service_manager;
use crate::settings::{ReportSettings, SettingError};

/// How long the start waits for etcd to tell what its account may do.
const PERMISSION_TIMEOUT: Duration = Duration::from_secs(3);

/// Publishes the report and serves health checks until `stop`, then withdraws the report. Waits for an etcd or a
/// database that is unreachable.
///
/// # Errors
/// [`SettingError`] for settings that only fail when used: certificate files, the health address.
pub async fn run(settings: ReportSettings, stop: CancellationToken) -> Result<(), SettingError> {
    let registry =
        Registry::connect(settings.registry).map_err(|error| registry_setting_error(&error))?;
    let own = role_layout::sidecar_permission(&settings.keys, &settings.cluster, &settings.node);
    check_permissions(&registry, &[own]).await?;
    let mut listeners = bind_health(settings.health, settings.liveness_socket.as_deref()).await?;
    let notifications = settings.notify.map(bind_notify_listener).transpose()?;
    tracing::info!(
        cluster.id = %settings.cluster,
        node.id = %settings.node,
        ttl_s = settings.ttl.as_secs(),
        "Reporting {} of cluster {} from {} to {}",
        settings.node,
        settings.cluster,
        settings.database.location(),
        registry.endpoints()
    );
    let (publish, server) = watch::channel(ServerState::Unknown);
    let probe = StatusProbe::new(settings.database, settings.cluster.clone());
    let identity = ReportTarget {
        keys: settings.keys,
        cluster: settings.cluster,
        node: settings.node,
    };
    let (transient_sender, transient_receiver) = mpsc::channel(TRANSIENT_STATES_MAX);
    let reporter = Reporter::new(registry, identity, settings.ttl, now())
        .with_transient_states(transient_receiver);
    listeners.report_refusal = Some(reporter.watch_refusal());
    let probe_now = Arc::<Notify>::default();
    let publish_notified = publish.clone();
    let receiving = async {
        match &notifications {
            Some(notifications) => {
                notifications
                    .run(&publish_notified, &transient_sender, &probe_now)
                    .await
            }
            None => std::future::pending().await,
        }
    };
    // Not on the health endpoint, which other hosts may keep busy.
    let socket = settings
        .liveness_socket
        .filter(|_| listeners.socket.is_some());
    let feeding = service_manager::feed_watchdog(server.clone(), socket.map(HealthPlace::Socket));
    let serving = health::serve(listeners, server.clone(), settings.policy);
    service_manager::report_ready();
    tokio::select! {
        () = reporter.run(server.clone(), stop) => {}
        () = feeding => {}
        () = probe.run(publish, Arc::clone(&probe_now)) => {}
        () = serving => {}
        () = receiving => {}
    }
    Ok(())
}

/// Listens for the server's notifications.
fn bind_notify_listener(endpoint: NotifyEndpoint) -> Result<NotifyListener, SettingError> {
    let listener = NotifyListener::bind(endpoint).map_err(|error| SettingError {
        variable: notify::VARIABLE.to_owned(),
        reason: match error.kind() {
            ErrorKind::AddrInUse => {
                "is used by another agent on this host; choose another name".to_owned()
            }
            _ => format!("cannot listen: {error}"),
        },
        permission_denied: error.kind() == ErrorKind::PermissionDenied,
    })?;
    tracing::info!(
        "Listening for the server's notifications at {:?}",
        listener.endpoint()
    );
    Ok(listener)
}

/// Opens the health endpoint and the socket for local checks. Without the socket, checks use the endpoint.
pub(crate) async fn bind_health(
    address: Option<SocketAddr>,
    socket: Option<&Path>,
) -> Result<HealthListeners, SettingError> {
    let endpoint = match address {
        Some(address) => Some(bind_health_endpoint(address).await?),
        None => None,
    };
    let socket = match socket {
        Some(path) => bind_liveness_socket(path, address).await?,
        None => None,
    };
    Ok(HealthListeners {
        endpoint,
        socket,
        report_refusal: None,
    })
}

async fn bind_liveness_socket(
    path: &Path,
    endpoint: Option<SocketAddr>,
) -> Result<Option<LivenessSocket>, SettingError> {
    match LivenessSocket::bind(path).await {
        Ok(socket) => {
            tracing::info!("Local checks listening on {}", path.display());
            Ok(Some(socket))
        }
        Err(LivenessSocketError::Unavailable(error)) => {
            let fallback = match endpoint {
                Some(address) => format!(
                    "galera-agent check uses the health endpoint on {address} instead, which other hosts may reach"
                ),
                None => "galera-agent check will fail".to_owned(),
            };
            tracing::warn!(
                "Local checks cannot listen on {}: {error}; {fallback}; set LIVENESS_SOCKET to a path in a directory that the agent can write",
                path.display()
            );
            Ok(None)
        }
        Err(refused) => Err(SettingError {
            variable: "LIVENESS_SOCKET".to_owned(),
            reason: format!("{} {refused}", path.display()),
            permission_denied: false,
        }),
    }
}

async fn bind_health_endpoint(address: SocketAddr) -> Result<TcpListener, SettingError> {
    let listener = health::bind(address).await.map_err(|error| SettingError {
        variable: "HEALTH_LISTEN".to_owned(),
        reason: format!("cannot listen on {address}: {error}; choose another address or off"),
        permission_denied: error.kind() == ErrorKind::PermissionDenied,
    })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!("Health endpoint listening on {address}");
    Ok(listener)
}

/// Refuses an account of etcd that lacks one of the rights in `needed`. An etcd that does not answer soon is not waited
/// for: the errors of later calls name what is missing.
pub(crate) async fn check_permissions(
    registry: &Registry,
    needed: &[KeyPermission],
) -> Result<(), SettingError> {
    let missing = timeout(PERMISSION_TIMEOUT, registry.missing_permissions(needed)).await;
    let Ok(Ok(missing)) = missing else {
        return Ok(());
    };
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    Err(SettingError {
        variable: "ETCD_USER".to_owned(),
        reason: format!(
            "the account lacks {}; `galera-console etcd-roles print` shows the roles of agents",
            missing.join(", ")
        ),
        permission_denied: false,
    })
}

/// An error in the etcd settings that only shows when they are used.
#[must_use]
pub fn registry_setting_error(error: &registry::Error) -> SettingError {
    SettingError {
        variable: "ETCD_USER, ETCD_PASSWORD_FILE, ETCD_CA, ETCD_CERT, ETCD_KEY".to_owned(),
        reason: error.to_string(),
        permission_denied: matches!(
            error,
            registry::Error::TlsFile(file) if file.is_permission_denied()
        ),
    }
}
