//! Ended spans, until they are sent.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;

use super::counts::{DropReason, ExportCounts};

/// The end of the queue from which spans are sent.
pub(crate) type SpanQueue = mpsc::Receiver<SpanData>;

/// Queues each span that ends; drops it if the queue is full.
#[derive(Debug)]
pub(crate) struct QueueProcessor {
    queue: mpsc::Sender<SpanData>,
    counts: Arc<ExportCounts>,
}

impl QueueProcessor {
    pub(crate) fn new(spans: usize, counts: Arc<ExportCounts>) -> (Self, SpanQueue) {
        let (queue, receiver) = mpsc::channel(spans.max(1));
        (Self { queue, counts }, receiver)
    }
}

impl SpanProcessor for QueueProcessor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.queue.try_send(span).is_err() {
            self.counts.dropped(DropReason::QueueFull, 1);
        }
    }

    // The worker flushes, with a deadline and without blocking a thread.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
