//! Addresses in the forms that several parts share.

use std::net::IpAddr;

/// The address that browsers use: scheme, host and port, nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Whether it is served over https.
    pub https: bool,
    /// `host` or `host:port` as a browser's `Host` header has it, in lower case.
    pub authority: String,
}

impl PublicUrl {
    /// Whether it names this machine itself, so that nothing crosses a network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let host = self
            .authority
            .rsplit_once(':')
            .map_or(self.authority.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
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
