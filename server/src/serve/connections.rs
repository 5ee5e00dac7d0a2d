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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
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
pub(super) struct ConnectionRouters {
    pub(super) full: Router,
    /// Health checks; an error for everything else.
    pub(super) health_only: Router,
    /// How connections are encrypted; `None` for not at all.
    pub(super) tls: Option<TlsRouter>,
}

/// The TLS of a listener.
#[derive(Clone)]
pub(super) struct TlsRouter {
    pub(super) acceptor: TlsAcceptor,
    /// An error for every request that arrives without TLS.
    pub(super) without_tls: Router,
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
    routers: ConnectionRouters,
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
    routers: ConnectionRouters,
    table: Arc<ConnectionTable>,
    slot: ConnectionSlot,
    shutdown: CancellationToken,
) {
    let limits = *table.limits();
    let (router, head_timeout, keep_alive) = match slot.scope {
        ConnectionScope::Full => (routers.full, limits.header_timeout, true),
        ConnectionScope::HealthOnly => {
            let head = limits.header_timeout.min(HEALTH_ONLY_TIMEOUT);
            (routers.health_only, head, false)
        }
    };
    let connection = AcceptedConnection {
        peer,
        table: &table,
        head_timeout,
        keep_alive,
        shutdown,
    };
    let serving = connection.serve(stream, router, routers.tls);
    match slot.scope {
        ConnectionScope::Full => serving.await,
        ConnectionScope::HealthOnly => {
            let _ = timeout(HEALTH_ONLY_TIMEOUT, serving).await;
        }
    }
    drop(slot);
}

/// What is known of a connection before its first byte.
struct AcceptedConnection<'a> {
    peer: SocketAddr,
    table: &'a ConnectionTable,
    head_timeout: Duration,
    keep_alive: bool,
    shutdown: CancellationToken,
}

impl AcceptedConnection<'_> {
    async fn serve(self, stream: TcpStream, router: Router, tls: Option<TlsRouter>) {
        // Small messages must not wait for the acknowledgement of earlier ones.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not set");
        }
        let Some(tls) = tls else {
            let (stream, state) = self.bounded(stream);
            return self.serve_requests(stream, &state, router).await;
        };
        match self.handshake(stream, &tls.acceptor).await {
            Some(ClientHandshake::Done(stream, state)) => {
                self.serve_requests(stream, &state, router).await;
            }
            Some(ClientHandshake::WithoutTls(stream)) => {
                let this = Self {
                    keep_alive: false,
                    ..self
                };
                let (stream, state) = this.bounded(stream);
                this.serve_requests(stream, &state, tls.without_tls).await;
            }
            None => {}
        }
    }

    /// Closes the stream when its client does not read. The limit applies to what crosses the network, so beneath TLS.
    fn bounded(&self, stream: TcpStream) -> (ProgressStream<TcpStream>, Arc<StreamState>) {
        let state = Arc::<StreamState>::default();
        let write_timeout = self.table.limits().write_timeout;
        let stream = ProgressStream::new(stream, write_timeout, Arc::clone(&state), reset_on_close);
        (stream, state)
    }

    /// The handshake; `None` when it failed, took too long or the console stops.
    async fn handshake(
        &self,
        stream: TcpStream,
        acceptor: &TlsAcceptor,
    ) -> Option<ClientHandshake> {
        let handshake = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
                return Ok(ClientHandshake::WithoutTls(stream));
            }
            let (stream, state) = self.bounded(stream);
            let stream = acceptor.accept(stream).await?;
            // The client has answered; what it sent was not yet part of a request.
            state.forget_received();
            Ok::<_, std::io::Error>(ClientHandshake::Done(Box::new(stream), state))
        };
        let peer = self.peer;
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            done = timeout(self.head_timeout, handshake) => match done {
                Ok(Ok(done)) => Some(done),
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "The TLS handshake with {peer} failed: {error}");
                    None
                }
                Err(_) => {
                    let limit = &self.table.counters.handshake_timeout;
                    limit.refuse(format_args!("{peer} did not finish a TLS handshake"));
                    None
                }
            },
        }
    }

    async fn serve_requests<S>(self, stream: S, state: &StreamState, router: Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (peer, shutdown) = (self.peer, &self.shutdown);
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
            .header_read_timeout(self.head_timeout)
            .max_buf_size(BUFFER_MAX)
            .keep_alive(self.keep_alive)
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
            report_end(self.table, peer, state, &error);
        }
    }
}

/// How a client began.
enum ClientHandshake {
    Done(Box<TlsStream<ProgressStream<TcpStream>>>, Arc<StreamState>),
    /// With a request instead of a handshake.
    WithoutTls(TcpStream),
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
mod tests;
