//! E-mail by SMTP: one message, one transaction, to everybody whom a notice concerns.

use std::path::Path;
use std::time::Duration;

use galera::publish::notification::Notification;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use registry::Secret;

use super::super::tls;
use super::{DeliveryOutcome, DeliveryReply};

/// How long connecting and each answer of the server may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that are about the console's account and not about a message: sign in first, a mechanism that is too weak, wrong
/// credentials, sign in encrypted (RFC 4954).
const ACCOUNT_ERROR_CODES: [u16; 4] = [530, 534, 535, 538];

/// How the connection to the SMTP server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// In clear at first, then encrypted before anything is said; refused where that is not offered.
    StartTls,
    /// Encrypted from the beginning.
    Implicit,
    /// Never.
    None,
}

impl SmtpTls {
    /// The usual port.
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
    /// Its name, which its certificate must carry.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The encryption.
    pub tls: SmtpTls,
    /// Name and password, where it wants them.
    pub account: Option<(String, Secret)>,
    /// The sender: `address`, or `Name <address>`.
    pub from: String,
}

/// What sends e-mail.
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

/// Whether `text` can be a sender.
///
/// # Errors
/// A sentence.
pub fn parse_sender(text: &str) -> Result<Mailbox, String> {
    text.trim().parse().map_err(|_| {
        format!("{text:?} is no sender; write e.g. console@example.org or Galera Console <console@example.org>")
    })
}

impl Mailer {
    /// Prepares connections without opening one; trusts the system's authorities and those in the file `ca`.
    ///
    /// # Errors
    /// A sentence about `ca` or the settings.
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

    /// Sends `notice` to `recipients`.
    pub(super) async fn send(
        &self,
        target: &str,
        recipients: &[String],
        notice: &Notification,
        link: &str,
    ) -> DeliveryReply {
        if recipients.is_empty() {
            return DeliveryReply::rejected(
                "none of the accounts that it concerns has an e-mail address; set one: galera-console user email NAME ADDRESS",
            );
        }
        let message = match self.message(target, recipients, notice, link) {
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

    fn message(
        &self,
        target: &str,
        recipients: &[String],
        notice: &Notification,
        link: &str,
    ) -> Result<Message, String> {
        let addresses: Result<Vec<Mailbox>, String> = recipients
            .iter()
            .map(|text| {
                let address: Address = text
                    .parse()
                    .map_err(|_| format!("{text:?} is no e-mail address"))?;
                Ok(Mailbox::new(None, address))
            })
            .collect();
        let to: Mailboxes = addresses?.into_iter().collect();
        let mut text = notice.text.clone();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&format!("At {}\n{link}\n", notice.at));
        // The same for every attempt, so that mailboxes recognise a message that came twice.
        let id = format!("<{}.{target}@{}>", notice.id, self.from.email.domain());
        Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(to))
            .subject(format!("[{}] {}", notice.severity.as_str(), notice.title))
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| error.to_string())
    }
}

fn tls_parameters(config: &SmtpConfig, ca: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = ca {
        for certificate in tls::load_ca_certificates(path)? {
            let certificate = Certificate::from_der(certificate.to_vec());
            builder = builder.add_root_certificate(
                certificate
                    .map_err(|error| format!("{}: {}", path.display(), error_chain(&error)))?,
            );
        }
    }
    builder.build_rustls().map_err(|error| error_chain(&error))
}

/// Reads what kept a message from being taken.
fn failure_reply(error: &lettre::transport::smtp::Error) -> DeliveryReply {
    let status = error.status().map(u16::from);
    let text = match (tls::explain_tls_error(error), status) {
        (Some(why), _) => format!("no TLS with the SMTP server: {why}"),
        (None, Some(code)) if ACCOUNT_ERROR_CODES.contains(&code) => format!(
            "the SMTP server does not let the console in; look at --smtp-user and --smtp-password-file: {}",
            error_chain(error)
        ),
        (None, _) => error_chain(error),
    };
    // A refused account is no fault of the message: whoever mends the account wants every message all the same.
    let unwanted =
        error.is_permanent() && status.is_none_or(|code| !ACCOUNT_ERROR_CODES.contains(&code));
    let mut reply = if unwanted {
        DeliveryReply::rejected(text)
    } else {
        DeliveryReply::retry(text)
    };
    reply.status = status;
    reply
}

/// An error with its causes in one line.
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
