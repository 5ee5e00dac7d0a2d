//! Slows down guessing: after some failures, each further one doubles the wait of the account or address it came from.
//!
//! An attempt counts as failed from its beginning, so that many at once gain nothing; success takes it back. The waits
//! are short for accounts, because anybody can fail on somebody else's name, and longer for addresses.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most accounts or addresses remembered; beyond it the ones that wait least are forgotten.
const REMEMBERED: usize = 10_000;

struct Rule {
    /// Failures that cost nothing.
    free: u32,
    /// The longest wait.
    longest: Duration,
    /// After this long without a failure, everything is forgotten.
    forget: Duration,
}

const ACCOUNT: Rule = Rule {
    free: 10,
    longest: Duration::from_secs(30),
    forget: Duration::from_secs(900),
};
const ADDRESS: Rule = Rule {
    free: 30,
    longest: Duration::from_secs(300),
    forget: Duration::from_secs(3600),
};

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn blocked_until(&self, rule: &Rule) -> Instant {
        let beyond = self.count.saturating_sub(rule.free);
        let wait = match beyond {
            0 => Duration::ZERO,
            // 1, 2, 4, … seconds.
            _ => Duration::from_secs(1 << (beyond - 1).min(16)).min(rule.longest),
        };
        self.last + wait
    }
}

/// Who failed how often, in this replica.
#[derive(Default)]
pub(crate) struct Throttle {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accounts: HashMap<String, Failures>,
    addresses: HashMap<IpAddr, Failures>,
}

impl Throttle {
    /// Begins an attempt.
    ///
    /// # Errors
    /// How long to wait, when the account or the address failed too often.
    pub(crate) fn begin(
        &self,
        account: &str,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network_of(address);
        let wait = wait(&state.accounts, account, &ACCOUNT, now).max(wait(
            &state.addresses,
            &address,
            &ADDRESS,
            now,
        ));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        count(&mut state.accounts, account.to_owned(), &ACCOUNT, now);
        count(&mut state.addresses, address, &ADDRESS, now);
        Ok(())
    }

    /// The attempt succeeded: the account starts afresh, the address gets this one attempt back.
    pub(crate) fn succeeded(&self, account: &str, address: IpAddr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.accounts.remove(account);
        take_back(&mut state.addresses, &network_of(address));
    }

    /// The attempt could not be judged (etcd away, too busy): it counts for nobody.
    pub(crate) fn undecided(&self, account: &str, address: IpAddr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        take_back(&mut state.accounts, account);
        take_back(&mut state.addresses, &network_of(address));
    }
}

/// An IPv6 host owns its whole /64, so that is what counts.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

fn wait<K, Q>(map: &HashMap<K, Failures>, key: &Q, rule: &Rule, now: Instant) -> Duration
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    map.get(key).map_or(Duration::ZERO, |failures| {
        failures.blocked_until(rule).saturating_duration_since(now)
    })
}

fn count<K: Hash + Eq + Clone>(map: &mut HashMap<K, Failures>, key: K, rule: &Rule, now: Instant) {
    if map.len() >= REMEMBERED && !map.contains_key(&key) {
        map.retain(|_, failures| now.saturating_duration_since(failures.last) < rule.forget);
        // Still full: forget the least conspicuous tenth.
        if map.len() >= REMEMBERED {
            let mut by_wait: Vec<(u32, Instant, K)> = map
                .iter()
                .map(|(k, f)| (f.count, f.last, k.clone()))
                .collect();
            by_wait.sort_by_key(|(count, last, _)| (*count, *last));
            for (_, _, key) in by_wait.into_iter().take(REMEMBERED / 10) {
                map.remove(&key);
            }
        }
    }
    let failures = map.entry(key).or_insert(Failures {
        count: 0,
        last: now,
    });
    if now.saturating_duration_since(failures.last) >= rule.forget {
        failures.count = 0;
    }
    failures.count = failures.count.saturating_add(1);
    failures.last = now;
}

fn take_back<K, Q>(map: &mut HashMap<K, Failures>, key: &Q)
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if let Some(failures) = map.get_mut(key) {
        failures.count = failures.count.saturating_sub(1);
        if failures.count == 0 {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn address(n: u32) -> IpAddr {
        IpAddr::V4((0x0A00_0000 + n).into())
    }

    #[test]
    fn an_account_waits_longer_and_longer_whatever_the_address() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for n in 0..=ACCOUNT.free {
            assert_eq!(
                throttle.begin("dora", address(n), start),
                Ok(()),
                "attempt {n}"
            );
        }
        let mut now = start;
        for (n, seconds) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            let wait = Duration::from_secs(seconds);
            assert_eq!(throttle.begin("dora", address(99), now), Err(wait));
            assert_eq!(
                throttle.begin("emil", address(200 + u32::try_from(n).unwrap()), now),
                Ok(())
            );
            throttle.undecided("emil", address(200));
            now += wait;
            assert_eq!(
                throttle.begin("dora", address(300 + u32::try_from(n).unwrap()), now),
                Ok(())
            );
        }
    }

    #[test]
    fn an_address_waits_whatever_the_account() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..=ADDRESS.free {
            assert_eq!(
                throttle.begin(&format!("user{n}"), HERE, now),
                Ok(()),
                "attempt {n}"
            );
        }
        assert!(throttle.begin("another", HERE, now).is_err());
        assert_eq!(throttle.begin("another", address(1), now), Ok(()));
    }

    #[test]
    fn success_clears_the_account_but_not_the_address() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..=ADDRESS.free {
            let refused = throttle.begin("mallory", HERE, now).is_err()
                || throttle.begin(&format!("u{n}"), HERE, now).is_err();
            throttle.succeeded("mallory", HERE);
            if refused {
                return;
            }
        }
        panic!("own successes must not buy an address more guesses");
    }

    #[test]
    fn a_host_cannot_change_its_ipv6_address_to_start_afresh() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..=u128::from(ADDRESS.free) {
            let address = IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
            assert_eq!(throttle.begin(&format!("user{n}"), address, now), Ok(()));
        }
        assert!(
            throttle
                .begin("x", "2001:db8::ffff".parse().unwrap(), now)
                .is_err()
        );
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_worst() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..=ACCOUNT.free {
            throttle.begin("target", address(n), now).unwrap();
        }
        for n in 0..25_000 {
            throttle
                .begin(&format!("user{n}"), address(1000 + n), now)
                .unwrap();
        }
        let state = throttle.state.lock().unwrap();
        assert!(state.accounts.len() <= REMEMBERED && state.addresses.len() <= REMEMBERED);
        drop(state);
        assert!(throttle.begin("target", address(7), now).is_err());
    }

    #[test]
    fn failures_are_forgotten() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..=ACCOUNT.free {
            throttle.begin("dora", address(n), now).unwrap();
        }
        let later = now + ACCOUNT.forget;
        for n in 0..=ACCOUNT.free {
            assert_eq!(throttle.begin("dora", address(100 + n), later), Ok(()));
        }
    }
}
