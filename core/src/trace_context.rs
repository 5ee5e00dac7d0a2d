//! The W3C trace context of a request: its trace is continued in the requests that the console makes for it.
//!
//! Source: <https://www.w3.org/TR/trace-context/>. Nothing is sampled or exported here; the trace id is logged and passed on.
//! A [`SpanExporter`] that is installed connects it with the spans that are exported ([`registry::spans`]).

use std::sync::OnceLock;

use tracing::Span;
use uuid::Uuid;

/// The name of the header, as requests and responses have it.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: TraceContext;
}

static EXPORTER: OnceLock<Box<dyn SpanExporter>> = OnceLock::new();

/// What exports spans: it alone has their ids.
pub trait SpanExporter: Send + Sync {
    /// Makes `span`, which was not entered yet, a part of the trace `parent`.
    fn continue_trace(&self, span: &Span, parent: &TraceContext);

    /// The trace of `span`, whose parent id is that of `span` itself; `None` if it is not exported.
    fn trace_of(&self, span: &Span) -> Option<TraceContext>;
}

/// Installs `exporter` for the whole process, once; `false` if there is one.
pub fn install_exporter(exporter: Box<dyn SpanExporter>) -> bool {
    EXPORTER.set(exporter).is_ok()
}

/// The trace that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: String,
    /// 16 hexadecimal digits: the span that the work is part of.
    parent_id: String,
    flags: u8,
}

impl TraceContext {
    /// Parses the header `traceparent`; `None` if it is not valid, which is as if there were none.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace_id) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
        let (parent, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        // Later versions may append fields.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
        if is_zero(trace_id) || is_zero(parent) {
            return None;
        }
        Some(Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent.to_owned(),
            // The other flags mean nothing in version 00.
            flags: u8::from_str_radix(flags, 16).ok()? & 1,
        })
    }

    /// The trace of the request that this task handles.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `work` as part of this trace.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// A trace by its ids, as [`Self::parse`] checks them, and whether it is recorded.
    #[must_use]
    pub const fn from_ids(trace_id: String, parent_id: String, sampled: bool) -> Self {
        Self {
            trace_id,
            parent_id,
            flags: sampled as u8,
        }
    }

    /// 16 hexadecimal digits.
    #[must_use]
    pub fn parent_id(&self) -> &str {
        &self.parent_id
    }

    /// Whether the sender records this trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags == 1
    }

    /// Begins `span` as a part of `parent`, and returns the trace that its work belongs to: that of the span if it is
    /// exported, else `parent`.
    #[must_use]
    pub fn begin(span: &Span, parent: Option<Self>) -> Option<Self> {
        let Some(exporter) = EXPORTER.get().filter(|_| !span.is_disabled()) else {
            return parent;
        };
        if let Some(parent) = &parent {
            exporter.continue_trace(span, parent);
        }
        exporter.trace_of(span).or(parent)
    }

    /// The header of a request that this task makes: within the current span if it is exported, else within the trace of
    /// the request that it handles, with a new parent id.
    #[must_use]
    pub fn outgoing_header() -> Option<String> {
        let span = Span::current();
        let exporter = EXPORTER.get().filter(|_| !span.is_disabled());
        match exporter.and_then(|exporter| exporter.trace_of(&span)) {
            Some(trace) => Some(trace.header(&trace.parent_id)),
            None => Self::current().map(|trace| trace.child_header()),
        }
    }

    /// The header of a request within this trace, with a new parent id.
    #[must_use]
    pub fn child_header(&self) -> String {
        let (_, parent) = Uuid::new_v4().as_u64_pair();
        self.header(&format!("{parent:016x}"))
    }

    fn header(&self, parent_id: &str) -> String {
        format!("00-{}-{parent_id}-{:02x}", self.trace_id, self.flags)
    }
}

/// `text`, if it has exactly `length` lower-case hexadecimal digits.
fn hex(text: &str, length: usize) -> Option<&str> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == length && text.bytes().all(is_digit)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_child_has_the_trace_and_another_parent() {
        let header = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let context = TraceContext::parse(&header).unwrap();
        let child = context.child_header();
        assert_ne!(child, header);
        let child = TraceContext::parse(&child).unwrap();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.parent_id(), context.parent_id());
        assert!(child.is_sampled());
        let later = format!("cc-{TRACE}-00f067aa0ba902b7-03-more");
        let child = TraceContext::parse(&later).unwrap().child_header();
        assert!(child.starts_with(&format!("00-{TRACE}-")) && child.ends_with("-01"));
    }

    #[test]
    fn invalid_headers_are_ignored() {
        for header in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            format!("00-{TRACE}\r\n-00f067aa0ba902b7-01"),
            format!("00-{TRACE}é-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(TraceContext::parse(&header), None, "{header:?}");
        }
    }

    #[tokio::test]
    async fn a_task_has_the_trace_of_its_request_only() {
        let context = TraceContext::parse(&format!("00-{TRACE}-00f067aa0ba902b7-00")).unwrap();
        let inside = context
            .clone()
            .scope(async { TraceContext::current() })
            .await;
        assert_eq!(inside, Some(context));
        assert_eq!(TraceContext::current(), None);
    }
}
