//! The ids of spans, for the trace context of requests.

use console_core::trace_context::{SpanExporter, TraceContext};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Reads and sets the ids of spans that the layer has seen.
pub(crate) struct SpanIds;

impl SpanExporter for SpanIds {
    fn continue_trace(&self, span: &Span, parent: &TraceContext) {
        let ids = TraceId::from_hex(parent.trace_id()).ok();
        let Some((trace, id)) = ids.zip(SpanId::from_hex(parent.parent_id()).ok()) else {
            return;
        };
        let flags = TraceFlags::default().with_sampled(parent.is_sampled());
        let remote = SpanContext::new(trace, id, flags, true, TraceState::default());
        let context = opentelemetry::Context::new().with_remote_span_context(remote);
        // An error means that the span is not exported, or began already.
        let _ = span.set_parent(context);
    }

    fn trace_of(&self, span: &Span) -> Option<TraceContext> {
        let context = span.context();
        let ids = context.span().span_context().clone();
        ids.is_valid().then(|| {
            TraceContext::from_ids(
                ids.trace_id().to_string(),
                ids.span_id().to_string(),
                ids.is_sampled(),
            )
        })
    }
}
