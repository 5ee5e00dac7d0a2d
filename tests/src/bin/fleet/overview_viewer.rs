//! What a viewer of the overview receives.

use std::time::{Duration, Instant};

use acceptance::live::LiveClient;
use anyhow::Result;

/// Frames and bytes that one viewer received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ViewerTraffic {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
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
        let Ok(frame) = tokio::time::timeout(left, live.next_text()).await else {
            return Ok(traffic);
        };
        traffic.frames += 1;
        traffic.bytes += frame?.len() as u64;
    }
}
