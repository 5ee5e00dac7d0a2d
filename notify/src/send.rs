//! One attempt to tell one target one thing, over whichever channel it has.

mod alertmanager;
mod mail;
mod slack;
mod webhook;

use std::time::{Duration, Instant};

use accounts::Directory;
use bytes::Bytes;
use console_core::clock::now;
use console_core::net::PublicUrl;
use galera::Timestamp;
use galera::publish::notification::Notice;
use galera::publish::notification::delivery::Attempt;
use galera::publish::notification::words::bounded;
use http::HeaderMap;

use super::post::{Answer, PostError, Poster, ReceiverUrl};
use super::target::{Channel, Target};

pub(super) use alertmanager::{Firing, REPEAT};
pub(crate) use mail::Mailer;
pub use mail::sender;
pub use mail::{SmtpConfig, SmtpTls};

/// How much of an answer is kept, in characters.
const ANSWER_MAX: usize = 300;
/// The longest an attempt takes, whatever it meets: above the limits of the channels themselves.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(45);

/// What an attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Taken,
    /// The receiver may take it later.
    Later,
    /// The receiver does not want this very message; it will hardly want it later.
    Unwanted,
}

/// What came of asking a receiver.
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) answer: String,
}

impl Reply {
    fn later(error: impl std::fmt::Display) -> Self {
        Self {
            outcome: Outcome::Later,
            status: None,
            error: Some(error.to_string()),
            answer: String::new(),
        }
    }

    fn unwanted(error: impl std::fmt::Display) -> Self {
        Self {
            outcome: Outcome::Unwanted,
            ..Self::later(error)
        }
    }

    /// Reads an answer to an HTTP request.
    fn to(posted: Result<Answer, PostError>) -> Self {
        let answer = match posted {
            Ok(answer) => answer,
            Err(error @ PostError::Url(_)) => return Self::unwanted(error),
            Err(error) => return Self::later(error),
        };
        let status = answer.status;
        let (outcome, error) = match status {
            200..=299 => (Outcome::Taken, None),
            300..=399 => {
                let to = answer.location.as_deref().unwrap_or("somewhere else");
                let to = bounded(to, 200);
                let error = format!(
                    "it answered {status}, a redirect to {to}, which is not followed; enter the final address"
                );
                (Outcome::Later, Some(error))
            }
            // Of these it is the message that is wrong, not the moment.
            400 | 405 | 406 | 411 | 413 | 414 | 415 | 422 => {
                (Outcome::Unwanted, Some(format!("it answered {status}")))
            }
            _ => (Outcome::Later, Some(format!("it answered {status}"))),
        };
        Self {
            outcome,
            status: Some(status),
            error,
            answer: answer.text,
        }
    }
}

/// What tells targets.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) poster: Poster,
    pub(super) mailer: Option<Mailer>,
    pub(super) public_url: Option<PublicUrl>,
    pub(super) directory: Directory,
}

impl Sender {
    /// Tells `target` of `notice`, once.
    pub(super) async fn attempt(
        &self,
        id: &str,
        target: &Target,
        notice: &Notice,
    ) -> (Outcome, Attempt) {
        let (at, began) = (now(), Instant::now());
        let reply = tokio::time::timeout(ATTEMPT_MAX, self.tell(id, target, notice, at)).await;
        let reply = reply.unwrap_or_else(|_| {
            Reply::later(format!("not done within {} s", ATTEMPT_MAX.as_secs()))
        });
        let attempt = Attempt {
            at,
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: reply.status,
            error: reply.error.map(|error| bounded(&error, ANSWER_MAX)),
            answer: bounded(reply.answer.trim(), ANSWER_MAX),
        };
        (reply.outcome, attempt)
    }

    async fn tell(&self, id: &str, target: &Target, notice: &Notice, at: Timestamp) -> Reply {
        match &target.channel {
            Channel::Webhook { url, secret } => {
                let body = webhook::body(notice, &self.link(notice));
                let headers = webhook::headers(secret.0.expose(), notice, &body, at);
                self.post(url, None, headers, body).await
            }
            Channel::Slack { url } => {
                let body =
                    slack::body(notice, self.public_url.is_some().then(|| self.link(notice)));
                self.post(url.0.expose(), None, HeaderMap::new(), body)
                    .await
            }
            Channel::Alertmanager { url, authorization } => {
                let alerts = alertmanager::alerts(notice, &self.link(notice), at);
                let authorization = authorization.as_ref().map(|kept| kept.0.expose());
                self.alert(url, authorization, &alerts).await
            }
            Channel::Email { to, people } => match &self.mailer {
                Some(mailer) => {
                    let recipients = self.recipients(to, *people, notice);
                    mailer
                        .send(id, &recipients, notice, &self.link(notice))
                        .await
                }
                None => {
                    Reply::later("the console has no SMTP server; set --smtp-host and --smtp-from")
                }
            },
        }
    }

    /// Tells Alertmanager again of what is still so; it forgets what is not repeated.
    pub(super) async fn repeat(&self, target: &Target, firing: &[Firing]) -> Option<Reply> {
        let Channel::Alertmanager { url, authorization } = &target.channel else {
            return None;
        };
        let links: Vec<String> = firing.iter().map(|one| self.link(&one.notice)).collect();
        let alerts: Vec<_> = firing
            .iter()
            .zip(&links)
            .filter_map(|(one, link)| alertmanager::still(one, link, now()))
            .collect();
        let authorization = authorization.as_ref().map(|kept| kept.0.expose());
        Some(self.alert(url, authorization, &alerts).await)
    }

    async fn alert(
        &self,
        url: &str,
        authorization: Option<&str>,
        alerts: &[alertmanager::Alert],
    ) -> Reply {
        if alerts.is_empty() {
            return Reply {
                outcome: Outcome::Taken,
                status: None,
                error: None,
                answer: "Nothing to tell an Alertmanager.".to_owned(),
            };
        }
        let body = Bytes::from(serde_json::to_vec(alerts).unwrap_or_default());
        let headers = alertmanager::headers(authorization);
        self.post(url, Some("/api/v2/alerts"), headers, body).await
    }

    async fn post(&self, url: &str, path: Option<&str>, headers: HeaderMap, body: Bytes) -> Reply {
        let url: ReceiverUrl = match url.parse() {
            Ok(url) => url,
            Err(error) => return Reply::unwanted(format!("the address is none: {error}")),
        };
        Reply::to(self.poster.post(&url, path, headers, body).await)
    }

    /// Where in the console to look: a whole address where the console knows its own.
    fn link(&self, notice: &Notice) -> String {
        match &self.public_url {
            Some(url) => format!("{url}{}", notice.path),
            None => notice.path.clone(),
        }
    }

    fn recipients(&self, to: &[String], people: bool, notice: &Notice) -> Vec<String> {
        let mut recipients = to.to_vec();
        if people {
            for address in self.directory.addresses(&notice.audience) {
                if !recipients.contains(&address) {
                    recipients.push(address);
                }
            }
        }
        recipients
    }
}
