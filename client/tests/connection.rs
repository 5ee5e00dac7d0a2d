//! Servers that are not a console, answer wrongly, or do not answer.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use console_client::connection::{ANSWER_BYTES_MAX, ApiClient, ApiRequest};
use console_client::{ApiToken, ClientError, ClientExit, ConsoleUrl};
use http::Method;
use serde_json::json;
use tempfile::TempDir;

const TOKEN: &str = "gct_0123456789abcdef_secretsecret";
/// Longer than any test runs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that gives each connection to `answer`, and returns what it read of the request.
fn server(answer: impl Fn(&mut TcpStream, &str) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read_head(&mut stream);
            answer(&mut stream, &request);
        }
    });
    address
}

fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that answers everything with `head` (status line and headers) and `body`.
fn fixed(head: &'static str, body: &'static str) -> SocketAddr {
    server(move |stream, _| {
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    })
}

fn client_of(url: &str, ca: Option<&Path>, timeout: Duration) -> Result<ApiClient, ClientError> {
    let url: ConsoleUrl = url.parse().unwrap();
    let token = ApiToken::parse(TOKEN, "the test").unwrap();
    ApiClient::new(url, token, ca, timeout, false)
}

fn client(address: SocketAddr) -> ApiClient {
    client_of(&format!("http://{address}"), None, PATIENCE).unwrap()
}

fn get() -> ApiRequest {
    ApiRequest::get("/api/v1/clusters".to_owned())
}

fn post() -> ApiRequest {
    ApiRequest {
        method: Method::POST,
        target: "/api/v1/clusters/lab/actions".to_owned(),
        body: Some(json!({"kind": "bootstrap"})),
    }
}

/// The error of a request to `address`, which never contains the token.
async fn error_of(address: SocketAddr) -> ClientError {
    let error = client(address).send(&get()).await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("secretsecret"),
        "{error:?}"
    );
    error
}

#[tokio::test]
async fn answers_that_are_not_of_the_api_are_named() {
    for (head, body, parts) in [
        (
            "200 OK\r\nContent-Type: text/html; charset=utf-8",
            "<html>Sign in to the Wi-Fi</html>",
            &["a web page", "text/html", "status 200", "--url"][..],
        ),
        (
            "502 Bad Gateway\r\nContent-Type: text/html",
            "<h1>nginx</h1>",
            &["a web page", "status 502", "proxy"],
        ),
        (
            "404 Not Found\r\nContent-Type: text/plain",
            "no",
            &["text/plain", "status 404"],
        ),
        ("200 OK", "", &["no media type"]),
        (
            "200 OK\r\nContent-Type: application/json",
            "{\"clu",
            &["not valid JSON"],
        ),
        (
            "302 Found\r\nLocation: https://elsewhere.example/",
            "",
            &["redirects to", "not followed", "--url"],
        ),
        (
            "307 Temporary Redirect",
            "",
            &["an unnamed address", "status 307"],
        ),
    ] {
        let error = error_of(fixed(head, body)).await;
        let text = error.to_string();
        assert_eq!(error.exit(), ClientExit::Unavailable, "{text}");
        assert!(
            parts.iter().all(|part| text.contains(part)),
            "{head}: {text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_is_named() {
    let ssh = server(|stream, _| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
    });
    let error = error_of(ssh).await;
    assert!(error.to_string().contains("not valid HTTP"), "{error}");
    let closing = server(|_, _| {});
    let error = error_of(closing).await;
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    assert!(!error.to_string().contains("outcome is unknown"), "{error}");
    let error = client(closing).send(&post()).await.unwrap_err();
    assert!(error.to_string().contains("outcome is unknown"), "{error}");
}

#[tokio::test]
async fn a_redirect_never_gets_the_token() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let other = server(move |_, request| sender.send(request.to_owned()).unwrap());
    let redirecting = server(move |stream, _| {
        let _ = write!(
            stream,
            "HTTP/1.1 301 Moved Permanently\r\nLocation: http://{other}/\r\nContent-Length: 0\r\n\r\n"
        );
    });
    let error = error_of(redirecting).await;
    assert!(error.to_string().contains(&other.to_string()), "{error}");
    assert!(receiver.try_recv().is_err(), "the other server was asked");
}

#[tokio::test]
async fn a_long_answer_is_not_read() {
    let chunk = [b' '; 64 * 1024];
    let endless = server(move |stream, _| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let mut sent = 0;
        while sent < 100 * 1024 * 1024 && stream.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        assert!(sent < 2 * ANSWER_BYTES_MAX, "the client read everything");
    });
    let error = error_of(endless).await;
    assert!(error.to_string().contains("longer than 32 MiB"), "{error}");
    assert_eq!(error.exit(), ClientExit::Unavailable);
}

#[tokio::test]
async fn a_server_that_hangs_is_left() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let client = client_of(&url, None, Duration::from_millis(200)).unwrap();
    let error = client.send(&get()).await.unwrap_err();
    assert_eq!(error.exit(), ClientExit::TimedOut, "{error}");
    assert!(error.to_string().contains("--timeout"), "{error}");
    let error = client.send(&post()).await.unwrap_err();
    assert!(
        error.to_string().contains("may have been carried out"),
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_be_reached_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = error_of(closed).await;
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
    assert_eq!(error.exit(), ClientExit::Unavailable);
    let client = client_of("https://console.invalid", None, PATIENCE).unwrap();
    let error = client.send(&get()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("console.invalid cannot be resolved"),
        "{error}"
    );
}

#[tokio::test]
async fn a_problem_is_read_also_of_a_later_version() {
    let later = fixed(
        "418 Teapot\r\nContent-Type: application/problem+json\r\nRetry-After: 7",
        r#"{"status":418,"code":"brand_new","title":"New \u001b[31m","detail":"Do that.","request_id":"r1","more":{"x":1}}"#,
    );
    let error = error_of(later).await;
    let text = error.to_string();
    for part in [
        "418",
        "code brand_new",
        "Do that.",
        "request r1",
        "try again in 7 s",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert_eq!(error.exit(), ClientExit::Refused);
    let bare = fixed("503 Busy\r\nContent-Type: application/problem+json", "{}");
    assert_eq!(error_of(bare).await.exit(), ClientExit::Unavailable);
}

#[tokio::test]
async fn unknown_members_of_an_answer_are_kept() {
    let address = fixed(
        "200 OK\r\nContent-Type: application/json; charset=utf-8",
        r#"{"clusters":[],"later":{"a":[1]}}"#,
    );
    let answer = client(address).send(&get()).await.unwrap();
    assert_eq!(answer.document["later"]["a"][0], 1);
}

#[test]
fn plain_http_leaves_this_host_only_on_purpose() {
    let url: ConsoleUrl = "http://console.example:3000".parse().unwrap();
    let token = || ApiToken::parse(TOKEN, "the test").unwrap();
    let refused = ApiClient::new(url.clone(), token(), None, PATIENCE, false).unwrap_err();
    assert_eq!(refused.exit(), ClientExit::Usage);
    for part in ["not encrypted", "https://", "--allow-plain-http"] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
    assert!(ApiClient::new(url, token(), None, PATIENCE, true).is_ok());
}

/// An authority, and what it issued.
struct Authority {
    directory: TempDir,
    certificate: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = Self {
            directory: tempfile::tempdir().unwrap(),
            certificate: rcgen::CertifiedIssuer::self_signed(params, key).unwrap(),
        };
        std::fs::write(authority.file(), authority.certificate.pem()).unwrap();
        authority
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A TLS server with a certificate for `name`, which answers with an empty overview.
    fn serve(&self, name: &str) -> SocketAddr {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.certificate).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
                if read_head(&mut stream).contains("Bearer") {
                    let body = r#"{"clusters":[]}"#;
                    let length = body.len();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                    );
                }
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        address
    }
}

#[tokio::test]
async fn a_certificate_must_fit() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let renewed = Authority::new("own");
    let here = own.serve("127.0.0.1");
    let url = format!("https://{here}");
    let client = client_of(&url, Some(&own.file()), PATIENCE).unwrap();
    let answer = client.send(&get()).await.unwrap();
    assert_eq!(answer.document, json!({"clusters": []}));
    let elsewhere = own.serve("console.example");
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // Until the client has read it and left.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for (address, ca, part) in [
        (
            here,
            &other,
            "signed by an unknown authority; if it is yours, add it with --ca",
        ),
        (
            here,
            &renewed,
            "another authority than the trusted one of the same name",
        ),
        (elsewhere, &own, "its certificate is for console.example"),
        (plain_address, &own, "the server does not speak TLS"),
    ] {
        let url = format!("https://{address}");
        let client = client_of(&url, Some(&ca.file()), PATIENCE).unwrap();
        let error = client.send(&get()).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(&url), "{error}");
        assert_eq!(error.exit(), ClientExit::Unavailable);
    }
    let missing = client_of(&url, Some(Path::new("/nonexistent/ca.pem")), PATIENCE);
    let error = missing.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
    assert_eq!(error.exit(), ClientExit::Usage);
}
