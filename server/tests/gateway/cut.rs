//! The way to etcd, which goes dead at one exact write: what a replica that dies there has and has not done.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Which side of the write the way goes dead on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The write never arrives.
    Before,
    /// The write arrives, and its confirmation is lost.
    After,
}

struct Trap {
    /// The bytes of a request.
    pattern: Vec<u8>,
    side: Side,
    dead: watch::Sender<bool>,
    sprung: Notify,
}

/// A TCP proxy in front of etcd.
pub(crate) struct Cut {
    pub(crate) endpoint: String,
    trap: Arc<Trap>,
    task: JoinHandle<()>,
}

impl Cut {
    /// Goes dead when somebody deletes `key`: its name is field 1 of that message.
    pub(crate) async fn at(key: &str, side: Side, etcd: &str) -> Self {
        let length = u8::try_from(key.len()).unwrap();
        Self::saying([&[0x0a, length][..], key.as_bytes()].concat(), side, etcd).await
    }

    /// Goes dead when somebody writes these bytes.
    pub(crate) async fn saying(pattern: Vec<u8>, side: Side, etcd: &str) -> Self {
        let trap = Arc::new(Trap {
            pattern,
            side,
            dead: watch::Sender::new(false),
            sprung: Notify::new(),
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
                TaskTracker::new().spawn(outward(from_near, to_far, Arc::clone(&shared)));
                TaskTracker::new().spawn(homeward(from_far, to_near, Arc::clone(&shared)));
            }
        });
        Self {
            endpoint,
            trap,
            task,
        }
    }

    /// Waits until the way is dead.
    pub(crate) async fn sprung(&self) {
        tokio::time::timeout(crate::etcd::PATIENCE, self.trap.sprung.notified())
            .await
            .expect("somebody writes it");
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trap {
    fn spring(&self) {
        if !self.dead.send_replace(true) {
            self.sprung.notify_one();
        }
    }
}

/// Requests. A dead way swallows everything and closes nothing, as a machine that lost its power does.
async fn outward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, trap: Arc<Trap>) -> Option<()> {
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
        // The beginning of a pattern may be at the end of a chunk.
        seen.drain(..seen.len().saturating_sub(trap.pattern.len() - 1));
        if found && trap.side == Side::Before {
            trap.spring();
            continue;
        }
        if found {
            // No answer to it comes home any more.
            trap.dead.send_replace(true);
            to.write_all(chunk).await.ok()?;
            trap.sprung.notify_one();
            continue;
        }
        to.write_all(chunk).await.ok()?;
    }
}

/// Answers.
async fn homeward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, trap: Arc<Trap>) -> Option<()> {
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
