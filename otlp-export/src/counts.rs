//! What was exported and dropped, for `/metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why a span was not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// More spans ended than the collector accepted.
    QueueFull,
    /// The collector refused them.
    Refused,
    /// The console ended first.
    Stopped,
}

impl DropReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// A kind of exported data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TelemetrySignal {
    Traces,
    Metrics,
}

impl TelemetrySignal {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SignalLabels {
    signal: &'static str,
}

/// Counters of the export since the start.
#[derive(Debug, Default)]
pub struct ExportCounts {
    exported: Counter,
    dropped: Family<ReasonLabels, Counter>,
    failures: Family<SignalLabels, Counter>,
    accepted: Family<SignalLabels, Gauge>,
}

impl ExportCounts {
    pub(crate) fn exported(&self, spans: u64) {
        self.exported.inc_by(spans);
    }

    pub(crate) fn dropped(&self, reason: DropReason, spans: u64) {
        let labels = ReasonLabels {
            reason: reason.as_str(),
        };
        self.dropped.get_or_create(&labels).inc_by(spans);
    }

    /// Notes whether a request with `signal` was accepted.
    pub(crate) fn requested(&self, signal: TelemetrySignal, accepted: bool) {
        let labels = SignalLabels {
            signal: signal.as_str(),
        };
        self.accepted
            .get_or_create(&labels)
            .set(i64::from(accepted));
        if !accepted {
            self.failures.get_or_create(&labels).inc();
        }
    }

    /// Spans that the collector accepted.
    #[must_use]
    pub fn exported_spans(&self) -> u64 {
        self.exported.get()
    }

    /// Spans that were dropped, for whatever reason.
    #[must_use]
    pub fn dropped_spans(&self) -> u64 {
        let reasons = [
            DropReason::QueueFull,
            DropReason::Refused,
            DropReason::Stopped,
        ];
        let counts = reasons.map(|reason| {
            let labels = ReasonLabels {
                reason: reason.as_str(),
            };
            self.dropped.get(&labels).map_or(0, |count| count.get())
        });
        counts.iter().sum()
    }

    /// Registers the counters.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "otlp_exported_spans",
            "Spans that the OTLP collector accepted",
            self.exported.clone(),
        );
        registry.register(
            "otlp_dropped_spans",
            "Spans that were not exported: queue_full, refused by the collector, or stopped before",
            self.dropped.clone(),
        );
        registry.register(
            "otlp_export_failures",
            "Requests to the OTLP collector that it did not accept, by signal",
            self.failures.clone(),
        );
        registry.register(
            "otlp_collector_accepts",
            "Whether the OTLP collector accepted the last request (1) or not (0), by signal",
            self.accepted.clone(),
        );
    }
}
