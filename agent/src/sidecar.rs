//! `galera-agent report`: the agent beside a server that something else starts.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::now;
use crate::health;
use crate::notify::{self, NotifyEndpoint, NotifyListener};
use crate::observation::ServerState;
use crate::probe::StatusProbe;
use crate::report::{ReportTarget, Reporter, TRANSIENT_STATES_MAX};
use crate::settings::{ReportSettings, SettingError};

/// Reports and answers until `stop`, then withdraws the report. An etcd or a database that is not there is waited for.
///
/// # Errors
/// [`SettingError`] for settings that only turn out to be unusable when they are used: certificate files, the health address.
pub async fn run(settings: ReportSettings, stop: CancellationToken) -> Result<(), SettingError> {
    let registry =
        Registry::connect(settings.registry).map_err(|error| registry_setting_error(&error))?;
    let listener = match settings.health {
        Some(address) => Some(bind_health_endpoint(address).await?),
        None => None,
    };
    let told = settings.notify.map(bind_notify_listener).transpose()?;
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
    let probe = StatusProbe::new(settings.database, settings.cluster.clone())
        .with_read_only(!settings.policy.availability.read_only);
    let identity = ReportTarget {
        keys: settings.keys,
        cluster: settings.cluster,
        node: settings.node,
    };
    let (passing, passed) = mpsc::channel(TRANSIENT_STATES_MAX);
    let reporter =
        Reporter::new(registry, identity, settings.ttl, now()).with_transient_states(passed);
    let at_once = Arc::<Notify>::default();
    let telling = publish.clone();
    let hearing = async {
        match &told {
            Some(told) => told.run(&telling, &passing, &at_once).await,
            None => std::future::pending().await,
        }
    };
    let answering = async {
        match listener {
            Some(listener) => health::serve(listener, server.clone(), settings.policy).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = reporter.run(server.clone(), stop) => {}
        () = probe.run(publish, Arc::clone(&at_once)) => {}
        () = answering => {}
        () = hearing => {}
    }
    Ok(())
}

/// Listens for the server's notifications.
fn bind_notify_listener(place: NotifyEndpoint) -> Result<NotifyListener, SettingError> {
    let listener = NotifyListener::bind(place).map_err(|error| SettingError {
        variable: notify::VARIABLE.to_owned(),
        reason: match error.kind() {
            ErrorKind::AddrInUse => {
                "another agent of this host listens there; choose another name".to_owned()
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

/// Opens the health endpoint.
pub(crate) async fn bind_health_endpoint(address: SocketAddr) -> Result<TcpListener, SettingError> {
    let listener = health::bind(address).await.map_err(|error| SettingError {
        variable: "HEALTH_LISTEN".to_owned(),
        reason: format!("cannot listen on {address}: {error}; choose another address or off"),
        permission_denied: error.kind() == ErrorKind::PermissionDenied,
    })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!("Health endpoint listens on {address}");
    Ok(listener)
}

/// Settings for etcd that only turn out to be unusable when they are used.
pub(crate) fn registry_setting_error(error: &registry::Error) -> SettingError {
    let forbidden = matches!(
        error,
        registry::Error::Unreadable {
            kind: ErrorKind::PermissionDenied,
            ..
        }
    );
    SettingError {
        variable: "ETCD_USER, ETCD_PASSWORD_FILE, ETCD_CA, ETCD_CERT, ETCD_KEY".to_owned(),
        reason: error.to_string(),
        permission_denied: forbidden,
    }
}
