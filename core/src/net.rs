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
    /// The host without a port; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        split_port(&self.authority).0
    }

    /// Whether it names this machine, so that nothing crosses a network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_loopback(self.host())
    }
}

/// `host` or `host:port` as host and port; the brackets of an IPv6 address belong to the host.
#[must_use]
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Whether a host, as in a URL, is this machine's loopback interface.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
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
