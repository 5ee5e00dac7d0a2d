//! Receivers of notices: one of our own for HTTP, and Debian's SMTP server and Prometheus Alertmanager.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::ports::Port;
use super::process::{Process, Program};
use crate::eventually;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Longest wait for a receiver to take connections.
const START: Duration = Duration::from_secs(30);
/// Largest message that is taken, in bytes.
const MESSAGE_MAX: usize = 1 << 20;

/// One message as it came by HTTP.
#[derive(Clone, Debug)]
pub struct Message {
    /// When it came.
    pub at: SystemTime,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its bytes.
    pub body: Bytes,
}

impl Message {
    /// Its content.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Takes every message that is posted, and keeps it.
pub struct Http {
    url: String,
    messages: Arc<Mutex<Vec<Message>>>,
    _stop: DropGuard,
}

impl Http {
    /// Serves on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((LOOPBACK, 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let messages: Arc<Mutex<Vec<Message>>> = Arc::default();
        let kept = Arc::clone(&messages);
        let take = async move |request: Request| {
            let at = SystemTime::now();
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, MESSAGE_MAX)
                .await
                .unwrap_or_default();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(Message {
                at,
                headers: parts.headers,
                body,
            });
        };
        let router = axum::Router::new().fallback(take);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        TaskTracker::new().spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                _ = async { axum::serve(listener, router).await } => {}
            }
        });
        Ok(Self {
            url,
            messages,
            _stop: stop.drop_guard(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that came, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// An e-mail as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Whom it is for, as its header says.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its identity.
    pub id: String,
    /// All of it.
    pub text: String,
}

/// `aiosmtpd`, which keeps every message in a Maildir.
pub struct Smtp {
    port: Port,
    mailbox: PathBuf,
    _process: Process,
}

impl Smtp {
    /// Starts it with its files below `directory`.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub async fn start(directory: &std::path::Path) -> Result<Self> {
        let port = Port::reserve(LOOPBACK)?;
        let mailbox = directory.join(format!("mail-{}", port.number()));
        let process = Program::new("aiosmtpd", "aiosmtpd", &directory.join("aiosmtpd.log"))
            .args([
                "--nosetuid",
                "--listen",
                &format!("{LOOPBACK}:{}", port.number()),
            ])
            .args(["--class", "aiosmtpd.handlers.Mailbox"])
            .arg(mailbox.display().to_string())
            .start()?;
        listens("aiosmtpd", &port, &process).await?;
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

    /// Everything that came, in order.
    ///
    /// # Errors
    /// When the Maildir cannot be read.
    pub fn mails(&self) -> Result<Vec<Mail>> {
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
            .map(|(_, path)| Ok(mail(&std::fs::read_to_string(path)?)))
            .collect()
    }
}

fn mail(text: &str) -> Mail {
    let unfolded = text.replace("\r\n", "\n").replace("\n ", " ");
    let header = |name: &str| {
        let line = unfolded.lines().take_while(|line| !line.is_empty());
        let mut found = line.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.next().unwrap_or_default().to_owned()
    };
    Mail {
        to: header("To"),
        subject: header("Subject"),
        id: header("Message-ID"),
        text: text.to_owned(),
    }
}

/// Prometheus Alertmanager, which tells everything to a webhook.
pub struct Alertmanager {
    port: Port,
    _process: Process,
}

impl Alertmanager {
    /// Starts it with its files below `directory`; it posts to `webhook`.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub async fn start(directory: &std::path::Path, webhook: &str) -> Result<Self> {
        let (port, directory) = (Port::reserve(LOOPBACK)?, directory.join("alertmanager"));
        std::fs::create_dir_all(&directory)?;
        let config = directory.join("alertmanager.yml");
        // Each alert is a group of its own, told as soon as it changes.
        let content = format!(
            "route: {{receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}\n\
             receivers: [{{name: test, webhook_configs: [{{url: '{webhook}', send_resolved: true}}]}}]\n"
        );
        std::fs::write(&config, content)?;
        let process = Program::new(
            "alertmanager",
            "prometheus-alertmanager",
            &directory.join("log"),
        )
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.path={}",
            directory.join("data").display()
        ))
        .arg(format!("--web.listen-address={LOOPBACK}:{}", port.number()))
        .arg("--cluster.listen-address=")
        .start()?;
        listens("Alertmanager", &port, &process).await?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{LOOPBACK}:{}", self.port.number())
    }
}

async fn listens(name: &str, port: &Port, process: &Process) -> Result<()> {
    eventually(&format!("{name} to listen"), START, async || {
        process.check()?;
        let stream = TcpStream::connect((LOOPBACK, port.number())).await;
        stream
            .map(drop)
            .with_context(|| format!("port {}", port.number()))
    })
    .await
}

/// The titles of what came to a webhook of the console, with every identity checked to be new.
///
/// # Errors
/// When something came twice, or is no notice.
pub fn titles(messages: &[Message]) -> Result<Vec<String>> {
    let mut ids = std::collections::BTreeSet::new();
    let mut titles = Vec::new();
    for message in messages {
        let notice = message.json()?;
        let text = |name: &str| {
            notice[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {name} in {notice}"))
        };
        ensure!(ids.insert(text("id")?), "{notice} came twice");
        titles.push(text("title")?);
    }
    Ok(titles)
}
