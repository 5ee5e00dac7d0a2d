//! A single HTTP request to a receiver, at exactly the address that the egress policy checked, without redirects, bounded
//! in time and size.
//!
//! It uses a bare hyper connection: an HTTP client would resolve the name a second time, pool connections to addresses that
//! were checked long ago, and follow redirects and proxies.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use console_core::trace_context::{TRACEPARENT, TraceContext};
use http::header::{CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use registry::spans;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tls_files::read_authorities;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::egress::{EgressError, EgressPolicy};
use super::tls::explain_tls;

/// Limit for the TCP connection and for the TLS handshake, each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for the whole request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a response body is read, in bytes.
const RESPONSE_BYTES_MAX: usize = 4 * 1024;

/// Why there is no response.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum WebhookError {
    #[error("invalid URL: {0}")]
    InvalidUrl(String),
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error("could not connect to {address}: {cause}")]
    Connect { address: SocketAddr, cause: String },
    #[error("TLS handshake with {host} failed: {cause}")]
    Tls { host: String, cause: String },
    #[error("no response within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The connection broke, or the response is not valid HTTP.
    #[error("no response: {0}")]
    Protocol(String),
}

impl WebhookError {
    /// The kind of error, without names or addresses.
    const fn kind(&self) -> &'static str {
        match self {
            Self::InvalidUrl(_) => "invalid_url",
            Self::Egress(_) => "egress",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Timeout(_) => "timeout",
            Self::Protocol(_) => "protocol",
        }
    }
}

/// A response, or its beginning.
pub(super) struct HttpReply {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
    /// Whether the body is longer, or ended early.
    pub(super) is_partial: bool,
}

impl HttpReply {
    fn into_webhook_response(self) -> WebhookResponse {
        WebhookResponse {
            status: self.status,
            body: String::from_utf8_lossy(&self.body).into_owned(),
            location: self.location,
        }
    }
}

/// A receiver's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebhookResponse {
    pub(super) status: u16,
    /// The beginning of the body, lossily decoded.
    pub(super) body: String,
    /// Target of a redirect.
    pub(super) location: Option<String>,
}

/// Sends requests to receivers within an [`EgressPolicy`].
#[derive(Clone)]
pub(super) struct WebhookClient {
    egress: EgressPolicy,
    tls: Arc<ClientConfig>,
    /// The setting of the authorities, for explanations.
    ca_setting: &'static str,
}

impl std::fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookClient")
            .field("egress", &self.egress)
            .finish_non_exhaustive()
    }
}

/// A validated http or https URL of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReceiverUrl {
    uri: Uri,
    pub(super) https: bool,
    pub(super) host: String,
    port: u16,
}

impl std::str::FromStr for ReceiverUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(200).collect();
        let invalid = |reason: &str| {
            format!("{shown:?} {reason}; expected e.g. https://hooks.example.org/galera")
        };
        if text.len() > 2_000 {
            return Err(invalid("is longer than 2000 characters"));
        }
        let uri: Uri = text
            .trim()
            .parse()
            .map_err(|_| invalid("is not a valid URL"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("does not begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid(
                "contains a user name or password; set authorization instead",
            ));
        }
        let host = authority.host().to_owned();
        if host.is_empty() {
            return Err(invalid("has no host"));
        }
        let port = match (authority.port_u16(), authority.as_str().len() > host.len()) {
            (Some(0), _) | (None, true) => return Err(invalid("has an invalid port")),
            (Some(port), _) => port,
            (None, false) => {
                if https {
                    443
                } else {
                    80
                }
            }
        };
        Ok(Self {
            https,
            host,
            port,
            uri,
        })
    }
}

impl std::fmt::Display for ReceiverUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

impl ReceiverUrl {
    /// Scheme, host and port. An incoming webhook's path is its secret and left out.
    #[must_use]
    pub(super) fn origin(&self) -> String {
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        format!(
            "{}://{authority}",
            if self.https { "https" } else { "http" }
        )
    }

    /// `path` appended to this URL's path.
    pub(super) fn join(&self, path: &str) -> String {
        let base = self.uri.path().trim_end_matches('/');
        format!("{base}{path}")
    }

    pub(super) fn path_and_query(&self) -> String {
        self.uri
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string)
    }
}

impl WebhookClient {
    /// Creates a client that trusts the system's CA certificates and those in the file `ca`.
    ///
    /// # Errors
    /// When `ca` cannot be read.
    pub(super) fn new(egress: EgressPolicy, ca: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "Could not read some of the system's CA certificates: {error}");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = ca {
            let found = read_authorities(path).map_err(|error| error.to_string())?;
            for certificate in found {
                let added = roots.add(certificate);
                added.map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            egress,
            tls: Arc::new(tls),
            ca_setting: "--notify-ca",
        })
    }

    /// The same client, whose authorities come from `setting`.
    pub(super) fn with_ca_setting(self, setting: &'static str) -> Self {
        Self {
            ca_setting: setting,
            ..self
        }
    }

    /// Posts `body` as JSON to `url`, or to `path` below it, and reads the beginning of the response.
    ///
    /// # Errors
    /// When there is no response; one of any status is a result.
    pub(super) async fn post(
        &self,
        url: &ReceiverUrl,
        path: Option<&str>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<WebhookResponse, WebhookError> {
        let target = path.map_or_else(|| url.path_and_query(), |path| url.join(path));
        let mut all = HeaderMap::new();
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.extend(headers);
        let request = (Method::POST, target);
        let reply = self.request(url, request, all, body, RESPONSE_BYTES_MAX);
        Ok(reply.await?.into_webhook_response())
    }

    /// Sends one request to `url` and reads at most `limit` bytes of the response.
    ///
    /// # Errors
    /// When there is no response.
    pub(super) async fn request(
        &self,
        url: &ReceiverUrl,
        (method, target): (Method, String),
        headers: HeaderMap,
        body: Bytes,
        limit: usize,
    ) -> Result<HttpReply, WebhookError> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(authority) = url.uri.authority() {
            request = request.header(HOST, authority.as_str());
        }
        let mut request = request
            .header(
                USER_AGENT,
                concat!("galera-console/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(body))
            .map_err(|error| WebhookError::InvalidUrl(error.to_string()))?;
        let span = client_span(url, request.method());
        let trace = span.in_scope(TraceContext::outgoing_header);
        if let Some(value) = trace.and_then(|header| HeaderValue::from_str(&header).ok()) {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        request.headers_mut().extend(headers);
        // On the heap: it is large, and part of the futures of many callers.
        let exchange = Box::pin(self.exchange(url, request, limit));
        let reply = tokio::time::timeout(REQUEST_TIMEOUT, exchange)
            .instrument(span.clone())
            .await
            .unwrap_or(Err(WebhookError::Timeout(REQUEST_TIMEOUT)));
        match &reply {
            Ok(reply) => _ = span.record("http.response.status_code", reply.status),
            Err(error) => spans::record_error(&span, error.kind()),
        }
        reply
    }

    async fn exchange(
        &self,
        url: &ReceiverUrl,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<HttpReply, WebhookError> {
        let addresses = self.egress.resolve(&url.host, url.port).await?;
        let stream = connect(&addresses).await?;
        if !url.https {
            return send_request(stream, request, limit).await;
        }
        let tls = |cause: String| WebhookError::Tls {
            host: url.host.clone(),
            cause,
        };
        let name = url
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(name).map_err(|error| tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let handshake =
            tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await;
        let stream = handshake
            .map_err(|_| {
                tls(format!(
                    "no handshake within {} s",
                    CONNECT_TIMEOUT.as_secs()
                ))
            })?
            .map_err(|error| {
                tls(explain_tls(&error, self.ca_setting).unwrap_or_else(|| error.to_string()))
            })?;
        send_request(stream, request, limit).await
    }
}

/// The span of a request to `url`, whose path can be a secret.
fn client_span(url: &ReceiverUrl, method: &Method) -> Span {
    if !spans::is_traced() {
        return Span::none();
    }
    tracing::info_span!(
        target: spans::TARGET, "http_client",
        otel.name = method.as_str(), otel.kind = "client", otel.status_code = Empty,
        http.request.method = method.as_str(), http.response.status_code = Empty,
        server.address = url.host, server.port = url.port, error.type = Empty,
    )
}

/// Connects to the first reachable of `addresses`.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, WebhookError> {
    let mut failed = None;
    for address in addresses {
        let cause = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("timed out after {} s", CONNECT_TIMEOUT.as_secs()),
        };
        failed = Some(WebhookError::Connect {
            address: *address,
            cause,
        });
    }
    Err(failed.unwrap_or_else(|| WebhookError::Protocol("no address".to_owned())))
}

/// Sends the request on a dedicated connection, which is closed afterwards.
async fn send_request<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<HttpReply, WebhookError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| WebhookError::Protocol(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let response = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let (body, is_partial) = read_prefix(response.into_body(), limit).await;
        Ok(HttpReply {
            status,
            location,
            body,
            is_partial,
        })
    };
    tokio::pin!(response, connection);
    tokio::select! {
        biased;
        response = &mut response => response,
        ended = &mut connection => match ended {
            // The response may have arrived with the end of the connection.
            Ok(()) => response.await,
            Err(error) => Err(broken(error)),
        },
    }
}

/// The first `limit` bytes of a body, and whether that is not all of it. A truncated body still counts as a response.
async fn read_prefix(mut body: Incoming, limit: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match body.frame().await {
            None => return (bytes, false),
            Some(Err(_)) => return (bytes, true),
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                let room = limit - bytes.len();
                bytes.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room || (bytes.len() == limit && !body.is_end_stream()) {
                    return (bytes, true);
                }
            }
        }
    }
}

/// A header value that is hidden from logs.
pub(super) fn sensitive_header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_strictly() {
        let url: ReceiverUrl = "https://hooks.slack.com/services/T/B/x?y=1"
            .parse()
            .unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.https),
            ("hooks.slack.com", 443, true)
        );
        assert_eq!(url.origin(), "https://hooks.slack.com");
        let url: ReceiverUrl = "http://[fd00::1]:9093/am/".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("[fd00::1]", 9093));
        assert_eq!(url.join("/api/v2/alerts"), "/am/api/v2/alerts");
        for invalid in [
            "",
            "hooks.example.org",
            "ftp://example.org/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://user:secret@example.org/",
            "http://example.org:0/",
            "http://example.org:x/",
            "http://example.org:70000/",
            "http://exa mple.org/",
            "gopher://127.0.0.1:2379/",
        ] {
            assert!(invalid.parse::<ReceiverUrl>().is_err(), "{invalid}");
        }
    }
}
