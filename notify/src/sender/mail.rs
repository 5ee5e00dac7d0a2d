//! E-mail by SMTP: one message in one transaction to all recipients of a notification.

use std::path::Path;
use std::time::Duration;

use galera::publish::notification::Notification;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use registry::Secret;
use tls_files::read_authorities;

use super::super::tls::explain_tls;
use super::{DeliveryOutcome, DeliveryReply};

/// Limit for connecting and for each reply of the server.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Replies that concern the console's account and not a message (RFC 4954): authentication required, mechanism too weak,
/// invalid credentials, encryption required.
const ACCOUNT_ERROR_CODES: [u16; 4] = [530, 534, 535, 538];

/// How the connection to the SMTP server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS, required: the connection fails where the server does not offer it.
    StartTls,
    /// TLS from the beginning.
    Implicit,
    /// Unencrypted.
    None,
}

impl SmtpTls {
    /// The default port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// The SMTP server and the sender.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Host name, which the server's certificate must be valid for.
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    /// User name and password, if the server requires authentication.
    pub account: Option<(String, Secret)>,
    /// The sender: `address`, or `Name <address>`.
    pub from: String,
}

/// The links in a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct MailLinks<'a> {
    /// The page that the notification is about.
    pub(super) page: &'a str,
    /// The link by which an approver opens a request.
    pub(super) approve: Option<&'a str>,
}

/// Sends e-mail through the configured server.
#[derive(Clone)]
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Parses a sender.
///
/// # Errors
/// When `text` is not a valid mailbox; the message quotes it.
pub fn parse_sender(text: &str) -> Result<Mailbox, String> {
    text.trim().parse().map_err(|_| {
        format!("{text:?} is not a valid sender; expected e.g. console@example.org or Galera Console <console@example.org>")
    })
}

impl Mailer {
    /// Creates a mailer that trusts the system's CA certificates and those in the file `ca`. Opens no connection yet.
    ///
    /// # Errors
    /// When `ca` cannot be read or the sender is invalid.
    pub(crate) fn new(config: &SmtpConfig, ca: Option<&Path>) -> Result<Self, String> {
        let tls = match config.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::StartTls => Tls::Required(tls_parameters(config, ca)?),
            SmtpTls::Implicit => Tls::Wrapper(tls_parameters(config, ca)?),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.clone())
                .port(config.port)
                .tls(tls)
                .timeout(Some(STEP_TIMEOUT));
        if let Some((user, password)) = &config.account {
            builder =
                builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        Ok(Self {
            transport: builder.build(),
            from: parse_sender(&config.from)?,
        })
    }

    /// Sends `notification` to `recipients`.
    pub(super) async fn send(
        &self,
        target: &str,
        recipients: &[String],
        notification: &Notification,
        links: MailLinks<'_>,
    ) -> DeliveryReply {
        if recipients.is_empty() {
            return DeliveryReply::rejected(
                "none of the accounts concerned has an e-mail address; set one with: galera-console user email NAME ADDRESS",
            );
        }
        let message = match self.message(target, recipients, notification, links) {
            Ok(message) => message,
            Err(error) => return DeliveryReply::rejected(error),
        };
        match self.transport.send(message).await {
            Ok(response) => {
                let text: Vec<&str> = response.message().collect();
                DeliveryReply {
                    outcome: DeliveryOutcome::Accepted,
                    status: u16::from(response.code()).into(),
                    error: None,
                    answer: text.join(" "),
                }
            }
            Err(error) => failure_reply(&error),
        }
    }

    pub(super) fn message(
        &self,
        target: &str,
        recipients: &[String],
        notification: &Notification,
        links: MailLinks<'_>,
    ) -> Result<Message, String> {
        let addresses: Result<Vec<Mailbox>, String> = recipients
            .iter()
            .map(|text| {
                let address: Address = text
                    .parse()
                    .map_err(|_| format!("{text:?} is not a valid e-mail address"))?;
                Ok(Mailbox::new(None, address))
            })
            .collect();
        let to: Mailboxes = addresses?.into_iter().collect();
        let mut text = notification.text.clone();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        let MailLinks { page, approve } = links;
        if let Some(approve) = approve {
            text.push_str(&format!(
                "{}, once signed in; the link works once:\n{approve}\n\n",
                super::slack::REVIEW
            ));
        }
        text.push_str(&format!("At {}\n{page}\n", notification.at));
        // The same for every attempt, so that mailboxes detect repetitions.
        let id = format!(
            "<{}.{target}@{}>",
            notification.id,
            self.from.email.domain()
        );
        Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(to))
            .subject(format!(
                "[{}] {}",
                notification.severity.as_str(),
                notification.title
            ))
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| error.to_string())
    }
}

fn tls_parameters(config: &SmtpConfig, ca: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = ca {
        let found = read_authorities(path).map_err(|error| error.to_string())?;
        for certificate in found {
            let certificate = Certificate::from_der(certificate.to_vec());
            builder = builder.add_root_certificate(
                certificate
                    .map_err(|error| format!("{}: {}", path.display(), error_chain(&error)))?,
            );
        }
    }
    builder.build_rustls().map_err(|error| error_chain(&error))
}

/// Classifies a failure.
fn failure_reply(error: &lettre::transport::smtp::Error) -> DeliveryReply {
    let status = error.status().map(u16::from);
    let text = match (explain_tls(error, "--notify-ca"), status) {
        (Some(why), _) => format!("TLS handshake with the SMTP server failed: {why}"),
        (None, Some(code)) if ACCOUNT_ERROR_CODES.contains(&code) => format!(
            "the SMTP server rejected the console's credentials; check --smtp-user and --smtp-password-file: {}",
            error_chain(error)
        ),
        (None, _) => error_chain(error),
    };
    // A rejected account is not the message's fault: once the account is fixed, every message is still to be delivered.
    let rejected =
        error.is_permanent() && status.is_none_or(|code| !ACCOUNT_ERROR_CODES.contains(&code));
    let mut reply = if rejected {
        DeliveryReply::rejected(text)
    } else {
        DeliveryReply::retry(text)
    };
    reply.status = status;
    reply
}

/// An error and its causes on one line.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
