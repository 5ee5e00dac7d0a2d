use std::net::IpAddr;

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::observation::StatusReading;

/// Longest wait for something to happen.
const SOON: Duration = Duration::from_secs(20);

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
    let listeners = HealthListeners {
        endpoint: Some(listener),
        socket: None,
        ..HealthListeners::default()
    };
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::select! {
        () = serve(listeners, receiver, HealthPolicy::default()) => panic!("the endpoint stopped"),
        answer = client => answer,
    }
}

fn service(server: ServerState) -> HealthService {
    HealthService {
        server: watch::channel(server).1,
        policy: HealthPolicy::default(),
        limit_log: LimitLog::default(),
        report_refusal: None,
        request_timeout: REQUEST_TIMEOUT,
        response_timeout: RESPONSE_TIMEOUT,
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
        |path, server: &ServerState| respond(&Method::GET, path, server, &policy, None).status();
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

#[tokio::test(start_paused = true)]
async fn a_request_must_be_complete_within_a_second() {
    let service = service(synced());
    let started = Instant::now();
    let (_idle, stream) = tokio::io::duplex(1024);
    let limit = service.serve_connection(stream).await;
    assert_eq!(limit, Some(HealthLimit::RequestTime));
    assert_eq!(
        started.elapsed(),
        REQUEST_TIMEOUT,
        "a client that sends nothing"
    );

    let started = Instant::now();
    let (mut slow, stream) = tokio::io::duplex(1024);
    let sending = async {
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while slow.write_all(b"a: b\r\n").await.is_ok() {
            sleep(REQUEST_TIMEOUT / 10).await;
        }
    };
    let (limit, ()) = tokio::join!(service.serve_connection(stream), sending);
    assert_eq!(limit, Some(HealthLimit::RequestTime));
    assert!(
        started.elapsed() < REQUEST_TIMEOUT * 2,
        "a client that sends slowly"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_disconnected() {
    let service = service(synced());
    let started = Instant::now();
    // Too small for the response.
    let (mut client, stream) = tokio::io::duplex(32);
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let limit = service.serve_connection(stream).await;
    assert_eq!(limit, Some(HealthLimit::ResponseTime));
    assert_eq!(started.elapsed(), REQUEST_TIMEOUT + RESPONSE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_is_not_waited_for() {
    let service = service(synced());
    let started = Instant::now();
    let (mut client, stream) = tokio::io::duplex(1024);
    let head = b"POST / HTTP/1.1\r\nHost: h\r\ncontent-length: 1000000\r\n\r\n";
    client.write_all(head).await.unwrap();
    service.serve_connection(stream).await;
    assert!(started.elapsed() <= REQUEST_TIMEOUT + RESPONSE_TIMEOUT);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test]
async fn sizes_of_head_and_response_are_limited() {
    let (mut client, stream) = tokio::io::duplex(1024);
    let head = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\n\r\n",
        "h".repeat(REQUEST_BYTES)
    );
    let sending = async {
        // Fails once the connection is closed.
        let _ = client.write_all(head.as_bytes()).await;
    };
    let service_of_synced = service(synced());
    let (limit, ()) = tokio::join!(service_of_synced.serve_connection(stream), sending);
    assert_eq!(limit, Some(HealthLimit::RequestSize));

    let server = ServerState::Unreachable {
        error: ProbeError {
            kind: ProbeErrorKind::TimedOut,
            message: "\u{e9}".repeat(1_000_000),
        },
        answered_before: false,
    };
    let answer = send_request(server, "GET / HTTP/1.0\r\n\r\n").await;
    let (_, line) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(line.trim_end().chars().count(), LINE_MAX);
}

/// An endpoint whose connections have no time-outs. 127.0.0.1 is this host, all other addresses are other hosts.
struct EndpointFixture {
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl EndpointFixture {
    async fn start() -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Arc::new(HealthService {
            request_timeout: Duration::MAX,
            ..service(synced())
        });
        let source_of = |peer: SocketAddr, _: Option<SocketAddr>| match peer.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => ConnectionSource::Local,
            other => ConnectionSource::Remote(other),
        };
        let serving = TaskTracker::new()
            .spawn(async move { serve_endpoint(listener, &service, source_of).await });
        Self { address, serving }
    }

    /// A connection from an address of this host.
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        timeout(SOON, socket.connect(self.address))
            .await
            .unwrap()
            .unwrap()
    }

    async fn connect_many(&self, from: Ipv4Addr, count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(self.connect(from).await);
        }
        streams
    }
}

impl Drop for EndpointFixture {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The response to a request over `stream`; empty if the connection was closed.
async fn response(mut stream: TcpStream) -> String {
    let exchange = async {
        let mut answer = String::new();
        // A closed connection is reset.
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    timeout(SOON, exchange)
        .await
        .expect("a response or the end")
}

/// Waits until the other side closes `stream`.
async fn closed(mut stream: TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 1])).await;
    assert!(matches!(read.expect("it is not closed"), Ok(0) | Err(_)));
}

#[tokio::test]
async fn one_address_has_a_limited_number_of_connections() {
    let endpoint = EndpointFixture::start().await;
    let flooding = Ipv4Addr::new(127, 0, 0, 2);
    let mut idle = endpoint
        .connect_many(flooding, ADDRESS_CONNECTIONS + 3)
        .await;
    let kept = idle.split_off(3);
    for stream in idle {
        closed(stream).await;
    }
    for source in [Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::LOCALHOST] {
        let answer = response(endpoint.connect(source).await).await;
        assert!(answer.ends_with("Synced\n"), "{source}: {answer}");
    }
    for stream in kept {
        let answer = response(stream).await;
        assert!(answer.ends_with("Synced\n"), "{answer}");
    }
}

#[tokio::test]
async fn all_other_hosts_leave_room_for_this_one() {
    let endpoint = EndpointFixture::start().await;
    let local = endpoint.connect(Ipv4Addr::LOCALHOST).await;
    let mut idle = Vec::new();
    for host in 1..=2 * REMOTE_CONNECTIONS / ADDRESS_CONNECTIONS {
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(host).unwrap());
        idle.extend(endpoint.connect_many(source, ADDRESS_CONNECTIONS).await);
    }
    let kept = idle.split_off(idle.len() - REMOTE_CONNECTIONS);
    for stream in idle {
        closed(stream).await;
    }
    assert!(response(local).await.ends_with("Synced\n"), "it was kept");
    let answer = response(endpoint.connect(Ipv4Addr::new(127, 0, 2, 1)).await).await;
    assert!(answer.ends_with("Synced\n"), "another host: {answer}");
    drop(kept);
}
