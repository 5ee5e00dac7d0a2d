//! The W3C trace context of a request: its trace is continued in the requests that the console makes for it.
//!
//! Source: <https://www.w3.org/TR/trace-context/>. Nothing is sampled or exported here; the trace id is logged and passed on.

use uuid::Uuid;

/// The name of the header, as requests and responses have it.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The trace that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: String,
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

    /// The header of a request within this trace, with a new parent id.
    #[must_use]
    pub fn child_header(&self) -> String {
        let (_, parent) = Uuid::new_v4().as_u64_pair();
        format!("00-{}-{parent:016x}-{:02x}", self.trace_id, self.flags)
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
        assert_eq!(TraceContext::parse(&child), Some(context));
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
