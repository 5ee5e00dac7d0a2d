//! The console's live interface.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use console_core::clock::now;
use console_core::session::{Principal, SessionGuard};
use galera::access::CredentialTag;
use galera_console::live::{self, LiveSources, SharedTopics};
use monitor::{Monitor, ViewPublisher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frames::{BenchCluster, report_memory};

/// Serves viewers and publishes once per second until standard input closes.
pub(crate) async fn serve() {
    let views = Arc::new(ViewPublisher::new());
    let tracker = TaskTracker::new();
    let monitor = Monitor::for_publisher(Arc::clone(&views), tracker.clone());
    let sources = LiveSources {
        topics: SharedTopics::new(monitor.clone(), None),
        monitor,
        actions: None,
        metrics: Arc::default(),
    };
    let (_session, ended) = watch::channel(false);
    let guard = SessionGuard {
        id: uuid::Uuid::nil(),
        principal: Principal {
            username: "bench".into(),
            roles: Vec::new(),
            credential: CredentialTag::new("c1"),
            must_enrol: false,
            token: None,
            clusters: galera::access::ClusterScope::all(),
            grants: Arc::default(),
            groups: Arc::default(),
            is_external: false,
        },
        ended,
        may_view: watch::channel(true).1,
        last_proof: now(),
        expires_at: now().plus(Duration::from_secs(3600)),
    };
    let stop = CancellationToken::new();
    let route =
        any(move |ws: WebSocketUpgrade| async move { live::upgrade(ws, sources, guard, stop, ()) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let server = axum::serve(listener, Router::new().route("/live", route));
    tracker.spawn(async move { server.await });
    tracker.spawn_blocking(report_memory);
    let mut cluster = BenchCluster::new();
    let mut publisher = views.cluster_publisher("lab".parse().unwrap());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        publisher.publish(cluster.view());
    }
}
