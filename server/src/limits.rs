//! What clients may use at a time, per address and altogether.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console_core::limit::LimitCounter;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::config::LimitsConfig;

/// How long a page for a client without a session waits for others to be rendered.
const RENDER_WAIT: Duration = Duration::from_secs(1);

/// The limits of requests.
#[derive(Debug)]
pub struct ClientLimits {
    pub(crate) counters: Arc<LimitCounters>,
    anonymous_renders: Semaphore,
    requests_per_account: KeyedLimit<Arc<str>>,
    live_per_account: KeyedLimit<Arc<str>>,
    live_per_address: KeyedLimit<IpAddr>,
    token_requests: RateLimit,
}

/// One request of an account; counted until dropped.
#[derive(Debug)]
pub(crate) struct RequestSlot(#[expect(dead_code, reason = "held")] KeyedSlot<Arc<str>>);

/// One WebSocket connection of an account and an address; counted until dropped.
#[derive(Debug)]
pub(crate) struct LiveSlot {
    _account: KeyedSlot<Arc<str>>,
    _address: KeyedSlot<IpAddr>,
}

impl ClientLimits {
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        Self {
            counters: Arc::default(),
            anonymous_renders: Semaphore::new(limits.anonymous_renders),
            requests_per_account: KeyedLimit::new(limits.requests_per_account),
            live_per_account: KeyedLimit::new(limits.live_per_account),
            live_per_address: KeyedLimit::new(limits.live_per_address),
            token_requests: RateLimit::new(limits.token_requests),
        }
    }

    /// Counts a request; `None` when the account has too many.
    pub(crate) fn request(&self, account: &Arc<str>) -> Option<RequestSlot> {
        let slot = self.requests_per_account.acquire(Arc::clone(account));
        if slot.is_none() {
            let counter = &self.counters.requests_per_account;
            counter.refuse(format_args!("a request of account {account} is refused"));
        }
        slot.map(RequestSlot)
    }

    /// Counts a request of the token `id`.
    ///
    /// # Errors
    /// The wait, when the token was used too often.
    pub(crate) fn token_request(&self, id: &str, now: Instant) -> Result<(), Duration> {
        self.token_requests.take(id, now).inspect_err(|_| {
            let counter = &self.counters.token_requests;
            counter.refuse(format_args!("a request of the API token {id} is refused"));
        })
    }

    /// Counts a WebSocket connection; `None` when the account or the address has too many.
    pub(crate) fn live_connection(&self, account: &Arc<str>, address: IpAddr) -> Option<LiveSlot> {
        let Some(of_account) = self.live_per_account.acquire(Arc::clone(account)) else {
            let counter = &self.counters.live_per_account;
            counter.refuse(format_args!("a WebSocket of account {account} is refused"));
            return None;
        };
        let Some(of_address) = self.live_per_address.acquire(source_of(address)) else {
            let counter = &self.counters.live_per_address;
            counter.refuse(format_args!("a WebSocket from {address} is refused"));
            return None;
        };
        Some(LiveSlot {
            _account: of_account,
            _address: of_address,
        })
    }

    /// Waits until a page may be rendered for a client without a session; `None` when too many others wait.
    pub(crate) async fn anonymous_render(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(Ok(permit)) = timeout(RENDER_WAIT, self.anonymous_renders.acquire()).await {
            return Some(permit);
        }
        self.counters
            .anonymous_renders
            .refuse("a page for a client without a session is refused");
        None
    }
}

/// At most so many of something for each key.
#[derive(Clone, Debug)]
struct KeyedLimit<K: Eq + Hash> {
    max: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

#[derive(Debug)]
struct KeyedSlot<K: Eq + Hash> {
    key: K,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Clone + Eq + Hash> KeyedLimit<K> {
    fn new(max: usize) -> Self {
        Self {
            max,
            held: Arc::default(),
        }
    }

    fn acquire(&self, key: K) -> Option<KeyedSlot<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&key).copied().unwrap_or_default();
        if count >= self.max {
            return None;
        }
        held.insert(key.clone(), count + 1);
        Some(KeyedSlot {
            key,
            held: Arc::clone(&self.held),
        })
    }
}

impl<K: Eq + Hash> Drop for KeyedSlot<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

/// At most so many in a minute for each key, of which all may come at once after a pause.
#[derive(Debug)]
struct RateLimit {
    per_minute: f64,
    /// What is left of each key's budget, and as of when. Only keys that exist are counted, and a full budget is dropped.
    budgets: Mutex<HashMap<String, (f64, Instant)>>,
}

/// Keys from which on full budgets are dropped.
const BUDGETS_MAX: usize = 1_000;

impl RateLimit {
    fn new(per_minute: usize) -> Self {
        let per_minute = u32::try_from(per_minute).unwrap_or(u32::MAX);
        Self {
            per_minute: f64::from(per_minute.max(1)),
            budgets: Mutex::default(),
        }
    }

    fn take(&self, key: &str, now: Instant) -> Result<(), Duration> {
        let per_second = self.per_minute / 60.0;
        let left_at = |(left, at): (f64, Instant)| {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            (left + passed * per_second).min(self.per_minute)
        };
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= BUDGETS_MAX && !budgets.contains_key(key) {
            budgets.retain(|_, budget| left_at(*budget) < self.per_minute);
        }
        let known = budgets.get(key).copied();
        let left = known.map_or(self.per_minute, left_at);
        if left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - left) / per_second));
        }
        budgets.insert(key.to_owned(), (left - 1.0, now));
        Ok(())
    }
}

/// Counters of the gateway's limits.
#[derive(Debug)]
pub struct LimitCounters {
    /// Connections beyond the total, or beyond the few of one address once room is scarce.
    pub(crate) connections: LimitCounter,
    pub(crate) connections_per_address: LimitCounter,
    pub(crate) connections_per_proxy: LimitCounter,
    /// Connections closed because the head of a request did not arrive.
    pub(crate) header_timeout: LimitCounter,
    /// Connections closed because a TLS handshake was not finished.
    pub(crate) handshake_timeout: LimitCounter,
    /// Connections closed because no request began.
    pub(crate) idle_timeout: LimitCounter,
    /// Connections closed because the client did not read.
    pub(crate) write_timeout: LimitCounter,
    /// Pages refused to clients without a session.
    pub(crate) anonymous_renders: LimitCounter,
    pub(crate) requests_per_account: LimitCounter,
    pub(crate) token_requests: LimitCounter,
    /// Requests refused because of many wrong API tokens.
    pub(crate) wrong_tokens: LimitCounter,
    pub(crate) live_per_account: LimitCounter,
    pub(crate) live_per_address: LimitCounter,
}

impl Default for LimitCounters {
    fn default() -> Self {
        Self {
            connections: LimitCounter::new("connections", "max-connections"),
            connections_per_address: LimitCounter::new(
                "connections_per_address",
                "max-connections-per-address",
            ),
            connections_per_proxy: LimitCounter::new(
                "connections_per_proxy",
                "max-connections-per-proxy",
            ),
            header_timeout: LimitCounter::new("header_timeout", "header-timeout"),
            handshake_timeout: LimitCounter::new("handshake_timeout", "header-timeout"),
            idle_timeout: LimitCounter::new("idle_timeout", "header-timeout"),
            write_timeout: LimitCounter::new("write_timeout", "write-timeout"),
            anonymous_renders: LimitCounter::new("anonymous_renders", "max-anonymous-renders"),
            requests_per_account: LimitCounter::new(
                "requests_per_account",
                "max-requests-per-account",
            ),
            token_requests: LimitCounter::new("token_requests", "max-token-requests"),
            wrong_tokens: LimitCounter::new("wrong_tokens", "trusted-proxies"),
            live_per_account: LimitCounter::new("live_per_account", "max-live-per-account"),
            live_per_address: LimitCounter::new("live_per_address", "max-live-per-address"),
        }
    }
}

impl LimitCounters {
    /// Every counter.
    pub(crate) fn all(&self) -> impl Iterator<Item = &LimitCounter> {
        [
            &self.connections,
            &self.connections_per_address,
            &self.connections_per_proxy,
            &self.header_timeout,
            &self.handshake_timeout,
            &self.idle_timeout,
            &self.write_timeout,
            &self.anonymous_renders,
            &self.requests_per_account,
            &self.token_requests,
            &self.wrong_tokens,
            &self.live_per_account,
            &self.live_per_address,
        ]
        .into_iter()
    }
}

/// The unit that a limit per address counts: an IPv4 address, or the /64 network of an IPv6 address, all of which one
/// host may have.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_are_one_source() {
        for (address, source) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(source_of(parsed).to_string(), source, "{address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_waits_for_others_and_is_refused_after_a_while() {
        let limits = ClientLimits::new(&LimitsConfig {
            anonymous_renders: 1,
            ..LimitsConfig::default()
        });
        let first = limits.anonymous_render().await.unwrap();
        assert!(limits.anonymous_render().await.is_none());
        assert_eq!(limits.counters.anonymous_renders.refused(), 1);
        let (second, ()) = tokio::join!(limits.anonymous_render(), async { drop(first) });
        assert!(second.is_some());
    }

    #[test]
    fn a_token_has_its_requests_in_a_minute() {
        let limit = RateLimit::new(60);
        let start = Instant::now();
        let taken = (0..100).filter(|_| limit.take("a", start).is_ok()).count();
        assert_eq!(taken, 60);
        let wait = limit.take("a", start).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(limit.take("b", start).is_ok());
        assert!(
            limit
                .take("a", start + wait + Duration::from_millis(1))
                .is_ok()
        );
        assert!(
            limit
                .take("a", start + wait + Duration::from_millis(2))
                .is_err()
        );
        for n in 0..3 * BUDGETS_MAX {
            let later = start + Duration::from_secs(120 + n as u64);
            assert!(limit.take(&n.to_string(), later).is_ok());
        }
        assert!(limit.budgets.lock().unwrap().len() <= BUDGETS_MAX + 1);
    }

    #[test]
    fn web_sockets_are_limited_per_account_and_per_address() {
        let limits = ClientLimits::new(&LimitsConfig {
            live_per_account: 2,
            live_per_address: 3,
            ..LimitsConfig::default()
        });
        let open = |account: &str, address: &str| {
            limits.live_connection(&account.into(), address.parse().unwrap())
        };
        let slots = [open("ann", "192.0.2.1"), open("ann", "192.0.2.2")];
        assert!(slots.iter().all(Option::is_some));
        assert!(open("ann", "192.0.2.3").is_none());
        let others = [open("bob", "192.0.2.1"), open("bob", "192.0.2.1")];
        assert!(others.iter().all(Option::is_some));
        assert!(open("cid", "192.0.2.1").is_none());
        let counters = &limits.counters;
        assert_eq!(
            (
                counters.live_per_account.refused(),
                counters.live_per_address.refused()
            ),
            (1, 1)
        );
        drop((slots, others));
        assert!(open("ann", "192.0.2.1").is_some());
    }
}
