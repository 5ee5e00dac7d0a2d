//! The layer that collects spans of traced work, and nothing else: no log lines, no places in the code, no threads.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use registry::spans;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::{Layer, Registry};

/// A layer directly above the registry of spans.
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

pub(crate) fn layer(provider: &SdkTracerProvider) -> SpanLayer {
    let filter = FilterFn::new(|metadata| metadata.is_span() && metadata.target() == spans::TARGET);
    tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_error_fields_to_exceptions(false)
        .with_error_events_to_status(false)
        .with_error_events_to_exceptions(false)
        .with_error_records_to_exceptions(false)
        .with_tracer(provider.tracer("galera-console"))
        .with_filter(filter.with_max_level_hint(LevelFilter::INFO))
        .boxed()
}
