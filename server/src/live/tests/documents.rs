//! Protocol 2 over real connections: every viewer has the document of the latest value, whatever it missed.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::ZlibDecoder;
use galera::publish::live::{TopicDocument, TopicFrame, merge_patch};
use galera::view::VerdictState;
use serde_json::{Map, Value, json};

use super::*;
use crate::live::message::TopicName;

/// For conditions that do not depend on the console alone.
const LONG: Duration = Duration::from_secs(60);

/// A viewer of protocol 2 as a client implements it.
struct DocumentViewer {
    client: WebSocketClient,
    documents: BTreeMap<String, (u64, Map<String, Value>)>,
    /// Received full frames, patches, binary messages.
    received: (usize, usize, usize),
}

impl DocumentViewer {
    async fn connect(console: &LiveFixture, subscribe: &Value) -> Self {
        let mut viewer = Self {
            client: console.connect().await,
            documents: BTreeMap::new(),
            received: (0, 0, 0),
        };
        viewer.send(subscribe).await;
        viewer
    }

    async fn send(&mut self, message: &Value) {
        let message = Message::text(message.to_string());
        self.client.send(message).await.unwrap();
    }

    /// Applies the next frame, or returns the error that it is.
    async fn next(&mut self) -> Result<String, String> {
        let text = loop {
            let frame = timeout(LONG, self.client.next()).await.expect("a message");
            match frame.expect("an open connection").unwrap() {
                Message::Text(text) => break text.to_string(),
                Message::Binary(bytes) => {
                    self.received.2 += 1;
                    let mut text = String::new();
                    let mut decoder = ZlibDecoder::new(&bytes[..]);
                    decoder.read_to_string(&mut text).unwrap();
                    break text;
                }
                _ => {}
            }
        };
        match serde_json::from_str(&text).unwrap() {
            TopicFrame::Full {
                topic,
                revision,
                rows: Value::Object(rows),
            } => {
                self.received.0 += 1;
                self.documents.insert(topic.clone(), (revision, rows));
                Ok(topic)
            }
            TopicFrame::Patch {
                topic,
                revision,
                base,
                rows: Value::Object(rows),
            } => {
                self.received.1 += 1;
                let (known, document) = self.documents.get_mut(&topic).expect("a full frame first");
                assert_eq!(*known, base, "the viewer has another base");
                merge_patch::apply(document, &rows);
                *known = revision;
                Ok(topic)
            }
            TopicFrame::Error { code, .. } => Err(code),
            other => panic!("{other:?}"),
        }
    }

    /// Reads until `wanted` holds for the document of `topic`.
    async fn until(&mut self, topic: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let reached = async {
            loop {
                if let Some((_, document)) = self.documents.get(topic) {
                    let document = Value::Object(document.clone());
                    if wanted(&document) {
                        return document;
                    }
                }
                self.next().await.unwrap();
            }
        };
        timeout(LONG, reached).await.expect("the document in time")
    }
}

fn version_2(topics: &[&str]) -> Value {
    json!({"version": 2, "subscribe": topics})
}

fn with_verdict(name: &str, state: VerdictState) -> ClusterView {
    let mut view = view(name);
    view.verdict.state = state;
    view
}

#[tokio::test]
async fn a_full_frame_is_followed_by_patches_that_give_the_latest_value() {
    let console = LiveFixture::start().await;
    let mut lab = console.publisher("lab");
    let mut viewer = DocumentViewer::connect(&console, &version_2(&["cluster/lab"])).await;
    viewer.until("cluster/lab", |_| true).await;
    for state in VerdictState::ALL {
        let published = lab.publish(with_verdict("lab", state));
        let expected = TopicDocument::of_cluster(&published.value).to_value();
        viewer.until("cluster/lab", |seen| *seen == expected).await;
    }
    let (full, patches, _) = viewer.received;
    assert_eq!(full, 1);
    assert!(patches >= VerdictState::ALL.len() - 1, "{patches}");
}

#[tokio::test]
async fn a_slow_viewer_gets_the_latest_value_without_a_queue() {
    const PUBLISHED: usize = 400;
    let console = LiveFixture::start().await;
    let mut viewer = DocumentViewer::connect(&console, &version_2(&["head"])).await;
    viewer.until("head", |_| true).await;
    let large = "x".repeat(100_000);
    for number in 0..PUBLISHED {
        let notice = format!("{number} {large}");
        console.publisher.set_notices("test", vec![notice]);
        console.publisher.publish_overview();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let last = format!("{} {large}", PUBLISHED - 1);
    viewer
        .until("head", |seen| seen["notices"] == json!([last]))
        .await;
    let (full, patches, _) = viewer.received;
    assert!(
        full + patches < PUBLISHED / 2,
        "{full} and {patches} of {PUBLISHED} were queued"
    );
}

#[tokio::test]
async fn a_viewer_that_lost_its_document_subscribes_again() {
    let console = LiveFixture::start().await;
    let mut lab = console.publisher("lab");
    let mut viewer = DocumentViewer::connect(&console, &version_2(&["cluster/lab"])).await;
    viewer.until("cluster/lab", |_| true).await;
    lab.publish(with_verdict("lab", VerdictState::Down));
    viewer
        .until("cluster/lab", |seen| seen["verdict"]["state"] == "down")
        .await;
    viewer.documents.clear();
    viewer.send(&version_2(&["cluster/lab"])).await;
    let again = viewer.until("cluster/lab", |_| true).await;
    assert_eq!(again["verdict"]["state"], "down");
    assert_eq!(viewer.received.0, 2);
}

#[tokio::test]
async fn a_cluster_that_vanishes_and_returns_begins_with_a_full_frame() {
    let console = LiveFixture::start().await;
    let topic = "cluster/later";
    let mut viewer = DocumentViewer::connect(&console, &version_2(&[topic])).await;
    assert_eq!(viewer.next().await, Err("unknown_cluster".to_owned()));
    let mut first = console.publisher("later");
    first.publish(with_verdict("later", VerdictState::SplitBrain));
    viewer
        .until(topic, |seen| seen["verdict"]["state"] == "split_brain")
        .await;
    drop(first);
    assert_eq!(viewer.next().await, Err("unknown_cluster".to_owned()));
    // Nothing of the former cluster may remain.
    viewer.documents.clear();
    let mut again = console.publisher("later");
    let published = again.publish(with_verdict("later", VerdictState::Healthy));
    let expected = TopicDocument::of_cluster(&published.value).to_value();
    viewer.until(topic, |seen| *seen == expected).await;
}

#[tokio::test]
async fn a_viewer_that_loses_every_role_is_closed_while_it_follows_documents() {
    let console = LiveFixture::start().await;
    let _lab = console.publisher("lab");
    let mut viewer = DocumentViewer::connect(&console, &version_2(&["head", "cluster/lab"])).await;
    viewer.until("cluster/lab", |_| true).await;
    console.view.send_replace(false);
    let code = close_code(&mut viewer.client).await;
    assert_eq!(code, u16::from(CloseCode::Policy));
    let retired = async {
        while console.topics.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, retired).await.expect("every worker to end");
}

#[tokio::test]
async fn a_viewer_that_answers_no_ping_is_dropped_while_it_follows_documents() {
    let timing = ConnectionTiming {
        ping_interval: Duration::from_millis(50),
        close_timeout: Duration::from_millis(50),
    };
    let console = LiveFixture::start_with(timing, now().plus(Duration::from_secs(3600))).await;
    // Never polled, so its library answers no ping.
    let unresponsive = DocumentViewer::connect(&console, &version_2(&["head"])).await;
    let mut responsive = DocumentViewer::connect(&console, &version_2(&["head"])).await;
    console.tracker.close();
    let served = async {
        while console.tracker.len() > 1 {
            next_frame(&mut responsive.client).await;
        }
    };
    timeout(LONG, served)
        .await
        .expect("the unresponsive viewer is dropped");
    drop(unresponsive);
}

#[tokio::test]
async fn both_protocols_are_served_side_by_side() {
    let console = LiveFixture::start().await;
    let mut lab = console.publisher("lab");
    console.publisher.publish_overview();
    let mut old = console.connect().await;
    subscribe(&mut old, &["cluster/lab"]).await;
    let mut new = DocumentViewer::connect(&console, &version_2(&["cluster/lab"])).await;
    new.until("cluster/lab", |_| true).await;
    let published = lab.publish(with_verdict("lab", VerdictState::Diverged));
    let expected = TopicDocument::of_cluster(&published.value).to_value();
    new.until("cluster/lab", |seen| *seen == expected).await;
    loop {
        let LiveMessage::Cluster { cluster, .. } = next_message(&mut old).await else {
            panic!("another message");
        };
        if *cluster == published.value {
            break;
        }
    }
    // One connection changes its protocol.
    subscribe(&mut new.client, &["overview"]).await;
    while !matches!(
        serde_json::from_str(next_frame(&mut new.client).await.to_text().unwrap()),
        Ok(LiveMessage::Overview { .. })
    ) {}
}

#[tokio::test]
async fn windows_show_the_clusters_that_their_query_selects() {
    let console = LiveFixture::start().await;
    let mut publishers: Vec<_> = ["alpha", "beta", "gamma"]
        .map(|name| console.publisher(name))
        .into();
    console.publisher.publish_overview();
    let second = "overview?sort=name&from=1&count=1";
    let filtered = "overview?filter=ETA";
    let down = "overview?verdict=down";
    let topics = ["head", second, filtered, down];
    let mut viewer = DocumentViewer::connect(&console, &version_2(&topics)).await;
    let order = |names: &[&str]| json!(names);
    for (topic, expected) in [
        (second, order(&["beta"])),
        (filtered, order(&["beta"])),
        (down, order(&[])),
    ] {
        let seen = viewer.until(topic, |_| true).await;
        assert_eq!(seen["order"], expected, "{topic}");
        assert_eq!(seen["total"], 3, "{topic}");
    }
    publishers[2].publish(with_verdict("gamma", VerdictState::Down));
    console.publisher.publish_overview();
    let seen = viewer
        .until(down, |seen| seen["order"] == order(&["gamma"]))
        .await;
    assert_eq!(seen["clusters"]["gamma"]["verdict"]["state"], "down");
    let head = viewer
        .until("head", |seen| {
            seen["order"] == order(&["gamma", "alpha", "beta"])
        })
        .await;
    assert_eq!(head["verdicts"]["down"], 1);
    drop(publishers);
    console.publisher.publish_overview();
    let empty = viewer.until(down, |seen| seen["total"] == 0).await;
    assert_eq!(empty["clusters"], json!({}));
}

#[tokio::test]
async fn long_frames_are_compressed_for_viewers_that_ask() {
    let console = LiveFixture::start().await;
    let mut lab = console.publisher("lab");
    let message = json!({"version": 2, "encoding": "deflate", "subscribe": ["cluster/lab"]});
    let mut viewer = DocumentViewer::connect(&console, &message).await;
    viewer.until("cluster/lab", |_| true).await;
    assert_eq!(viewer.received.2, 1, "the full frame is compressed");
    lab.publish(with_verdict("lab", VerdictState::Down));
    viewer
        .until("cluster/lab", |seen| seen["verdict"]["state"] == "down")
        .await;
    let (full, patches, compressed) = viewer.received;
    assert!(compressed < full + patches, "short patches stay text");
}

#[tokio::test]
async fn ten_thousand_topics_are_refused_by_name() {
    let console = LiveFixture::start().await;
    let many: Vec<_> = (0..10_000)
        .map(|number| format!("cluster/c{number}"))
        .collect();
    let mut client = console.connect().await;
    let message = json!({"version": 2, "subscribe": many}).to_string();
    client.send(Message::text(message)).await.unwrap();
    assert_eq!(close_code(&mut client).await, u16::from(CloseCode::Size));
    let mut viewer =
        DocumentViewer::connect(&console, &json!({"version": 2, "subscribe": many[..33]})).await;
    assert_eq!(viewer.next().await, Err("too_many_topics".to_owned()));
    assert_eq!(console.topics.count(), 0);
}

#[tokio::test]
async fn different_windows_of_an_account_are_limited() {
    let console = LiveFixture::start().await;
    console.publisher.publish_overview();
    let mut viewers = Vec::new();
    let refused = loop {
        let number = viewers.len();
        let topics: Vec<_> = (0..4)
            .map(|window| format!("overview?from={}", number * 4 + window))
            .collect();
        let message = json!({"version": 2, "subscribe": topics});
        let mut viewer = DocumentViewer::connect(&console, &message).await;
        if let Err(code) = viewer.next().await {
            break code;
        }
        viewers.push(viewer);
    };
    assert_eq!(refused, "too_many_windows");
    assert_eq!(viewers.len(), 8);
    // What is always served: the plain overview, the window of the browser without a selection, and one that is open already.
    let always = ["overview", "overview?count=50", "overview?from=0"];
    let mut plain = DocumentViewer::connect(&console, &version_2(&always)).await;
    for topic in always {
        plain.until(topic, |_| true).await;
    }
    // Other accounts are not affected.
    let name = TopicName::Overview(Box::default());
    let follow = |number: usize, account: &str| {
        let text = format!("overview?from={number}&count=1");
        let scope = galera::access::ClusterScope::all();
        console.topics.follow(&text, &name, &scope, &account.into())
    };
    assert!(follow(0, "ann").is_err());
    let others: Vec<_> = (0..40).map(|number| follow(number, "otto")).collect();
    assert_eq!(
        others.iter().filter(|followed| followed.is_ok()).count(),
        32
    );
    drop(others);
    let kept = follow(50, "otto");
    assert!(kept.is_ok(), "windows that are closed count no longer");
    // A subscription that replaces another one has its windows again.
    let mut viewer = viewers.pop().unwrap();
    let topics = [100, 101, 102, 103].map(|from| format!("overview?from={from}"));
    viewer
        .send(&json!({"version": 2, "subscribe": topics}))
        .await;
    viewer.until("overview?from=103", |_| true).await;
    drop((viewers, viewer, plain, kept));
    let retired = async {
        while console.topics.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, retired).await.expect("every worker to end");
}
