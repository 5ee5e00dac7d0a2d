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
use crate::notify::{self, Listener, Place};
use crate::observation::Server;
use crate::probe::Probe;
use crate::report::{Identity, PASSING, Reporter};
use crate::settings::{Settings, Wrong};

/// Reports and answers until `stop`, then withdraws the report. An etcd or a database that is not there is waited for.
///
/// # Errors
/// [`Wrong`] for settings that only turn out to be unusable when they are used: certificate files, the health address.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), Wrong> {
    let registry = Registry::connect(settings.registry).map_err(|error| unusable(&error))?;
    let listener = match settings.health {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let told = settings.notify.map(hear).transpose()?;
    tracing::info!(
        cluster.id = %settings.cluster,
        node.id = %settings.node,
        ttl_s = settings.ttl.as_secs(),
        "Reporting {} of cluster {} from {} to {}",
        settings.node,
        settings.cluster,
        settings.database.place(),
        registry.endpoints()
    );
    let (publish, server) = watch::channel(Server::Unknown);
    let probe = Probe::new(settings.database, settings.cluster.clone())
        .with_read_only(!settings.policy.available.read_only);
    let identity = Identity {
        keys: settings.keys,
        cluster: settings.cluster,
        node: settings.node,
    };
    let (passing, passed) = mpsc::channel(PASSING);
    let reporter = Reporter::new(registry, identity, settings.ttl, now()).passing(passed);
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
fn hear(place: Place) -> Result<Listener, Wrong> {
    let listener = Listener::bind(place).map_err(|error| Wrong {
        variable: notify::VARIABLE.to_owned(),
        why: match error.kind() {
            ErrorKind::AddrInUse => {
                "another agent of this host listens there; choose another name".to_owned()
            }
            _ => format!("cannot listen: {error}"),
        },
        forbidden: error.kind() == ErrorKind::PermissionDenied,
    })?;
    tracing::info!(
        "Listening for the server's notifications at {:?}",
        listener.place()
    );
    Ok(listener)
}

/// Opens the health endpoint.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Wrong> {
    let listener = health::bind(address).await.map_err(|error| Wrong {
        variable: "HEALTH_LISTEN".to_owned(),
        why: format!("cannot listen on {address}: {error}; choose another address or off"),
        forbidden: error.kind() == ErrorKind::PermissionDenied,
    })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!("Health endpoint listens on {address}");
    Ok(listener)
}

/// Settings for etcd that only turn out to be unusable when they are used.
pub(crate) fn unusable(error: &registry::Error) -> Wrong {
    let forbidden = matches!(
        error,
        registry::Error::Unreadable {
            kind: ErrorKind::PermissionDenied,
            ..
        }
    );
    Wrong {
        variable: "ETCD_USER, ETCD_PASSWORD_FILE, ETCD_CA, ETCD_CERT, ETCD_KEY".to_owned(),
        why: error.to_string(),
        forbidden,
    }
}
