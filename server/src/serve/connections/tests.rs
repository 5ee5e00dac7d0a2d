mod encrypted;

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
        Self::start_with(limits, None)
    }

    fn start_with(limits: LimitsConfig, tls: Option<TlsRouter>) -> Self {
        let listener = listen((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let address = (Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()).into();
        let table = Arc::new(ConnectionTable::new(limits, Vec::new(), Arc::default()));
        let big = Bytes::from(vec![0; 16_000_000]);
        let health = Router::new().route("/healthz", get(async || "ok\n"));
        let full = health
            .clone()
            .route("/big", get(async move || big.clone()))
            .route("/small", get(async || "small"));
        let routers = ConnectionRouters {
            full,
            health_only: health.fallback(async || http::StatusCode::SERVICE_UNAVAILABLE),
            tls,
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
