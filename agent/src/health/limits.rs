//! The limits on clients of the health endpoint, and the log of connections that were closed over one: a line a minute each.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

/// Concurrent connections from other hosts, in total and for each source.
pub(super) const REMOTE_CONNECTIONS: usize = 128;
pub(super) const ADDRESS_CONNECTIONS: usize = 16;
/// Concurrent connections from this host, for the endpoint and the socket each.
pub(super) const LOCAL_CONNECTIONS: usize = 16;
/// Size of a request head; the smallest that hyper supports.
pub(super) const REQUEST_BYTES: usize = 8 * 1024;
/// Time for a request head.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a response to be written.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A limit that clients of the health endpoint can exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HealthLimit {
    AddressConnections,
    TotalConnections,
    LocalConnections,
    RequestTime,
    RequestSize,
    ResponseTime,
}

impl HealthLimit {
    /// Value of the log field `limit`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::AddressConnections => "address_connections",
            Self::TotalConnections => "total_connections",
            Self::LocalConnections => "local_connections",
            Self::RequestTime => "request_time",
            Self::RequestSize => "request_size",
            Self::ResponseTime => "response_time",
        }
    }
}

impl fmt::Display for HealthLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressConnections => {
                write!(
                    f,
                    "at most {ADDRESS_CONNECTIONS} concurrent connections from one address"
                )
            }
            Self::TotalConnections => {
                write!(
                    f,
                    "at most {REMOTE_CONNECTIONS} concurrent connections from other hosts"
                )
            }
            Self::LocalConnections => {
                write!(
                    f,
                    "at most {LOCAL_CONNECTIONS} concurrent connections from this host"
                )
            }
            Self::RequestTime => write!(f, "a request within {} s", REQUEST_TIMEOUT.as_secs()),
            Self::RequestSize => write!(f, "a request head of at most {REQUEST_BYTES} bytes"),
            Self::ResponseTime => {
                write!(f, "a response read within {} s", RESPONSE_TIMEOUT.as_secs())
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct LimitLog {
    counts: Mutex<HashMap<HealthLimit, LimitCount>>,
}

#[derive(Debug)]
struct LimitCount {
    logged_at: Instant,
    /// Connections closed since then.
    unlogged: u64,
}

impl LimitLog {
    /// Logs that a connection was closed over `limit`, the last of them on account of `peer`.
    pub(super) fn exceeded(&self, limit: HealthLimit, peer: &str) {
        let Some(closed) = self.count(limit) else {
            return;
        };
        tracing::warn!(
            limit = limit.as_str(),
            closed,
            "Health endpoint: connections closed over a limit, {limit}; last client: {peer}"
        );
    }

    /// Counts a connection. Returns the number since the last line if a line is due.
    fn count(&self, limit: HealthLimit) -> Option<u64> {
        let now = Instant::now();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = counts.get_mut(&limit) else {
            let logged = LimitCount {
                logged_at: now,
                unlogged: 0,
            };
            counts.insert(limit, logged);
            return Some(1);
        };
        count.unlogged += 1;
        if now - count.logged_at < INTERVAL {
            return None;
        }
        count.logged_at = now;
        Some(std::mem::take(&mut count.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_limit_is_logged_once_a_minute_with_its_count() {
        let log = LimitLog::default();
        assert_eq!(log.count(HealthLimit::RequestTime), Some(1));
        assert_eq!(log.count(HealthLimit::RequestTime), None);
        assert_eq!(log.count(HealthLimit::RequestSize), Some(1));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(log.count(HealthLimit::RequestTime), Some(2));
        assert_eq!(log.count(HealthLimit::RequestTime), None);
    }

    #[test]
    fn a_line_has_the_limit_in_words() {
        let text = HealthLimit::RequestTime.to_string();
        assert_eq!(text, "a request within 1 s");
        let text = HealthLimit::AddressConnections.to_string();
        assert_eq!(text, "at most 16 concurrent connections from one address");
    }
}
