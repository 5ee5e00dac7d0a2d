//! Views as readers get them: immutable, serialized to JSON once, however many readers there are.

use std::sync::OnceLock;

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use galera::publish::api::{ActionView, Overview};
use galera::view::ClusterView;
use serde::Serialize;

/// A view and its serialized forms, shared by every reader behind an `Arc`.
#[derive(Debug)]
pub struct Published<T> {
    /// Increases with every publication of this topic.
    pub revision: u64,
    pub value: T,
    body: OnceLock<Bytes>,
    frame: OnceLock<Utf8Bytes>,
}

/// A topic of the live WebSocket interface.
pub trait LiveTopic: Serialize {
    /// Builds the WebSocket message from the HTTP body, so that the view is serialized only once.
    fn frame(revision: u64, body: &str) -> String;
}

impl LiveTopic for ClusterView {
    fn frame(revision: u64, body: &str) -> String {
        format!(r#"{{"type":"cluster","revision":{revision},"cluster":{body}}}"#)
    }
}

impl LiveTopic for Overview {
    fn frame(revision: u64, body: &str) -> String {
        // The overview's fields are siblings of the revision: the header replaces the body's opening brace.
        let fields = body.strip_prefix('{').unwrap_or(body);
        format!(r#"{{"type":"overview","revision":{revision},{fields}"#)
    }
}

impl LiveTopic for ActionView {
    fn frame(_: u64, body: &str) -> String {
        format!(r#"{{"type":"action","action":{body}}}"#)
    }
}

impl<T: LiveTopic> Published<T> {
    /// Publishes `value` as `revision`.
    #[must_use]
    pub fn new(revision: u64, value: T) -> Self {
        Self {
            revision,
            value,
            body: OnceLock::new(),
            frame: OnceLock::new(),
        }
    }

    /// The JSON body of the HTTP response; cached.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.body.get_or_init(|| Bytes::from(self.json())).clone()
    }

    /// The text of the WebSocket message; cached.
    #[must_use]
    pub fn frame(&self) -> Utf8Bytes {
        self.frame
            .get_or_init(|| match std::str::from_utf8(&self.body()) {
                Ok(body) => Utf8Bytes::from(T::frame(self.revision, body)),
                Err(_) => Utf8Bytes::from_static(SERIALIZATION_FAILED),
            })
            .clone()
    }

    fn json(&self) -> String {
        // Views have string keys only, so this cannot fail; a reader would get an error message, never half a view.
        serde_json::to_string(&self.value).unwrap_or_else(|error| {
            tracing::error!(%error, "Could not serialize a view: {error}");
            SERIALIZATION_FAILED.to_owned()
        })
    }
}

const SERIALIZATION_FAILED: &str = r#"{"type":"error","code":"internal","detail":"The view could not be serialized; see the console's log."}"#;

#[cfg(test)]
mod tests {
    use galera::publish::api::LiveMessage;

    use super::*;

    #[test]
    fn frames_parse_as_live_messages() {
        let overview = Overview {
            clusters: Vec::new(),
            notices: vec!["one".to_owned()],
        };
        let published = Published::new(7, overview);
        let message: LiveMessage = serde_json::from_str(published.frame().as_str()).unwrap();
        let expected = LiveMessage::Overview {
            revision: 7,
            clusters: Vec::new(),
            notices: vec!["one".to_owned()],
        };
        assert_eq!(message, expected);
    }

    #[test]
    fn json_is_serialized_once_and_shared() {
        let published = Published::new(
            1,
            Overview {
                clusters: Vec::new(),
                notices: Vec::new(),
            },
        );
        assert_eq!(published.body().as_ptr(), published.body().as_ptr());
        assert_eq!(
            published.frame().as_str().as_ptr(),
            published.frame().as_str().as_ptr()
        );
    }
}
