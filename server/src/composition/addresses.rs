//! Which special addresses nodes may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Where probes of nodes that are not pinned may connect to, besides ordinary addresses. A client of an etcd on this machine's
/// loopback is on it already, so its loopback addresses are not out of reach.
pub(crate) fn probe_networks(probe_allow: &[IpNet], etcd_is_local: bool) -> Vec<IpNet> {
    let mut allowed = probe_allow.to_vec();
    if etcd_is_local {
        let loopback = [
            (Ipv4Addr::LOCALHOST.into(), 8),
            (Ipv6Addr::LOCALHOST.into(), 128),
        ];
        let networks = loopback
            .into_iter()
            .filter_map(|(address, bits): (IpAddr, u8)| IpNet::new(address, bits).ok());
        allowed.extend(networks);
    }
    allowed
}
