//! Network address types shared by several crates.

use std::net::IpAddr;

/// The address that browsers use: scheme, host and port only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Whether the scheme is https.
    pub https: bool,
    /// `host` or `host:port` as in a browser's `Host` header, in lower case.
    pub authority: String,
}

impl PublicUrl {
    /// The host name or address, without port and brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = match self.authority.rsplit_once(':') {
            // The last colon of an IPv6 address without a port is within the brackets.
            Some((host, port)) if !port.ends_with(']') => host,
            _ => self.authority.as_str(),
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether it names this machine, so that nothing crosses a network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.https { "https" } else { "http" },
            self.authority
        )
    }
}
