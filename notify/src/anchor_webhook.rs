//! Anchors of the audit trail, sent to a webhook that is a setting.
//!
//! It is not a target: targets and the outbox are in etcd, and an anchor protects from a client that can change what is
//! there.

use std::path::Path;

use bytes::Bytes;
use console_core::address_policy::AddressPolicy;
use console_core::resolver::Resolver;
use galera::record::audit::AuditAnchor;
use galera::{ReplicaId, Timestamp};
use ipnet::IpNet;
use registry::Secret;
use serde::Serialize;

use super::egress::EgressPolicy;
use super::sender::{DeliveryReply, webhook};
use super::webhook_client::{ReceiverUrl, WebhookClient};

/// Where anchors are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorWebhookSettings {
    url: ReceiverUrl,
    secret: Secret,
}

impl AnchorWebhookSettings {
    /// Anchors to `url`, signed with `secret`.
    ///
    /// # Errors
    /// Why `url` is not a valid http or https URL.
    pub fn new(url: &str, secret: Secret) -> Result<Self, String> {
        let url = url.parse()?;
        Ok(Self { url, secret })
    }
}

/// A message with an anchor. One line, so that a receiver that appends bodies to a file has one anchor a line.
#[derive(Serialize)]
struct AnchorMessage<'a> {
    version: u32,
    id: &'a str,
    kind: &'static str,
    at: Timestamp,
    /// `SEQ:HASH`, as in log and file.
    anchor: String,
    replica: &'a str,
}

/// Sends anchors of one replica.
#[derive(Clone, Debug)]
pub struct AnchorWebhook {
    settings: AnchorWebhookSettings,
    client: WebhookClient,
    replica: ReplicaId,
}

impl AnchorWebhook {
    /// Sends to the webhook of `settings`, whose certificate the system's authorities or those in the file `ca` signed. Every
    /// address is permitted: the URL comes from an administrator of this host.
    ///
    /// # Errors
    /// When `ca` cannot be read.
    pub fn new(
        settings: AnchorWebhookSettings,
        ca: Option<&Path>,
        resolver: Resolver,
        replica: ReplicaId,
    ) -> Result<Self, String> {
        let everywhere = [
            IpNet::from(ipnet::Ipv4Net::default()),
            IpNet::from(ipnet::Ipv6Net::default()),
        ];
        let addresses = AddressPolicy::new(everywhere.to_vec());
        Ok(Self {
            client: WebhookClient::new(EgressPolicy::new(addresses, resolver), ca)?,
            settings,
            replica,
        })
    }

    /// The receiver, without the path, which may be secret.
    #[must_use]
    pub fn receiver(&self) -> String {
        self.settings.url.origin()
    }

    /// Sends `anchor` once. Messages about one anchor have the same ID.
    ///
    /// # Errors
    /// Why the receiver did not accept it.
    pub async fn send(&self, anchor: &AuditAnchor, at: Timestamp) -> Result<(), String> {
        let id = format!("audit-anchor.{}", anchor.sequence);
        let body = body(&AnchorMessage {
            version: 1,
            id: &id,
            kind: "audit_anchor",
            at,
            anchor: anchor.to_string(),
            replica: self.replica.as_str(),
        });
        let headers = webhook::headers(self.settings.secret.expose(), &id, &body, at);
        let posted = self.client.post(&self.settings.url, None, headers, body);
        match DeliveryReply::from_http(posted.await).error {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

fn body(message: &AnchorMessage<'_>) -> Bytes {
    // Strings, numbers and times always serialize.
    let mut body = serde_json::to_vec(message).unwrap_or_default();
    body.push(b'\n');
    body.into()
}

#[cfg(test)]
mod tests {
    use galera::record::audit::find_anchors;

    use super::*;

    #[test]
    fn what_a_receiver_appends_to_a_file_is_a_file_of_anchors() {
        let message = |sequence: u64| {
            let anchor = AuditAnchor {
                sequence,
                hash: format!("{sequence:064x}"),
            };
            body(&AnchorMessage {
                version: 1,
                id: "audit-anchor.17",
                kind: "audit_anchor",
                at: Timestamp::from_unix_millis(1_795_420_800_000),
                anchor: anchor.to_string(),
                replica: "console-1/0badcafe",
            })
        };
        let text = String::from_utf8(message(17).to_vec()).unwrap();
        let hash = format!("{:064x}", 17);
        assert_eq!(
            text,
            format!(
                r#"{{"version":1,"id":"audit-anchor.17","kind":"audit_anchor","at":"2026-11-23T08:00:00Z","anchor":"17:{hash}","replica":"console-1/0badcafe"}}"#
            ) + "\n"
        );
        let kept = [message(17), message(18)].concat();
        let kept = String::from_utf8(kept).unwrap();
        // Also if the receiver removes the ends of lines.
        for kept in [kept.replace('\n', ""), kept] {
            let found: Vec<u64> = find_anchors(&kept).map(|anchor| anchor.sequence).collect();
            assert_eq!(found, [17, 18]);
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused() {
        for url in ["", "syslog://loghost", "https://user:secret@loghost/"] {
            let error = AnchorWebhookSettings::new(url, Secret::new("0123456789abcdef"));
            assert!(error.is_err(), "{url}");
        }
    }
}
