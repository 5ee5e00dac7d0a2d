//! One HTTP request to a receiver: to exactly the address that was judged, without redirects, bounded in time and size.
//!
//! hyper's own connection, without a client around it: a client would resolve the name a second time, keep connections
//! to addresses that were judged long ago, and follow redirects and proxies.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::egress::{EgressError, EgressPolicy};
use super::tls;

/// How long a connection may take to be made, with its encryption.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long everything may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read, in bytes; the rest is left unread.
const RESPONSE_BYTES_MAX: usize = 4 * 1024;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum WebhookError {
    /// The address cannot be used.
    #[error("the address is none: {0}")]
    InvalidUrl(String),
    /// Nothing is sent there.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// No connection.
    #[error("no connection to {address}: {cause}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// The system's words.
        cause: String,
    },
    /// The encryption could not be agreed on.
    #[error("no TLS with {host}: {cause}")]
    Tls {
        /// The receiver.
        host: String,
        /// Why.
        cause: String,
    },
    /// Too slow.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The connection broke, or what came is no HTTP.
    #[error("no answer: {0}")]
    Protocol(String),
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebhookResponse {
    /// Its status.
    pub(super) status: u16,
    /// The beginning of its body.
    pub(super) body: String,
    /// Where it would have us go instead.
    pub(super) location: Option<String>,
}

/// What sends requests to receivers.
#[derive(Clone)]
pub(super) struct WebhookClient {
    egress: EgressPolicy,
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poster")
            .field("reach", &self.egress)
            .finish_non_exhaustive()
    }
}

/// A receiver's address, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReceiverUrl {
    uri: Uri,
    https: bool,
    host: String,
    port: u16,
}

impl std::str::FromStr for ReceiverUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(200).collect();
        let bad =
            |why: &str| format!("{shown:?} {why}; write e.g. https://hooks.example.org/galera");
        if text.len() > 2_000 {
            return Err(bad("is longer than 2000 characters"));
        }
        let uri: Uri = text.trim().parse().map_err(|_| bad("is no URL"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("does not begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad(
                "holds a user name or password; give them as authorization",
            ));
        }
        let host = authority.host().to_owned();
        if host.is_empty() {
            return Err(bad("names no host"));
        }
        let port = match (authority.port_u16(), authority.as_str().len() > host.len()) {
            (Some(0), _) | (None, true) => return Err(bad("has a port that is none")),
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
    /// Scheme, host and port without what follows: an incoming webhook's path is its secret.
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

    /// The same receiver's `path` below this one.
    fn join(&self, path: &str) -> String {
        let own = self.uri.path().trim_end_matches('/');
        format!("{own}{path}")
    }

    fn path_and_query(&self) -> String {
        self.uri
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string)
    }
}

impl WebhookClient {
    /// Sends to what `egress` allows; trusts the system's authorities and those in the file `ca`.
    ///
    /// # Errors
    /// A sentence about `ca`.
    pub(super) fn new(reach: EgressPolicy, ca: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "Some of the system's certificate authorities cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = ca {
            for certificate in tls::load_ca_certificates(path)? {
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
            egress: reach,
            tls: Arc::new(tls),
        })
    }

    /// Posts `body` as JSON to `url`, or to `path` below it, and reads the beginning of the answer.
    ///
    /// # Errors
    /// [`WebhookError`]; an answer of any status is none.
    pub(super) async fn post(
        &self,
        url: &ReceiverUrl,
        path: Option<&str>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<WebhookResponse, WebhookError> {
        let target = path.map_or_else(|| url.path_and_query(), |path| url.join(path));
        let mut request = Request::builder().method(Method::POST).uri(target);
        if let Some(authority) = url.uri.authority() {
            request = request.header(HOST, authority.as_str());
        }
        let mut request = request
            .header(CONTENT_TYPE, "application/json")
            .header(
                USER_AGENT,
                concat!("galera-console/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(body))
            .map_err(|error| WebhookError::InvalidUrl(error.to_string()))?;
        request.headers_mut().extend(headers);
        tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(url, request))
            .await
            .unwrap_or(Err(WebhookError::Timeout(REQUEST_TIMEOUT)))
    }

    async fn exchange(
        &self,
        url: &ReceiverUrl,
        request: Request<Full<Bytes>>,
    ) -> Result<WebhookResponse, WebhookError> {
        let addresses = self.egress.resolve(&url.host, url.port).await?;
        let stream = connect(&addresses).await?;
        if !url.https {
            return send_request(stream, request).await;
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
        let agreed = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await;
        let stream = agreed
            .map_err(|_| tls(format!("not agreed within {} s", CONNECT_TIMEOUT.as_secs())))?
            .map_err(|error| {
                tls(tls::explain_tls_error(&error).unwrap_or_else(|| error.to_string()))
            })?;
        send_request(stream, request).await
    }
}

/// Connects to the first of `addresses` that answers.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, WebhookError> {
    let mut failed = None;
    for address in addresses {
        let cause = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not within {} s", CONNECT_TIMEOUT.as_secs()),
        };
        failed = Some(WebhookError::Connect {
            address: *address,
            cause,
        });
    }
    Err(failed.unwrap_or_else(|| WebhookError::Protocol("there is no address".to_owned())))
}

/// Sends the request on a connection of its own. The connection ends with this.
async fn send_request<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<WebhookResponse, WebhookError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| WebhookError::Protocol(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let text = read_prefix(response.into_body()).await;
        Ok(WebhookResponse {
            status,
            body: text,
            location,
        })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // The answer may have come with the end of the connection.
            Ok(()) => answer.await,
            Err(error) => Err(broken(error)),
        },
    }
}

/// The first bytes of a body as text. A body that breaks off has been an answer all the same.
async fn read_prefix(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < RESPONSE_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Some(data) = frame.data_ref() {
            let room = RESPONSE_BYTES_MAX - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A header's value that must not be shown in logs.
pub(super) fn sensitive_header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_once_and_strictly() {
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
        for bad in [
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
            assert!(bad.parse::<ReceiverUrl>().is_err(), "{bad}");
        }
    }
}
