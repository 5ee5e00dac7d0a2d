//! A single attempt to send a notification to a target over its channel.

mod alertmanager;
mod mail;
mod slack;
pub(crate) mod webhook;

use std::time::{Duration, Instant};

use accounts::AccountCache;
use bytes::Bytes;
use console_core::clock::now;
use console_core::net::PublicUrl;
use galera::Timestamp;
use galera::publish::notification::Notification;
use galera::publish::notification::delivery::DeliveryAttempt;
use galera::publish::notification::text::truncate;
use http::HeaderMap;

use super::approval_links::{self, ApprovalLinkMaker};
use super::target::{TargetChannel, TargetRecord};
use super::webhook_client::{ReceiverUrl, WebhookClient, WebhookError, WebhookResponse};

pub(super) use alertmanager::{FiringAlert, REPEAT_INTERVAL};
pub(crate) use mail::Mailer;
pub use mail::parse_sender;
pub use mail::{SmtpConfig, SmtpTls};

/// How much of a response is kept, in characters.
const ANSWER_CHARS_MAX: usize = 300;
/// Limit for an attempt as a whole, above the limits of the channels themselves.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(45);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    Accepted,
    /// The receiver may accept it later.
    Retry,
    /// The receiver refused this particular message and is unlikely to accept it later.
    Rejected,
}

/// Result of sending to a receiver.
pub(crate) struct DeliveryReply {
    pub(super) outcome: DeliveryOutcome,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) answer: String,
}

impl DeliveryReply {
    fn retry(error: impl std::fmt::Display) -> Self {
        Self {
            outcome: DeliveryOutcome::Retry,
            status: None,
            error: Some(error.to_string()),
            answer: String::new(),
        }
    }

    fn rejected(error: impl std::fmt::Display) -> Self {
        Self {
            outcome: DeliveryOutcome::Rejected,
            ..Self::retry(error)
        }
    }

    /// Classifies the response to an HTTP request.
    pub(crate) fn from_http(result: Result<WebhookResponse, WebhookError>) -> Self {
        let response = match result {
            Ok(response) => response,
            Err(error @ WebhookError::InvalidUrl(_)) => return Self::rejected(error),
            Err(error) => return Self::retry(error),
        };
        let status = response.status;
        let (outcome, error) = match status {
            200..=299 => (DeliveryOutcome::Accepted, None),
            300..=399 => {
                let to = response.location.as_deref().unwrap_or("an unknown address");
                let to = truncate(to, 200);
                let error = format!(
                    "the receiver returned {status}, a redirect to {to}, which is not followed; enter the final address"
                );
                (DeliveryOutcome::Retry, Some(error))
            }
            // These refuse the message itself, so retrying is unlikely to help.
            400 | 405 | 406 | 411 | 413 | 414 | 415 | 422 => (
                DeliveryOutcome::Rejected,
                Some(format!("the receiver returned {status}")),
            ),
            _ => (
                DeliveryOutcome::Retry,
                Some(format!("the receiver returned {status}")),
            ),
        };
        Self {
            outcome,
            status: Some(status),
            error,
            answer: response.body,
        }
    }
}

/// Sends notifications to targets.
#[derive(Clone)]
pub(super) struct NotificationSender {
    pub(super) webhook_client: WebhookClient,
    pub(super) mailer: Option<Mailer>,
    pub(super) public_url: Option<PublicUrl>,
    pub(super) approval_links: Option<ApprovalLinkMaker>,
    pub(super) directory: AccountCache,
}

impl NotificationSender {
    /// Attempts to send `notification` to `target` once.
    pub(super) async fn attempt(
        &self,
        id: &str,
        target: &TargetRecord,
        notification: &Notification,
    ) -> (DeliveryOutcome, DeliveryAttempt) {
        let (at, began) = (now(), Instant::now());
        let approve = self.approval_link(id, notification).await;
        let sending = self.send(id, target, notification, approve.as_deref(), at);
        let reply = tokio::time::timeout(ATTEMPT_TIMEOUT, sending).await;
        let reply = reply.unwrap_or_else(|_| {
            DeliveryReply::retry(format!("timed out after {} s", ATTEMPT_TIMEOUT.as_secs()))
        });
        let redacted = |text: &str| match &approve {
            // A receiver may return what it received, and the log is shown to operators.
            Some(link) => approval_links::without_token(text, link),
            None => text.to_owned(),
        };
        let attempt = DeliveryAttempt {
            at,
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: reply.status,
            error: reply
                .error
                .map(|error| truncate(&redacted(&error), ANSWER_CHARS_MAX)),
            answer: truncate(redacted(&reply.answer).trim(), ANSWER_CHARS_MAX),
        };
        (reply.outcome, attempt)
    }

    async fn send(
        &self,
        id: &str,
        target: &TargetRecord,
        notification: &Notification,
        approve: Option<&str>,
        at: Timestamp,
    ) -> DeliveryReply {
        match &target.channel {
            TargetChannel::Webhook { url, secret } => {
                let body = webhook::body(notification, &self.link(notification), approve);
                let headers = webhook::headers(secret.0.expose(), &notification.id, &body, at);
                self.post(url, None, headers, body).await
            }
            TargetChannel::Slack { url } => {
                let body = slack::body(
                    notification,
                    self.public_url.is_some().then(|| self.link(notification)),
                    approve,
                );
                self.post(url.0.expose(), None, HeaderMap::new(), body)
                    .await
            }
            TargetChannel::Alertmanager { url, authorization } => {
                let link = self.link(notification);
                let alerts = alertmanager::alerts(notification, &link, approve, at);
                let authorization = authorization.as_ref().map(|secret| secret.0.expose());
                self.post_alerts(url, authorization, &alerts).await
            }
            TargetChannel::Email { to, people } => match &self.mailer {
                Some(mailer) => {
                    let recipients = self.recipients(to, *people, notification);
                    let links = mail::MailLinks {
                        page: &self.link(notification),
                        approve,
                    };
                    mailer.send(id, &recipients, notification, links).await
                }
                None => DeliveryReply::retry(
                    "no SMTP server is configured; set --smtp-host and --smtp-from",
                ),
            },
        }
    }

    /// Repeats the firing alerts to an Alertmanager, which resolves alerts that are not repeated.
    pub(super) async fn repeat_alerts(
        &self,
        target: &TargetRecord,
        firing: &[FiringAlert],
    ) -> Option<DeliveryReply> {
        let TargetChannel::Alertmanager { url, authorization } = &target.channel else {
            return None;
        };
        let links: Vec<String> = firing
            .iter()
            .map(|one| self.link(&one.notification))
            .collect();
        let alerts: Vec<_> = firing
            .iter()
            .zip(&links)
            .filter_map(|(one, link)| alertmanager::repeated_alert(one, link, now()))
            .collect();
        let authorization = authorization.as_ref().map(|secret| secret.0.expose());
        Some(self.post_alerts(url, authorization, &alerts).await)
    }

    async fn post_alerts(
        &self,
        url: &str,
        authorization: Option<&str>,
        alerts: &[alertmanager::AlertmanagerAlert],
    ) -> DeliveryReply {
        if alerts.is_empty() {
            return DeliveryReply {
                outcome: DeliveryOutcome::Accepted,
                status: None,
                error: None,
                answer: "No alert to send.".to_owned(),
            };
        }
        let body = Bytes::from(serde_json::to_vec(alerts).unwrap_or_default());
        let headers = alertmanager::headers(authorization);
        self.post(url, Some("/api/v2/alerts"), headers, body).await
    }

    async fn post(
        &self,
        url: &str,
        path: Option<&str>,
        headers: HeaderMap,
        body: Bytes,
    ) -> DeliveryReply {
        let url: ReceiverUrl = match url.parse() {
            Ok(url) => url,
            Err(error) => return DeliveryReply::rejected(format!("invalid URL: {error}")),
        };
        DeliveryReply::from_http(self.webhook_client.post(&url, path, headers, body).await)
    }

    /// The link by which an approver opens the request that `notification` is about, if there is one.
    async fn approval_link(&self, target: &str, notification: &Notification) -> Option<String> {
        let links = self.approval_links.as_ref()?;
        links.link(notification, target).await
    }

    /// Link to the console's page: absolute if the public URL is known.
    fn link(&self, notification: &Notification) -> String {
        match &self.public_url {
            Some(url) => format!("{url}{}", notification.path),
            None => notification.path.clone(),
        }
    }

    fn recipients(&self, to: &[String], people: bool, notification: &Notification) -> Vec<String> {
        let mut recipients = to.to_vec();
        if people {
            for address in self.directory.email_addresses(&notification.audience) {
                if !recipients.contains(&address) {
                    recipients.push(address);
                }
            }
        }
        recipients
    }
}

#[cfg(test)]
mod tests;
