//! Which connections are accepted: limits per source address and altogether, with room for the rest.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use console_core::limit::LimitCounter;
use ipnet::IpNet;

use crate::config::LimitsConfig;
use crate::limits::{LimitCounters, source_of};

/// The last tenth of the connections is reserved for sources that hold fewer than [`FEW`].
const RESERVED_SHARE: usize = 10;
/// Connections of a source that is served even when room is scarce; a browser opens up to six.
const FEW: usize = 8;
/// Further connections that are answered with health checks only.
const HEALTH_ONLY_MAX: usize = 64;
/// The same, of one source.
const HEALTH_ONLY_PER_SOURCE: usize = 16;

/// The open connections of one listener.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    limits: LimitsConfig,
    trusted_proxies: Vec<IpNet>,
    pub(super) counters: Arc<LimitCounters>,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    full: usize,
    health_only: usize,
    sources: HashMap<IpAddr, SourceConnections>,
}

#[derive(Clone, Copy, Debug, Default)]
struct SourceConnections {
    full: usize,
    health_only: usize,
}

/// What an accepted connection may request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionScope {
    Full,
    /// Health checks; a limit is reached.
    HealthOnly,
}

/// One open connection; counted until dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    table: Arc<ConnectionTable>,
    source: IpAddr,
    pub(super) scope: ConnectionScope,
}

impl ConnectionTable {
    pub(super) fn new(
        limits: LimitsConfig,
        trusted_proxies: Vec<IpNet>,
        counters: Arc<LimitCounters>,
    ) -> Self {
        Self {
            limits,
            trusted_proxies,
            counters,
            open: Mutex::default(),
        }
    }

    pub(super) fn limits(&self) -> &LimitsConfig {
        &self.limits
    }

    /// Open connections.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        let open = self.lock();
        open.full + open.health_only
    }

    /// Admits a connection of `peer`; `None` when it must be closed. Counts and logs when a limit is reached.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionSlot> {
        let peer = peer.to_canonical();
        let is_proxy = self
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&peer));
        let source = source_of(peer);
        let (scope, exceeded) = {
            let mut open = self.lock();
            let held = open.sources.get(&source).copied().unwrap_or_default();
            let exceeded = self.exceeded(&open, held, is_proxy);
            let scope = match exceeded {
                None => Some(ConnectionScope::Full),
                Some(_)
                    if open.health_only < HEALTH_ONLY_MAX
                        && held.health_only < HEALTH_ONLY_PER_SOURCE =>
                {
                    Some(ConnectionScope::HealthOnly)
                }
                Some(_) => None,
            };
            if let Some(scope) = scope {
                open.add(source, scope);
            }
            (scope, exceeded)
        };
        if let Some(limit) = exceeded {
            limit.refuse(format_args!("a connection from {peer} is refused"));
        }
        Some(ConnectionSlot {
            table: Arc::clone(self),
            source,
            scope: scope?,
        })
    }

    /// The limit that another connection of a source that holds `held` would exceed.
    fn exceeded(
        &self,
        open: &OpenConnections,
        held: SourceConnections,
        is_proxy: bool,
    ) -> Option<&LimitCounter> {
        let limits = &self.limits;
        let (per_source, counter) = if is_proxy {
            let counter = &self.counters.connections_per_proxy;
            (limits.connections_per_proxy, counter)
        } else {
            let counter = &self.counters.connections_per_address;
            (limits.connections_per_address, counter)
        };
        if held.full >= per_source {
            return Some(counter);
        }
        let scarce = limits.connections - limits.connections / RESERVED_SHARE;
        let has_few = is_proxy || held.full < FEW;
        let room = if has_few { limits.connections } else { scarce };
        (open.full >= room).then_some(&self.counters.connections)
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    fn add(&mut self, source: IpAddr, scope: ConnectionScope) {
        let held = self.sources.entry(source).or_default();
        match scope {
            ConnectionScope::Full => {
                self.full += 1;
                held.full += 1;
            }
            ConnectionScope::HealthOnly => {
                self.health_only += 1;
                held.health_only += 1;
            }
        }
    }

    fn remove(&mut self, source: IpAddr, scope: ConnectionScope) {
        let Some(held) = self.sources.get_mut(&source) else {
            return;
        };
        match scope {
            ConnectionScope::Full => {
                self.full -= 1;
                held.full -= 1;
            }
            ConnectionScope::HealthOnly => {
                self.health_only -= 1;
                held.health_only -= 1;
            }
        }
        if held.full + held.health_only == 0 {
            self.sources.remove(&source);
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.table.lock().remove(self.source, self.scope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(connections: usize, per_address: usize, per_proxy: usize) -> Arc<ConnectionTable> {
        let limits = LimitsConfig {
            connections,
            connections_per_address: per_address,
            connections_per_proxy: per_proxy,
            ..LimitsConfig::default()
        };
        let proxies = vec!["10.0.0.9/32".parse().unwrap()];
        Arc::new(ConnectionTable::new(limits, proxies, Arc::default()))
    }

    fn full(table: &Arc<ConnectionTable>, address: &str, count: usize) -> Vec<ConnectionSlot> {
        let slots = (0..count).map_while(|_| table.admit(address.parse().unwrap()));
        slots
            .take_while(|slot| slot.scope == ConnectionScope::Full)
            .collect()
    }

    #[test]
    fn an_address_at_its_limit_leaves_others_alone() {
        let table = table(1_000, 20, 500);
        let flood = full(&table, "192.0.2.1", 10_000);
        assert_eq!(flood.len(), 20);
        let others = full(&table, "192.0.2.2", 20);
        assert_eq!(others.len(), 20);
        assert_eq!(full(&table, "10.0.0.9", 10_000).len(), 500);
        assert!(table.counters.connections_per_address.refused() > 0);
        assert!(table.counters.connections_per_proxy.refused() > 0);
        drop(flood);
        assert_eq!(full(&table, "192.0.2.1", 10_000).len(), 20);
    }

    #[test]
    fn a_network_of_one_host_is_one_source() {
        let table = table(1_000, 20, 500);
        let slots: Vec<_> = (0..100)
            .map_while(|host| table.admit(format!("2001:db8::{host:x}").parse().unwrap()))
            .filter(|slot| slot.scope == ConnectionScope::Full)
            .collect();
        assert_eq!(slots.len(), 20);
    }

    #[test]
    fn the_last_tenth_is_for_sources_with_few_connections() {
        let table = table(100, 50, 500);
        let floods = [full(&table, "192.0.2.1", 50), full(&table, "192.0.2.2", 50)];
        assert_eq!(floods.iter().map(Vec::len).sum::<usize>(), 90);
        assert_eq!(full(&table, "192.0.2.3", 50).len(), FEW);
    }

    #[test]
    fn beyond_a_limit_some_connections_get_health_checks_only() {
        let table = table(100, 10, 500);
        let flood = full(&table, "192.0.2.1", 10);
        let further: Vec<_> = (0..1_000)
            .map_while(|_| table.admit("192.0.2.1".parse().unwrap()))
            .collect();
        assert_eq!(further.len(), HEALTH_ONLY_PER_SOURCE);
        assert!(
            further
                .iter()
                .all(|slot| slot.scope == ConnectionScope::HealthOnly)
        );
        drop((flood, further));
        assert_eq!(table.open(), 0);
        assert!(table.lock().sources.is_empty());
    }
}
