//! The settings of the server that figures of long ranges are queried from.

use notify::OutboundUrl;

use super::problem::ConfigProblem;
use super::reader::ConfigReader;
use super::{parse, settings};
use crate::metrics_server::{MetricsServerConfig, QueryCredentials};

impl ConfigReader<'_> {
    /// The metrics server, if there is one.
    pub(super) fn metrics_server(&mut self) -> Option<MetricsServerConfig> {
        let url = self.single(&settings::METRICS_QUERY_URL, |text| {
            let url = OutboundUrl::on_trusted_network(text)?;
            match text.contains('?') {
                true => Err(format!(
                    "{text:?} has a query; leave out ? and what follows"
                )),
                false => Ok(url),
            }
        });
        let user = self.single(&settings::METRICS_QUERY_USER, parse::non_empty_text);
        let password = self.password_file(&settings::METRICS_QUERY_PASSWORD_FILE);
        let token = self.password_file(&settings::METRICS_QUERY_TOKEN_FILE);
        let ca = self.authorities_file(&settings::METRICS_QUERY_CA);
        self.requires(
            &settings::METRICS_QUERY_USER,
            &settings::METRICS_QUERY_PASSWORD_FILE,
        );
        self.requires(
            &settings::METRICS_QUERY_PASSWORD_FILE,
            &settings::METRICS_QUERY_USER,
        );
        for given in [
            &settings::METRICS_QUERY_USER,
            &settings::METRICS_QUERY_TOKEN_FILE,
            &settings::METRICS_QUERY_CA,
        ] {
            self.requires(given, &settings::METRICS_QUERY_URL);
        }
        if self.is_given(&settings::METRICS_QUERY_USER)
            && self.is_given(&settings::METRICS_QUERY_TOKEN_FILE)
        {
            self.report(
                self.origin(&settings::METRICS_QUERY_TOKEN_FILE),
                "cannot be combined with --metrics-query-user; remove one of them",
            );
        }
        let credentials = match (user.zip(password), token) {
            (Some((user, password)), _) => QueryCredentials::Password(user, password),
            (None, Some(token)) => QueryCredentials::Token(token),
            (None, None) => QueryCredentials::None,
        };
        let url = url?;
        let origin = self.origin(&settings::METRICS_QUERY_URL);
        match (url.is_exposed(), &credentials) {
            (false, _) => {}
            (true, QueryCredentials::None) => self.warnings.push(ConfigProblem {
                origin,
                message: "figures of long ranges cross the network unencrypted, and can be altered there; use https".to_owned(),
            }),
            (true, _) => self.report(
                origin,
                "is not encrypted: every host on the way could read the password or token; use https",
            ),
        }
        Some(MetricsServerConfig {
            url,
            credentials,
            ca,
        })
    }
}
