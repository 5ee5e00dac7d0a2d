//! The settings of the listener: addresses, TLS, hosts and what clients may use.

use std::time::Duration;

use console_core::net::PublicUrl;

use super::problem::ConfigProblem;
use super::reader::ConfigReader;
use super::settings;
use super::{HttpConfig, LimitsConfig, parse};
use crate::tls::{CertificateFiles, ListenerTls};

impl ConfigReader<'_> {
    pub(super) fn http(&mut self) -> Option<HttpConfig> {
        let listen = self.single(&settings::LISTEN, parse::socket_address);
        let public_url = self.single(&settings::PUBLIC_URL, parse::public_url);
        let tls = self.listener_tls(public_url.as_ref());
        let allowed_hosts = self.list(&settings::ALLOWED_HOSTS, parse::host_pattern);
        let site_root = self.path_or(
            &settings::SITE_ROOT,
            Some(self.inputs.program_dir.join("site")),
        );
        let metrics_listen = self.single(&settings::METRICS_LISTEN, parse::socket_address);
        let metrics_token = self.single(&settings::METRICS_TOKEN_FILE, |text| {
            parse::metrics_token(&parse::path(text)?)
        });
        let metrics_nodes = self.single(&settings::METRICS_NODES, parse::metrics_nodes);
        let trusted_proxies = self.list(&settings::TRUSTED_PROXIES, parse::network);
        let session_lifetime = self.single(&settings::SESSION_LIFETIME, |text| {
            parse::duration_between(
                text,
                Duration::from_secs(2),
                Duration::from_secs(30 * 86_400),
            )
        });
        let session_idle_timeout = self.single(&settings::SESSION_IDLE_TIMEOUT, |text| {
            parse::optional_duration(text, Duration::from_secs(60))
        });
        let step_up_interval = self.single(&settings::STEP_UP_INTERVAL, |text| {
            parse::optional_duration(text, Duration::from_secs(60))
        });
        let second_factor_roles = self.list(&settings::SECOND_FACTOR_ROLES, parse::role);
        let token_lifetime_max = self.token_lifetime_max();
        let service_approval = self.single(&settings::SERVICE_APPROVAL, |text| match text {
            "allow" => Ok(true),
            "refuse" => Ok(false),
            _ => Err("expected allow or refuse".to_owned()),
        });
        let (sign_on, local_accounts) = self.sign_on(public_url.as_ref(), session_lifetime);
        if let (Some(listen), Some(metrics)) = (listen, metrics_listen)
            && listen == metrics
            && listen.port() != 0
        {
            self.report(
                self.origin(&settings::METRICS_LISTEN),
                "is the same address as --listen; use another port or omit it",
            );
        }
        let in_clear = public_url.as_ref().map_or_else(
            || listen.is_some_and(|at| !at.ip().is_loopback()),
            |url| !url.https && !url.is_local(),
        );
        if in_clear && !self.is_given(&settings::TLS_CERT) {
            let setting = if public_url.is_some() {
                &settings::PUBLIC_URL
            } else {
                &settings::LISTEN
            };
            let message = "passwords and session cookies cross the network unencrypted; set --tls-cert and --tls-key, or put an HTTPS proxy in front and set --public-url https://…";
            self.warnings.push(ConfigProblem {
                origin: self.origin(setting),
                message: message.to_owned(),
            });
        }
        Some(HttpConfig {
            listen: listen?,
            public_url,
            site_root: site_root?,
            metrics_listen,
            trusted_proxies,
            session_lifetime: session_lifetime?,
            session_idle_timeout: session_idle_timeout?,
            step_up_interval: step_up_interval?,
            second_factor_roles,
            token_lifetime_max: token_lifetime_max?,
            service_approval: service_approval?,
            sign_on,
            local_accounts: local_accounts?,
            tls,
            allowed_hosts,
            metrics_token,
            metrics_nodes: metrics_nodes?,
        })
    }

    /// Longest validity of a person's API token.
    pub(super) fn token_lifetime_max(&mut self) -> Option<Duration> {
        self.single(&settings::TOKEN_LIFETIME_MAX, |text| {
            parse::duration_between(
                text,
                Duration::from_secs(60),
                accounts::SERVICE_TOKEN_LIFETIME_MAX,
            )
        })
    }

    /// TLS of the listener; `None` without, or if its files cannot be used, which is reported.
    fn listener_tls(&mut self, public_url: Option<&PublicUrl>) -> Option<ListenerTls> {
        let certificate = self.single(&settings::TLS_CERT, parse::path);
        let key = self.single(&settings::TLS_KEY, parse::path);
        self.requires(&settings::TLS_CERT, &settings::TLS_KEY);
        self.requires(&settings::TLS_KEY, &settings::TLS_CERT);
        let files = CertificateFiles {
            certificate: certificate?,
            key: key?,
        };
        if let Some(url) = public_url
            && !url.https
        {
            self.report(
                self.origin(&settings::PUBLIC_URL),
                format!("{url} is http, but --tls-cert makes the console serve https only; use https://{}", url.authority),
            );
            return None;
        }
        let host = public_url.map(|url| url.host().to_owned());
        match ListenerTls::load(files, host) {
            Ok(tls) => {
                self.warn_about_dates(&settings::TLS_CERT, &tls.files, &tls.certificate);
                Some(tls)
            }
            Err(error) => {
                let setting = if error.concerns_key() {
                    &settings::TLS_KEY
                } else {
                    &settings::TLS_CERT
                };
                self.report(self.origin(setting), error.to_string());
                None
            }
        }
    }

    pub(super) fn limits(&mut self) -> Option<LimitsConfig> {
        let mut count = |setting| self.single(setting, parse::limit);
        let connections = count(&settings::MAX_CONNECTIONS);
        let connections_per_address = count(&settings::MAX_CONNECTIONS_PER_ADDRESS);
        let connections_per_proxy = count(&settings::MAX_CONNECTIONS_PER_PROXY);
        let password_hashes = count(&settings::MAX_PASSWORD_HASHES);
        let dns_lookups = count(&settings::MAX_DNS_LOOKUPS);
        let anonymous_renders = count(&settings::MAX_ANONYMOUS_RENDERS);
        let requests_per_account = count(&settings::MAX_REQUESTS_PER_ACCOUNT);
        let token_requests = count(&settings::MAX_TOKEN_REQUESTS);
        let live_per_account = count(&settings::MAX_LIVE_PER_ACCOUNT);
        let live_per_address = count(&settings::MAX_LIVE_PER_ADDRESS);
        let mut timeout = |setting| {
            self.single(setting, |text| {
                parse::duration_between(text, Duration::from_secs(1), Duration::from_secs(600))
            })
        };
        let header_timeout = timeout(&settings::HEADER_TIMEOUT);
        let write_timeout = timeout(&settings::WRITE_TIMEOUT);
        Some(LimitsConfig {
            connections: connections?,
            connections_per_address: connections_per_address?,
            connections_per_proxy: connections_per_proxy?,
            header_timeout: header_timeout?,
            write_timeout: write_timeout?,
            password_hashes: password_hashes?,
            dns_lookups: dns_lookups?,
            anonymous_renders: anonymous_renders?,
            requests_per_account: requests_per_account?,
            token_requests: token_requests?,
            live_per_account: live_per_account?,
            live_per_address: live_per_address?,
        })
    }
}
