//! Requests to a server that a setting names, such as an identity provider: bounded in time and size, without redirects.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use console_core::address_policy::AddressPolicy;
use console_core::net::is_loopback;
use console_core::resolver::Resolver;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use ipnet::IpNet;

use super::egress::EgressPolicy;
use super::webhook_client::{HttpReply, ReceiverUrl, WebhookClient, sensitive_header_value};

/// How much of a response is accepted by default, in bytes.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

/// A URL with https, or with http on this machine's loopback interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundUrl {
    url: ReceiverUrl,
    text: String,
}

impl OutboundUrl {
    /// The URL as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.url.host
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        self.url.origin()
    }

    /// The URL of `path` below this one. A query is left out.
    ///
    /// # Errors
    /// When both together are not a valid URL.
    pub fn join(&self, path: &str) -> Result<Self, String> {
        let text = format!("{}{}", self.url.origin(), self.url.join(path));
        let url = text.parse()?;
        Ok(Self { url, text })
    }

    /// Parses a URL whose server is on a trusted network, so that plain http is accepted for any host.
    ///
    /// # Errors
    /// When `text` is not a valid URL.
    pub fn on_trusted_network(text: &str) -> Result<Self, String> {
        let url: ReceiverUrl = text.parse()?;
        without_fragment(text)?;
        Ok(Self {
            url,
            text: text.trim().to_owned(),
        })
    }

    /// Whether what is sent can be read on the way: it has neither https nor a loopback address.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.url.https && !is_loopback(&self.url.host)
    }

    /// Whether it has https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.https
    }
}

impl FromStr for OutboundUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: ReceiverUrl = text.parse()?;
        if !url.https && !is_loopback(&url.host) {
            return Err(format!(
                "{text:?} is not encrypted; use https (http is accepted on this machine's loopback interface only)"
            ));
        }
        without_fragment(text)?;
        Ok(Self {
            url,
            text: text.trim().to_owned(),
        })
    }
}

fn without_fragment(text: &str) -> Result<(), String> {
    match text.contains('#') {
        true => Err(format!(
            "{text:?} has a fragment; leave out # and what follows"
        )),
        false => Ok(()),
    }
}

impl fmt::Display for OutboundUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why there is no usable response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// No response.
    #[error("{0}")]
    NoResponse(String),
    /// The response is too long, or ended early.
    #[error("the response is longer than {} KiB, or incomplete", limit / 1024)]
    Partial {
        /// How much is accepted, in bytes.
        limit: usize,
    },
    /// A redirect, which is not followed.
    #[error("the server redirects to {0}, which is not followed; correct the address")]
    Redirect(String),
}

/// Sends requests to servers that settings name.
#[derive(Clone, Debug)]
pub struct OutboundClient {
    client: WebhookClient,
    response_bytes_max: usize,
}

impl OutboundClient {
    /// Trusts the system's authorities and those in the file `ca` of `setting`. Every address is permitted: the URLs come from an
    /// administrator of this host.
    ///
    /// # Errors
    /// When `ca` cannot be read.
    pub fn new(
        ca: Option<&Path>,
        setting: &'static str,
        resolver: Resolver,
    ) -> Result<Self, String> {
        let everywhere = [
            IpNet::from(ipnet::Ipv4Net::default()),
            IpNet::from(ipnet::Ipv6Net::default()),
        ];
        let addresses = AddressPolicy::new(everywhere.to_vec());
        let client = WebhookClient::new(EgressPolicy::new(addresses, resolver), ca)?;
        Ok(Self {
            client: client.with_ca_setting(setting),
            response_bytes_max: RESPONSE_BYTES_MAX,
        })
    }

    /// The same client, which accepts responses of up to `limit` bytes.
    #[must_use]
    pub fn with_response_limit(self, limit: usize) -> Self {
        Self {
            response_bytes_max: limit,
            ..self
        }
    }

    /// Gets JSON.
    ///
    /// # Errors
    /// [`OutboundError`]; any status that is no redirect is a response.
    pub async fn get(&self, url: &OutboundUrl) -> Result<(u16, Vec<u8>), OutboundError> {
        self.send(url, Method::GET, HeaderMap::new(), Bytes::new())
            .await
    }

    /// Posts a form, with `authorization` as `Authorization`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_form(
        &self,
        url: &OutboundUrl,
        form: String,
        authorization: Option<&str>,
    ) -> Result<(u16, Vec<u8>), OutboundError> {
        let mut headers = HeaderMap::new();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form_type);
        if let Some(value) = authorization.and_then(sensitive_header_value) {
            headers.insert(AUTHORIZATION, value);
        }
        self.send(url, Method::POST, headers, Bytes::from(form))
            .await
    }

    /// Posts `body` as `media_type`, which is also what is accepted, with further `headers`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(
        &self,
        url: &OutboundUrl,
        media_type: &'static str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(u16, Vec<u8>), OutboundError> {
        let media_type = HeaderValue::from_static(media_type);
        headers.insert(CONTENT_TYPE, media_type.clone());
        headers.insert(ACCEPT, media_type);
        self.send(url, Method::POST, headers, body).await
    }

    async fn send(
        &self,
        url: &OutboundUrl,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(u16, Vec<u8>), OutboundError> {
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        let target = (method, url.url.path_and_query());
        let reply = self
            .client
            .request(&url.url, target, headers, body, self.response_bytes_max)
            .await;
        let HttpReply {
            status,
            location,
            body,
            is_partial,
        } = reply.map_err(|error| OutboundError::NoResponse(error.to_string()))?;
        if (300..400).contains(&status) {
            let location = location.unwrap_or_else(|| "nowhere".to_owned());
            return Err(OutboundError::Redirect(
                location.chars().take(200).collect(),
            ));
        }
        if is_partial {
            return Err(OutboundError::Partial {
                limit: self.response_bytes_max,
            });
        }
        Ok((status, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_or_local_urls_are_accepted() {
        for good in [
            "https://idp.example.org/realms/main",
            "http://127.0.0.1:5556/dex",
            "http://localhost:8080",
            "http://[::1]:8080/",
        ] {
            assert_eq!(good.parse::<OutboundUrl>().unwrap().as_str(), good);
        }
        let plain = OutboundUrl::on_trusted_network("http://metrics.example.org/prometheus/");
        let plain = plain.unwrap();
        assert!(plain.is_exposed());
        let joined = plain.join("/api/v1/query_range").unwrap();
        let expected = "http://metrics.example.org/prometheus/api/v1/query_range";
        assert_eq!(joined.as_str(), expected);
        assert!(OutboundUrl::on_trusted_network("http://metrics.example.org/#x").is_err());
        for bad in [
            "",
            "http://idp.example.org",
            "http://127.0.0.1.example.org",
            "ftp://idp.example.org",
            "https://user:secret@idp.example.org",
            "https://idp.example.org/#x",
        ] {
            assert!(bad.parse::<OutboundUrl>().is_err(), "{bad}");
        }
    }
}
