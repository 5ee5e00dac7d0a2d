//! The live WebSocket interface: last-value topics for one viewer, for as long as its session lasts.
//!
//! One task per viewer and no queue: a slow viewer gets the latest value of each topic once it reads again. `message`
//! parses what the viewer sends, `TopicSubscription` yields the frames that are due, `ViewerConnection` drives the
//! socket. In protocol 2 (`shared`), a value is a patch of what the viewer has, or the whole if it is too far behind.
//!
//! What a viewer may send, and the response:
//!
//! | from the viewer | response |
//! |---|---|
//! | a subscription | replaces the previous one; the current value of each topic |
//! | text that is not a subscription | `error` `malformed_message`; the subscription stays |
//! | an unknown topic | `error` `unknown_topic`; the other topics are served |
//! | an unknown cluster | `error` `unknown_cluster`; served as soon as the cluster is known |
//! | more than 32 topics, more than 4 windows of the overview | `error` `too_many_topics`, `too_many_windows` |
//! | a binary message | close 1003 |
//! | more than 4 kB | close 1009 |
//! | more than 30 messages in 15 s | close 1008 |
//! | nothing, not even pongs, for 30 s | the connection is dropped |
//!
//! The server closes with 4401 when the session ends, with 1008 when the account may no longer view clusters, and with 1001
//! on shutdown.

mod message;
mod shared;
mod subscription;
mod viewer;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use console_core::session::SessionGuard;
use monitor::Monitor;
use tokio_util::sync::CancellationToken;

use crate::actions::ActionService;
use crate::metrics::WebMetrics;
pub use shared::SharedTopics;
use viewer::ViewerConnection;

/// Longest message accepted from a viewer, in bytes.
pub const MESSAGE_MAX: usize = 4 * 1024;
/// Messages and pings accepted from a viewer between two of our pings.
const MESSAGES_MAX: u32 = 30;
/// Viewers send very little: the default of 128 KiB each would be most of a viewer's memory.
const READ_BUFFER: usize = 1024;
/// Most bytes that wait for a viewer to read: one message, larger than any view, as each is sent before the next.
const WRITE_BUFFER_MAX: usize = 16 * 1024 * 1024;

/// Timing of a connection.
#[derive(Clone, Copy, Debug)]
struct ConnectionTiming {
    /// Time between two pings; after two without any message from the peer the connection is dropped.
    ping_interval: Duration,
    /// Time for the peer to receive and answer a close message.
    close_timeout: Duration,
}

impl Default for ConnectionTiming {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(15),
            close_timeout: Duration::from_secs(1),
        }
    }
}

/// What viewers are served from.
#[derive(Clone)]
pub struct LiveSources {
    pub monitor: Monitor,
    /// Actions; without them the topic is ignored.
    pub actions: Option<ActionService>,
    /// The topics of protocol 2, shared by all viewers.
    pub topics: SharedTopics,
    /// Counts connections and messages.
    pub metrics: Arc<WebMetrics>,
}

/// Accepts the upgrade of a viewer whose session and origin were checked, with the limits of this module. Drops `slot` when
/// the connection ends.
#[must_use = "the upgrade happens only when the response is returned"]
pub fn upgrade(
    ws: WebSocketUpgrade,
    sources: LiveSources,
    guard: SessionGuard,
    shutdown: CancellationToken,
    slot: impl Send + 'static,
) -> Response {
    let timing = ConnectionTiming::default();
    upgrade_with_timing(timing, ws, sources, guard, shutdown, slot)
}

fn upgrade_with_timing(
    timing: ConnectionTiming,
    ws: WebSocketUpgrade,
    sources: LiveSources,
    guard: SessionGuard,
    shutdown: CancellationToken,
    slot: impl Send + 'static,
) -> Response {
    // Held until the connection ends: shutdown waits for it.
    let tracked = sources.monitor.tracker().token();
    ws.max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX)
        .read_buffer_size(READ_BUFFER)
        // Every message is flushed immediately anyway.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .on_upgrade(move |socket| async move {
            serve_with_timing(timing, socket, sources, guard, shutdown).await;
            drop((tracked, slot));
        })
}

/// Serves a viewer until the connection ends.
pub async fn serve_socket(
    socket: WebSocket,
    sources: LiveSources,
    guard: SessionGuard,
    shutdown: CancellationToken,
) {
    serve_with_timing(
        ConnectionTiming::default(),
        socket,
        sources,
        guard,
        shutdown,
    )
    .await;
}

async fn serve_with_timing(
    timing: ConnectionTiming,
    socket: WebSocket,
    sources: LiveSources,
    guard: SessionGuard,
    shutdown: CancellationToken,
) {
    let connection = sources.metrics.live_connection();
    ViewerConnection::new(timing, socket, sources, guard, shutdown)
        .run()
        .await;
    drop(connection);
}

#[cfg(test)]
mod tests;
