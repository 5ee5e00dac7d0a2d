//! One viewer's connection: what is sent and received, and how it ends.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use console_core::clock::now;
use console_core::session::SessionGuard;
use galera::publish::api::CLOSE_SESSION_ENDED;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::message::{self, SubscribeError};
use super::subscription::TopicSubscription;
use super::{ConnectionTiming, LiveSources, MESSAGES_MAX};
use crate::metrics::WebMetrics;

/// Why a connection ends.
enum ConnectionEnd {
    /// We send a close message.
    Close(u16, &'static str),
    /// The peer sent a close message first.
    PeerClosed,
    /// The connection is dropped without a close message.
    Dropped,
}

pub(super) struct ViewerConnection {
    timing: ConnectionTiming,
    socket: WebSocket,
    metrics: Arc<WebMetrics>,
    guard: SessionGuard,
    shutdown: CancellationToken,
    subscription: TopicSubscription,
    /// Our pings since the peer's last message.
    unanswered_pings: u32,
    /// Messages received since our last ping.
    received_since_ping: u32,
}

enum ConnectionEvent {
    Received(Option<Result<Message, axum::Error>>),
    Ping,
    Due(Message),
    End(ConnectionEnd),
}

impl ViewerConnection {
    pub(super) fn new(
        timing: ConnectionTiming,
        socket: WebSocket,
        sources: LiveSources,
        guard: SessionGuard,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            timing,
            socket,
            subscription: TopicSubscription::new(
                sources.clone(),
                Arc::clone(&guard.principal.username),
                guard.principal.clusters.clone(),
            ),
            metrics: sources.metrics,
            guard,
            shutdown,
            unanswered_pings: 0,
            received_since_ping: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.close(end).await;
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, ConnectionEnd> {
        self.send(Message::Text(message::hello())).await?;
        let mut pings = interval(self.timing.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        loop {
            match self.next_event(&mut pings).await {
                ConnectionEvent::Received(message) => self.on_message(message).await?,
                ConnectionEvent::Ping => self.ping().await?,
                ConnectionEvent::Due(frame) => self.send(frame).await?,
                ConnectionEvent::End(end) => return Err(end),
            }
        }
    }

    async fn next_event(&mut self, pings: &mut Interval) -> ConnectionEvent {
        tokio::select! {
            biased;
            end = wait_ended(&mut self.guard, &self.shutdown) => ConnectionEvent::End(end),
            _ = pings.tick() => ConnectionEvent::Ping,
            message = self.socket.recv() => ConnectionEvent::Received(message),
            frame = self.subscription.next() => ConnectionEvent::Due(frame),
        }
    }

    async fn on_message(
        &mut self,
        message: Option<Result<Message, axum::Error>>,
    ) -> Result<(), ConnectionEnd> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(end_for_error(&error)),
            None => return Err(ConnectionEnd::Dropped),
        };
        self.unanswered_pings = 0;
        if !matches!(message, Message::Pong(_)) {
            self.received_since_ping += 1;
            if self.received_since_ping > MESSAGES_MAX {
                return Err(ConnectionEnd::Close(
                    close_code::POLICY,
                    "too many messages",
                ));
            }
        }
        match message {
            Message::Text(text) => self.subscribe(&text).await,
            Message::Binary(_) => Err(ConnectionEnd::Close(
                close_code::UNSUPPORTED,
                "only text messages are supported",
            )),
            Message::Close(_) => Err(ConnectionEnd::PeerClosed),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    async fn subscribe(&mut self, text: &str) -> Result<(), ConnectionEnd> {
        self.metrics.live_received();
        let errors = match message::parse_subscription(text) {
            Ok((wanted, mut errors)) => {
                errors.extend(self.subscription.replace(wanted));
                errors
            }
            Err(error) => vec![error],
        };
        for error in errors {
            self.send_error(&error).await?;
        }
        Ok(())
    }

    async fn send_error(&mut self, error: &SubscribeError) -> Result<(), ConnectionEnd> {
        self.send(Message::Text(error.frame())).await
    }

    async fn ping(&mut self) -> Result<(), ConnectionEnd> {
        if self.unanswered_pings >= 2 {
            return Err(ConnectionEnd::Dropped);
        }
        self.unanswered_pings += 1;
        self.received_since_ping = 0;
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    /// Sends one message. A viewer that does not read blocks only this task, and not longer than two pings.
    async fn send(&mut self, message: Message) -> Result<(), ConnectionEnd> {
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            self.metrics.live_sent();
        }
        tokio::select! {
            biased;
            end = wait_ended(&mut self.guard, &self.shutdown) => Err(end),
            sent = timeout(self.timing.ping_interval * 2, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                _ => Err(ConnectionEnd::Dropped),
            },
        }
    }

    /// Sends the close message and waits briefly for the peer: closing immediately could discard the message in
    /// transit.
    async fn close(mut self, end: ConnectionEnd) {
        let close = match end {
            ConnectionEnd::Dropped => return,
            ConnectionEnd::PeerClosed => None,
            ConnectionEnd::Close(code, reason) => Some(Message::Close(Some(CloseFrame {
                code,
                reason: Utf8Bytes::from_static(reason),
            }))),
        };
        let handshake = async {
            if let Some(close) = close {
                self.socket.send(close).await.ok()?;
            }
            while self.socket.recv().await?.is_ok() {}
            Some(())
        };
        let _ = timeout(self.timing.close_timeout, handshake).await;
    }
}

/// Waits until the session ends or the console shuts down.
async fn wait_ended(guard: &mut SessionGuard, shutdown: &CancellationToken) -> ConnectionEnd {
    let expiry = now().age(guard.expires_at);
    let mut view_lost = guard.clone();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => ConnectionEnd::Close(close_code::AWAY, "the console is shutting down"),
        () = guard.wait_ended() => ConnectionEnd::Close(CLOSE_SESSION_ENDED, "the session ended"),
        () = view_lost.wait_view_lost() => ConnectionEnd::Close(close_code::POLICY, "the account may no longer view clusters"),
        () = sleep(expiry) => ConnectionEnd::Close(CLOSE_SESSION_ENDED, "the session expired"),
    }
}

fn end_for_error(error: &axum::Error) -> ConnectionEnd {
    use tokio_tungstenite::tungstenite::Error;
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    match cause {
        Some(Error::Capacity(_)) => {
            ConnectionEnd::Close(close_code::SIZE, "messages are limited to 4096 bytes")
        }
        Some(Error::Utf8(_)) => ConnectionEnd::Close(close_code::INVALID, "text must be UTF-8"),
        Some(Error::Protocol(_)) => {
            ConnectionEnd::Close(close_code::PROTOCOL, "WebSocket protocol error")
        }
        _ => ConnectionEnd::Dropped,
    }
}
