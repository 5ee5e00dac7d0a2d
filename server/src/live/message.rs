//! What a viewer sends, parsed once, and what it is told when that fails.

use axum::extract::ws::Utf8Bytes;
use console_core::clock::now;
use galera::ClusterName;
use galera::publish::api::{LIVE_VERSION, LiveMessage, SubscribeRequest};

/// Topics that one viewer may have.
pub(super) const TOPICS_MAX: usize = 32;
/// Characters of a viewer's own text that an error repeats.
const ECHO_MAX: usize = 100;

/// A topic that exists or may come to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopicName {
    Overview,
    Cluster(ClusterName),
    /// Every open action and the newest others.
    Actions,
}

/// A mistake of the viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubscribeError {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// Reads a subscription: the topics that can be served, and a complaint for each that cannot.
///
/// # Errors
/// A [`SubscribeError`] when the text is no subscription at all.
pub(super) fn parse_subscription(
    text: &str,
) -> Result<(Vec<TopicName>, Vec<SubscribeError>), SubscribeError> {
    let request: SubscribeRequest = serde_json::from_str(text).map_err(|error| SubscribeError {
        code: "malformed_message",
        detail: format!(
            "send {{\"subscribe\":[\"overview\",\"cluster/NAME\"]}}; {}",
            shorten(&error.to_string())
        ),
    })?;
    if request.subscribe.len() > TOPICS_MAX {
        return Err(SubscribeError {
            code: "too_many_topics",
            detail: format!("a connection has at most {TOPICS_MAX} topics; open another page"),
        });
    }
    let mut topics = Vec::new();
    let mut complaints = Vec::new();
    for text in &request.subscribe {
        match parse_topic(text) {
            Ok(topic) if topics.contains(&topic) => {}
            Ok(topic) => topics.push(topic),
            Err(complaint) => complaints.push(complaint),
        }
    }
    Ok((topics, complaints))
}

fn parse_topic(text: &str) -> Result<TopicName, SubscribeError> {
    let unknown = |why: String| SubscribeError {
        code: "unknown_topic",
        detail: format!("{:?} is no topic: {why}", shorten(text)),
    };
    match text.split_once('/') {
        Some(("cluster", name)) => match name.parse() {
            Ok(name) => Ok(TopicName::Cluster(name)),
            Err(error) => Err(unknown(error.to_string())),
        },
        None if text == "overview" => Ok(TopicName::Overview),
        None if text == "actions" => Ok(TopicName::Actions),
        _ => Err(unknown(
            "topics are overview, cluster/NAME and actions".to_owned(),
        )),
    }
}

/// A cluster that nobody configured or registered, or that is gone.
pub(super) fn unknown_cluster(name: &ClusterName) -> SubscribeError {
    SubscribeError {
        code: "unknown_cluster",
        detail: format!(
            "no cluster {name} is configured or registered; it is shown here as soon as there is one"
        ),
    }
}

/// The first message of a connection.
pub(super) fn hello() -> Utf8Bytes {
    encode(&LiveMessage::Hello {
        version: LIVE_VERSION,
        server_time: now(),
    })
}

impl SubscribeError {
    pub(super) fn frame(&self) -> Utf8Bytes {
        encode(&LiveMessage::Error {
            code: self.code.to_owned(),
            detail: self.detail.clone(),
        })
    }
}

fn encode(message: &LiveMessage) -> Utf8Bytes {
    // Strings and numbers only, which always serialize.
    Utf8Bytes::from(serde_json::to_string(message).unwrap_or_default())
}

fn shorten(text: &str) -> String {
    text.chars().take(ECHO_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_topics_once_each() {
        let (topics, complaints) =
            parse_subscription(r#"{"subscribe":["overview","cluster/lab","overview","actions"]}"#)
                .unwrap();
        let lab = TopicName::Cluster("lab".parse().unwrap());
        assert_eq!(topics, [TopicName::Overview, lab, TopicName::Actions]);
        assert!(complaints.is_empty());
    }

    #[test]
    fn a_bad_topic_does_not_spoil_the_others() {
        let (topics, complaints) = parse_subscription(
            r#"{"subscribe":["cluster/<script>","overview","nodes","cluster/a/b"]}"#,
        )
        .unwrap();
        assert_eq!(topics, [TopicName::Overview]);
        let codes: Vec<_> = complaints.iter().map(|c| c.code).collect();
        assert_eq!(codes, ["unknown_topic"; 3]);
    }

    #[test]
    fn other_text_is_malformed() {
        for text in [
            "",
            "[]",
            "{}",
            "{\"subscribe\":1}",
            "{\"subscribe\":[],\"x\":1}",
            "\u{0}",
            "{\"subscribe\":[1]}",
        ] {
            assert_eq!(
                parse_subscription(text).unwrap_err().code,
                "malformed_message",
                "{text:?}"
            );
        }
        let many = serde_json::json!({ "subscribe": vec!["overview"; TOPICS_MAX + 1] });
        assert_eq!(
            parse_subscription(&many.to_string()).unwrap_err().code,
            "too_many_topics"
        );
    }
}
