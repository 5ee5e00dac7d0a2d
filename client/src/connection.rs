//! One HTTP request to the console, bounded in time and size, without redirects and proxies.
//!
//! A bare hyper connection, as for webhooks: an HTTP client library would follow redirects with the token and read proxies
//! from the environment.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tls_files::{explain_tls_error, find_tls_error, read_authorities};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::answer::{ApiAnswer, ApiProblem};
use crate::console_url::ConsoleUrl;
use crate::error::ClientError;
use crate::safe_text::safe_line;
use crate::token::ApiToken;

/// The longest answer that is read, in bytes; the overview of ten thousand nodes has three million.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Limit for each TCP connection, so that another address of the host can still be tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiRequest {
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    /// The JSON body.
    pub body: Option<Value>,
}

impl ApiRequest {
    /// A GET request of `target`.
    #[must_use]
    pub fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            body: None,
        }
    }

    fn changes(&self) -> bool {
        self.method != Method::GET
    }
}

/// Sends requests to one console with one token.
#[derive(Clone)]
pub struct ApiClient {
    url: ConsoleUrl,
    token: ApiToken,
    tls: Arc<ClientConfig>,
    timeout: Duration,
    plain_http: bool,
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Creates a client that trusts the system's authorities, or those in the file `ca` instead. Without `plain_http`, the
    /// token is sent over http:// to this host only.
    ///
    /// # Errors
    /// [`ClientError::Usage`] when the URL is not permitted, or `ca` cannot be used.
    pub fn new(
        url: ConsoleUrl,
        token: ApiToken,
        ca: Option<&Path>,
        timeout: Duration,
        plain_http: bool,
    ) -> Result<Self, ClientError> {
        if !url.is_https() && !url.is_loopback() && !plain_http {
            return Err(ClientError::Usage(format!(
                "{url} is not encrypted: every host on the way could read the token; use https://, or --allow-plain-http if the network is trusted"
            )));
        }
        let tls = tls_config(&url, ca).map_err(ClientError::Usage)?;
        Ok(Self {
            url,
            token,
            tls: Arc::new(tls),
            timeout,
            plain_http,
        })
    }

    /// The console.
    #[must_use]
    pub fn url(&self) -> &ConsoleUrl {
        &self.url
    }

    /// Sends `request` and reads the answer.
    ///
    /// # Errors
    /// [`ClientError`] for everything but a successful answer of the API.
    pub async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, ClientError> {
        let answered = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        answered.unwrap_or_else(|_| {
            Err(ClientError::TimedOut {
                url: self.url.to_string(),
                limit: self.timeout,
                changes: request.changes(),
            })
        })
    }

    async fn exchange(&self, request: &ApiRequest) -> Result<ApiAnswer, ClientError> {
        let stream = self.connect().await?;
        if !self.url.is_https() {
            return self.converse(stream, request).await;
        }
        let failed = |cause: String| ClientError::Tls {
            url: self.url.to_string(),
            cause,
        };
        let name = ServerName::try_from(self.url.host().to_owned())
            .map_err(|error| failed(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.map_err(|error| {
            let explained = find_tls_error(&error).and_then(|tls| explain_tls_error(tls, "--ca"));
            failed(explained.unwrap_or_else(|| error.to_string()))
        })?;
        self.converse(stream, request).await
    }

    /// Connects to the first reachable address of the host.
    async fn connect(&self) -> Result<TcpStream, ClientError> {
        let unreachable = |cause: String| ClientError::Unreachable {
            url: self.url.to_string(),
            cause,
        };
        let host = self.url.host();
        let found = tokio::net::lookup_host((host, self.url.port())).await;
        let addresses: Vec<SocketAddr> = found
            .map_err(|error| {
                unreachable(format!(
                    "the name {host} cannot be resolved: {error}; check --url"
                ))
            })?
            // The name localhost is trusted as this host, whatever it resolves to.
            .filter(|address| {
                self.url.is_https() || self.plain_http || address.ip().to_canonical().is_loopback()
            })
            .collect();
        let mut failed = format!("the name {host} has no usable address; check --url");
        for address in addresses {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
            failed = match connected.await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    format!("{address}: {error}; check --url, and that the console runs")
                }
                Err(_) => format!(
                    "{address}: no connection within {} s",
                    CONNECT_TIMEOUT.as_secs()
                ),
            };
        }
        Err(unreachable(failed))
    }

    /// Sends the request on a dedicated connection, which is closed afterwards.
    async fn converse<S>(&self, stream: S, request: &ApiRequest) -> Result<ApiAnswer, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let broken = |error: &dyn std::fmt::Display| ClientError::Broken {
            url: self.url.to_string(),
            cause: error.to_string(),
            changes: request.changes(),
        };
        let message = self.message(request)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let answer = async {
            let response =
                sender
                    .send_request(message)
                    .await
                    .map_err(|error| match error.is_parse() {
                        true => self.foreign(format!("not valid HTTP ({error}); check --url")),
                        false => broken(&error),
                    })?;
            let (head, body) = response.into_parts();
            let body = self.read_body(body, &broken).await?;
            self.judge(request, head.status, &head.headers, &body)
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The answer may have arrived with the end of the connection; if not, its reading fails.
            _ = &mut connection => answer.await,
        }
    }

    fn message(&self, request: &ApiRequest) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut message = Request::builder()
            .method(request.method.clone())
            .uri(&request.target)
            .header(HOST, self.url.authority())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, self.token.header())
            .header(
                USER_AGENT,
                concat!("galera-console-ctl/", env!("CARGO_PKG_VERSION")),
            );
        let body = request.body.as_ref().map(Value::to_string);
        if body.is_some() {
            message = message.header(CONTENT_TYPE, "application/json");
        }
        message
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| ClientError::Usage(format!("cannot make a request of this: {error}")))
    }

    async fn read_body(
        &self,
        mut body: Incoming,
        broken: &impl Fn(&dyn std::fmt::Display) -> ClientError,
    ) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(self.foreign(format!(
                    "the answer is longer than {} MiB and was not read; ask for less with --limit or a filter",
                    ANSWER_BYTES_MAX / (1024 * 1024)
                )));
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    }

    /// Decides what an answer is.
    fn judge(
        &self,
        request: &ApiRequest,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<ApiAnswer, ClientError> {
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if status.is_redirection() {
            let target = header(LOCATION).unwrap_or("an unnamed address");
            return Err(self.foreign(format!(
                "it redirects to {} (status {}), which is not followed, because the token would be sent there; if that is the console, give it as --url",
                safe_line(target),
                status.as_u16()
            )));
        }
        if status == StatusCode::NO_CONTENT {
            return Ok(ApiAnswer {
                document: Value::Null,
            });
        }
        let media_type = header(CONTENT_TYPE).unwrap_or("no media type");
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let expected = if status.is_success() {
            "application/json"
        } else {
            "application/problem+json"
        };
        if !essence.eq_ignore_ascii_case(expected) {
            let kind = if essence.eq_ignore_ascii_case("text/html") {
                "a web page"
            } else {
                "a document"
            };
            return Err(self.foreign(format!(
                "{kind} ({}, status {}) instead of {expected}; a proxy, or another program, answers at this address: check --url, and what lies between",
                safe_line(media_type),
                status.as_u16()
            )));
        }
        let document: Value = serde_json::from_slice(body)
            .map_err(|error| self.foreign(format!("the answer is not valid JSON: {error}")))?;
        if status.is_success() {
            return Ok(ApiAnswer { document });
        }
        let retry_after = header(RETRY_AFTER).and_then(|text| text.parse().ok());
        let refusal = ApiProblem::read(status.as_u16(), &document, retry_after);
        Err(ClientError::Refused(Box::new(
            refusal.with_remedy(&self.page_of(&request.target)),
        )))
    }

    /// The page of the interface for what `target` is about.
    fn page_of(&self, target: &str) -> String {
        let path = target.strip_prefix("/api/v1/").unwrap_or_default();
        let mut segments = path.split(['/', '?']);
        match (segments.next(), segments.next()) {
            (Some(place @ ("actions" | "clusters")), Some(name)) => {
                format!("{}/{place}/{name}", self.url)
            }
            _ => self.url.to_string(),
        }
    }

    fn foreign(&self, cause: String) -> ClientError {
        ClientError::Foreign {
            url: self.url.to_string(),
            cause,
        }
    }
}

fn tls_config(url: &ConsoleUrl, ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in read_authorities(path).map_err(|error| format!("--ca: {error}"))? {
                let added = roots.add(certificate);
                added.map_err(|error| format!("--ca {}: {error}", path.display()))?;
            }
        }
        // Not needed, and slow to read, without TLS.
        None if !url.is_https() => {}
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
