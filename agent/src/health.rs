//! The health endpoint. `/` is for load balancers: 200 when the server is Synced and Primary, otherwise 503 with the
//! reason. `/live` is for restart checks: always 200, whatever the server's state (I24).
//!
//! Other hosts can reach its port, so their connections are limited in number and time. The same answers are given on
//! [`LivenessSocket`], which `galera-agent check` uses.

mod connections;
mod limits;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::liveness_socket::LivenessSocket;
use crate::observation::{AvailabilityPolicy, ServerState};
use crate::outage_log::OutageLog;

use connections::{ConnectionLimits, ConnectionPool, ConnectionSource};
use limits::{
    ADDRESS_CONNECTIONS, HealthLimit, LOCAL_CONNECTIONS, LimitLog, REMOTE_CONNECTIONS,
    REQUEST_BYTES, REQUEST_TIMEOUT, RESPONSE_TIMEOUT,
};

/// Longest response line, in characters; a database's error message can be part of it.
const LINE_MAX: usize = 1024;
/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Whether donors and read-only nodes count as healthy.
    pub availability: AvailabilityPolicy,
    /// While this file exists, the node reports unhealthy.
    pub disable_file: Option<PathBuf>,
}

/// Where health is served.
#[derive(Debug, Default)]
pub struct HealthListeners {
    /// For load balancers.
    pub endpoint: Option<TcpListener>,
    /// For `galera-agent check`.
    pub socket: Option<LivenessSocket>,
    /// Why etcd refuses reports, if it does; shown beside the server's state, which it does not change.
    pub report_refusal: Option<watch::Receiver<Option<&'static str>>>,
}

/// Listens on `address`. On a host without IPv6, `[::]` falls back to `0.0.0.0`.
///
/// # Errors
/// If the address is in use, not local or not permitted.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Serves `listeners` until dropped.
pub async fn serve(
    listeners: HealthListeners,
    server: watch::Receiver<ServerState>,
    policy: HealthPolicy,
) {
    let service = Arc::new(HealthService {
        server,
        policy,
        limit_log: LimitLog::default(),
        report_refusal: listeners.report_refusal,
        request_timeout: REQUEST_TIMEOUT,
        response_timeout: RESPONSE_TIMEOUT,
    });
    let (endpoint, socket) = (listeners.endpoint, listeners.socket);
    let serving_endpoint = async {
        match endpoint {
            Some(listener) => serve_endpoint(listener, &service, ConnectionSource::new).await,
            None => std::future::pending().await,
        }
    };
    let serving_socket = async {
        match socket {
            Some(socket) => serve_socket(socket, &service).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(serving_endpoint, serving_socket);
}

/// What the connections share.
#[derive(Debug)]
struct HealthService {
    server: watch::Receiver<ServerState>,
    policy: HealthPolicy,
    limit_log: LimitLog,
    report_refusal: Option<watch::Receiver<Option<&'static str>>>,
    request_timeout: Duration,
    response_timeout: Duration,
}

/// Connections from this host have separate room, so other hosts cannot exclude them.
async fn serve_endpoint(
    listener: TcpListener,
    service: &Arc<HealthService>,
    source_of: fn(SocketAddr, Option<SocketAddr>) -> ConnectionSource,
) {
    let (mut local, mut remote) = (local_pool(), remote_pool());
    let (tasks, mut accept_log) = (TaskTracker::new(), OutageLog::default());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let source = source_of(peer, stream.local_addr().ok());
                let pool = match source {
                    ConnectionSource::Local => &mut local,
                    ConnectionSource::Remote(_) => &mut remote,
                };
                let peer = peer.ip().to_canonical().to_string();
                service.admit(&tasks, pool, source, stream, peer);
            }
            Err(error) => pause_after(&error, &mut accept_log).await,
        }
    }
}

async fn serve_socket(socket: LivenessSocket, service: &Arc<HealthService>) {
    let mut pool = local_pool();
    let (tasks, mut accept_log) = (TaskTracker::new(), OutageLog::default());
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let peer = "a process of this host".to_owned();
                service.admit(&tasks, &mut pool, ConnectionSource::Local, stream, peer);
            }
            Err(error) => pause_after(&error, &mut accept_log).await,
        }
    }
}

const fn local_pool() -> ConnectionPool {
    ConnectionPool::new(ConnectionLimits {
        total: LOCAL_CONNECTIONS,
        per_source: LOCAL_CONNECTIONS,
    })
}

const fn remote_pool() -> ConnectionPool {
    ConnectionPool::new(ConnectionLimits {
        total: REMOTE_CONNECTIONS,
        per_source: ADDRESS_CONNECTIONS,
    })
}

/// Logs each error once a minute, even if connections are accepted in between.
async fn pause_after(error: &io::Error, accept_log: &mut OutageLog) {
    let text = format!("Health endpoint: a connection could not be accepted: {error}");
    if accept_log.failed(&text).is_some() {
        tracing::warn!("{text}");
    }
    sleep(ACCEPT_PAUSE).await;
}

impl HealthService {
    /// Serves `stream` in a task of `pool`.
    fn admit(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        pool: &mut ConnectionPool,
        source: ConnectionSource,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: String,
    ) {
        if let Some(limit) = pool.make_room(source) {
            self.limit_log.exceeded(limit, &peer);
        }
        let service = Arc::clone(self);
        let task = tasks.spawn(async move {
            if let Some(limit) = service.serve_connection(stream).await {
                service.limit_log.exceeded(limit, &peer);
            }
        });
        pool.add(source, task.abort_handle());
    }

    /// Serves one request. Returns the limit that the client exceeded, if any.
    async fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Option<HealthLimit> {
        let requested = AtomicBool::new(false);
        let answer = service_fn(|request: Request<Incoming>| {
            requested.store(true, Ordering::Relaxed);
            let server = self.server.borrow().clone();
            let refusal = self.report_refusal.as_ref();
            let answer = respond(
                request.method(),
                request.uri().path(),
                &server,
                &self.policy,
                refusal.and_then(|refusal| *refusal.borrow()),
            );
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .header_read_timeout(None)
                .max_buf_size(REQUEST_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer)
        );
        let served = match timeout(self.request_timeout, connection.as_mut()).await {
            Ok(served) => served,
            Err(_) if !requested.load(Ordering::Relaxed) => return Some(HealthLimit::RequestTime),
            Err(_) => match timeout(self.response_timeout, connection).await {
                Ok(served) => served,
                Err(_) => return Some(HealthLimit::ResponseTime),
            },
        };
        match served {
            Err(error) if error.is_parse_too_large() => Some(HealthLimit::RequestSize),
            Err(error) => {
                tracing::debug!("Health endpoint: {error}");
                None
            }
            Ok(()) => None,
        }
    }
}

fn respond(
    method: &Method,
    path: &str,
    server: &ServerState,
    policy: &HealthPolicy,
    report_refusal: Option<&'static str>,
) -> Response<Full<Bytes>> {
    if path != "/" && path != "/live" {
        return text_response(
            StatusCode::NOT_FOUND,
            "not found; available paths: / and /live",
        );
    }
    if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        let mut refused = text_response(StatusCode::METHOD_NOT_ALLOWED, "use GET, HEAD or OPTIONS");
        let allowed = header::HeaderValue::from_static("GET, HEAD, OPTIONS");
        refused.headers_mut().insert(header::ALLOW, allowed);
        return refused;
    }
    let (healthy, mut line) = server.health(&policy.availability);
    if let Some(refusal) = report_refusal {
        line = format!("{line}; reports are not published: {refusal}");
    }
    if path == "/live" {
        return text_response(StatusCode::OK, &line);
    }
    if let Some(file) = policy.disable_file.as_ref().filter(|file| file.exists()) {
        let line = format!("disabled by {}", file.display());
        return text_response(StatusCode::SERVICE_UNAVAILABLE, &line);
    }
    match (healthy, line) {
        (true, line) => text_response(StatusCode::OK, &line),
        (false, line) => text_response(StatusCode::SERVICE_UNAVAILABLE, &line),
    }
}

fn text_response(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    let line: String = line.chars().take(LINE_MAX).collect();
    let mut response = Response::new(Full::new(Bytes::from(format!("{line}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

#[cfg(test)]
mod tests;
