//! Accepts connections and serves each until it ends or the console stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use console_core::tasks::Tasks;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Open connections; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection without a request to answer may stay once the console stops.
const IDLE_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts until `shutdown`.
pub(super) async fn accept(listener: TcpListener, router: Router, tasks: Tasks) {
    let Tasks { tracker, shutdown } = tasks;
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = async { (free.clone().acquire_owned().await, listener.accept().await) } => accepted,
        };
        match accepted {
            (Ok(slot), Ok((stream, peer))) => {
                let connection = serve_connection(stream, peer, router.clone(), shutdown.clone());
                tracker.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            (_, Err(error)) => {
                // Out of descriptors, most likely: others must end first.
                tracing::warn!(%error, "A connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (Err(_), _) => return,
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    // Small messages must not wait for the acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY is not set");
    }
    // One reference here, one more for as long as a request is being answered.
    let answering = Arc::new(());
    let held = answering.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let (answer, held) = (router.clone().oneshot(request), held.clone());
        async move {
            let answer = answer.await;
            drop(held);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        while ended.is_none() {
            ended = timeout(IDLE_CLOSE_TIMEOUT, connection.as_mut()).await.ok();
            // The service holds the other reference. No client waits for a response: only half a request has arrived.
            if Arc::strong_count(&answering) == 2 {
                break;
            }
        }
    }
    if let Some(Err(error)) = ended {
        tracing::debug!(%peer, %error, "Connection from {peer} ended: {error}");
    }
}
