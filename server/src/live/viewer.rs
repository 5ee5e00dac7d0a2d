//! One viewer's connection: what it is sent, what it sends, and how it ends.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use console_core::clock::now;
use console_core::session::SessionGuard;
use galera::publish::api::CLOSE_SESSION_ENDED;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::message::{self, Complaint};
use super::subscription::Subscription;
use super::{LiveSources, MESSAGES_MAX, Pace};
use crate::metrics::WebMetrics;

/// Why a connection ends.
enum End {
    /// With a close message.
    Close(u16, &'static str),
    /// The peer sent one first.
    Answer,
    /// Without: nobody listens.
    Drop,
}

pub(super) struct Viewer {
    pace: Pace,
    socket: WebSocket,
    metrics: Arc<WebMetrics>,
    guard: SessionGuard,
    shutdown: CancellationToken,
    subscription: Subscription,
    /// Our pings since the last sign of life.
    silent: u32,
    /// Messages received since our last ping.
    received: u32,
}

enum Event {
    Received(Option<Result<Message, axum::Error>>),
    Ping,
    Due(Utf8Bytes),
    End(End),
}

impl Viewer {
    pub(super) fn new(
        pace: Pace,
        socket: WebSocket,
        sources: LiveSources,
        guard: SessionGuard,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            pace,
            socket,
            subscription: Subscription::new(sources.hub, sources.actions),
            metrics: sources.metrics,
            guard,
            shutdown,
            silent: 0,
            received: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.farewell(end).await;
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        self.send(Message::Text(message::hello())).await?;
        let mut pings = interval(self.pace.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        loop {
            match self.event(&mut pings).await {
                Event::Received(message) => self.receive(message).await?,
                Event::Ping => self.ping().await?,
                Event::Due(frame) => self.send(Message::Text(frame)).await?,
                Event::End(end) => return Err(end),
            }
        }
    }

    async fn event(&mut self, pings: &mut Interval) -> Event {
        tokio::select! {
            biased;
            end = ended(&mut self.guard, &self.shutdown) => Event::End(end),
            _ = pings.tick() => Event::Ping,
            message = self.socket.recv() => Event::Received(message),
            frame = self.subscription.next() => Event::Due(frame),
        }
    }

    async fn receive(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(broken(&error)),
            None => return Err(End::Drop),
        };
        self.silent = 0;
        if !matches!(message, Message::Pong(_)) {
            self.received += 1;
            if self.received > MESSAGES_MAX {
                return Err(End::Close(close_code::POLICY, "too many messages"));
            }
        }
        match message {
            Message::Text(text) => self.subscribe(&text).await,
            Message::Binary(_) => Err(End::Close(
                close_code::UNSUPPORTED,
                "only text messages are understood",
            )),
            Message::Close(_) => Err(End::Answer),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    async fn subscribe(&mut self, text: &str) -> Result<(), End> {
        self.metrics.live_received();
        let complaints = match message::parse(text) {
            Ok((topics, complaints)) => {
                self.subscription.replace(topics);
                complaints
            }
            Err(complaint) => vec![complaint],
        };
        for complaint in complaints {
            self.complain(&complaint).await?;
        }
        Ok(())
    }

    async fn complain(&mut self, complaint: &Complaint) -> Result<(), End> {
        self.send(Message::Text(complaint.frame())).await
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.silent >= 2 {
            return Err(End::Drop);
        }
        self.silent += 1;
        self.received = 0;
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    /// Sends one message. A viewer that does not read holds only this task, and not for ever.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        if matches!(message, Message::Text(_)) {
            self.metrics.live_sent();
        }
        tokio::select! {
            biased;
            end = ended(&mut self.guard, &self.shutdown) => Err(end),
            sent = timeout(self.pace.ping * 2, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                _ => Err(End::Drop),
            },
        }
    }

    /// Says why, and waits a moment for the peer to take it: closing at once could discard the message on its way.
    async fn farewell(mut self, end: End) {
        let close = match end {
            End::Drop => return,
            End::Answer => None,
            End::Close(code, reason) => Some(Message::Close(Some(CloseFrame {
                code,
                reason: Utf8Bytes::from_static(reason),
            }))),
        };
        let goodbye = async {
            if let Some(close) = close {
                self.socket.send(close).await.ok()?;
            }
            while self.socket.recv().await?.is_ok() {}
            Some(())
        };
        let _ = timeout(self.pace.farewell, goodbye).await;
    }
}

/// Waits until the viewer may no longer watch.
async fn ended(guard: &mut SessionGuard, shutdown: &CancellationToken) -> End {
    let expiry = now().age(guard.expires_at);
    tokio::select! {
        biased;
        () = shutdown.cancelled() => End::Close(close_code::AWAY, "the console stops"),
        () = guard.wait_ended() => End::Close(CLOSE_SESSION_ENDED, "the session ended"),
        () = sleep(expiry) => End::Close(CLOSE_SESSION_ENDED, "the session expired"),
    }
}

fn broken(error: &axum::Error) -> End {
    use tokio_tungstenite::tungstenite::Error;
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    match cause {
        Some(Error::Capacity(_)) => {
            End::Close(close_code::SIZE, "a message has at most 4096 bytes")
        }
        Some(Error::Utf8(_)) => End::Close(close_code::INVALID, "text must be UTF-8"),
        Some(Error::Protocol(_)) => End::Close(close_code::PROTOCOL, "not the WebSocket protocol"),
        _ => End::Drop,
    }
}
