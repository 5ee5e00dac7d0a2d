//! Sends batches of spans, and metrics at each interval.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::collector::{CollectorClient, ExportFault};
use super::counts::{DropReason, ExportCounts, TelemetrySignal};
use super::queue::SpanQueue;

/// Spans of a request at most.
const BATCH_SPANS: usize = 512;
/// Pauses before a request is repeated: doubled from the first to the last.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the end of the console waits for the collector.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// What sends spans and metrics.
pub(crate) struct ExportWorker {
    pub(crate) collector: CollectorClient,
    /// How long spans wait for others at most.
    pub(crate) interval: Duration,
    pub(crate) metrics_interval: Option<Duration>,
    pub(crate) resource: Resource,
    pub(crate) counts: Arc<ExportCounts>,
    /// Cancelled at the end: what is queued is sent once more.
    pub(crate) stop: CancellationToken,
}

impl ExportWorker {
    /// Sends spans until the end, and then what is queued.
    pub(crate) async fn run(&self, mut queue: SpanQueue) {
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        loop {
            let stopped = self
                .stop
                .run_until_cancelled(self.collect(&mut queue, &mut batch));
            if stopped.await.is_none() {
                break;
            }
            let sent = self
                .stop
                .run_until_cancelled(self.send_until_settled(&batch));
            if sent.await.is_none() {
                break;
            }
            batch.clear();
        }
        self.flush(queue, batch).await;
    }

    /// Fills `batch`: until it is full, or the first of its spans has waited long enough.
    async fn collect(&self, queue: &mut SpanQueue, batch: &mut Vec<SpanData>) {
        if queue.recv_many(batch, BATCH_SPANS).await == 0 {
            // The queue has ended, which the end of the console does too.
            std::future::pending::<()>().await;
        }
        let until = Instant::now() + self.interval;
        while batch.len() < BATCH_SPANS {
            let room = BATCH_SPANS - batch.len();
            match timeout_at(until, queue.recv_many(batch, room)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Sends `batch` until the collector has accepted or refused it. Meanwhile the queue fills, and drops.
    async fn send_until_settled(&self, batch: &[SpanData]) {
        let (mut delay, longest) = RETRY_DELAYS;
        while self.send(batch).await.is_err() {
            sleep(delay).await;
            delay = (delay * 2).min(longest);
        }
    }

    /// Sends `batch` once; an error is one after which it can be sent again.
    async fn send(&self, batch: &[SpanData]) -> Result<(), ExportFault> {
        let spans = batch.len() as u64;
        let body = encode(batch.to_vec(), &self.resource);
        let sent = self.collector.send(TelemetrySignal::Traces, body).await;
        self.note(TelemetrySignal::Traces, sent.as_ref().err());
        match sent {
            Ok(answer) => {
                let refused = refused_spans(&answer).min(spans);
                self.counts.exported(spans - refused);
                self.counts.dropped(DropReason::Refused, refused);
                Ok(())
            }
            Err(fault) if fault.is_transient => Err(fault),
            Err(_) => {
                self.counts.dropped(DropReason::Refused, spans);
                Ok(())
            }
        }
    }

    /// Sends the rest, each batch once, within [`FLUSH_LIMIT`].
    async fn flush(&self, mut queue: SpanQueue, mut batch: Vec<SpanData>) {
        queue.close();
        let until = Instant::now() + FLUSH_LIMIT;
        let mut dropped = 0;
        loop {
            while batch.len() < BATCH_SPANS
                && let Ok(span) = queue.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                break;
            }
            // After a fault the rest is only counted.
            let sent = match dropped {
                0 => timeout_at(until, self.send(&batch)).await,
                _ => break,
            };
            if !matches!(sent, Ok(Ok(()))) {
                dropped += batch.len();
            }
            batch.clear();
        }
        dropped += batch.len();
        while queue.try_recv().is_ok() {
            dropped += 1;
        }
        if dropped > 0 {
            self.counts.dropped(DropReason::Stopped, dropped as u64);
            tracing::warn!(
                spans = dropped,
                "{dropped} spans were not exported before the console stopped"
            );
        }
    }

    /// Notes in log and counters whether the collector accepted `signal`.
    pub(crate) fn note(&self, signal: TelemetrySignal, fault: Option<&ExportFault>) {
        self.counts.requested(signal, fault.is_none());
        self.collector.note(signal, fault);
    }
}

fn encode(batch: Vec<SpanData>, resource: &Resource) -> Bytes {
    let resource = ResourceAttributesWithSchema::from(resource);
    let request = ExportTraceServiceRequest {
        resource_spans: group_spans_by_resource_and_scope(batch, &resource),
    };
    request.encode_to_vec().into()
}

/// How many spans of an accepted request the collector refused, as it reports.
fn refused_spans(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| {
        u64::try_from(partial.rejected_spans).unwrap_or(0)
    })
}
