//! A receiver by HTTP and HTTPS that keeps what it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::serve::Listener;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::super::certificates::CertificateFiles;
use super::LOOPBACK;

/// Largest message that is taken, in bytes.
const MESSAGE_MAX: usize = 1 << 20;
/// How long TLS may take to be agreed on.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// One received HTTP request.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    pub at: SystemTime,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ReceivedMessage {
    /// Its content.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Takes every message that is posted, and keeps it.
pub struct HttpReceiver {
    url: String,
    messages: Arc<Mutex<Vec<ReceivedMessage>>>,
    _stop: DropGuard,
}

impl HttpReceiver {
    /// Serves on a free loopback port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((LOOPBACK, 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        Ok(Self::serve(listener, url))
    }

    /// The same with HTTPS, as `identity`.
    ///
    /// # Errors
    /// If there is no free port, or `identity` cannot be read.
    pub async fn start_encrypted(identity: &CertificateFiles) -> Result<Self> {
        let listener = TcpListener::bind((LOOPBACK, 0)).await?;
        let url = format!("https://{}/", listener.local_addr()?);
        let acceptor = TlsAcceptor::from(identity.server_config()?);
        Ok(Self::serve(HttpsListener { listener, acceptor }, url))
    }

    fn serve<L: Listener<Addr: std::fmt::Debug>>(listener: L, url: String) -> Self {
        let messages: Arc<Mutex<Vec<ReceivedMessage>>> = Arc::default();
        let kept = Arc::clone(&messages);
        let take = async move |request: Request| {
            let at = SystemTime::now();
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, MESSAGE_MAX)
                .await
                .unwrap_or_default();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(ReceivedMessage {
                at,
                headers: parts.headers,
                body,
            });
        };
        let router = axum::Router::new().fallback(take);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        TaskTracker::new().spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                _ = async { axum::serve(listener, router).await } => {}
            }
        });
        Self {
            url,
            messages,
            _stop: stop.drop_guard(),
        }
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All messages in order of arrival.
    #[must_use]
    pub fn messages(&self) -> Vec<ReceivedMessage> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Connections on which TLS has been agreed; those on which it could not be are nothing to the receiver.
struct HttpsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for HttpsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Ok(Ok(stream)) =
                tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
