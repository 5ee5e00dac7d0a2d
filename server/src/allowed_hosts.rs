//! The hosts that requests may name. A browser that was directed to the console under a foreign name (DNS rebinding, or a
//! name that an attacker pointed here) gets nothing.

use std::net::IpAddr;

use console_core::net::{PublicUrl, is_loopback, split_port};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};

/// A host that requests may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case; an IPv6 address in brackets.
    host: String,
    /// `None` for every port.
    port: Option<u16>,
}

impl HostPattern {
    /// `HOST` or `HOST:PORT`; an IPv6 address with or without brackets. `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(IpAddr::V6(address)) = text.parse::<IpAddr>() {
            let host = format!("[{address}]");
            return Some(Self { host, port: None });
        }
        let authority: http::uri::Authority = text.parse().ok()?;
        if authority.as_str().contains(['@', '*']) || authority.host().is_empty() {
            return None;
        }
        let port = match split_port(authority.as_str()).1 {
            Some(_) => Some(authority.port_u16()?),
            None => None,
        };
        Some(Self {
            host: normalized(authority.host()),
            port,
        })
    }

    fn matches(&self, host: &str, port: Option<u16>) -> bool {
        // A browser leaves out the default port of the scheme, which a proxy may have changed.
        self.host == host && (self.port.is_none() || port.is_none() || self.port == port)
    }
}

/// The hosts that requests may name.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    /// Empty for every host.
    patterns: Vec<HostPattern>,
    public_url: Option<PublicUrl>,
}

impl AllowedHosts {
    /// The host of `public_url`, `more` and loopback addresses; every host if neither is given.
    #[must_use]
    pub fn new(public_url: Option<PublicUrl>, more: &[HostPattern]) -> Self {
        let public = public_url.as_ref().map(|url| HostPattern {
            host: normalized(url.host()),
            port: None,
        });
        Self {
            patterns: public.into_iter().chain(more.iter().cloned()).collect(),
            public_url,
        }
    }

    /// The host that `request` names and that is not allowed; `None` if the request may be answered. A request without
    /// a host (HTTP/1.0) is not one of a browser.
    #[must_use]
    pub fn refused_host(&self, headers: &HeaderMap, uri: &Uri) -> Option<String> {
        let mut named = headers
            .get_all(HOST)
            .iter()
            .map(|value| value.to_str().unwrap_or("(not text)"))
            .chain(uri.authority().map(http::uri::Authority::as_str));
        let refused = named.find(|host| !self.allows(host))?;
        Some(refused.chars().take(200).collect())
    }

    /// Whether a page of this origin (`Origin` of the request, each one of several) is the console's own. `None` without
    /// the header.
    #[must_use]
    pub fn is_own_origin(&self, headers: &HeaderMap, uri: &Uri, https: bool) -> Option<bool> {
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        origins.peek()?;
        Some(origins.all(|origin| {
            let origin = origin.to_str().ok();
            let origin = origin.and_then(|text| text.parse::<Uri>().ok());
            origin.is_some_and(|origin| self.is_own(&origin, headers, uri, https))
        }))
    }

    fn is_own(&self, origin: &Uri, headers: &HeaderMap, uri: &Uri, https: bool) -> bool {
        let (Some(scheme), Some(authority)) = (origin.scheme_str(), origin.authority()) else {
            return false;
        };
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return false,
        };
        let secure = scheme == "https";
        let authority = strip_default_port(authority.as_str(), default_port);
        if let Some(url) = &self.public_url
            && authority == url.authority
            && secure == url.https
        {
            return true;
        }
        let host = headers
            .get(HOST)
            .and_then(|value| value.to_str().ok())
            .or_else(|| uri.authority().map(http::uri::Authority::as_str));
        if host.is_some_and(|host| strip_default_port(host, default_port) == authority) {
            return true;
        }
        // Behind a proxy that replaces Host.
        let public_host = self.public_url.as_ref().map(|url| normalized(url.host()));
        let (host, port) = parts(&authority);
        let port = port.or(Some(default_port));
        (secure || !https)
            && self
                .patterns
                .iter()
                .filter(|pattern| Some(&pattern.host) != public_host.as_ref())
                .any(|pattern| pattern.matches(&host, port))
    }

    fn allows(&self, authority: &str) -> bool {
        let (host, port) = parts(authority);
        self.patterns.is_empty()
            || is_loopback(&host)
            || self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(&host, port))
    }
}

/// Host and port of `host` or `host:port`. A port that is not a number makes a host that nothing matches.
fn parts(authority: &str) -> (String, Option<u16>) {
    match split_port(authority) {
        (host, None) => (normalized(host), None),
        (host, Some(port)) => match port.parse() {
            Ok(port) => (normalized(host), Some(port)),
            Err(_) => (authority.to_owned(), None),
        },
    }
}

/// In lower case, without the dot at the end of an absolute name.
fn normalized(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// In lower case, without the port if it is the default one.
pub(crate) fn strip_default_port(authority: &str, default_port: u16) -> String {
    let authority = authority.to_ascii_lowercase();
    match authority.strip_suffix(&format!(":{default_port}")) {
        Some(host) => host.to_owned(),
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn hosts(public: Option<&str>, more: &[&str]) -> AllowedHosts {
        let url = public.map(|authority| PublicUrl {
            https: true,
            authority: authority.to_owned(),
        });
        let more: Vec<_> = more
            .iter()
            .map(|text| HostPattern::parse(text).unwrap())
            .collect();
        AllowedHosts::new(url, &more)
    }

    fn refused(hosts: &AllowedHosts, host: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_bytes(host).unwrap());
        hosts.refused_host(&headers, &Uri::from_static("/"))
    }

    #[test]
    fn patterns_are_hosts_with_an_optional_port() {
        for (text, host, port) in [
            ("Console.Example.org", "console.example.org", None),
            ("console.example.org.", "console.example.org", None),
            ("console:3000", "console", Some(3000)),
            ("10.0.0.7", "10.0.0.7", None),
            ("::1", "[::1]", None),
            ("[2001:db8::1]:443", "[2001:db8::1]", Some(443)),
        ] {
            let expected = HostPattern {
                host: host.to_owned(),
                port,
            };
            assert_eq!(HostPattern::parse(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "https://x",
            "x/",
            "x:y",
            "x:",
            "x:99999",
            "u@x",
            "a b",
            "*.x",
            ":80",
        ] {
            assert_eq!(HostPattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_configured_and_loopback_hosts_are_answered() {
        let hosts = hosts(
            Some("console.example.org:8443"),
            &["alias", "10.0.0.7:3000"],
        );
        for host in [
            "console.example.org",
            "CONSOLE.example.org.:8443",
            "console.example.org:3000",
            "alias",
            "alias:1",
            "10.0.0.7:3000",
            "10.0.0.7",
            "localhost:3000",
            "127.0.0.9",
            "[::1]:3000",
        ] {
            assert_eq!(refused(&hosts, host.as_bytes()), None, "{host}");
        }
        for host in [
            "evil.example",
            "console.example.org.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "console.example.org:80@evil.example",
            "evil.example#console.example.org",
            "alias:x",
            "10.0.0.7:3001",
            "10.0.0.8",
            "",
        ] {
            assert_eq!(refused(&hosts, host.as_bytes()).as_deref(), Some(host));
        }
        assert!(refused(&hosts, b"\xff").is_some());
        assert_eq!(refused(&hosts, &[b'x'; 5_000]).unwrap().len(), 200);
    }

    #[test]
    fn every_host_that_a_request_names_must_be_allowed() {
        let hosts = hosts(Some("console.example.org"), &[]);
        let mut headers = HeaderMap::new();
        let root = Uri::from_static("/");
        assert_eq!(hosts.refused_host(&headers, &root), None);
        headers.append(HOST, HeaderValue::from_static("console.example.org"));
        let absolute = Uri::from_static("http://evil.example/");
        assert!(hosts.refused_host(&headers, &absolute).is_some());
        headers.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(hosts.refused_host(&headers, &root).is_some());
    }

    #[test]
    fn without_settings_every_host_is_answered() {
        assert_eq!(refused(&hosts(None, &[]), b"evil.example"), None);
        // One setting is enough to restrict them.
        assert!(refused(&hosts(None, &["alias"]), b"evil.example").is_some());
    }

    #[test]
    fn pages_of_an_allowed_host_are_the_consoles_own() {
        let hosts = hosts(
            Some("console.example.org"),
            &["alias.example.org", "other:3000"],
        );
        let own = |origin: &'static str, https: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("upstream:3000"));
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            hosts.is_own_origin(&headers, &Uri::from_static("/"), https)
        };
        for origin in [
            "https://console.example.org",
            "https://alias.example.org",
            "https://alias.example.org:444",
            "https://other:3000",
            "https://upstream:3000",
        ] {
            assert_eq!(own(origin, true), Some(true), "{origin}");
        }
        for origin in [
            "http://console.example.org",
            "https://console.example.org:444",
            "http://alias.example.org",
            "https://other",
            "https://other:3001",
            "https://alias.example.org.evil.example",
            "ftp://alias.example.org",
            "null",
            "",
        ] {
            assert_eq!(own(origin, true), Some(false), "{origin}");
        }
        assert_eq!(own("http://alias.example.org", false), Some(true));
    }
}
