//! Polling for a condition with a deadline.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

/// Pause between two attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(40);

/// A process that was to serve has ended; waiting on is pointless.
#[derive(Debug, thiserror::Error)]
#[error("{name} ended early; the end of {}:\n{log_tail}", log.display())]
pub struct EndedEarlyError {
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    pub(crate) log_tail: String,
}

/// Repeats `attempt` until it succeeds.
///
/// # Errors
/// If `deadline` has passed, or immediately if a process has exited ([`EndedEarlyError`]); has `what` and the last
/// attempt's error.
pub async fn eventually<T, F, A>(what: &str, deadline: Duration, mut attempt: F) -> Result<T>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut last = anyhow!("the first attempt did not end");
    loop {
        match tokio::time::timeout_at(end, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.is::<EndedEarlyError>() => {
                return Err(error.context(what.to_owned()));
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => {}
        }
        if Instant::now() + POLL_INTERVAL > end {
            return Err(last.context(format!("waited {deadline:?} for: {what}")));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
