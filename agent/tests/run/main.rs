//! `galera-agent run` with real etcd and the real server program: what it refuses, what it waits for, what it leaves
//! untouched.
//!
//! The acceptance tests form whole clusters.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod accounts;
mod database_accounts;
mod identities;
mod init_process;
mod joins;
mod manifests;
mod node;
mod orders;
mod refusals;
mod rejoin;
mod waiting;

use std::time::{Duration, Instant};

/// Longest wait for something to happen.
const SOON: Duration = Duration::from_secs(120);

/// Polls until `probe` returns a value; fails with `what` after [`SOON`].
async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
