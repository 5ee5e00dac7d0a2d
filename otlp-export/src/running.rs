//! A running export: its tasks, and their end.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::MetricsSource;
use super::metrics::MetricsWorker;
use super::queue::SpanQueue;
use super::worker::{ExportWorker, FLUSH_LIMIT};

/// A running export; it has to be finished.
#[derive(Debug)]
pub struct RunningExport {
    stop: CancellationToken,
    spans: JoinHandle<()>,
    metrics: Option<JoinHandle<()>>,
    /// Keeps spans alive.
    _provider: SdkTracerProvider,
}

impl RunningExport {
    /// Sends what is queued, for three seconds at most, and ends.
    pub async fn finish(self) {
        self.stop.cancel();
        if let Some(metrics) = self.metrics {
            metrics.abort();
        }
        let abort = self.spans.abort_handle();
        // The worker has the same limit; this one holds whatever it does.
        if timeout(FLUSH_LIMIT + Duration::from_secs(1), self.spans)
            .await
            .is_err()
        {
            abort.abort();
        }
    }

    pub(crate) fn start(
        worker: ExportWorker,
        queue: SpanQueue,
        source: MetricsSource,
        provider: SdkTracerProvider,
    ) -> Self {
        let stop = worker.stop.clone();
        // Of this export alone: it ends after the tasks whose spans it sends.
        let tracker = TaskTracker::new();
        let worker = Arc::new(worker);
        let metrics = worker.metrics_interval.map(|interval| {
            let worker = MetricsWorker::new(Arc::clone(&worker), source);
            tracker.spawn(worker.run(interval))
        });
        Self {
            stop,
            spans: tracker.spawn(async move { worker.run(queue).await }),
            metrics,
            _provider: provider,
        }
    }
}
