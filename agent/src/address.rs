//! Default for `NODE_ADDRESS`: the host's first address that other hosts can reach.

use std::net::IpAddr;

/// The address that `/etc/hosts` gives to the host name (in a container, its address on the first network), otherwise
/// the first interface address. IPv4 before IPv6.
#[must_use]
pub fn first() -> Option<IpAddr> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    preferred(addresses_of(name.trim(), &hosts))
        .or_else(|| preferred(interfaces.iter().map(if_addrs::Interface::ip)))
}

fn preferred(addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let usable: Vec<_> = addresses.filter(is_reachable).collect();
    usable
        .iter()
        .find(|address| address.is_ipv4())
        .or(usable.first())
        .copied()
}

fn is_reachable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

/// The addresses of `name` in the text of a hosts file, in file order.
fn addresses_of<'a>(name: &'a str, hosts: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    hosts.lines().filter_map(move |line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word == name).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "127.0.0.1 localhost n1\n# 10.0.0.9 n1\nfe80::1 n1\n10.0.0.5\tn1.example n1 # own\n10.0.0.6 n2\n";

    #[test]
    fn the_host_name_resolves_to_the_first_usable_address() {
        assert_eq!(
            preferred(addresses_of("n1", HOSTS)),
            Some("10.0.0.5".parse().unwrap())
        );
        assert_eq!(preferred(addresses_of("n3", HOSTS)), None);
        assert_eq!(preferred(addresses_of("", HOSTS)), None);
    }

    #[test]
    fn ipv4_before_ipv6() {
        let addresses =
            ["::1", "fd00::1", "169.254.0.1", "10.0.0.1"].map(|text| text.parse().unwrap());
        assert_eq!(preferred(addresses.into_iter()), Some(addresses[3]));
        assert_eq!(
            preferred(addresses[..2].iter().copied()),
            Some(addresses[1])
        );
    }
}
