//! How to reach etcd, checked before anything is opened.

use std::path::PathBuf;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use sha2::{Digest, Sha256};
use tls_files::{CertificateFiles, CertificatePair, PemPair, read_authorities_pem};

use crate::{Error, Result, Secret};

/// Time for a TCP connection or a TLS handshake with one endpoint.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// `host`, `host:port` or a URL each; the port is 2379 by default. Without a scheme, `https` when `ca` is given.
    pub endpoints: Vec<String>,
    /// The etcd user, when etcd has authentication enabled.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<Secret>,
    /// PEM file of the authority that signed the members' certificates; required for `https`.
    pub ca: Option<PathBuf>,
    /// PEM file of the client certificate, if etcd requires one.
    pub cert: Option<PathBuf>,
    /// PEM file of that certificate's private key.
    pub key: Option<PathBuf>,
    /// Time for one call, its repetitions on other endpoints included.
    pub deadline: Duration,
    /// A watch that is silent for this long gets a progress request, and after as long again is moved to the next
    /// endpoint.
    pub idle_limit: Duration,
    /// How long all endpoints must fail before a watch reports etcd as unreachable; longer than an election.
    pub grace: Duration,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            user: None,
            password: None,
            ca: None,
            cert: None,
            key: None,
            deadline: Duration::from_secs(6),
            idle_limit: Duration::from_secs(2),
            grace: Duration::from_secs(3),
        }
    }
}

impl EtcdSettings {
    /// Settings for `endpoints` with every default.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The endpoints as URLs, in the order given, without repetitions.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the endpoint and what is wrong with it.
    pub fn urls(&self) -> Result<Vec<String>> {
        let mut urls = Vec::new();
        for endpoint in &self.endpoints {
            let url = url(endpoint.trim(), self.ca.is_some())?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls.is_empty() {
            return Err(Error::Invalid(
                "no etcd endpoint is given; name at least one as host:port or URL".to_owned(),
            ));
        }
        let secure = urls.iter().filter(|url| is_https(url)).count();
        if secure > 0 && self.ca.is_none() {
            return Err(Error::Invalid(
                "an https etcd endpoint needs the file of the certificate authority that signed its certificate"
                    .to_owned(),
            ));
        }
        if secure < urls.len() && (self.ca.is_some() || self.cert.is_some()) {
            return Err(Error::Invalid(
                "an etcd endpoint is http while certificates are given; make every endpoint https or drop them"
                    .to_owned(),
            ));
        }
        Ok(urls)
    }

    /// Whether every endpoint is an address of this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let local = |endpoint: &String| {
            let Ok(url) = url(endpoint.trim(), self.ca.is_some()) else {
                return false;
            };
            let authority = url.split("://").nth(1).unwrap_or_default();
            let host = authority
                .rsplit_once(':')
                .map_or(authority, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        };
        self.endpoints.iter().all(local)
    }

    /// Checks that the TLS files can be used now.
    ///
    /// # Errors
    /// [`Error::TlsFile`] names the file and the remedy; [`Error::Invalid`] for a certificate without a key.
    pub fn check_tls_files(&self) -> Result<()> {
        if let Some(ca) = &self.ca {
            read_authorities_pem(ca)?;
        }
        if let Some(files) = self.client_certificate()? {
            CertificatePair::load(&files, tls_files::clock_time())?;
        }
        Ok(())
    }

    /// Identifies the contents of the TLS files; `None` without any.
    pub(crate) fn tls_source(&self) -> Result<Option<[u8; 32]>> {
        let Some(ca) = &self.ca else {
            return Ok(None);
        };
        let mut hash = Sha256::new();
        hash.update(Sha256::digest(read_authorities_pem(ca)?));
        if let Some(files) = self.client_certificate()? {
            hash.update(PemPair::read(&files)?.hash());
        }
        Ok(Some(hash.finalize().into()))
    }

    fn client_certificate(&self) -> Result<Option<CertificateFiles>> {
        match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => Ok(Some(CertificateFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            })),
            (None, None) => Ok(None),
            _ => Err(Error::Invalid(
                "the etcd client certificate and its key must be given together".to_owned(),
            )),
        }
    }

    /// The client's options; reads the certificate files.
    pub(crate) fn options(&self) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_tcp_keepalive(Duration::from_secs(30))
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(3))
            // etcd answers pings on a connection without streams with GOAWAY "too_many_pings".
            .with_keep_alive_while_idle(false)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => options = options.with_user(user, password.expose()),
            (Some(_), None) => {
                return Err(Error::Invalid(
                    "an etcd user is given without its password".to_owned(),
                ));
            }
            (None, Some(_)) => {
                return Err(Error::Invalid(
                    "an etcd password is given without its user".to_owned(),
                ));
            }
            (None, None) => {}
        }
        if let Some(ca) = &self.ca {
            let mut tls = TlsOptions::new()
                .ca_certificate(Certificate::from_pem(read_authorities_pem(ca)?))
                .timeout(CONNECT_TIMEOUT);
            if let Some(files) = self.client_certificate()? {
                let pair = PemPair::read(&files)?;
                pair.certified_key(&files)?;
                let (certificate, key) = pair.contents();
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        Ok(options)
    }
}

fn is_https(url: &str) -> bool {
    url.starts_with("https://")
}

/// `endpoint` as `scheme://host:port`.
fn url(endpoint: &str, secure: bool) -> Result<String> {
    let invalid = |why: &str| {
        Error::Invalid(format!(
            "{endpoint:?} is not a valid etcd endpoint: {why}; use host:port or a URL"
        ))
    };
    let (scheme, rest) = match endpoint.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(invalid("its scheme is neither http nor https")),
        None => (if secure { "https" } else { "http" }, endpoint),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() {
        return Err(invalid("it names no host"));
    }
    if authority.contains('@') {
        return Err(invalid(
            "credentials belong in the user and password settings",
        ));
    }
    if authority
        .chars()
        .any(|c| !c.is_ascii_alphanumeric() && !"._-:[]".contains(c))
    {
        return Err(invalid("a host has letters, digits, '.', '_' and '-' only"));
    }
    if authority.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("{scheme}://[{authority}]:2379"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "2379"),
    };
    if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
        return Err(invalid("it names no host"));
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(format!("{scheme}://{host}:{number}")),
        _ => Err(invalid("its port is not a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_become_urls() {
        for (given, expected) in [
            ("etcd1", "http://etcd1:2379"),
            ("10.0.0.1:4001", "http://10.0.0.1:4001"),
            ("http://etcd1:2379/", "http://etcd1:2379"),
            ("::1", "http://[::1]:2379"),
            ("[::1]:2380", "http://[::1]:2380"),
            ("http://[::1]", "http://[::1]:2379"),
        ] {
            assert_eq!(
                EtcdSettings::new([given]).urls().unwrap(),
                [expected],
                "{given}"
            );
        }
        let secure = EtcdSettings {
            ca: Some("ca.pem".into()),
            ..EtcdSettings::new(["etcd1", "https://etcd2:1"])
        };
        assert_eq!(
            secure.urls().unwrap(),
            ["https://etcd1:2379", "https://etcd2:1"]
        );
    }

    #[test]
    fn loopback_endpoints_are_recognized() {
        for local in [
            "127.0.0.1:2379",
            "http://127.0.0.9",
            "localhost",
            "[::1]:2380",
            "::1",
        ] {
            assert!(EtcdSettings::new([local]).is_loopback(), "{local}");
        }
        for remote in [
            "10.0.0.1",
            "127.0.0.1.example.org",
            "localhost.example.org:2379",
            "etcd",
        ] {
            assert!(!EtcdSettings::new([remote]).is_loopback(), "{remote}");
        }
        assert!(!EtcdSettings::new(["127.0.0.1", "etcd2"]).is_loopback());
    }

    #[test]
    fn refuses_what_can_never_work() {
        for bad in [
            "", "ftp://x", "http://", "a b", "h:0", "h:x", "u:p@h", "<x>:1", "h:99999", ":2379",
        ] {
            let error = EtcdSettings::new([bad]).urls().unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{bad}: {error}");
        }
        assert!(EtcdSettings::default().urls().is_err());
        assert!(EtcdSettings::new(["https://etcd1"]).urls().is_err());
        let mixed = EtcdSettings {
            ca: Some("ca.pem".into()),
            ..EtcdSettings::new(["http://etcd1"])
        };
        assert!(mixed.urls().is_err());
        let no_password = EtcdSettings {
            user: Some("root".to_owned()),
            ..EtcdSettings::new(["etcd1"])
        };
        assert!(matches!(no_password.options(), Err(Error::Invalid(_))));
        let no_file = EtcdSettings {
            ca: Some("/nonexistent/ca.pem".into()),
            ..EtcdSettings::new(["https://etcd1"])
        };
        let error = no_file.options().unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
    }

    #[test]
    fn a_password_is_never_printed() {
        let settings = EtcdSettings {
            user: Some("root".to_owned()),
            password: Some(Secret::new("hunter2")),
            ..EtcdSettings::new(["etcd1"])
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
