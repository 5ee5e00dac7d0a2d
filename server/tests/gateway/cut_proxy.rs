//! A proxy to etcd that goes dead at one exact write: what a replica that crashes there has and has not done.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Whether the connection dies before or after the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutSide {
    /// The write never arrives.
    Before,
    /// The write arrives, and its confirmation is lost.
    After,
}

struct CutTrigger {
    /// The bytes of the request that triggers the cut.
    pattern: Vec<u8>,
    side: CutSide,
    dead: watch::Sender<bool>,
    triggered: Notify,
}

/// A TCP proxy in front of etcd.
pub(crate) struct CutProxy {
    pub(crate) endpoint: String,
    trigger: Arc<CutTrigger>,
    task: JoinHandle<()>,
}

impl CutProxy {
    /// Cuts the connection at a deletion of `key`: its name is field 1 of that message.
    pub(crate) async fn on_delete(key: &str, side: CutSide, etcd: &str) -> Self {
        let length = u8::try_from(key.len()).unwrap();
        Self::on_bytes([&[0x0a, length][..], key.as_bytes()].concat(), side, etcd).await
    }

    /// Cuts the connection at a request that contains `pattern`.
    pub(crate) async fn on_bytes(pattern: Vec<u8>, side: CutSide, etcd: &str) -> Self {
        let trap = Arc::new(CutTrigger {
            pattern,
            side,
            dead: watch::Sender::new(false),
            triggered: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let target = etcd.trim_start_matches("http://").to_owned();
        let shared = Arc::clone(&trap);
        let task = TaskTracker::new().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else {
                    continue;
                };
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                TaskTracker::new().spawn(forward_requests(from_near, to_far, Arc::clone(&shared)));
                TaskTracker::new().spawn(forward_responses(from_far, to_near, Arc::clone(&shared)));
            }
        });
        Self {
            endpoint,
            trigger: trap,
            task,
        }
    }

    /// Waits until the connection is cut.
    pub(crate) async fn wait_until_cut(&self) {
        tokio::time::timeout(crate::etcd::TIMEOUT, self.trigger.triggered.notified())
            .await
            .expect("the triggering write arrives");
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl CutTrigger {
    fn cut(&self) {
        if !self.dead.send_replace(true) {
            self.triggered.notify_one();
        }
    }
}

/// Forwards requests. Once dead, swallows everything and closes nothing, as a machine that lost power does.
async fn forward_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    trap: Arc<CutTrigger>,
) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen: Vec<u8> = Vec::new();
    loop {
        let count = from
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        let chunk = &buffer[..count];
        if *trap.dead.borrow() {
            continue;
        }
        seen.extend_from_slice(chunk);
        let found = seen
            .windows(trap.pattern.len())
            .any(|bytes| bytes == trap.pattern);
        // A pattern may start at the end of a chunk.
        seen.drain(..seen.len().saturating_sub(trap.pattern.len() - 1));
        if found && trap.side == CutSide::Before {
            trap.cut();
            continue;
        }
        if found {
            // No response to it is forwarded.
            trap.dead.send_replace(true);
            to.write_all(chunk).await.ok()?;
            trap.triggered.notify_one();
            continue;
        }
        to.write_all(chunk).await.ok()?;
    }
}

/// Forwards responses.
async fn forward_responses(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    trap: Arc<CutTrigger>,
) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        if !*trap.dead.borrow() {
            to.write_all(&buffer[..count]).await.ok()?;
        }
    }
}
