//! Receivers of notifications: an HTTP server in this process, Debian's aiosmtpd and Prometheus Alertmanager.

mod alertmanager;
mod http;
mod smtp;

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;

use super::ports::ReservedPort;
use super::process::LabProcess;
use crate::eventually;

pub use alertmanager::Alertmanager;
pub use http::{HttpReceiver, ReceivedMessage};
pub use smtp::{ReceivedMail, SmtpReceiver, SmtpSecurity};

pub(super) const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Longest wait for a receiver to take connections.
const START: Duration = Duration::from_secs(120);

/// The titles of the console's webhook messages; checks that no id repeats.
///
/// # Errors
/// If a message was delivered twice, or is not a notification.
pub fn titles(messages: &[ReceivedMessage]) -> Result<Vec<String>> {
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

pub(super) async fn wait_until_listening(
    name: &str,
    port: &ReservedPort,
    process: &LabProcess,
) -> Result<()> {
    eventually(&format!("{name} to listen"), START, async || {
        process.ensure_running()?;
        let stream = TcpStream::connect((LOOPBACK, port.number())).await;
        stream
            .map(drop)
            .with_context(|| format!("port {}", port.number()))
    })
    .await
}
