//! Which nodes the recovery account may connect to.

use std::net::IpAddr;

/// Where the recovery account may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryReach {
    /// Nowhere: there is no account.
    Nowhere,
    /// To loopback addresses only, which no network carries: there is no verified TLS.
    ThisHost,
    Everywhere,
}

impl RecoveryReach {
    /// Whether `host`, a name or an address, is within reach.
    #[must_use]
    pub fn includes(self, host: &str) -> bool {
        let loopback = || {
            let address = host.parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
        };
        match self {
            Self::Nowhere => false,
            Self::ThisHost => loopback(),
            Self::Everywhere => true,
        }
    }
}
