//! A real SMTP server with a Maildir.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::super::certificates::CertificateFiles;
use super::super::ports::ReservedPort;
use super::super::process::{LabProcess, Program};
use super::{LOOPBACK, wait_until_listening};

/// A received e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// The `To` header.
    pub to: String,
    pub subject: String,
    pub id: String,
    /// All of it.
    pub text: String,
}

/// What the server requires of senders.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmtpSecurity<'a> {
    /// Its certificate, for encryption; in clear without one.
    pub identity: Option<&'a CertificateFiles>,
    /// Encrypted from the beginning instead of by STARTTLS.
    pub implicit: bool,
    /// `NAME:PASSWORD` that must be given.
    pub account: Option<&'a str>,
}

/// `aiosmtpd`, which keeps every message in a Maildir.
pub struct SmtpReceiver {
    port: ReservedPort,
    mailbox: PathBuf,
    _process: LabProcess,
}

impl SmtpReceiver {
    /// Starts it with its files below `directory`; it accepts all mail.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub async fn start(directory: &Path) -> Result<Self> {
        Self::start_secured(directory, SmtpSecurity::default()).await
    }

    /// Starts it so that it rejects senders that do not meet `security`.
    ///
    /// # Errors
    /// As [`SmtpReceiver::start`].
    pub async fn start_secured(directory: &Path, security: SmtpSecurity<'_>) -> Result<Self> {
        let port = ReservedPort::reserve(LOOPBACK)?;
        let number = port.number().to_string();
        let mailbox = directory.join(format!("mail-{number}"));
        let script = directory.join(format!("smtp-{number}.py"));
        std::fs::write(&script, include_str!("smtp.py"))?;
        let log = directory.join(format!("smtp-{number}.log"));
        // The interpreter with the packaged modules; PATH may have another one first.
        let mut program = Program::new("aiosmtpd", "/usr/bin/python3", &log)
            .arg(script.display().to_string())
            .args(["--port", &number])
            .args(["--mailbox", &mailbox.display().to_string()]);
        if let Some(identity) = security.identity {
            let tls = if security.implicit {
                "implicit"
            } else {
                "starttls"
            };
            program = program
                .args(["--tls", tls])
                .args(["--certificate", &identity.certificate.display().to_string()])
                .args(["--key", &identity.key.display().to_string()]);
        }
        if let Some(account) = security.account {
            program = program.args(["--account", account]);
        }
        let process = program.start()?;
        wait_until_listening("aiosmtpd", &port, &process).await?;
        Ok(Self {
            port,
            mailbox,
            _process: process,
        })
    }

    /// Its port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// All mails in order of arrival.
    ///
    /// # Errors
    /// If the Maildir cannot be read.
    pub fn mails(&self) -> Result<Vec<ReceivedMail>> {
        let mut files = Vec::new();
        for file in std::fs::read_dir(self.mailbox.join("new"))
            .into_iter()
            .flatten()
        {
            let path = file?.path();
            files.push((std::fs::metadata(&path)?.modified()?, path));
        }
        files.sort();
        files
            .into_iter()
            .map(|(_, path)| Ok(parse_mail(&std::fs::read_to_string(path)?)))
            .collect()
    }
}

fn parse_mail(text: &str) -> ReceivedMail {
    let unfolded = text.replace("\r\n", "\n").replace("\n ", " ");
    let header = |name: &str| {
        let line = unfolded.lines().take_while(|line| !line.is_empty());
        let mut found = line.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.next().unwrap_or_default().to_owned()
    };
    ReceivedMail {
        to: header("To"),
        subject: header("Subject"),
        id: header("Message-ID"),
        text: text.to_owned(),
    }
}
