//! The settings of sign-on with an identity provider.

use std::time::Duration;

use console_core::net::PublicUrl;
use notify::OutboundUrl;

use super::problem::{ConfigProblem, read_file};
use super::reader::ConfigReader;
use super::{parse, settings};
use crate::sign_on::{RoleRules, SignOnConfig};

impl ConfigReader<'_> {
    /// The identity provider, and whether accounts with a password are accepted.
    pub(super) fn sign_on(
        &mut self,
        public_url: Option<&PublicUrl>,
        session_lifetime: Option<Duration>,
    ) -> (Option<SignOnConfig>, Option<bool>) {
        let issuer = self.single(&settings::OIDC_ISSUER, str::parse::<OutboundUrl>);
        let client_id = self.single(&settings::OIDC_CLIENT_ID, parse::non_empty_text);
        let client_secret = self.password_file(&settings::OIDC_CLIENT_SECRET_FILE);
        let rules = self.single(&settings::OIDC_ROLES, |text| {
            let path = parse::path(text)?;
            RoleRules::parse(&read_file(&path)?)
                .map_err(|error| format!("{}: {error}", path.display()))
        });
        let name = self.single(&settings::OIDC_NAME, parse::non_empty_text);
        let ca = self.authorities_file(&settings::OIDC_CA);
        let lifetime = self.single(&settings::OIDC_SESSION_LIFETIME, |text| {
            let day = Duration::from_secs(86_400);
            parse::duration_between(text, Duration::from_secs(2), 30 * day)
        });
        let local_accounts = self.single(&settings::LOCAL_ACCOUNTS, |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("unknown value {text:?}; expected on or off")),
        });
        for needed in [
            &settings::OIDC_CLIENT_ID,
            &settings::OIDC_ROLES,
            &settings::PUBLIC_URL,
        ] {
            self.requires(&settings::OIDC_ISSUER, needed);
        }
        for given in [
            &settings::OIDC_CLIENT_ID,
            &settings::OIDC_CLIENT_SECRET_FILE,
            &settings::OIDC_ROLES,
            &settings::OIDC_NAME,
            &settings::OIDC_CA,
            &settings::OIDC_SESSION_LIFETIME,
        ] {
            self.requires(given, &settings::OIDC_ISSUER);
        }
        if local_accounts == Some(false) {
            self.requires(&settings::LOCAL_ACCOUNTS, &settings::OIDC_ISSUER);
        }
        if self.is_given(&settings::OIDC_ISSUER)
            && let Some(url) = public_url
            && !url.https
            && !url.is_local()
        {
            self.warnings.push(ConfigProblem {
                origin: self.origin(&settings::PUBLIC_URL),
                message: "the identity provider sends codes to the console unencrypted; set --public-url https://…"
                    .to_owned(),
            });
        }
        let config = issuer.zip(client_id).zip(rules).zip(session_lifetime);
        let config = config.map(|(((issuer, client_id), rules), longest)| SignOnConfig {
            name: name.unwrap_or_else(|| issuer.host().to_owned()),
            issuer,
            client_id,
            client_secret,
            rules,
            ca,
            session_lifetime: lifetime.map_or(longest, |limit| limit.min(longest)),
        });
        (config, local_accounts)
    }
}
