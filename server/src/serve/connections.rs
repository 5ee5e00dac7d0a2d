//! Accepts connections and serves each until it ends or the console stops.
//!
//! The limits: `admission` decides which connections are accepted, `progress` closes those whose clients do not read,
//! hyper those whose clients send no request. Bodies are shared `Bytes`, so that a connection buffers at most
//! [`BUFFER_MAX`] of its own.

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
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::admission::{ConnectionScope, ConnectionSlot, ConnectionTable};
use super::progress::{ProgressStream, StreamState};

/// How long a connection without a request to answer may stay once the console stops.
const IDLE_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest head of a request, and most bytes of responses that hyper buffers for a connection.
const BUFFER_MAX: usize = 64 * 1024;
/// The system's send buffer of a connection; it doubles the value. By default it grows to megabytes.
const SEND_BUFFER: u32 = 64 * 1024;
/// Connections that the system accepts ahead of us.
const BACKLOG: u32 = 1024;
/// How long a connection for health checks may take altogether.
const HEALTH_ONLY_TIMEOUT: Duration = Duration::from_secs(2);

/// What connections are served with.
#[derive(Clone)]
pub(super) struct Routers {
    pub(super) full: Router,
    /// Health checks; an error for everything else.
    pub(super) health_only: Router,
}

/// Listens on `address`.
///
/// # Errors
/// The system's.
pub(super) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    // Inherited by the connections.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `shutdown`.
pub(super) async fn accept(
    listener: TcpListener,
    routers: Routers,
    table: Arc<ConnectionTable>,
    tasks: Tasks,
) {
    let Tasks { tracker, shutdown } = tasks;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(slot) = table.admit(peer.ip()) {
                    let connection = serve_connection(
                        stream,
                        peer,
                        routers.clone(),
                        table.clone(),
                        slot,
                        shutdown.clone(),
                    );
                    tracker.spawn(connection);
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: others must end first.
                tracing::warn!(%error, "A connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    routers: Routers,
    table: Arc<ConnectionTable>,
    slot: ConnectionSlot,
    shutdown: CancellationToken,
) {
    let limits = *table.limits();
    match slot.scope {
        ConnectionScope::Full => {
            let head = limits.header_timeout;
            serve_requests(stream, peer, routers.full, &table, head, true, shutdown).await;
        }
        ConnectionScope::HealthOnly => {
            let router = routers.health_only;
            let head = limits.header_timeout.min(HEALTH_ONLY_TIMEOUT);
            let serving = serve_requests(stream, peer, router, &table, head, false, shutdown);
            let _ = timeout(HEALTH_ONLY_TIMEOUT, serving).await;
        }
    }
    drop(slot);
}

async fn serve_requests(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    table: &ConnectionTable,
    header_timeout: Duration,
    keep_alive: bool,
    shutdown: CancellationToken,
) {
    // Small messages must not wait for the acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY is not set");
    }
    let state = Arc::<StreamState>::default();
    let stream = ProgressStream::new(
        stream,
        table.limits().write_timeout,
        Arc::clone(&state),
        reset_on_close,
    );
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
        .header_read_timeout(header_timeout)
        .max_buf_size(BUFFER_MAX)
        .keep_alive(keep_alive)
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
        report_end(table, peer, &state, &error);
    }
}

fn report_end(
    table: &ConnectionTable,
    peer: SocketAddr,
    state: &StreamState,
    error: &hyper::Error,
) {
    let counters = &table.counters;
    if state.is_stalled() {
        counters
            .write_timeout
            .refuse(format_args!("{peer} does not read a response"));
    } else if error.is_timeout() && state.has_received() {
        counters
            .header_timeout
            .refuse(format_args!("{peer} did not send a request completely"));
    } else if error.is_timeout() {
        // Browsers keep connections open until the server closes them.
        counters.idle_timeout.count();
    }
    tracing::debug!(%peer, %error, "Connection from {peer} ended: {error}");
}

/// Discards what the client has not read: the system would keep it for minutes after the close.
fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "SO_LINGER is not set");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use axum::routing::get;
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::DropGuard;

    use super::*;
    use crate::config::LimitsConfig;

    const DEADLINE: Duration = Duration::from_secs(20);

    struct TestServer {
        address: SocketAddr,
        table: Arc<ConnectionTable>,
        _stop: DropGuard,
    }

    impl TestServer {
        /// Serves 16 MB at `/big`, a few bytes at `/small`, and health checks.
        fn start(limits: LimitsConfig) -> Self {
            let listener = listen((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
            let address = (Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()).into();
            let table = Arc::new(ConnectionTable::new(limits, Vec::new(), Arc::default()));
            let big = Bytes::from(vec![0; 16_000_000]);
            let health = Router::new().route("/healthz", get(async || "ok\n"));
            let full = health
                .clone()
                .route("/big", get(async move || big.clone()))
                .route("/small", get(async || "small"));
            let routers = Routers {
                full,
                health_only: health.fallback(async || http::StatusCode::SERVICE_UNAVAILABLE),
            };
            let tasks = Tasks::default();
            let accepting = accept(listener, routers, Arc::clone(&table), tasks.clone());
            tasks.spawn(accepting);
            Self {
                address,
                table,
                _stop: tasks.shutdown.drop_guard(),
            }
        }

        /// A connection from `source`.
        async fn connect(&self, source: Ipv4Addr) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((source, 0).into()).unwrap();
            socket.connect(self.address).await.unwrap()
        }

        /// The first line of the response to `GET path` from `source`; empty when the connection was closed.
        async fn status(&self, source: Ipv4Addr, path: &str) -> String {
            let mut stream = self.connect(source).await;
            request(&mut stream, path).await;
            let mut response = Vec::new();
            let mut buffer = [0; 1024];
            let read = async {
                while !response.contains(&b'\n') {
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 => response.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
            };
            tokio::time::timeout(DEADLINE, read).await.unwrap();
            let text = String::from_utf8_lossy(&response);
            text.lines().next().unwrap_or_default().to_owned()
        }

        async fn wait_for_open(&self, count: usize) {
            let start = Instant::now();
            while self.table.open() != count {
                assert!(start.elapsed() < DEADLINE, "{} are open", self.table.open());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn request(stream: &mut TcpStream, path: &str) {
        let head = format!("GET {path} HTTP/1.1\r\nHost: console.test\r\n\r\n");
        // The server may have closed the connection already.
        let _ = stream.write_all(head.as_bytes()).await;
    }

    fn limits() -> LimitsConfig {
        LimitsConfig {
            header_timeout: DEADLINE * 2,
            write_timeout: Duration::from_millis(200),
            ..LimitsConfig::default()
        }
    }

    #[tokio::test]
    async fn clients_that_never_read_are_closed_and_reported() {
        let server = TestServer::start(limits());
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = server.connect(Ipv4Addr::LOCALHOST).await;
            request(&mut client, "/big").await;
            clients.push(client);
        }
        let start = Instant::now();
        while server.table.counters.write_timeout.refused() < 20 {
            assert!(start.elapsed() < DEADLINE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.wait_for_open(0).await;
    }

    #[tokio::test]
    async fn a_client_that_reads_gets_a_large_response_completely() {
        let server = TestServer::start(limits());
        let mut client = server.connect(Ipv4Addr::LOCALHOST).await;
        request(&mut client, "/big").await;
        let mut buffer = vec![0; 16_000_000];
        let read = client.read_exact(&mut buffer);
        tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_at_its_limit_gets_health_checks_and_others_everything() {
        let server = TestServer::start(LimitsConfig {
            connections_per_address: 5,
            ..limits()
        });
        let (flooding, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
        let mut flood = Vec::new();
        for _ in 0..5 {
            flood.push(server.connect(flooding).await);
        }
        server.wait_for_open(5).await;
        assert_eq!(
            server.status(flooding, "/small").await,
            "HTTP/1.1 503 Service Unavailable"
        );
        assert_eq!(server.status(flooding, "/healthz").await, "HTTP/1.1 200 OK");
        assert_eq!(server.status(other, "/small").await, "HTTP/1.1 200 OK");
        drop(flood);
        server.wait_for_open(0).await;
        assert_eq!(server.status(flooding, "/small").await, "HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn health_is_served_when_every_connection_is_taken() {
        let server = TestServer::start(LimitsConfig {
            connections: 10,
            ..limits()
        });
        let mut flood = Vec::new();
        for host in 0..100 {
            flood.push(server.connect(Ipv4Addr::new(127, 0, 1, host)).await);
        }
        let start = Instant::now();
        // Connections for health checks are taken by the flood as well, for two seconds.
        while server.status(Ipv4Addr::new(127, 0, 0, 4), "/healthz").await != "HTTP/1.1 200 OK" {
            assert!(start.elapsed() < DEADLINE);
        }
    }

    #[tokio::test]
    async fn half_a_request_and_an_idle_connection_are_closed_and_counted_separately() {
        let server = TestServer::start(LimitsConfig {
            header_timeout: Duration::from_millis(200),
            ..limits()
        });
        let mut half = server.connect(Ipv4Addr::LOCALHOST).await;
        half.write_all(b"GET / HTTP/1.1\r\nHos").await.unwrap();
        let mut idle = server.connect(Ipv4Addr::LOCALHOST).await;
        request(&mut idle, "/small").await;
        for stream in [&mut half, &mut idle] {
            let mut response = Vec::new();
            let read = stream.read_to_end(&mut response);
            tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
        }
        server.wait_for_open(0).await;
        let counters = &server.table.counters;
        assert_eq!(
            (
                counters.header_timeout.refused(),
                counters.idle_timeout.refused()
            ),
            (1, 1)
        );
    }
}
