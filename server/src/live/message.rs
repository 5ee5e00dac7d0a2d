//! Parses what a viewer sends, and the errors in response.

use axum::extract::ws::Utf8Bytes;
use console_core::clock::now;
use galera::ClusterName;
use galera::publish::api::{LIVE_VERSION, LiveMessage, SubscribeRequest};

/// Topics per viewer.
pub(super) const TOPICS_MAX: usize = 32;
/// Characters of the viewer's text that an error repeats.
const ECHO_MAX: usize = 100;

/// A valid topic; the cluster may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopicName {
    Overview,
    Cluster(ClusterName),
    /// Every open action and the latest others.
    Actions,
}

/// An error caused by the viewer's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubscribeError {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// Parses a subscription: the topics that can be served, and an error for each that cannot.
///
/// # Errors
/// A [`SubscribeError`] if the text is not a subscription.
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
            detail: format!("at most {TOPICS_MAX} topics per connection; open another connection"),
        });
    }
    let mut topics = Vec::new();
    let mut errors = Vec::new();
    for text in &request.subscribe {
        match parse_topic(text) {
            Ok(topic) if topics.contains(&topic) => {}
            Ok(topic) => topics.push(topic),
            Err(error) => errors.push(error),
        }
    }
    Ok((topics, errors))
}

fn parse_topic(text: &str) -> Result<TopicName, SubscribeError> {
    let unknown = |why: String| SubscribeError {
        code: "unknown_topic",
        detail: format!("unknown topic {:?}: {why}", shorten(text)),
    };
    match text.split_once('/') {
        Some(("cluster", name)) => match name.parse() {
            Ok(name) => Ok(TopicName::Cluster(name)),
            Err(error) => Err(unknown(error.to_string())),
        },
        None if text == "overview" => Ok(TopicName::Overview),
        None if text == "actions" => Ok(TopicName::Actions),
        _ => Err(unknown(
            "expected overview, cluster/NAME or actions".to_owned(),
        )),
    }
}

/// The error for a cluster that is neither configured nor registered (any longer).
pub(super) fn unknown_cluster(name: &ClusterName) -> SubscribeError {
    SubscribeError {
        code: "unknown_cluster",
        detail: format!(
            "no cluster {name} is configured or registered; it will be sent as soon as it appears"
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
        let (topics, errors) =
            parse_subscription(r#"{"subscribe":["overview","cluster/lab","overview","actions"]}"#)
                .unwrap();
        let lab = TopicName::Cluster("lab".parse().unwrap());
        assert_eq!(topics, [TopicName::Overview, lab, TopicName::Actions]);
        assert!(errors.is_empty());
    }

    #[test]
    fn an_invalid_topic_does_not_affect_the_others() {
        let (topics, errors) = parse_subscription(
            r#"{"subscribe":["cluster/<script>","overview","nodes","cluster/a/b"]}"#,
        )
        .unwrap();
        assert_eq!(topics, [TopicName::Overview]);
        let codes: Vec<_> = errors.iter().map(|c| c.code).collect();
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
