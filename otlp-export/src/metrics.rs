//! Metrics of `/metrics` as those of OTLP, with the same names and labels.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use prost::Message;
use tokio::time::{MissedTickBehavior, interval};

use super::MetricsSource;
use super::counts::TelemetrySignal;
use super::openmetrics::{PointTimes, metrics_of};
use super::worker::ExportWorker;

/// Points of a request at most, so that it stays below the limits of collectors; a piece of the text is never divided.
const REQUEST_POINTS: usize = 5_000;

/// Sends all metrics at each interval. What was not accepted is not sent again: the next values contain it.
pub(crate) struct MetricsWorker {
    worker: Arc<ExportWorker>,
    source: MetricsSource,
    started: u64,
}

impl MetricsWorker {
    pub(crate) fn new(worker: Arc<ExportWorker>, source: MetricsSource) -> Self {
        Self {
            worker,
            source,
            started: unix_nanos(),
        }
    }

    pub(crate) async fn run(self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.send_all().await;
        }
    }

    /// Sends all metrics, in as many requests as they need; after a fault no further one.
    async fn send_all(&self) {
        let times = PointTimes {
            started: self.started,
            at: unix_nanos(),
        };
        let (mut metrics, mut points) = (Vec::new(), 0);
        for piece in (self.source)() {
            let (more, count) = metrics_of(&piece, times);
            metrics.extend(more);
            points += count;
            if points >= REQUEST_POINTS {
                if !self.send(std::mem::take(&mut metrics)).await {
                    return;
                }
                points = 0;
            }
        }
        if points > 0 {
            self.send(metrics).await;
        }
    }

    async fn send(&self, metrics: Vec<Metric>) -> bool {
        let attributes = ResourceAttributesWithSchema::from(&self.worker.resource);
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {
                    attributes: attributes.attributes.0,
                    ..Resource::default()
                }),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope {
                        name: "galera-console".to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    metrics,
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        let body = Bytes::from(request.encode_to_vec());
        let sent = self
            .worker
            .collector
            .send(TelemetrySignal::Metrics, body)
            .await;
        self.worker
            .note(TelemetrySignal::Metrics, sent.as_ref().err());
        sent.is_ok()
    }
}

/// Nanoseconds since 1970, as spans have them.
fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
