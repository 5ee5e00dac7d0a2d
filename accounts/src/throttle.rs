//! Slows down password guessing: after some failures, each further one doubles the wait for the account and address.
//!
//! An attempt counts as failed from the start, so that concurrent attempts gain nothing; success undoes it. Waits are short
//! for accounts, because anyone can fail on another user's name, and longer for addresses.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of accounts and of addresses tracked; beyond it those with the fewest failures are dropped.
const ENTRIES_MAX: usize = 10_000;

struct ThrottlePolicy {
    /// Failures without a wait.
    free_failures: u32,
    max_wait: Duration,
    /// Failures are forgotten after this long without a new one.
    forget_after: Duration,
}

const ACCOUNT_POLICY: ThrottlePolicy = ThrottlePolicy {
    free_failures: 10,
    max_wait: Duration::from_secs(30),
    forget_after: Duration::from_secs(900),
};
const ADDRESS_POLICY: ThrottlePolicy = ThrottlePolicy {
    free_failures: 30,
    max_wait: Duration::from_secs(300),
    forget_after: Duration::from_secs(3600),
};

/// Codes are short. Only a client that knows the password, or has the session, can try, so that anyone else locks no user out.
const CODE_POLICY: ThrottlePolicy = ThrottlePolicy {
    free_failures: 5,
    max_wait: Duration::from_secs(900),
    forget_after: Duration::from_secs(86_400),
};

#[derive(Clone, Copy)]
struct FailureCount {
    count: u32,
    last: Instant,
}

impl FailureCount {
    fn blocked_until(&self, rule: &ThrottlePolicy) -> Instant {
        let beyond = self.count.saturating_sub(rule.free_failures);
        let wait = match beyond {
            0 => Duration::ZERO,
            // 1, 2, 4, … seconds.
            _ => Duration::from_secs(1 << (beyond - 1).min(16)).min(rule.max_wait),
        };
        self.last + wait
    }
}

/// Failed sign-ins per account and address, in this replica.
#[derive(Default)]
pub(crate) struct SignInThrottle {
    state: Mutex<ThrottleState>,
}

#[derive(Default)]
struct ThrottleState {
    accounts: HashMap<String, FailureCount>,
    addresses: HashMap<IpAddr, FailureCount>,
    /// Codes of second factors, by account, and passwords entered again, by session.
    codes: HashMap<String, FailureCount>,
}

impl SignInThrottle {
    /// Counts the start of an attempt.
    ///
    /// # Errors
    /// The remaining wait, if the account or the address failed too often.
    pub(crate) fn begin_attempt(
        &self,
        account: &str,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network_of(address);
        let wait = remaining_wait(&state.accounts, account, &ACCOUNT_POLICY, now).max(
            remaining_wait(&state.addresses, &address, &ADDRESS_POLICY, now),
        );
        if wait > Duration::ZERO {
            return Err(wait);
        }
        record_failure(
            &mut state.accounts,
            account.to_owned(),
            &ACCOUNT_POLICY,
            now,
        );
        record_failure(&mut state.addresses, address, &ADDRESS_POLICY, now);
        Ok(())
    }

    /// Clears the account's failures, and undoes this one attempt for the address.
    pub(crate) fn record_success(&self, account: &str, address: IpAddr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.accounts.remove(account);
        remove_failure(&mut state.addresses, &network_of(address));
    }

    /// Counts the try of a code, for an account or session.
    ///
    /// # Errors
    /// The remaining wait, if too many were wrong.
    pub(crate) fn begin_code(&self, counted: &str, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = remaining_wait(&state.codes, counted, &CODE_POLICY, now);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        record_failure(&mut state.codes, counted.to_owned(), &CODE_POLICY, now);
        Ok(())
    }

    /// Forgets the wrong codes of an account or session.
    pub(crate) fn record_right_code(&self, counted: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.codes.remove(counted);
    }

    /// Undoes an attempt that could not be decided (etcd unreachable, too busy).
    pub(crate) fn cancel_attempt(&self, account: &str, address: IpAddr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        remove_failure(&mut state.accounts, account);
        remove_failure(&mut state.addresses, &network_of(address));
    }
}

/// The address that failures are counted for: an IPv6 host owns its whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

fn remaining_wait<K, Q>(
    map: &HashMap<K, FailureCount>,
    key: &Q,
    rule: &ThrottlePolicy,
    now: Instant,
) -> Duration
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    map.get(key).map_or(Duration::ZERO, |failures| {
        failures.blocked_until(rule).saturating_duration_since(now)
    })
}

fn record_failure<K: Hash + Eq + Clone>(
    map: &mut HashMap<K, FailureCount>,
    key: K,
    rule: &ThrottlePolicy,
    now: Instant,
) {
    if map.len() >= ENTRIES_MAX && !map.contains_key(&key) {
        map.retain(|_, failures| now.saturating_duration_since(failures.last) < rule.forget_after);
        // Still full: drop the tenth with the fewest failures.
        if map.len() >= ENTRIES_MAX {
            let mut by_wait: Vec<(u32, Instant, K)> = map
                .iter()
                .map(|(k, f)| (f.count, f.last, k.clone()))
                .collect();
            by_wait.sort_by_key(|(count, last, _)| (*count, *last));
            for (_, _, key) in by_wait.into_iter().take(ENTRIES_MAX / 10) {
                map.remove(&key);
            }
        }
    }
    let failures = map.entry(key).or_insert(FailureCount {
        count: 0,
        last: now,
    });
    if now.saturating_duration_since(failures.last) >= rule.forget_after {
        failures.count = 0;
    }
    failures.count = failures.count.saturating_add(1);
    failures.last = now;
}

fn remove_failure<K, Q>(map: &mut HashMap<K, FailureCount>, key: &Q)
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

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn address(n: u32) -> IpAddr {
        IpAddr::V4((0x0A00_0000 + n).into())
    }

    #[test]
    fn account_waits_grow_regardless_of_the_address() {
        let throttle = SignInThrottle::default();
        let start = Instant::now();
        for n in 0..=ACCOUNT_POLICY.free_failures {
            assert_eq!(
                throttle.begin_attempt("dora", address(n), start),
                Ok(()),
                "attempt {n}"
            );
        }
        let mut now = start;
        for (n, seconds) in [1, 2, 4, 8, 16, 30, 30].into_iter().enumerate() {
            let wait = Duration::from_secs(seconds);
            assert_eq!(throttle.begin_attempt("dora", address(99), now), Err(wait));
            assert_eq!(
                throttle.begin_attempt("emil", address(200 + u32::try_from(n).unwrap()), now),
                Ok(())
            );
            throttle.cancel_attempt("emil", address(200));
            now += wait;
            assert_eq!(
                throttle.begin_attempt("dora", address(300 + u32::try_from(n).unwrap()), now),
                Ok(())
            );
        }
    }

    #[test]
    fn address_waits_apply_regardless_of_the_account() {
        let throttle = SignInThrottle::default();
        let now = Instant::now();
        for n in 0..=ADDRESS_POLICY.free_failures {
            assert_eq!(
                throttle.begin_attempt(&format!("user{n}"), CLIENT, now),
                Ok(()),
                "attempt {n}"
            );
        }
        assert!(throttle.begin_attempt("another", CLIENT, now).is_err());
        assert_eq!(throttle.begin_attempt("another", address(1), now), Ok(()));
    }

    #[test]
    fn success_clears_the_account_but_not_the_address() {
        let throttle = SignInThrottle::default();
        let now = Instant::now();
        for n in 0..=ADDRESS_POLICY.free_failures {
            let refused = throttle.begin_attempt("mallory", CLIENT, now).is_err()
                || throttle
                    .begin_attempt(&format!("u{n}"), CLIENT, now)
                    .is_err();
            throttle.record_success("mallory", CLIENT);
            if refused {
                return;
            }
        }
        panic!("successful sign-ins must not earn an address more guesses");
    }

    #[test]
    fn changing_an_ipv6_address_within_a_network_resets_nothing() {
        let throttle = SignInThrottle::default();
        let now = Instant::now();
        for n in 0..=u128::from(ADDRESS_POLICY.free_failures) {
            let address = IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
            assert_eq!(
                throttle.begin_attempt(&format!("user{n}"), address, now),
                Ok(())
            );
        }
        assert!(
            throttle
                .begin_attempt("x", "2001:db8::ffff".parse().unwrap(), now)
                .is_err()
        );
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_longest_waits() {
        let throttle = SignInThrottle::default();
        let now = Instant::now();
        for n in 0..=ACCOUNT_POLICY.free_failures {
            throttle.begin_attempt("target", address(n), now).unwrap();
        }
        for n in 0..25_000 {
            throttle
                .begin_attempt(&format!("user{n}"), address(1000 + n), now)
                .unwrap();
        }
        let state = throttle.state.lock().unwrap();
        assert!(state.accounts.len() <= ENTRIES_MAX && state.addresses.len() <= ENTRIES_MAX);
        drop(state);
        assert!(throttle.begin_attempt("target", address(7), now).is_err());
    }

    #[test]
    fn wrong_codes_wait_apart_from_wrong_passwords() {
        let throttle = SignInThrottle::default();
        let mut now = Instant::now();
        for _ in 0..=CODE_POLICY.free_failures {
            throttle.begin_code("dora", now).unwrap();
        }
        assert!(throttle.begin_code("dora", now).is_err());
        assert_eq!(throttle.begin_code("emil", now), Ok(()));
        // A right password does not permit more codes.
        throttle.begin_attempt("dora", CLIENT, now).unwrap();
        throttle.record_success("dora", CLIENT);
        assert!(throttle.begin_code("dora", now).is_err());
        let mut tried = 0;
        for _ in 0..86_400 / 10 {
            now += Duration::from_secs(10);
            tried += u32::from(throttle.begin_code("dora", now).is_ok());
        }
        assert!(tried < 120, "{tried} codes a day");
        throttle.record_right_code("dora");
        assert_eq!(throttle.begin_code("dora", now), Ok(()));
    }

    #[test]
    fn failures_expire() {
        let throttle = SignInThrottle::default();
        let now = Instant::now();
        for n in 0..=ACCOUNT_POLICY.free_failures {
            throttle.begin_attempt("dora", address(n), now).unwrap();
        }
        let later = now + ACCOUNT_POLICY.forget_after;
        for n in 0..=ACCOUNT_POLICY.free_failures {
            assert_eq!(
                throttle.begin_attempt("dora", address(100 + n), later),
                Ok(())
            );
        }
    }
}
