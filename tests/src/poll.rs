//! Polling for a condition with a deadline.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

use crate::lab::process::EndedEarlyError;

/// Pause between two attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(40);

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
