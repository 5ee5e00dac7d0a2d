//! The health endpoint. `/` is for load balancers: 200 when the server is Synced and Primary, otherwise 503 with the
//! reason. `/live` is for restart checks: always 200, whatever the server's state (I24).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::observation::{AvailabilityPolicy, ServerState};

/// Concurrent connections; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 64;
/// Total time for one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Whether donors and read-only nodes count as healthy.
    pub availability: AvailabilityPolicy,
    /// While this file exists, the node reports unhealthy.
    pub disable_file: Option<PathBuf>,
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

/// Serves `listener` until dropped.
pub async fn serve(
    listener: TcpListener,
    server: watch::Receiver<ServerState>,
    policy: HealthPolicy,
) {
    let policy = Arc::new(policy);
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (server, policy) = (server.clone(), Arc::clone(&policy));
                tasks.spawn(async move {
                    // Times out: a health check takes one small request.
                    let _ =
                        timeout(CONNECTION_TIMEOUT, serve_connection(stream, server, policy)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("Health endpoint: a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    server: watch::Receiver<ServerState>,
    policy: Arc<HealthPolicy>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let server = server.borrow().clone();
        let answer = respond(request.method(), request.uri().path(), &server, &policy);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("Health endpoint: {error}");
    }
}

fn respond(
    method: &Method,
    path: &str,
    server: &ServerState,
    policy: &HealthPolicy,
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
    let (healthy, line) = server.health(&policy.availability);
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
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::observation::StatusReading;

    fn synced() -> ServerState {
        let rows = [
            ("wsrep_local_state", "4"),
            ("wsrep_cluster_status", "Primary"),
        ];
        let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
        ServerState::Unknown.after_probe(Ok(StatusReading::from_rows(&rows)))
    }

    async fn send_request(server: ServerState, request: &str) -> String {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, receiver) = watch::channel(server);
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::select! {
            () = serve(listener, receiver, HealthPolicy::default()) => panic!("the endpoint stopped"),
            answer = client => answer,
        }
    }

    #[tokio::test]
    async fn answers_load_balancer_requests() {
        // HAProxy's httpchk sends OPTIONS with HTTP/1.0 and no Host header.
        let answer = send_request(synced(), "OPTIONS / HTTP/1.0\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nSynced\n"),
            "{answer}"
        );
        let answer = send_request(synced(), "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        let answer = send_request(ServerState::Unknown, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("has not been probed yet\n"),
            "{answer}"
        );
    }

    #[test]
    fn disable_file_fails_readiness_but_not_liveness() {
        let dir = tempfile::tempdir().unwrap();
        let policy = HealthPolicy {
            disable_file: Some(dir.path().join("disabled")),
            ..HealthPolicy::default()
        };
        let status =
            |path, server: &ServerState| respond(&Method::GET, path, server, &policy).status();
        assert_eq!(status("/", &synced()), StatusCode::OK);
        std::fs::write(dir.path().join("disabled"), "").unwrap();
        assert_eq!(status("/", &synced()), StatusCode::SERVICE_UNAVAILABLE);
        for server in [synced(), ServerState::Unknown] {
            assert_eq!(status("/live", &server), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn rejects_other_requests() {
        let answer = send_request(
            synced(),
            "POST / HTTP/1.1\r\nHost: h\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert!(
            answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD, OPTIONS"),
            "{answer}"
        );
        let answer = send_request(synced(), "GET /etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        let answer = send_request(
            synced(),
            &format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "h".repeat(100_000)),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        let answer = send_request(synced(), "\x16\x03\x01\x02\x00 not HTTP\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}
