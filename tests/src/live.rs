//! A client of the live interface (`/api/v1/live`).

use std::time::Duration;

use ::galera::publish::api::{LiveMessage, SubscribeRequest};
use ::galera::view::ClusterView;
use anyhow::{Context, Result, anyhow, bail};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(60);

/// A live connection; its `hello` has been read.
pub struct LiveClient {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: Option<LiveMessage>,
}

impl LiveClient {
    /// Connects to the console at `base` with a cookie, as a page of `origin` would.
    ///
    /// # Errors
    /// If the console refuses; the status can be read with [`refusal_status`].
    pub async fn connect(base: &str, cookie: Option<&str>, origin: &str) -> Result<Self> {
        let url = format!("{}/api/v1/live", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        request
            .headers_mut()
            .insert(header::ORIGIN, HeaderValue::from_str(origin)?);
        if let Some(cookie) = cookie {
            request
                .headers_mut()
                .insert(header::COOKIE, HeaderValue::from_str(cookie)?);
        }
        let (stream, _) = tokio::time::timeout(CONNECT, connect_async(request)).await??;
        let mut live = Self { stream, last: None };
        match live.next(CONNECT).await? {
            LiveMessage::Hello { .. } => Ok(live),
            other => bail!("the first message is not hello but {other:?}"),
        }
    }

    /// Replaces the subscription.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn subscribe(&mut self, topics: &[&str]) -> Result<()> {
        let subscribe = topics.iter().map(|&topic| topic.to_owned()).collect();
        self.send(&serde_json::to_string(&SubscribeRequest { subscribe })?)
            .await
    }

    /// Sends a text frame unmodified.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// The next message.
    ///
    /// # Errors
    /// If none comes within `patience` or the connection is closed; the close code can be read with [`close_code`].
    pub async fn next(&mut self, patience: Duration) -> Result<LiveMessage> {
        let text = tokio::time::timeout(patience, self.next_text())
            .await
            .context("no message in time")??;
        let message: LiveMessage =
            serde_json::from_str(&text).with_context(|| format!("unreadable: {text}"))?;
        self.last = Some(message.clone());
        Ok(message)
    }

    /// The next text frame, unparsed. Cancel-safe.
    ///
    /// # Errors
    /// If the connection is closed; the close code can be read with [`close_code`].
    pub async fn next_text(&mut self) -> Result<Utf8Bytes> {
        loop {
            match self
                .stream
                .next()
                .await
                .context("the connection ended without a close frame")??
            {
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => {
                    let code = frame.map_or(1005, |frame| u16::from(frame.code));
                    return Err(anyhow!(SocketClosed(code)));
                }
                _ => {}
            }
        }
    }

    /// The size of the next text or binary message in bytes. Cancel-safe.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn next_size(&mut self) -> Result<usize> {
        loop {
            let message = self.stream.next().await;
            match message.context("the connection ended without a close frame")?? {
                Message::Text(text) => return Ok(text.len()),
                Message::Binary(bytes) => return Ok(bytes.len()),
                Message::Close(frame) => {
                    let code = frame.map_or(1005, |frame| u16::from(frame.code));
                    return Err(anyhow!(SocketClosed(code)));
                }
                _ => {}
            }
        }
    }

    /// Reads until a cluster view satisfies `wanted`, and returns it with all states that were seen on the way judged
    /// by `wanted` itself.
    ///
    /// # Errors
    /// When `deadline` passes; names `what` and quotes the last message.
    pub async fn wait_for(
        &mut self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&ClusterView) -> bool,
    ) -> Result<ClusterView> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next(left).await {
                Ok(LiveMessage::Cluster { cluster, .. }) if wanted(&cluster) => {
                    return Ok(*cluster);
                }
                Ok(_) => {}
                Err(error) => {
                    let last = serde_json::to_string(&self.last).unwrap_or_default();
                    return Err(error.context(format!(
                        "waited {deadline:?} for: {what}; the last message: {last}"
                    )));
                }
            }
        }
    }

    /// Reads until the server closes, and returns the close code.
    ///
    /// # Errors
    /// If it does not close within `deadline`.
    pub async fn wait_for_close(&mut self, deadline: Duration) -> Result<u16> {
        let end = Instant::now() + deadline;
        loop {
            match self
                .next(end.saturating_duration_since(Instant::now()))
                .await
            {
                Ok(_) => {}
                Err(error) => return close_code(&error).ok_or(error),
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the server closed the connection with code {0}")]
struct SocketClosed(u16);

/// The close code, when that is what ended a connection.
#[must_use]
pub fn close_code(error: &anyhow::Error) -> Option<u16> {
    error.downcast_ref::<SocketClosed>().map(|closed| closed.0)
}

/// The HTTP status with which a connection was refused.
#[must_use]
pub fn refusal_status(error: &anyhow::Error) -> Option<u16> {
    match error.downcast_ref::<Error>() {
        Some(Error::Http(answer)) => Some(answer.status().as_u16()),
        _ => None,
    }
}
