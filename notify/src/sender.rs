//! One attempt to tell one target one thing, over whichever channel it has.

mod alertmanager;
mod mail;
mod slack;
mod webhook;

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

use super::target::{TargetChannel, TargetRecord};
use super::webhook_client::{ReceiverUrl, WebhookClient, WebhookError, WebhookResponse};

pub(super) use alertmanager::{FiringAlert, REPEAT_INTERVAL};
pub(crate) use mail::Mailer;
pub use mail::parse_sender;
pub use mail::{SmtpConfig, SmtpTls};

/// How much of an answer is kept, in characters.
const ANSWER_CHARS_MAX: usize = 300;
/// The longest an attempt takes, whatever it meets: above the limits of the channels themselves.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(45);

/// What an attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    /// The receiver has it.
    Accepted,
    /// The receiver may take it later.
    Retry,
    /// The receiver does not want this very message; it will hardly want it later.
    Rejected,
}

/// What came of asking a receiver.
pub(super) struct DeliveryReply {
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

    /// Reads an answer to an HTTP request.
    fn from_http(posted: Result<WebhookResponse, WebhookError>) -> Self {
        let answer = match posted {
            Ok(answer) => answer,
            Err(error @ WebhookError::InvalidUrl(_)) => return Self::rejected(error),
            Err(error) => return Self::retry(error),
        };
        let status = answer.status;
        let (outcome, error) = match status {
            200..=299 => (DeliveryOutcome::Accepted, None),
            300..=399 => {
                let to = answer.location.as_deref().unwrap_or("somewhere else");
                let to = truncate(to, 200);
                let error = format!(
                    "it answered {status}, a redirect to {to}, which is not followed; enter the final address"
                );
                (DeliveryOutcome::Retry, Some(error))
            }
            // Of these it is the message that is wrong, not the moment.
            400 | 405 | 406 | 411 | 413 | 414 | 415 | 422 => (
                DeliveryOutcome::Rejected,
                Some(format!("it answered {status}")),
            ),
            _ => (
                DeliveryOutcome::Retry,
                Some(format!("it answered {status}")),
            ),
        };
        Self {
            outcome,
            status: Some(status),
            error,
            answer: answer.body,
        }
    }
}

/// What tells targets.
#[derive(Clone)]
pub(super) struct NotificationSender {
    pub(super) webhook_client: WebhookClient,
    pub(super) mailer: Option<Mailer>,
    pub(super) public_url: Option<PublicUrl>,
    pub(super) directory: AccountCache,
}

impl NotificationSender {
    /// Tells `target` of `notification`, once.
    pub(super) async fn attempt(
        &self,
        id: &str,
        target: &TargetRecord,
        notice: &Notification,
    ) -> (DeliveryOutcome, DeliveryAttempt) {
        let (at, began) = (now(), Instant::now());
        let reply = tokio::time::timeout(ATTEMPT_TIMEOUT, self.send(id, target, notice, at)).await;
        let reply = reply.unwrap_or_else(|_| {
            DeliveryReply::retry(format!("not done within {} s", ATTEMPT_TIMEOUT.as_secs()))
        });
        let attempt = DeliveryAttempt {
            at,
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: reply.status,
            error: reply.error.map(|error| truncate(&error, ANSWER_CHARS_MAX)),
            answer: truncate(reply.answer.trim(), ANSWER_CHARS_MAX),
        };
        (reply.outcome, attempt)
    }

    async fn send(
        &self,
        id: &str,
        target: &TargetRecord,
        notice: &Notification,
        at: Timestamp,
    ) -> DeliveryReply {
        match &target.channel {
            TargetChannel::Webhook { url, secret } => {
                let body = webhook::body(notice, &self.link(notice));
                let headers = webhook::headers(secret.0.expose(), notice, &body, at);
                self.post(url, None, headers, body).await
            }
            TargetChannel::Slack { url } => {
                let body =
                    slack::body(notice, self.public_url.is_some().then(|| self.link(notice)));
                self.post(url.0.expose(), None, HeaderMap::new(), body)
                    .await
            }
            TargetChannel::Alertmanager { url, authorization } => {
                let alerts = alertmanager::alerts(notice, &self.link(notice), at);
                let authorization = authorization.as_ref().map(|kept| kept.0.expose());
                self.post_alerts(url, authorization, &alerts).await
            }
            TargetChannel::Email { to, people } => match &self.mailer {
                Some(mailer) => {
                    let recipients = self.recipients(to, *people, notice);
                    mailer
                        .send(id, &recipients, notice, &self.link(notice))
                        .await
                }
                None => DeliveryReply::retry(
                    "the console has no SMTP server; set --smtp-host and --smtp-from",
                ),
            },
        }
    }

    /// Tells Alertmanager again of what is still so; it forgets what is not repeated.
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
        let authorization = authorization.as_ref().map(|kept| kept.0.expose());
        Some(self.post_alerts(url, authorization, &alerts).await)
    }

    async fn post_alerts(
        &self,
        url: &str,
        authorization: Option<&str>,
        alerts: &[alertmanager::Alert],
    ) -> DeliveryReply {
        if alerts.is_empty() {
            return DeliveryReply {
                outcome: DeliveryOutcome::Accepted,
                status: None,
                error: None,
                answer: "Nothing to tell an Alertmanager.".to_owned(),
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
            Err(error) => return DeliveryReply::rejected(format!("the address is none: {error}")),
        };
        DeliveryReply::from_http(self.webhook_client.post(&url, path, headers, body).await)
    }

    /// Where in the console to look: a whole address where the console knows its own.
    fn link(&self, notice: &Notification) -> String {
        match &self.public_url {
            Some(url) => format!("{url}{}", notice.path),
            None => notice.path.clone(),
        }
    }

    fn recipients(&self, to: &[String], people: bool, notice: &Notification) -> Vec<String> {
        let mut recipients = to.to_vec();
        if people {
            for address in self.directory.email_addresses(&notice.audience) {
                if !recipients.contains(&address) {
                    recipients.push(address);
                }
            }
        }
        recipients
    }
}
