//! Limits on concurrent connections, in total and for each source address. A connection over a limit replaces the oldest
//! one: a health check takes milliseconds, so the oldest is a client that does not complete its request.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::task::AbortHandle;

use super::limits::HealthLimit;

/// Bits of an IPv6 address that identify a source; one host usually has all addresses below them.
const IPV6_PREFIX: u32 = 64;

/// Where a connection comes from, as far as limits distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionSource {
    /// This host.
    Local,
    /// Another host: its IPv4 address, or the network of its IPv6 address.
    Remote(IpAddr),
}

impl ConnectionSource {
    /// The source of a connection from `peer` to `own`.
    #[must_use]
    pub(super) fn new(peer: SocketAddr, own: Option<SocketAddr>) -> Self {
        // `[::]` accepts IPv4 as `::ffff:10.0.0.1`.
        let peer = peer.ip().to_canonical();
        if peer.is_loopback() || own.is_some_and(|own| own.ip().to_canonical() == peer) {
            return Self::Local;
        }
        Self::Remote(match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(address) => {
                let mask = u128::MAX << (u128::BITS - IPV6_PREFIX);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    pub(super) total: usize,
    /// At most the total.
    pub(super) per_source: usize,
}

/// The open connections of one pool.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    limits: ConnectionLimits,
    /// Oldest first.
    open: VecDeque<(ConnectionSource, AbortHandle)>,
}

impl ConnectionPool {
    pub(super) const fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            open: VecDeque::new(),
        }
    }

    /// Closes the oldest connection if one more from `source` would exceed a limit. Returns that limit.
    pub(super) fn make_room(&mut self, source: ConnectionSource) -> Option<HealthLimit> {
        self.open.retain(|(_, task)| !task.is_finished());
        let of_source = self.open.iter().filter(|(other, _)| *other == source);
        let (index, limit) = if of_source.count() >= self.limits.per_source {
            let limit = match source {
                ConnectionSource::Local => HealthLimit::LocalConnections,
                ConnectionSource::Remote(_) => HealthLimit::AddressConnections,
            };
            let oldest = self.open.iter().position(|(other, _)| *other == source);
            (oldest.unwrap_or(0), limit)
        } else if self.open.len() >= self.limits.total {
            (0, HealthLimit::TotalConnections)
        } else {
            return None;
        };
        if let Some((_, task)) = self.open.remove(index) {
            task.abort();
        }
        Some(limit)
    }

    /// Adds a connection, served by `task`.
    pub(super) fn add(&mut self, source: ConnectionSource, task: AbortHandle) {
        self.open.push_back((source, task));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn remote(text: &str) -> ConnectionSource {
        let peer = SocketAddr::new(text.parse().unwrap(), 1);
        ConnectionSource::new(peer, Some("192.0.2.1:9200".parse().unwrap()))
    }

    #[test]
    fn sources_are_hosts() {
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(remote(local), ConnectionSource::Local, "{local}");
        }
        assert_eq!(remote("192.0.2.1"), ConnectionSource::Local, "own address");
        assert_eq!(remote("::ffff:10.0.0.1"), remote("10.0.0.1"));
        assert_ne!(remote("10.0.0.2"), remote("10.0.0.1"));
        assert_eq!(remote("2001:db8::1"), remote("2001:db8::ffff:1"));
        assert_ne!(remote("2001:db8:0:1::1"), remote("2001:db8::1"));
    }

    /// A pool of tasks that end only when they are closed.
    struct PoolFixture {
        pool: ConnectionPool,
        tasks: JoinSet<()>,
    }

    impl PoolFixture {
        fn new(total: usize, per_source: usize) -> Self {
            Self {
                pool: ConnectionPool::new(ConnectionLimits { total, per_source }),
                tasks: JoinSet::new(),
            }
        }

        /// The task's id, and the limit that was exceeded.
        fn connect(&mut self, source: &str) -> (tokio::task::Id, Option<HealthLimit>) {
            let limit = self.pool.make_room(remote(source));
            let task = self.tasks.spawn(std::future::pending());
            let id = task.id();
            self.pool.add(remote(source), task);
            (id, limit)
        }

        async fn closed(&mut self) -> tokio::task::Id {
            let ended = timeout(SOON, self.tasks.join_next()).await;
            let ended = ended.expect("none is closed").unwrap().unwrap_err();
            assert!(ended.is_cancelled());
            ended.id()
        }
    }

    #[tokio::test]
    async fn a_connection_over_a_limit_replaces_the_oldest() {
        let mut fixture = PoolFixture::new(3, 2);
        let (other, _) = fixture.connect("10.0.0.9");
        let (first, _) = fixture.connect("10.0.0.1");
        assert_eq!(fixture.connect("10.0.0.1").1, None);
        // The source's own oldest, although another is older.
        let (_, limit) = fixture.connect("10.0.0.1");
        assert_eq!(limit, Some(HealthLimit::AddressConnections));
        assert_eq!(fixture.closed().await, first);
        // The oldest of all.
        let (_, limit) = fixture.connect("10.0.0.2");
        assert_eq!(limit, Some(HealthLimit::TotalConnections));
        assert_eq!(fixture.closed().await, other);
        assert_eq!(fixture.pool.open.len(), 3);
    }

    #[tokio::test]
    async fn completed_connections_do_not_count() {
        let mut fixture = PoolFixture::new(1, 1);
        let task = fixture.tasks.spawn(async {});
        fixture.pool.add(remote("10.0.0.1"), task);
        fixture.tasks.join_next().await.unwrap().unwrap();
        assert_eq!(fixture.connect("10.0.0.1").1, None);
        assert_eq!(
            fixture.connect("10.0.0.1").1,
            Some(HealthLimit::AddressConnections)
        );
    }
}
