//! The baseline: accepts connections and sends the latest frame; no topics, sessions or pings.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use console_core::published::Published;
use futures::SinkExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes as Text};
use tokio_util::task::TaskTracker;

use crate::frames::{BenchCluster, report_memory};

/// Serves viewers and publishes once per second until standard input closes.
pub(crate) async fn serve() {
    let tracker = TaskTracker::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (newest, frames) = watch::channel(Text::default());
    let viewers = tracker.clone();
    tracker.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            viewers.spawn(view(stream, frames.clone()));
        }
    });
    tracker.spawn_blocking(report_memory);
    let mut cluster = BenchCluster::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for revision in 1.. {
        second.tick().await;
        let published = Arc::new(Published::new(revision, cluster.view()));
        let frame: Utf8Bytes = published.frame();
        newest.send_replace(Text::from(frame.as_str()));
    }
}

async fn view(stream: TcpStream, mut frames: watch::Receiver<Text>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    while frames.changed().await.is_ok() {
        let frame = frames.borrow_and_update().clone();
        if socket.send(Message::Text(frame)).await.is_err() {
            return;
        }
    }
}
