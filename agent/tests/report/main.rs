//! `galera-agent report` against real etcd and a real Galera server.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

mod accounts;
mod agent;
mod configuration;
mod hostile_servers;
mod liveness;
mod reporting;
mod unit;

#[path = "../support/mariadb.rs"]
mod mariadb;

use std::time::{Duration, Instant};

/// Polls until `probe` returns a value; fails with `what` after `limit`.
async fn until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
