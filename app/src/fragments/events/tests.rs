use galera::view::ReasonCode;
use insta::assert_snapshot;

use super::*;
use crate::fixtures;

fn seconds_ago(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(fixtures::fixed_now().unix_millis() - seconds * 1_000)
}

fn events() -> Vec<HistoryEvent> {
    let node = |from, to| StateChange::Node {
        node: fixtures::id("127.0.0.1"),
        name: Some("n1".to_owned()),
        from,
        to,
    };
    let verdict = |from, to, message: &str| StateChange::Verdict {
        from,
        to,
        reasons: vec![fixtures::reason(
            ReasonCode::MemberUnreachable,
            None,
            message,
        )],
    };
    let (synced, lost) = (Some(NodeState::Synced), Some(NodeState::Unreachable));
    let (healthy, degraded) = (VerdictState::Healthy, VerdictState::Degraded);
    let changes = [
        (12, verdict(Some(degraded), healthy, "all are Synced")),
        (12, node(lost, synced)),
        (204, verdict(Some(healthy), degraded, "<b>n1</b> is gone")),
        (204, node(synced, lost)),
    ];
    let numbered = changes.into_iter().zip([104, 103, 102, 101]);
    numbered
        .map(|((seconds, change), sequence)| HistoryEvent {
            sequence,
            at: seconds_ago(seconds),
            change,
        })
        .collect()
}

fn html(
    events: &[HistoryEvent],
    newer: &[HistoryEvent],
    filter: &EventsFilter,
    next_before: Option<u64>,
) -> String {
    let page = HistoryPage {
        events: events.to_vec(),
        next_before,
    };
    let view = fixtures::healthy("lab", 2_881);
    EventsPage {
        view: &view,
        page: &page,
        newer,
        filter,
        now: fixtures::fixed_now(),
    }
    .markup()
    .html()
}

#[test]
fn events_page() {
    let html = html(&events(), &[], &EventsFilter::default(), Some(101));
    assert_snapshot!(fixtures::by_lines(&html));
}

#[test]
fn durations_use_events_of_newer_pages() {
    let events = events();
    let (newer, older) = events.split_at(2);
    let filter = EventsFilter {
        before: "103".to_owned(),
        ..EventsFilter::default()
    };
    let html = html(older, newer, &filter, None);
    assert_eq!(html.matches("3 min 12 s</span>").count(), 2, "{html}");
    assert!(
        html.contains("href=\"/clusters/lab/events?after=102\">Newer<"),
        "{html}"
    );
    assert!(
        html.contains(">Newest<") && !html.contains(">Older<"),
        "{html}"
    );
}

#[test]
fn filters_are_kept_across_pages() {
    let filter = EventsFilter {
        kind: "node".to_owned(),
        node: "gone.example".to_owned(),
        state: "unreachable".to_owned(),
        ..EventsFilter::default()
    };
    let html = html(&[], &[], &filter, Some(40));
    for expected in [
        "<option value=\"node\" selected=\"\">",
        "<option value=\"gone.example\" selected=\"\">",
        "<option value=\"unreachable\" selected=\"\">",
        "?kind=node&amp;node=gone.example&amp;state=unreachable&amp;before=40",
        "there may be older ones",
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
}

#[test]
fn empty_lists_explain_why() {
    assert!(html(&[], &[], &EventsFilter::default(), None).contains("No events yet"));
    let filter = EventsFilter {
        state: "down".to_owned(),
        ..EventsFilter::default()
    };
    assert!(html(&[], &[], &filter, None).contains("No matching events."));
}

#[test]
fn partial_times_are_completed() {
    for (partial, complete) in [
        ("", ""),
        ("2026-11-24", "2026-11-24T23:59:59.999Z"),
        ("2026-11-24 08:00", "2026-11-24T08:00:59.999Z"),
        ("2026-11-24T08:00:07", "2026-11-24T08:00:07.999Z"),
        ("2026-11-24T08:00:07Z", "2026-11-24T08:00:07Z"),
        ("yesterday", "yesterday"),
    ] {
        assert_eq!(complete_timestamp(partial), complete);
    }
}
