//! Debian's Prometheus Alertmanager.

use std::path::Path;

use anyhow::Result;

use super::super::ports::ReservedPort;
use super::super::process::{LabProcess, Program};
use super::{LOOPBACK, wait_until_listening};

/// Prometheus Alertmanager, which forwards every alert to a webhook.
pub struct Alertmanager {
    port: ReservedPort,
    _process: LabProcess,
}

impl Alertmanager {
    /// Starts it with its files below `directory`; it posts to `webhook`.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub async fn start(directory: &Path, webhook: &str) -> Result<Self> {
        let (port, directory) = (
            ReservedPort::reserve(LOOPBACK)?,
            directory.join("alertmanager"),
        );
        std::fs::create_dir_all(&directory)?;
        let config = directory.join("alertmanager.yml");
        // Each alert is its own group, sent as soon as it changes.
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
        wait_until_listening("Alertmanager", &port, &process).await?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{LOOPBACK}:{}", self.port.number())
    }
}
