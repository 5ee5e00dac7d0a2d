//! Which addresses the console may connect to where others name the target: receivers of notifications and registered
//! nodes must not lead to addresses that only its host can reach, such as its loopback or its cloud's metadata service
//! (SSRF). Private networks are permitted, because receivers and databases are usually there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;

/// Blocks special-use addresses, except those in allowed networks. Clones share these.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Arc<RwLock<Vec<IpNet>>>,
}

impl AddressPolicy {
    /// Blocks special-use addresses that are not in `allowed`.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self {
            allowed: Arc::new(RwLock::new(allowed)),
        }
    }

    /// Blocks what is not in `allowed` from now on, for every clone. Connections that exist stay open.
    pub fn replace(&self, allowed: Vec<IpNet>) {
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = allowed;
    }

    /// The kind of special-use address for which `address` is blocked; `None` when it is permitted.
    #[must_use]
    pub fn blocked_reason(&self, address: IpAddr) -> Option<&'static str> {
        let what = special_use(address)?;
        let address = address.to_canonical();
        let networks = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        let allowed = networks.iter().any(|network| network.contains(&address));
        (!allowed).then_some(what)
    }
}

/// The kind of a special-use address; `None` for an ordinary one.
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
        // Metadata services of Azure and Alibaba Cloud, outside the link-local network.
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
    // AWS's metadata service, in a private network.
    if segments == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] {
        return Some("metadata");
    }
    // Addresses that embed an IPv4 address: compatible, NAT64, 6to4. Teredo obfuscates it.
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
        AddressPolicy::default()
            .blocked_reason(text.parse().unwrap())
            .is_some()
    }

    #[test]
    fn special_use_addresses_are_blocked() {
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
    fn private_and_public_addresses_are_permitted() {
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
    fn replaced_networks_count_for_every_clone() {
        let policy = AddressPolicy::default();
        let clone = policy.clone();
        policy.replace(vec!["127.0.0.0/8".parse().unwrap()]);
        assert_eq!(clone.blocked_reason("127.0.0.1".parse().unwrap()), None);
        policy.replace(Vec::new());
        assert!(clone.blocked_reason("127.0.0.1".parse().unwrap()).is_some());
    }

    #[test]
    fn allowed_networks_match_every_notation() {
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
        for text in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"] {
            assert_eq!(policy.blocked_reason(text.parse().unwrap()), None, "{text}");
        }
        for text in ["::1", "169.254.169.254"] {
            assert!(
                policy.blocked_reason(text.parse().unwrap()).is_some(),
                "{text}"
            );
        }
    }
}
