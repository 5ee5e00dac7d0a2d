//! Parses what a viewer sends, and the errors in response.

use axum::extract::Query;
use axum::extract::ws::Utf8Bytes;
use console_core::clock::now;
use galera::ClusterName;
use galera::publish::api::{LIVE_VERSION, LiveMessage, SubscribeRequest};
use galera::publish::live::{
    FILTER_MAX, FrameEncoding, LABEL_FILTER_MAX, LIVE_VERSIONS, OverviewQuery, TopicFrame,
    TopicSubscribeRequest, WINDOW_MAX,
};
use http::Uri;
use serde::Deserialize;

/// Topics per viewer.
pub(super) const TOPICS_MAX: usize = 32;
/// Windows of the overview per viewer: each has to be compared with every overview.
pub(super) const WINDOWS_MAX: usize = 4;
/// Characters of the viewer's text that an error repeats.
const ECHO_MAX: usize = 100;

/// A valid topic; the cluster may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopicName {
    /// Counts, notices and the worst clusters. Only of protocol 2.
    Head,
    /// Protocol 1 has the default query only, and shows all clusters.
    Overview(Box<OverviewQuery>),
    Cluster(ClusterName),
    /// Every open action and the latest others.
    Actions,
}

/// Which topics a viewer wants in which form. The text of each topic is repeated in its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveSubscription {
    pub(super) form: FrameForm,
    pub(super) topics: Vec<(String, TopicName)>,
}

/// The form of the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameForm {
    /// Protocol 1: every value as a whole.
    Values,
    /// Protocol 2: documents and their changes.
    Documents(Option<FrameEncoding>),
}

/// An error caused by the viewer's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubscribeError {
    pub(super) code: &'static str,
    /// The topic concerned, if it is about one; shown in protocol 2 only.
    pub(super) topic: Option<String>,
    pub(super) detail: String,
}

/// The part of a message that selects the protocol.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// A subscription of version 1 that names its version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionedRequest {
    #[serde(rename = "version")]
    _version: u32,
    subscribe: Vec<String>,
}

/// Parses a subscription: the topics that can be served, and an error for each that cannot.
///
/// # Errors
/// A [`SubscribeError`] if the text is not a subscription.
pub(super) fn parse_subscription(
    text: &str,
) -> Result<(LiveSubscription, Vec<SubscribeError>), SubscribeError> {
    match serde_json::from_str::<VersionOnly>(text) {
        Ok(VersionOnly { version: 2 }) => {
            let example =
                r#"send {"version":2,"subscribe":["head","overview?count=50","cluster/NAME"]}"#;
            let request: TopicSubscribeRequest = parse_message(text, example)?;
            let form = FrameForm::Documents(request.encoding);
            let (subscription, mut errors) =
                parse_topics(form, &request.subscribe, parse_document_topic)?;
            Ok((limit_windows(subscription, &mut errors), errors))
        }
        Ok(VersionOnly { version: 1 }) => {
            let request: VersionedRequest =
                parse_message(text, r#"send {"version":1,"subscribe":["overview"]}"#)?;
            parse_topics(FrameForm::Values, &request.subscribe, parse_topic)
        }
        Ok(VersionOnly { version }) => Err(SubscribeError::new(
            "unsupported_version",
            format!(
                "version {version} of the protocol is not supported; send one of {LIVE_VERSIONS:?}"
            ),
        )),
        Err(_) => {
            let example = r#"send {"subscribe":["overview","cluster/NAME"]}"#;
            let request: SubscribeRequest = parse_message(text, example)?;
            parse_topics(FrameForm::Values, &request.subscribe, parse_topic)
        }
    }
}

fn parse_message<'a, T: Deserialize<'a>>(
    text: &'a str,
    example: &str,
) -> Result<T, SubscribeError> {
    serde_json::from_str(text).map_err(|error| {
        let detail = format!("{example}; {}", shorten(&error.to_string()));
        SubscribeError::new("malformed_message", detail)
    })
}

fn parse_topics(
    form: FrameForm,
    texts: &[String],
    parse: fn(&str) -> Result<TopicName, SubscribeError>,
) -> Result<(LiveSubscription, Vec<SubscribeError>), SubscribeError> {
    if texts.len() > TOPICS_MAX {
        return Err(SubscribeError::new(
            "too_many_topics",
            format!("at most {TOPICS_MAX} topics per connection; open another connection"),
        ));
    }
    let mut topics: Vec<(String, TopicName)> = Vec::new();
    let mut errors = Vec::new();
    for text in texts {
        // Frames of protocol 2 repeat the text, so that two texts are two topics.
        let is_topic = |(known_text, known): &(String, TopicName), topic: &TopicName| match form {
            FrameForm::Values => known == topic,
            FrameForm::Documents(_) => known_text == text,
        };
        match parse(text) {
            Ok(topic) if topics.iter().any(|known| is_topic(known, &topic)) => {}
            Ok(topic) => topics.push((text.clone(), topic)),
            Err(error) => errors.push(error),
        }
    }
    Ok((LiveSubscription { form, topics }, errors))
}

/// Removes the windows of the overview beyond [`WINDOWS_MAX`], with an error for each.
fn limit_windows(
    mut wanted: LiveSubscription,
    errors: &mut Vec<SubscribeError>,
) -> LiveSubscription {
    let mut windows = 0;
    wanted.topics.retain(|(text, topic)| {
        windows += usize::from(matches!(topic, TopicName::Overview(_)));
        let refused = windows > WINDOWS_MAX && matches!(topic, TopicName::Overview(_));
        if refused {
            let detail = format!(
                "at most {WINDOWS_MAX} windows of the overview per connection; unsubscribe from another one first"
            );
            errors.push(SubscribeError::new("too_many_windows", detail).about(text));
        }
        !refused
    });
    wanted
}

/// A topic of protocol 1.
fn parse_topic(text: &str) -> Result<TopicName, SubscribeError> {
    match text.split_once('/') {
        Some(("cluster", name)) => parse_cluster(text, name),
        None if text == "overview" => Ok(TopicName::Overview(Box::default())),
        None if text == "actions" => Ok(TopicName::Actions),
        _ => Err(unknown_topic(
            text,
            "expected overview, cluster/NAME or actions",
        )),
    }
}

/// A topic of protocol 2.
fn parse_document_topic(text: &str) -> Result<TopicName, SubscribeError> {
    match (text.split_once('?'), text.split_once('/')) {
        (Some(("overview", query)), _) => parse_query(text, query),
        (None, Some(("cluster", name))) => parse_cluster(text, name),
        (None, None) if text == "head" => Ok(TopicName::Head),
        (None, None) if text == "overview" => Ok(TopicName::Overview(Box::default())),
        (None, None) if text == "actions" => Ok(TopicName::Actions),
        _ => Err(unknown_topic(
            text,
            "expected head, overview, overview?PARAMETERS, cluster/NAME or actions",
        )),
    }
    .map_err(|error| error.about(text))
}

fn parse_cluster(text: &str, name: &str) -> Result<TopicName, SubscribeError> {
    let name = name.parse::<ClusterName>();
    name.map(TopicName::Cluster)
        .map_err(|error| unknown_topic(text, &error.to_string()))
}

fn parse_query(text: &str, query: &str) -> Result<TopicName, SubscribeError> {
    let invalid = |why: String| {
        let known =
            "the parameters are filter, label, verdict, sort (worst, name, commits), from, count";
        SubscribeError::new(
            "invalid_window",
            format!("{:?}: {why}; {known}", shorten(text)),
        )
    };
    let uri: Uri = format!("/?{query}")
        .parse()
        .map_err(|_| invalid("encode it as in a URL".to_owned()))?;
    let Query(window) = Query::<OverviewQuery>::try_from_uri(&uri)
        .map_err(|error| invalid(shorten(&error.body_text())))?;
    if !(1..=WINDOW_MAX).contains(&window.count) {
        return Err(invalid(format!("count is from 1 to {WINDOW_MAX}")));
    }
    for (name, text, most) in [
        ("filter", &window.filter, FILTER_MAX),
        ("label", &window.label, LABEL_FILTER_MAX),
    ] {
        if text.chars().count() > most {
            return Err(invalid(format!("{name} has at most {most} characters")));
        }
    }
    Ok(TopicName::Overview(Box::new(window)))
}

fn unknown_topic(text: &str, why: &str) -> SubscribeError {
    let detail = format!("unknown topic {:?}: {why}", shorten(text));
    SubscribeError::new("unknown_topic", detail)
}

/// The error for a cluster that is neither configured nor registered (any longer).
pub(super) fn unknown_cluster(name: &str) -> SubscribeError {
    SubscribeError::new(
        "unknown_cluster",
        format!(
            "no cluster {name} is configured or registered; it will be sent as soon as it appears"
        ),
    )
}

/// The error for a window of the overview beyond `most`, those of one account.
pub(super) fn too_many_windows(text: &str, most: usize) -> SubscribeError {
    let detail = format!(
        "this account has {most} different windows of the overview open; close one of them, or subscribe to overview"
    );
    SubscribeError::new("too_many_windows", detail).about(text)
}

/// The first message of a connection.
pub(super) fn hello() -> Utf8Bytes {
    encode(&LiveMessage::Hello {
        version: LIVE_VERSION,
        versions: LIVE_VERSIONS.to_vec(),
        server_time: now(),
    })
}

impl SubscribeError {
    pub(super) fn new(code: &'static str, detail: String) -> Self {
        Self {
            code,
            topic: None,
            detail,
        }
    }

    pub(super) fn about(mut self, topic: &str) -> Self {
        self.topic = Some(topic.to_owned());
        self
    }

    /// The message of protocol 1, and of protocol 2 where no topic is concerned.
    pub(super) fn frame(&self) -> Utf8Bytes {
        match &self.topic {
            None => encode(&LiveMessage::Error {
                code: self.code.to_owned(),
                detail: self.detail.clone(),
            }),
            Some(topic) => encode(&TopicFrame::Error {
                code: self.code.to_owned(),
                topic: Some(shorten(topic)),
                detail: self.detail.clone(),
            }),
        }
    }
}

fn encode(message: &impl serde::Serialize) -> Utf8Bytes {
    // Strings and numbers only, which always serialize.
    Utf8Bytes::from(serde_json::to_string(message).unwrap_or_default())
}

fn shorten(text: &str) -> String {
    text.chars().take(ECHO_MAX).collect()
}

#[cfg(test)]
mod tests {
    use galera::publish::live::OverviewSort;
    use galera::view::VerdictState;

    use super::*;

    fn names(subscription: LiveSubscription) -> Vec<TopicName> {
        let topics = subscription.topics.into_iter();
        topics.map(|(_, name)| name).collect()
    }

    #[test]
    fn version_2_is_chosen_by_the_message() {
        let (subscription, errors) = parse_subscription(
            r#"{"version":2,"encoding":"deflate","subscribe":["head","overview?filter=a%20b&label=env%3Dtest&verdict=down&sort=name&from=10&count=5","cluster/lab"]}"#,
        )
        .unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(
            subscription.form,
            FrameForm::Documents(Some(FrameEncoding::Deflate))
        );
        let window = OverviewQuery {
            filter: "a b".to_owned(),
            label: "env=test".to_owned(),
            verdict: Some(VerdictState::Down),
            sort: OverviewSort::Name,
            from: 10,
            count: 5,
        };
        let lab = TopicName::Cluster("lab".parse().unwrap());
        let window = TopicName::Overview(Box::new(window));
        assert_eq!(names(subscription), [TopicName::Head, window, lab]);
        let (one, _) = parse_subscription(r#"{"subscribe":["head"]}"#).unwrap();
        assert!(one.topics.is_empty(), "head is of version 2 only");
        let (named, _) = parse_subscription(r#"{"version":1,"subscribe":["overview"]}"#).unwrap();
        assert_eq!(named.form, FrameForm::Values);
        let three = parse_subscription(r#"{"version":3,"subscribe":[]}"#);
        assert_eq!(three.unwrap_err().code, "unsupported_version");
    }

    #[test]
    fn what_a_window_may_ask_for_is_limited() {
        let long = format!("overview?filter={}", "x".repeat(FILTER_MAX + 1));
        let long_label = format!("overview?label={}", "x".repeat(LABEL_FILTER_MAX + 1));
        for (topic, code) in [
            ("overview?count=10001", "invalid_window"),
            ("overview?count=0", "invalid_window"),
            ("overview?count=-1", "invalid_window"),
            ("overview?from=99999999999999999999999", "invalid_window"),
            ("overview?verdict=fine", "invalid_window"),
            ("overview?sort=random", "invalid_window"),
            ("overview?colour=red", "invalid_window"),
            ("overview?filter=a b", "invalid_window"),
            (&long, "invalid_window"),
            ("overview?label=a%3Db&label=c%3Dd", "invalid_window"),
            ("head?count=1", "unknown_topic"),
            ("cluster/lab?count=1", "unknown_topic"),
        ] {
            let sent = serde_json::json!({"version": 2, "subscribe": [topic, "head"]});
            let (subscription, errors) = parse_subscription(&sent.to_string()).unwrap();
            let codes: Vec<_> = errors.iter().map(|error| error.code).collect();
            assert_eq!(codes, [code], "{topic}");
            assert_eq!(errors[0].topic.as_deref(), Some(topic));
            assert_eq!(names(subscription), [TopicName::Head]);
        }
        let sent = serde_json::json!({"version": 2, "subscribe": [long_label]});
        let (_, errors) = parse_subscription(&sent.to_string()).unwrap();
        assert_eq!(errors[0].code, "invalid_window");
        let windows: Vec<_> = (0..6).map(|from| format!("overview?from={from}")).collect();
        let sent = serde_json::json!({"version": 2, "subscribe": windows});
        let (subscription, errors) = parse_subscription(&sent.to_string()).unwrap();
        assert_eq!(subscription.topics.len(), WINDOWS_MAX);
        let codes: Vec<_> = errors.iter().map(|error| error.code).collect();
        assert_eq!(codes, ["too_many_windows"; 2]);
    }

    #[test]
    fn reads_topics_once_each() {
        let (subscription, errors) =
            parse_subscription(r#"{"subscribe":["overview","cluster/lab","overview","actions"]}"#)
                .unwrap();
        assert_eq!(subscription.form, FrameForm::Values);
        let lab = TopicName::Cluster("lab".parse().unwrap());
        assert_eq!(
            names(subscription),
            [TopicName::Overview(Box::default()), lab, TopicName::Actions]
        );
        assert!(errors.is_empty());
    }

    #[test]
    fn an_invalid_topic_does_not_affect_the_others() {
        let (subscription, errors) = parse_subscription(
            r#"{"subscribe":["cluster/<script>","overview","nodes","cluster/a/b"]}"#,
        )
        .unwrap();
        assert_eq!(names(subscription), [TopicName::Overview(Box::default())]);
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
