//! The limits of connections hold beneath TLS too.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

const HOST: &str = "console.test";

/// A server with a certificate, and a client that trusts it.
fn start(limits: LimitsConfig) -> (TestServer, TlsConnector) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = TlsRouter {
        acceptor: TlsAcceptor::from(Arc::new(server)),
        without_tls: Router::new()
            .fallback(async || (http::StatusCode::BAD_REQUEST, "use https://")),
    };
    let server = TestServer::start_with(limits, Some(tls));
    (server, TlsConnector::from(Arc::new(client)))
}

async fn connect(
    server: &TestServer,
    client: &TlsConnector,
    source: Ipv4Addr,
) -> TlsStream<TcpStream> {
    let stream = server.connect(source).await;
    let name = ServerName::try_from(HOST).unwrap();
    client.connect(name, stream).await.unwrap()
}

/// The head of the response to a request on an encrypted connection.
async fn status(server: &TestServer, client: &TlsConnector, source: Ipv4Addr) -> String {
    let mut stream = connect(server, client, source).await;
    let request = format!("GET /small HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = stream.read_to_string(&mut response);
    tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    response.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn requests_are_answered_over_tls() {
    let (server, client) = start(limits());
    let localhost = Ipv4Addr::LOCALHOST;
    assert_eq!(status(&server, &client, localhost).await, "HTTP/1.1 200 OK");
    let mut stream = connect(&server, &client, localhost).await;
    let request = format!("GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 16_000_000];
    let read = stream.read_exact(&mut buffer);
    tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_without_tls_gets_an_answer() {
    let (server, _) = start(limits());
    for path in ["/small", "/healthz"] {
        let status = server.status(Ipv4Addr::LOCALHOST, path).await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{path}");
    }
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn handshakes_that_never_finish_end_and_starve_no_other_address() {
    let (server, client) = start(LimitsConfig {
        connections: 100,
        connections_per_address: 20,
        header_timeout: Duration::from_secs(1),
        ..limits()
    });
    let (flooding, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let mut flood = Vec::new();
    for number in 0..200 {
        let mut stream = server.connect(flooding).await;
        if number % 2 == 0 {
            // The head of a ClientHello of 16 kB; the rest never comes.
            let _ = stream.write_all(&[22, 3, 1, 0x3f, 0xff, 1]).await;
        }
        flood.push(stream);
    }
    assert_eq!(status(&server, &client, other).await, "HTTP/1.1 200 OK");
    server.wait_for_open(0).await;
    let counters = &server.table.counters;
    // Of the further connections some were admitted for health checks.
    assert!((20..=36).contains(&counters.handshake_timeout.refused()));
    assert!(counters.connections_per_address.refused() >= 180);
    assert_eq!(status(&server, &client, flooding).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn what_is_no_handshake_is_closed() {
    let (server, client) = start(LimitsConfig {
        header_timeout: Duration::from_secs(1),
        ..limits()
    });
    for bytes in [
        &b"\x00\x00\x00\x00"[..],
        b"\x16\x03\x01\x00\x02ab",
        &[0xff; 40_000],
    ] {
        let mut stream = server.connect(Ipv4Addr::LOCALHOST).await;
        let _ = stream.write_all(bytes).await;
        let mut rest = Vec::new();
        // Closed, or reset because bytes were left unread.
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest))
            .await
            .unwrap();
    }
    server.wait_for_open(0).await;
    let localhost = Ipv4Addr::LOCALHOST;
    assert_eq!(status(&server, &client, localhost).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn encrypted_clients_that_never_read_are_closed_and_reported() {
    let (server, client) = start(limits());
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut stream = connect(&server, &client, Ipv4Addr::LOCALHOST).await;
        let request = format!("GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    let start = Instant::now();
    while server.table.counters.write_timeout.refused() < 5 {
        assert!(start.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn an_idle_encrypted_connection_is_closed_without_a_complaint() {
    let (server, client) = start(LimitsConfig {
        header_timeout: Duration::from_millis(300),
        ..limits()
    });
    let mut stream = connect(&server, &client, Ipv4Addr::LOCALHOST).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    server.wait_for_open(0).await;
    let counters = &server.table.counters;
    assert_eq!(
        (
            counters.handshake_timeout.refused(),
            counters.header_timeout.refused()
        ),
        (0, 0)
    );
}
