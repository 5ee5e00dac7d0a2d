//! Requests to the collector, and what is logged of its state.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use console_core::resolver::Resolver;
use http::HeaderMap;
use notify::{OutboundClient, OutboundError, OutboundUrl};

use super::counts::TelemetrySignal;
use super::settings::OtlpSettings;

/// The longest answer that is read, in bytes; one to an accepted request has less than a hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How much of an error is logged, in characters.
const CAUSE_CHARS_MAX: usize = 200;

/// Why the collector did not accept a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportFault {
    pub(crate) cause: String,
    /// Whether it may accept the same request later.
    pub(crate) is_transient: bool,
}

/// The collector that spans and metrics are sent to.
#[derive(Debug)]
pub(crate) struct CollectorClient {
    client: OutboundClient,
    traces: OutboundUrl,
    metrics: OutboundUrl,
    headers: HeaderMap,
    timeout: Duration,
    /// Of traces and of metrics, whether the last request was accepted.
    accepting: Mutex<[Option<bool>; 2]>,
}

impl CollectorClient {
    pub(crate) fn new(settings: &OtlpSettings, resolver: Resolver) -> Result<Self, String> {
        let client = OutboundClient::new(settings.ca.as_deref(), "--otlp-ca", resolver)?;
        Ok(Self {
            client: client.with_response_limit(ANSWER_BYTES_MAX),
            traces: settings.endpoint.join("/v1/traces")?,
            metrics: settings.endpoint.join("/v1/metrics")?,
            headers: settings.headers.clone(),
            timeout: settings.timeout,
            accepting: Mutex::default(),
        })
    }

    /// Sends `body`, a protobuf message; returns the answer of a collector that accepted it.
    pub(crate) async fn send(
        &self,
        signal: TelemetrySignal,
        body: Bytes,
    ) -> Result<Vec<u8>, ExportFault> {
        let url = match signal {
            TelemetrySignal::Traces => &self.traces,
            TelemetrySignal::Metrics => &self.metrics,
        };
        let posted = self
            .client
            .post(url, "application/x-protobuf", self.headers.clone(), body);
        let answered = tokio::time::timeout(self.timeout, posted).await;
        let answered = answered.unwrap_or_else(|_| {
            let cause = format!("no answer within {} s", self.timeout.as_secs_f64());
            Err(OutboundError::NoResponse(cause))
        });
        let fault = |is_transient, cause: String| ExportFault {
            cause: cause.chars().take(CAUSE_CHARS_MAX).collect(),
            is_transient,
        };
        match answered {
            Ok((200..=299, answer)) => Ok(answer),
            // As the specification of OTLP over HTTP has it.
            Ok((status @ (429 | 502 | 503 | 504), _)) => {
                Err(fault(true, format!("it answers with status {status}")))
            }
            Ok((status, _)) => Err(fault(false, explain_status(status))),
            Err(error @ OutboundError::NoResponse(_)) => Err(fault(true, error.to_string())),
            Err(error) => Err(fault(false, error.to_string())),
        }
    }

    /// Logs a change of whether the collector accepts `signal`; nothing while that stays.
    pub(crate) fn note(&self, signal: TelemetrySignal, fault: Option<&ExportFault>) {
        let mut accepting = self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = accepting[signal as usize].replace(fault.is_none());
        drop(accepting);
        let (collector, what) = (self.traces.origin(), signal.as_str());
        match (before, fault) {
            (Some(true) | None, Some(fault)) => tracing::warn!(
                %collector,
                "The OTLP collector {collector} does not accept {what}: {}; the console works without it",
                fault.cause
            ),
            (Some(false), None) => {
                tracing::info!(%collector, "The OTLP collector {collector} accepts {what} again");
            }
            (None, None) => {
                tracing::info!(%collector, "The OTLP collector {collector} accepts {what}");
            }
            _ => {}
        }
    }
}

fn explain_status(status: u16) -> String {
    let remedy = match status {
        401 | 403 => "check --otlp-headers-file",
        404 | 405 => {
            "set --otlp-endpoint to the address below which it serves /v1/traces and /v1/metrics"
        }
        413 => "raise its limit of a request",
        _ => "see its log",
    };
    format!("it answers with status {status}; {remedy}")
}
