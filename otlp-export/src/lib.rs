//! Export of traces and metrics by OTLP over HTTP, as protobuf.
//!
//! Spans of the target [`registry::spans::TARGET`] become those of OpenTelemetry (`layer`), wait in a bounded queue
//! (`queue`) and are sent in batches (`worker`); metrics are made of the text of `/metrics` (`metrics`) at each interval.
//!
//! Invariants: nothing waits for the collector; what does not fit into the queue is dropped and counted. A request is bounded in
//! time and in the size of its answer, and no redirect is followed. Nothing here is traced itself.

mod bridge;
mod collector;
mod counts;
mod layer;
mod metrics;
mod openmetrics;
mod queue;
mod running;
mod settings;
mod worker;

use std::sync::Arc;

use console_core::resolver::Resolver;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio_util::sync::CancellationToken;

pub use counts::ExportCounts;
pub use layer::SpanLayer;
pub use running::RunningExport;
pub use settings::{OtlpSettings, ResourceAttributes};

use collector::CollectorClient;
use queue::{QueueProcessor, SpanQueue};
use worker::ExportWorker;

/// Makes the text of all metrics (OpenMetrics), in pieces of whole families' samples.
pub type MetricsSource = Box<dyn Fn() -> Box<dyn Iterator<Item = String> + Send> + Send + Sync>;

/// An export that collects spans already and sends none yet.
#[derive(Debug)]
pub struct PreparedExport {
    settings: OtlpSettings,
    resource: opentelemetry_sdk::Resource,
    provider: SdkTracerProvider,
    queue: SpanQueue,
    counts: Arc<ExportCounts>,
}

impl PreparedExport {
    /// Prepares the export of this process, and the layer that collects its spans.
    #[must_use]
    pub fn new(settings: OtlpSettings) -> (Self, SpanLayer) {
        let counts = Arc::<ExportCounts>::default();
        let (processor, queue) = QueueProcessor::new(settings.queue_spans, Arc::clone(&counts));
        let resource = settings.resource.resource();
        let sampler = Sampler::TraceIdRatioBased(settings.sampling);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_resource(resource.clone())
            .build();
        let layer = layer::layer(&provider);
        let prepared = Self {
            settings,
            resource,
            provider,
            queue,
            counts,
        };
        (prepared, layer)
    }

    /// Continues the traces of requests in spans, and those of spans in outgoing requests. For the whole process, once.
    pub fn continue_traces(&self) {
        console_core::trace_context::install_exporter(Box::new(bridge::SpanIds));
    }

    /// What was exported and dropped.
    #[must_use]
    pub fn counts(&self) -> Arc<ExportCounts> {
        Arc::clone(&self.counts)
    }

    /// Sends what was collected from now on, and the metrics of `source`.
    ///
    /// # Errors
    /// When the file of the authority cannot be read.
    pub fn start(self, resolver: Resolver, source: MetricsSource) -> Result<RunningExport, String> {
        let collector = CollectorClient::new(&self.settings, resolver)?;
        let stop = CancellationToken::new();
        let worker = ExportWorker {
            collector,
            interval: self.settings.batch_interval,
            metrics_interval: self.settings.metrics_interval,
            resource: self.resource,
            counts: Arc::clone(&self.counts),
            stop: stop.clone(),
        };
        Ok(RunningExport::start(
            worker,
            self.queue,
            source,
            self.provider,
        ))
    }
}

#[cfg(test)]
mod tests;
