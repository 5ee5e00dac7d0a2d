//! Spans of work that can be exported as traces: of requests, actions and notifications, and what is done for them.
//!
//! They are `tracing` spans of the target [`TARGET`], which the log leaves out. Work that is repeated every second (probes,
//! watches, leases) is no part of one and has no span. A field never holds a key, a value, a statement, a path or a header.

use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::Result;

/// The target of these spans.
pub const TARGET: &str = "traced_work";

/// Whether the current task works for something that has a span.
#[must_use]
pub fn is_traced() -> bool {
    let span = Span::current();
    span.metadata()
        .is_some_and(|metadata| metadata.target() == TARGET)
}

/// The span of a call of etcd, without its keys; disabled where nothing is traced.
pub(super) fn etcd_call(operation: &'static str) -> Span {
    if !is_traced() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET, "etcd",
        otel.name = format!("etcd {operation}"), otel.kind = "client", otel.status_code = Empty,
        db.system.name = "etcd", db.operation.name = operation, error.type = Empty,
    )
}

/// Does `work`, which calls etcd, in a separate span if it is done for something that has one.
pub(super) async fn in_etcd_call<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let span = etcd_call(operation);
    let result = work.instrument(span.clone()).await;
    if let Err(error) = &result {
        // A message can name keys.
        record_error(&span, error.kind());
    }
    result
}

/// Marks `span` as failed with an error of `kind`.
pub fn record_error(span: &Span, kind: &'static str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
}
