//! What is exported where.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use notify::OutboundUrl;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

/// The settings of the export.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// The collector; `/v1/traces` and `/v1/metrics` are below it.
    pub endpoint: OutboundUrl,
    /// Headers of each request, hidden from logs.
    pub headers: HeaderMap,
    /// Limit of a request, ten seconds at most.
    pub timeout: Duration,
    /// Share of the traces that begin here and are exported, from 0 to 1.
    pub sampling: f64,
    /// Time between two exports of metrics; `None` exports none.
    pub metrics_interval: Option<Duration>,
    /// Authority of the collector's certificate, in addition to the system's.
    pub ca: Option<PathBuf>,
    pub resource: ResourceAttributes,
    /// Spans that wait at most; further ones are dropped.
    pub queue_spans: usize,
    /// How long spans wait for others at most.
    pub batch_interval: Duration,
}

impl OtlpSettings {
    /// An export to `endpoint` with the defaults.
    #[must_use]
    pub fn new(endpoint: OutboundUrl, resource: ResourceAttributes) -> Self {
        Self {
            endpoint,
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(10),
            sampling: 1.0,
            metrics_interval: Some(Duration::from_secs(60)),
            ca: None,
            resource,
            queue_spans: 4_096,
            batch_interval: Duration::from_secs(5),
        }
    }

    /// Parses lines `Name: value` into headers; empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// The number of the invalid line, without its content.
    pub fn parse_headers(text: &str) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let header = line.split_once(':').and_then(|(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                let mut value = HeaderValue::from_str(value.trim()).ok()?;
                value.set_sensitive(true);
                (!is_reserved(&name)).then_some((name, value))
            });
            let Some((name, value)) = header else {
                return Err(format!(
                    "line {} is not a header that can be set; expected e.g. Authorization: Bearer TOKEN",
                    index + 1
                ));
            };
            headers.append(name, value);
        }
        Ok(headers)
    }
}

/// Headers that the request itself decides.
fn is_reserved(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "content-type"
            | "transfer-encoding"
            | "connection"
            | "traceparent"
    )
}

/// What the exporting process is.
#[derive(Clone, Debug)]
pub struct ResourceAttributes {
    /// `service.version`.
    pub version: String,
    /// `service.instance.id`: unique to the process.
    pub instance: String,
    /// Further ones, such as `deployment.environment.name`; they override `service.name`, which is else `galera-console`.
    pub others: Vec<(String, String)>,
}

impl ResourceAttributes {
    pub(crate) fn resource(&self) -> Resource {
        let others = self.others.iter().cloned();
        let others = others.map(|(key, value)| KeyValue::new(key, value));
        Resource::builder_empty()
            .with_service_name("galera-console")
            .with_attribute(KeyValue::new("telemetry.sdk.language", "rust"))
            .with_attribute(KeyValue::new("telemetry.sdk.name", "opentelemetry"))
            .with_attributes(others)
            .with_attribute(KeyValue::new("service.version", self.version.clone()))
            .with_attribute(KeyValue::new("service.instance.id", self.instance.clone()))
            .build()
    }
}
