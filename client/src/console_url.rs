//! The address of the console.

use std::net::IpAddr;

use http::Uri;

/// Scheme, host and port of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleUrl {
    https: bool,
    /// Host and port as given, for the header `Host`.
    authority: String,
    host: String,
    port: u16,
}

impl std::str::FromStr for ConsoleUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(200).collect();
        let invalid =
            |reason: &str| format!("{shown:?} {reason}; expected e.g. https://console.example.org");
        let uri: Uri = text
            .trim()
            .parse()
            .map_err(|_| invalid("is not a valid URL"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("does not begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("has no host"))?;
        if authority.as_str().contains('@') {
            // Not repeated: it may contain a password.
            return Err(
                "the URL contains a user name or password; give the token with --token-file"
                    .to_owned(),
            );
        }
        if !matches!(
            uri.path_and_query().map(http::uri::PathAndQuery::as_str),
            None | Some("/" | "")
        ) {
            return Err(invalid(
                "has a path; give scheme, host and port of the console only",
            ));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(invalid("has no host"));
        }
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match (authority.port_u16(), has_port) {
            (Some(0), _) | (None, true) => return Err(invalid("has an invalid port")),
            (Some(port), _) => port,
            (None, false) => 80 + 363 * u16::from(https),
        };
        Ok(Self {
            https,
            authority: authority.as_str().to_owned(),
            host,
            port,
        })
    }
}

impl std::fmt::Display for ConsoleUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl ConsoleUrl {
    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as given.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the host names this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_names_a_console() {
        for (text, shown, host, port, loopback) in [
            (
                "https://c.example",
                "https://c.example",
                "c.example",
                443,
                false,
            ),
            (
                "http://127.0.0.1:3000/",
                "http://127.0.0.1:3000",
                "127.0.0.1",
                3000,
                true,
            ),
            ("http://[::1]:3000", "http://[::1]:3000", "::1", 3000, true),
            (
                "http://[::ffff:127.0.0.1]",
                "http://[::ffff:127.0.0.1]",
                "::ffff:127.0.0.1",
                80,
                true,
            ),
            (
                "http://localhost",
                "http://localhost",
                "localhost",
                80,
                true,
            ),
            (
                "http://localhost.example",
                "http://localhost.example",
                "localhost.example",
                80,
                false,
            ),
        ] {
            let url: ConsoleUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!((url.host(), url.port()), (host, port));
            assert_eq!(url.is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn a_wrong_url_names_the_remedy() {
        for (text, part) in [
            ("console.example", "does not begin with https://"),
            ("ftp://c", "does not begin with https://"),
            ("https://", "is not a valid URL"),
            ("https://c:0", "invalid port"),
            ("https://c:99999", "invalid port"),
            ("https://c/api/v1", "has a path"),
            ("https://c/?a=b", "has a path"),
            ("https://ada:secret@c", "--token-file"),
        ] {
            let error = text.parse::<ConsoleUrl>().unwrap_err();
            assert!(
                error.contains(part) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }
}
