use galera::publish::api::Overview;
use galera::publish::live::{OverviewQuery, OverviewRow, TopicDocument, TopicFrame, head_document};
use serde_json::{Value as JsonValue, json};

use super::*;
use crate::fixtures;
use crate::overview_window::OverviewSelection;

fn full(topic: &str, revision: u64, document: &TopicDocument) -> String {
    let frame = TopicFrame::Full {
        topic: topic.to_owned(),
        revision,
        rows: document.to_value(),
    };
    serde_json::to_string(&frame).unwrap()
}

fn patch_frame(topic: &str, revision: u64, base: u64, rows: JsonValue) -> String {
    let frame = TopicFrame::Patch {
        topic: topic.to_owned(),
        revision,
        base,
        rows,
    };
    serde_json::to_string(&frame).unwrap()
}

/// The document after the message `text` about a topic.
fn content(documents: &mut LiveDocuments, text: &str) -> DocumentContent {
    let arrival = documents.accept(text);
    assert!(
        matches!(arrival, Some(LiveArrival::Document(_))),
        "{arrival:?}"
    );
    let changed = documents.next_change().unwrap();
    assert_eq!(documents.next_change(), None);
    changed.content
}

/// What pages show of a view: the browser reads no more.
fn shown(mut view: ClusterView) -> ClusterView {
    view.quorum = None;
    for arbitrator in &mut view.arbitrators {
        arbitrator.since = None;
        arbitrator.message.clear();
    }
    for reason in &mut view.verdict.reasons {
        reason.code = UNREAD_CODE;
    }
    for node in &mut view.nodes {
        (node.votes, node.cached_from) = (None, None);
        (node.names, node.findings) = (Vec::new(), Vec::new());
        node.transfer = node.transfer.take().map(|transfer| TransferView {
            summary: transfer.summary,
            percent: transfer.percent,
            ..TransferView::default()
        });
        for source in &mut node.sources {
            source.error_code = None;
        }
    }
    view
}

fn views() -> Vec<ClusterView> {
    let mut receiving = fixtures::state_transfer("lab", 90_000);
    receiving.nodes[2].transfer = Some(fixtures::transfer());
    let mut arbitrated = fixtures::healthy("lab", 2_881);
    arbitrated.arbitrators = vec![fixtures::arbitrator("garb1", ArbitratorState::Member)];
    vec![
        receiving,
        arbitrated,
        fixtures::healthy("lab", 2_881),
        fixtures::state_transfer("lab", 90_000),
        fixtures::no_primary("lab", 90_000),
        fixtures::split_brain("lab", 90_000),
        fixtures::registry_unreachable("lab", 90_000),
    ]
}

#[test]
fn a_view_is_read_as_it_is_published() {
    for view in views() {
        let text = full("cluster/lab", 1, &TopicDocument::of_cluster(&view));
        let read = content(&mut LiveDocuments::default(), &text);
        assert_eq!(read, DocumentContent::Cluster(Box::new(shown(view))));
    }
}

#[test]
fn patches_lead_from_each_view_to_the_next() {
    let mut documents = LiveDocuments::default();
    let views = views();
    let first = TopicDocument::of_cluster(&views[0]);
    content(&mut documents, &full("cluster/lab", 1, &first));
    let mut base = first;
    for (revision, view) in (2..).zip(views.into_iter().skip(1)) {
        let next = TopicDocument::of_cluster(&view);
        let patch = next.change_since(&base).patch;
        let frame = patch_frame("cluster/lab", revision, revision - 1, patch);
        let read = content(&mut documents, &frame);
        assert_eq!(read, DocumentContent::Cluster(Box::new(shown(view))));
        base = next;
    }
}

#[test]
fn sequence_numbers_of_nineteen_digits_are_exact() {
    let largest = i64::MAX.unsigned_abs();
    let view = fixtures::healthy("lab", largest);
    let text = full("cluster/lab", 1, &TopicDocument::of_cluster(&view));
    let DocumentContent::Cluster(read) = content(&mut LiveDocuments::default(), &text) else {
        panic!("no view in {text}");
    };
    assert_eq!(read.nodes[0].position.as_ref().unwrap().seqno, largest);
}

#[test]
fn the_overview_and_its_head_are_read() {
    let overview = Overview {
        clusters: vec![
            fixtures::no_primary("one", 90_000).summary(),
            fixtures::healthy("two", 90_000).summary(),
        ],
        notices: vec!["n".to_owned()],
    };
    let mut expected = OverviewWindow::of(&overview, &OverviewSelection::default());
    expected.verdicts.retain(|(_, count)| *count > 0);
    for cluster in &mut expected.clusters {
        for reason in &mut cluster.verdict.reasons {
            reason.code = UNREAD_CODE;
        }
    }
    let rows = OverviewRow::all(&overview, &[]);
    let document = OverviewQuery::default().document(&rows, &overview.notices);
    let text = full("overview", 1, &document);
    let read = content(&mut LiveDocuments::default(), &text);
    assert_eq!(read, DocumentContent::Overview(expected));

    let torn = Overview {
        clusters: vec![fixtures::split_brain("lab", 90_000).summary()],
        notices: Vec::new(),
    };
    let text = full("head", 1, &head_document(&torn));
    let DocumentContent::Overview(head) = content(&mut LiveDocuments::default(), &text) else {
        panic!("no overview in {text}");
    };
    assert_eq!(head.clusters[0].name.as_str(), "lab");
    assert_eq!(head.clusters[0].verdict.state, VerdictState::SplitBrain);
}

#[test]
fn pending_actions_are_counted() {
    let row = |state: &str| json!({ "state": state });
    let actions = [("a", "pending"), ("b", "executing"), ("c", "pending")];
    let document =
        TopicDocument::of_actions(actions.map(|(id, state)| (id.to_owned(), row(state))));
    let read = content(
        &mut LiveDocuments::default(),
        &full("actions", 1, &document),
    );
    assert_eq!(read, DocumentContent::Pending(2));
}

#[test]
fn changes_that_arrive_before_they_are_read_are_read_once() {
    let mut documents = LiveDocuments::default();
    let views = views();
    let no_actions = TopicDocument::of_actions::<JsonValue>([]);
    let mut base = TopicDocument::of_cluster(&views[0]);
    documents.accept(&full("cluster/lab", 1, &base));
    documents.accept(&full("actions", 1, &no_actions));
    for (revision, view) in (2..).zip(&views[1..]) {
        let next = TopicDocument::of_cluster(view);
        let patch = next.change_since(&base).patch;
        let frame = patch_frame("cluster/lab", revision, revision - 1, patch);
        let arrival = Some(LiveArrival::Document("cluster/lab".to_owned()));
        assert_eq!(documents.accept(&frame), arrival);
        base = next;
    }
    let mut changes = std::iter::from_fn(|| documents.next_change());
    let last = views.last().unwrap().clone();
    assert_eq!(
        changes.next(),
        Some(TopicContent {
            topic: "cluster/lab".to_owned(),
            is_first: true,
            content: DocumentContent::Cluster(Box::new(shown(last))),
        })
    );
    assert_eq!(changes.next().unwrap().topic, "actions");
    assert_eq!(changes.next(), None);
    documents.accept(&full("actions", 2, &no_actions));
    assert!(!documents.next_change().unwrap().is_first);
}

#[test]
fn a_patch_that_does_not_fit_says_nothing() {
    let mut documents = LiveDocuments::default();
    let patch = |base| patch_frame("cluster/lab", base + 1, base, json!({}));
    assert_eq!(documents.accept(&patch(1)), None);
    assert_eq!(documents.next_change(), None);
    let view = fixtures::healthy("lab", 2_881);
    let first = full("cluster/lab", 1, &TopicDocument::of_cluster(&view));
    content(&mut documents, &first);
    assert_eq!(documents.accept(&patch(7)), None);
    assert_eq!(documents.next_change(), None);
    content(&mut documents, &patch(1));
}

#[test]
fn hello_has_the_clock_of_a_server_of_this_version() {
    let hello = |versions: &str| {
        let text = format!(
            r#"{{"type":"hello","version":1,"versions":{versions},"server_time":"2026-11-23T08:00:00Z"}}"#
        );
        LiveDocuments::default().accept(&text)
    };
    let now = fixtures::fixed_now();
    assert_eq!(hello("[1,2]"), Some(LiveArrival::Hello(Some(now))));
    assert_eq!(hello("[1]"), Some(LiveArrival::Hello(None)));
}

#[test]
fn what_cannot_be_read_is_said_and_what_is_new_is_ignored() {
    let mut documents = LiveDocuments::default();
    assert_eq!(documents.accept("{"), Some(LiveArrival::Unreadable));
    let later = r#"{"type":"later","what":{"id":1}}"#;
    assert_eq!(documents.accept(later), None);
    let later =
        r#"{"type":"full","topic":"cluster/lab","revision":1,"rows":{"nodes":{},"order":[]}}"#;
    assert_eq!(content(&mut documents, later), DocumentContent::Unreadable);
    let error = r#"{"type":"error","code":"c","detail":"d"}"#;
    let arrival = Some(LiveArrival::Error("d".to_owned()));
    assert_eq!(documents.accept(error), arrival);
}
