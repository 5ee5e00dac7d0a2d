//! Debian's Prometheus.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::ports::ReservedPort;
use super::process::{LabProcess, Program};
use super::receivers::{LOOPBACK, wait_until_listening};

/// A Prometheus server.
pub struct PrometheusServer {
    port: ReservedPort,
    client: reqwest::Client,
    _process: LabProcess,
}

impl PrometheusServer {
    /// Starts it with the content of its `prometheus.yml`; its files are below `directory`.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub async fn start(directory: &Path, config: &str) -> Result<Self> {
        let (port, directory) = (
            ReservedPort::reserve(LOOPBACK)?,
            directory.join("prometheus"),
        );
        std::fs::create_dir_all(&directory)?;
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config)?;
        let process = Program::new("prometheus", "prometheus", &directory.join("log"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={LOOPBACK}:{}", port.number()))
            .start()?;
        wait_until_listening("Prometheus", &port, &process).await?;
        Ok(Self {
            port,
            client: reqwest::Client::new(),
            _process: process,
        })
    }

    /// The field `data` of the answer of its HTTP API to `GET /api/v1/{path}`.
    ///
    /// # Errors
    /// If there is no answer or it is an error, which is quoted.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = format!("http://{LOOPBACK}:{}/api/v1/{path}", self.port.number());
        let url = reqwest::Url::parse_with_params(&url, query)?;
        let answer = self.client.get(url).send().await?;
        let text = answer.text().await?;
        let mut answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(answer["status"] == "success", "{path} {query:?}: {text}");
        Ok(answer["data"].take())
    }
}
