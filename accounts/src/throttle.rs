//! Slows down password guessing: after some failures, each further one doubles the wait.
//!
//! Budgets are separate, so that an attacker does not keep the owner of an account out by failing on its name:
//! - an attempt from a device that is known to the account counts for that device only;
//! - an attempt from a quiet address, one with few failures, is not delayed by the failures on the account's name;
//! - other attempts wait for both the account and the address.
//!
//! Failures also count for the networks around an address, but only to decide whose password is checked first (`failures_nearby` of [`SignInAttempt`]).
//!
//! An attempt counts as failed from the start, so that concurrent attempts gain nothing; success undoes it. Waits are short
//! for accounts, because anyone can fail on another user's name, and longer for addresses.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

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

const DEVICE_POLICY: ThrottlePolicy = ThrottlePolicy {
    free_failures: 10,
    max_wait: Duration::from_secs(300),
    forget_after: Duration::from_secs(3600),
};
/// Failures count in the networks around an address for as long as for accounts; nothing waits for them.
const NEIGHBORHOOD_POLICY: ThrottlePolicy = ThrottlePolicy {
    free_failures: u32::MAX,
    max_wait: Duration::ZERO,
    forget_after: ACCOUNT_POLICY.forget_after,
};
/// The networks around an address: the bits that are left out of an IPv4 and of an IPv6 address.
const NEIGHBORHOODS: [(u32, u32); 2] = [(8, 80), (16, 96)];
/// Failures from which an address is no longer quiet.
const QUIET_FAILURES: u32 = 5;
/// Codes are short. Only a client that knows the password, or has the session, can try, so that anyone else locks no user out.
const CODE_POLICY: ThrottlePolicy = ThrottlePolicy {
    free_failures: 5,
    max_wait: Duration::from_secs(900),
    forget_after: Duration::from_secs(86_400),
};

/// A token cannot be guessed: its budget is separate, so that wrong tokens of an address keep no user from signing in there.
const TOKEN_POLICY: ThrottlePolicy = ThrottlePolicy {
    free_failures: 30,
    max_wait: Duration::from_secs(60),
    forget_after: Duration::from_secs(900),
};

#[derive(Clone, Copy)]
struct FailureCount {
    count: u32,
    last: Instant,
}

impl FailureCount {
    /// The failures that are not forgotten yet.
    fn current(&self, rule: &ThrottlePolicy, now: Instant) -> u32 {
        if now.saturating_duration_since(self.last) < rule.forget_after {
            self.count
        } else {
            0
        }
    }

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

/// Failed sign-ins per account, address and device, in this replica.
#[derive(Default)]
pub(crate) struct SignInThrottle {
    state: Mutex<ThrottleState>,
}

#[derive(Default)]
struct ThrottleState {
    accounts: HashMap<String, FailureCount>,
    addresses: HashMap<IpAddr, FailureCount>,
    /// By the network of a site: an attacker has many addresses of one.
    sites: HashMap<IpAddr, FailureCount>,
    /// By the networks around an address.
    neighborhoods: HashMap<Neighborhood, FailureCount>,
    devices: HashMap<Uuid, FailureCount>,
    /// Codes of second factors, by account, and passwords entered again, by session.
    codes: HashMap<String, FailureCount>,
    /// Wrong API tokens, by address.
    tokens: HashMap<IpAddr, FailureCount>,
}

/// A network around an address: its first address, and the bits that are left out.
type Neighborhood = (IpAddr, u32);

/// What an attempt counts for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SignInAttempt {
    Device(Uuid),
    Other {
        account: String,
        network: IpAddr,
        site: IpAddr,
        neighborhoods: [Neighborhood; 2],
        /// Recent failures of the network and of those around it before this attempt; a near one counts more often than a far one.
        failures_nearby: u32,
    },
}

impl SignInThrottle {
    fn lock(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the start of an attempt; `device` is known to the account.
    ///
    /// # Errors
    /// The remaining wait, if there were too many failures.
    pub(crate) fn begin_attempt(
        &self,
        account: &str,
        address: IpAddr,
        device: Option<Uuid>,
        now: Instant,
    ) -> Result<SignInAttempt, Duration> {
        let mut state = self.lock();
        // A device that failed too often is treated like an unknown one.
        if let Some(device) = device
            && remaining_wait(&state.devices, &device, &DEVICE_POLICY, now) == Duration::ZERO
        {
            record_failure(&mut state.devices, device, &DEVICE_POLICY, now);
            return Ok(SignInAttempt::Device(device));
        }
        let network = network_of(address);
        let site = site_of(address);
        let is_quiet = state
            .sites
            .get(&site)
            .is_none_or(|failures| failures.current(&ADDRESS_POLICY, now) < QUIET_FAILURES);
        if !is_quiet {
            let wait = remaining_wait(&state.accounts, account, &ACCOUNT_POLICY, now).max(
                remaining_wait(&state.addresses, &network, &ADDRESS_POLICY, now),
            );
            if wait > Duration::ZERO {
                return Err(wait);
            }
        }
        record_failure(
            &mut state.accounts,
            account.to_owned(),
            &ACCOUNT_POLICY,
            now,
        );
        record_failure(&mut state.addresses, network, &ADDRESS_POLICY, now);
        record_failure(&mut state.sites, site, &ADDRESS_POLICY, now);
        let neighborhoods = neighborhoods_of(address);
        let failures_nearby = state.failures_nearby(&network, &neighborhoods, now);
        for neighborhood in neighborhoods {
            let policy = &NEIGHBORHOOD_POLICY;
            record_failure(&mut state.neighborhoods, neighborhood, policy, now);
        }
        Ok(SignInAttempt::Other {
            account: account.to_owned(),
            network,
            site,
            neighborhoods,
            failures_nearby,
        })
    }

    /// Clears the failures of the device; without one, undoes this one attempt: the owner's success must not earn an attacker
    /// more guesses.
    pub(crate) fn record_success(&self, attempt: &SignInAttempt) {
        match attempt {
            SignInAttempt::Device(device) => _ = self.lock().devices.remove(device),
            SignInAttempt::Other { .. } => self.cancel_attempt(attempt),
        }
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

    /// Counts a wrong API token.
    ///
    /// # Errors
    /// The remaining wait, if there were too many; the token is not counted then.
    pub(crate) fn count_wrong_token(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let network = network_of(address);
        let mut state = self.lock();
        let wait = remaining_wait(&state.tokens, &network, &TOKEN_POLICY, now);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        record_failure(&mut state.tokens, network, &TOKEN_POLICY, now);
        Ok(())
    }

    /// Forgets the wrong codes of an account or session.
    pub(crate) fn record_right_code(&self, counted: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.codes.remove(counted);
    }

    /// Undoes an attempt that could not be decided (etcd unreachable, too busy).
    pub(crate) fn cancel_attempt(&self, attempt: &SignInAttempt) {
        let mut state = self.lock();
        match attempt {
            SignInAttempt::Device(device) => remove_failure(&mut state.devices, device),
            SignInAttempt::Other {
                account,
                network,
                site,
                neighborhoods,
                ..
            } => {
                remove_failure(&mut state.accounts, account);
                remove_failure(&mut state.addresses, network);
                remove_failure(&mut state.sites, site);
                for neighborhood in neighborhoods {
                    remove_failure(&mut state.neighborhoods, neighborhood);
                }
            }
        }
    }
}

impl ThrottleState {
    fn failures_nearby(
        &self,
        network: &IpAddr,
        neighborhoods: &[Neighborhood; 2],
        now: Instant,
    ) -> u32 {
        // The attempt itself is counted already.
        let own = self.addresses.get(network);
        let own = own.map_or(0, |failures| {
            failures.current(&ADDRESS_POLICY, now).saturating_sub(1)
        });
        let around = neighborhoods.iter().map(|neighborhood| {
            let failures = self.neighborhoods.get(neighborhood);
            failures.map_or(0, |failures| failures.current(&NEIGHBORHOOD_POLICY, now))
        });
        around.fold(own, u32::saturating_add)
    }
}

/// The address that failures are counted for: an IPv6 host owns its whole /64.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    without_last_bits(address, 64)
}

/// The network whose failures make an address quiet or not: a site has an IPv6 /48.
fn site_of(address: IpAddr) -> IpAddr {
    without_last_bits(address, 80)
}

fn neighborhoods_of(address: IpAddr) -> [Neighborhood; 2] {
    let address = address.to_canonical();
    NEIGHBORHOODS.map(|(v4_bits, v6_bits)| match address {
        IpAddr::V4(v4) => {
            let first = u32::from(v4) & (u32::MAX << v4_bits);
            (IpAddr::V4(first.into()), v4_bits)
        }
        IpAddr::V6(_) => (without_last_bits(address, v6_bits), v6_bits),
    })
}

/// An IPv6 address without its last `bits`; IPv4 addresses count as they are.
fn without_last_bits(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << bits)).into()),
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
mod tests;
