//! One HTTP request to one endpoint, bounded in time and size, without redirects and proxies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tls_files::{CertificateFiles, PemPair, explain_tls_error, find_tls_error, read_authorities};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ANSWER_BYTES_MAX, V2Error};
use crate::{Error, EtcdSettings, Result};

/// An answer.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    /// `X-Etcd-Index`.
    pub(super) index: Option<u64>,
    pub(super) body: Vec<u8>,
}

impl HttpAnswer {
    /// Whether this is how etcd answers a path of the v2 API when that is off.
    pub(super) fn is_etcd_without_v2(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.body.trim_ascii() == b"404 page not found"
    }
}

/// Sends requests to the endpoints.
#[derive(Debug)]
pub(super) struct HttpClient {
    settings: EtcdSettings,
    urls: Vec<String>,
}

impl HttpClient {
    pub(super) fn new(settings: EtcdSettings) -> Result<Self> {
        let urls = settings.urls()?;
        settings.check_tls_files()?;
        Ok(Self { settings, urls })
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    pub(super) fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    /// How long failures must last before they are an outage.
    pub(super) fn grace(&self) -> Duration {
        self.settings.grace
    }

    /// Gets `target` from `url` within `limit`, on a dedicated connection.
    pub(super) async fn get(
        &self,
        url: &str,
        target: &str,
        limit: Duration,
    ) -> Result<HttpAnswer, V2Error> {
        let answer = tokio::time::timeout(limit, self.exchange(url, target)).await;
        answer.unwrap_or_else(|_| {
            let cause = format!("no complete answer within {} s", limit.as_secs());
            Err(unavailable(url, &cause))
        })
    }

    async fn exchange(&self, url: &str, target: &str) -> Result<HttpAnswer, V2Error> {
        let (scheme, authority) = url.split_once("://").unwrap_or(("http", url));
        let stream = TcpStream::connect(authority)
            .await
            .map_err(|error| unavailable(url, &error))?;
        if scheme != "https" {
            return self.converse(stream, url, authority, target).await;
        }
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| unavailable(url, &error))?;
        let tls = self.tls().map_err(|error| unavailable(url, &error))?;
        let connected = TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await;
        let stream = connected.map_err(|error| {
            let authorities = self.settings.ca.as_ref();
            let authorities =
                authorities.map_or_else(String::new, |file| file.display().to_string());
            let explained = find_tls_error(&error)
                .and_then(|tls| explain_tls_error(tls, &authorities))
                .unwrap_or_else(|| error.to_string());
            unavailable(url, &format!("TLS failed: {explained}"))
        })?;
        self.converse(stream, url, authority, target).await
    }

    async fn converse<S>(
        &self,
        stream: S,
        url: &str,
        authority: &str,
        target: &str,
    ) -> Result<HttpAnswer, V2Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let broken = |error: hyper::Error| match error.is_parse() {
            true => foreign(url, format!("not valid HTTP ({error})")),
            false => unavailable(url, &error),
        };
        let mut request = Request::get(target)
            .header(HOST, authority)
            .header(ACCEPT, "application/json");
        if let Some(account) = self.account() {
            request = request.header(AUTHORIZATION, account);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| unavailable(url, &error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, mut body) = response.into_parts();
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(broken)?;
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                    let cause = format!("the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20);
                    return Err(foreign(url, cause));
                }
                bytes.extend_from_slice(data);
            }
            let index = head.headers.get("x-etcd-index");
            let index = index.and_then(|value| value.to_str().ok()?.parse().ok());
            Ok(HttpAnswer {
                status: head.status,
                index,
                body: bytes,
            })
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The answer may have arrived with the end of the connection; if not, its reading fails.
            _ = &mut connection => answer.await,
        }
    }

    /// The account as a header.
    fn account(&self) -> Option<HeaderValue> {
        let (user, password) = self
            .settings
            .user
            .as_ref()
            .zip(self.settings.password.as_ref())?;
        let encoded = BASE64.encode(format!("{user}:{}", password.expose()).as_bytes());
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Read for each connection, because the files may be replaced while the console runs.
    fn tls(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.settings.ca {
            roots.add_parsable_certificates(read_authorities(ca)?);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Invalid(error.to_string()))?
            .with_root_certificates(roots);
        let (Some(certificate), Some(key)) = (&self.settings.cert, &self.settings.key) else {
            return Ok(config.with_no_client_auth());
        };
        let files = CertificateFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let certified = PemPair::read(&files)?.certified_key(&files)?;
        Ok(config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
    }
}

fn unavailable(url: &str, cause: &impl ToString) -> V2Error {
    V2Error::Unavailable {
        endpoint: url.to_owned(),
        cause: cause.to_string(),
    }
}

fn foreign(url: &str, cause: String) -> V2Error {
    V2Error::Foreign {
        endpoint: url.to_owned(),
        cause,
    }
}
