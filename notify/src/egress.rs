//! Which addresses a notice may be sent to.
//!
//! Targets are set by administrators of the console, who need not be administrators of its host: a target must not
//! reach what only this host reaches (its loopback, the metadata service of its cloud). Private networks are allowed,
//! because that is where receivers are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nothing is sent there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EgressError {
    /// The address is refused.
    #[error(
        "{host} is {address} ({what}), where nothing is sent; allow it with --notify-allow {address} if it is meant"
    )]
    Blocked {
        /// The host as the target names it.
        host: String,
        /// What it resolves to.
        address: IpAddr,
        /// What kind of address that is.
        what: &'static str,
    },
    /// The name leads nowhere.
    #[error("{host} cannot be resolved: {cause}")]
    Unresolved {
        /// The name.
        host: String,
        /// The resolver's words.
        cause: String,
    },
}

/// The addresses that may be reached: all but the special ones, and of those the ones that are allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct EgressPolicy {
    allowed: Vec<IpNet>,
}

impl EgressPolicy {
    /// Special addresses are refused unless they lie in `allowed`.
    #[must_use]
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Resolves `host` and judges what it leads to. Whoever connects must connect to exactly these addresses: a name
    /// may lead elsewhere the next time.
    ///
    /// # Errors
    /// `EgressError`, when not a single address is left.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, EgressError> {
        let unresolved = |cause: String| EgressError::Unresolved {
            host: host.to_owned(),
            cause,
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = if let Ok(address) = bare.parse::<IpAddr>() {
            vec![(address, port).into()]
        } else {
            let lookup = tokio::net::lookup_host((bare, port));
            let found = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await;
            let found = found.map_err(|_| {
                unresolved(format!("no answer within {} s", RESOLVE_TIMEOUT.as_secs()))
            })?;
            found
                .map_err(|error| unresolved(error.to_string()))?
                .collect()
        };
        let mut refused = None;
        let mut good = Vec::new();
        for address in found {
            match self.blocked_reason(address.ip()) {
                None => good.push(address),
                Some(what) => refused = Some((address.ip(), what)),
            }
        }
        match (good.is_empty(), refused) {
            (false, _) => Ok(good),
            (true, Some((address, what))) => Err(EgressError::Blocked {
                host: host.to_owned(),
                address,
                what,
            }),
            (true, None) => Err(unresolved("it has no address".to_owned())),
        }
    }

    /// What is wrong with `address`.
    fn blocked_reason(&self, address: IpAddr) -> Option<&'static str> {
        let what = special_use(address)?;
        let address = address.to_canonical();
        let allowed = self
            .allowed
            .iter()
            .any(|network| network.contains(&address));
        (!allowed).then_some(what)
    }
}

/// The kind of an address that is no ordinary one.
fn special_use(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_use_v4(address),
        IpAddr::V6(address) => special_use_v6(address),
    }
}

fn special_use_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (0, ..) => Some("unspecified"),
        (127, ..) => Some("loopback"),
        (169, 254, ..) => Some("link-local"),
        // Where Azure and Alibaba keep their metadata, outside of the link-local network.
        (168, 63, 129, 16) | (100, 100, 100, 200) => Some("metadata"),
        (192, 0, 0, _) => Some("protocol"),
        (224..=239, ..) => Some("multicast"),
        (255, 255, 255, 255) => Some("broadcast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

fn special_use_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if address.is_unspecified() {
        return Some("unspecified");
    }
    if address.is_loopback() {
        return Some("loopback");
    }
    match segments[0] {
        0xfe80..=0xfebf => return Some("link-local"),
        0xfec0..=0xfeff => return Some("site-local"),
        0xff00..=0xffff => return Some("multicast"),
        _ => {}
    }
    // AWS keeps its metadata in a private network of its own.
    if segments == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] {
        return Some("metadata");
    }
    // Addresses that stand for an IPv4 address: compatible, NAT64, 6to4; Teredo hides it from everybody.
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        special_use_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x64, 0xff9b, 1, ..] => Some("translated"),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0, ..] => Some("tunnelled"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_blocked(text: &str) -> bool {
        EgressPolicy::default()
            .blocked_reason(text.parse().unwrap())
            .is_some()
    }

    #[test]
    fn what_only_this_host_reaches_is_refused() {
        for text in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
        ] {
            assert!(is_blocked(text), "{text}");
        }
    }

    #[test]
    fn receivers_of_a_company_are_not() {
        for text in [
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "100.64.0.1",
            "203.0.113.7",
            "fd12:3456::1",
            "2a00:1450::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(!is_blocked(text), "{text}");
        }
    }

    #[test]
    fn what_is_allowed_is_allowed_in_every_spelling() {
        let reach = EgressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
        for text in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"] {
            assert_eq!(reach.blocked_reason(text.parse().unwrap()), None, "{text}");
        }
        for text in ["::1", "169.254.169.254"] {
            assert!(
                reach.blocked_reason(text.parse().unwrap()).is_some(),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn names_and_numbers_are_judged_alike() {
        let reach = EgressPolicy::default();
        for host in ["localhost", "127.0.0.1", "[::1]", "::1", "0.0.0.0"] {
            let error = reach.resolve(host, 80).await.unwrap_err();
            assert!(
                matches!(error, EgressError::Blocked { .. }),
                "{host}: {error}"
            );
        }
        // The resolver reads other spellings of addresses as well.
        for host in ["2130706433", "127.1", "0x7f.1"] {
            assert!(reach.resolve(host, 80).await.is_err(), "{host}");
        }
        let good = reach.resolve("10.1.2.3", 8080).await.unwrap();
        assert_eq!(good, ["10.1.2.3:8080".parse().unwrap()]);
        let missing = reach.resolve("nowhere.invalid", 80).await.unwrap_err();
        assert!(
            matches!(missing, EgressError::Unresolved { .. }),
            "{missing}"
        );
    }
}
