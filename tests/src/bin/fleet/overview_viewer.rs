//! What viewers of the overview receive, in each version of the protocol, and what many of them cost the console.

use std::time::{Duration, Instant};

use acceptance::api::ConsoleClient;
use acceptance::live::LiveClient;
use anyhow::Result;
use futures::future::try_join_all;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::meters::ProcessReading;

/// Connections in the measurement of what viewers cost.
pub(crate) const VIEWERS: usize = 100;
/// From the subscription of many viewers to the measurement: each begins with a full frame.
const SETTLE: Duration = Duration::from_secs(2);

/// How a viewer follows the overview.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ViewerKind {
    Version1,
    Version2,
    /// Version 2 with compression.
    Compressed,
}

impl ViewerKind {
    fn subscription(self) -> &'static str {
        match self {
            Self::Version1 => r#"{"subscribe":["overview"]}"#,
            Self::Version2 => r#"{"version":2,"subscribe":["overview?count=1000"]}"#,
            Self::Compressed => {
                r#"{"version":2,"encoding":"deflate","subscribe":["overview?count=1000"]}"#
            }
        }
    }
}

/// Frames and bytes that one viewer received, without the headers of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ViewerTraffic {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

/// Connects a viewer and subscribes.
///
/// # Errors
/// If the console refuses.
pub(crate) async fn connect(api: &ConsoleClient, kind: ViewerKind) -> Result<LiveClient> {
    let mut live = api.live().await?;
    live.send(kind.subscription()).await?;
    Ok(live)
}

/// Reads the overview for `duration`; `live` is subscribed to it.
///
/// # Errors
/// If the connection is closed.
pub(crate) async fn read(live: &mut LiveClient, duration: Duration) -> Result<ViewerTraffic> {
    let end = Instant::now() + duration;
    let mut traffic = ViewerTraffic::default();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(size) = tokio::time::timeout(left, live.next_size()).await else {
            return Ok(traffic);
        };
        traffic.frames += 1;
        traffic.bytes += size? as u64;
    }
}

/// The processor time of the console, in milliseconds a second, while [`VIEWERS`] of this kind read the overview, less
/// `without` them.
///
/// # Errors
/// If the console refuses a viewer.
pub(crate) async fn cost(
    api: &ConsoleClient,
    kind: ViewerKind,
    pid: u32,
    without: f64,
    duration: Duration,
) -> Result<f64> {
    let tasks = TaskTracker::new();
    let connected = try_join_all((0..VIEWERS).map(|_| connect(api, kind))).await?;
    let _viewers: Vec<_> = connected
        .into_iter()
        .map(|mut live| {
            let reading = async move { while live.next_size().await.is_ok() {} };
            AbortOnDropHandle::new(tasks.spawn(reading))
        })
        .collect();
    tokio::time::sleep(SETTLE).await;
    let before = ProcessReading::take(pid)?;
    tokio::time::sleep(duration).await;
    Ok((ProcessReading::take(pid)?.cpu_rate_since(&before) - without).max(0.0))
}
