//! The view as JSON: field names and values are a contract with external clients.

use galera::view::{ClusterView, VerdictState};
use insta::assert_json_snapshot;
use serde_json::json;

use crate::fixture::{FakeServer, FoldFixture, OTHER_HISTORY, RUNNING_FIELDS, refused};

fn sample_view() -> ClusterView {
    FoldFixture::expecting(&["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        .answers("127.0.0.1", FakeServer::synced("n1").view(&["AUTO"; 2], 0))
        .answers("127.0.0.2", FakeServer::synced("n2").view(&["AUTO"; 2], 1))
        .fails("127.0.0.3", 4.0, refused())
        .registered("127.0.0.1", 9.0, &RUNNING_FIELDS)
        .view()
}

/// The view, after a check that its verdict is `state`.
fn view_in(state: VerdictState, fixture: &FoldFixture) -> ClusterView {
    let view = fixture.view();
    assert_eq!(view.verdict.state, state, "{:#?}", view.verdict);
    view
}

/// The only member of its component.
fn alone(name: &str) -> FakeServer {
    FakeServer::synced(name).view(&["AUTO"], 0).conf_id("1")
}

#[test]
fn healthy_view() {
    let fixture = FoldFixture::expecting(&["127.0.0.1"]).answers("127.0.0.1", alone("n1"));
    assert_json_snapshot!(view_in(VerdictState::Healthy, &fixture));
}

#[test]
fn degraded_view() {
    let view = sample_view();
    assert_eq!(view.verdict.state, VerdictState::Degraded);
    assert_json_snapshot!(view);
}

#[test]
fn unknown_view() {
    let fixture = FoldFixture::expecting(&["127.0.0.1"])
        .fails("127.0.0.1", 1.0, refused())
        .registered("127.0.0.1", 8.0, &RUNNING_FIELDS);
    assert_json_snapshot!(view_in(VerdictState::Unknown, &fixture));
}

#[test]
fn no_primary_view() {
    let fixture = FoldFixture::expecting(&["127.0.0.1"])
        .answers("127.0.0.1", FakeServer::non_primary("n1"))
        .registry_lost(6.0);
    assert_json_snapshot!(view_in(VerdictState::NoPrimary, &fixture));
}

#[test]
fn down_view() {
    let fixture = FoldFixture::expecting(&["127.0.0.1"])
        .fails("127.0.0.1", 1.0, refused())
        .durable("127.0.0.1");
    assert_json_snapshot!(view_in(VerdictState::Down, &fixture));
}

#[test]
fn diverged_view() {
    let fixture = FoldFixture::expecting(&["127.0.0.1", "127.0.0.2"])
        .answers("127.0.0.1", alone("n1"))
        .answers(
            "127.0.0.2",
            FakeServer::non_primary("n2").history(OTHER_HISTORY),
        );
    assert_json_snapshot!(view_in(VerdictState::Diverged, &fixture));
}

#[test]
fn split_brain_view() {
    let fixture = FoldFixture::expecting(&["127.0.0.1", "127.0.0.2"])
        .answers("127.0.0.1", alone("n1"))
        .answers("127.0.0.2", alone("n2").history(OTHER_HISTORY));
    assert_json_snapshot!(view_in(VerdictState::SplitBrain, &fixture));
}

#[test]
fn summary() {
    assert_json_snapshot!(sample_view().summary());
}

#[test]
fn view_json_round_trips() {
    let view = sample_view();
    let json = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<ClusterView>(&json).unwrap(), view);
}

#[test]
fn as_str_matches_json() {
    use galera::view::{ClusterStatus, NodeState, VerdictState};
    for state in NodeState::ALL {
        assert_eq!(json!(state), state.as_str());
    }
    for state in VerdictState::ALL {
        assert_eq!(json!(state), state.as_str());
    }
    assert_eq!(
        json!([
            ClusterStatus::Primary,
            ClusterStatus::NonPrimary,
            ClusterStatus::Disconnected
        ]),
        json!(["primary", "non_primary", "disconnected"])
    );
}

#[test]
fn the_summary_counts_what_is_synced_in_a_primary_component() {
    let fixture = FoldFixture::expecting(&["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        .answers(
            "127.0.0.1",
            FakeServer::synced("n1").view(&["AUTO"; 2], 0).seqno("9"),
        )
        .answers(
            "127.0.0.2",
            FakeServer::synced("n2").view(&["AUTO"; 2], 1).seqno("10"),
        )
        .answers("127.0.0.3", FakeServer::non_primary("n3").seqno("11"));
    let summary = fixture.view().summary();
    assert_eq!((summary.synced, summary.expected), (2, 3));
    let position = summary.position.map(|position| position.seqno);
    assert_eq!(
        position,
        Some(10),
        "a partitioned node's position is not the cluster's"
    );
    assert!(summary.registry_reachable);
    let json = serde_json::to_value(&summary.nodes[2]).unwrap_or_default();
    assert_eq!(
        json,
        json!({"id": "127.0.0.3", "name": "n3", "state": "initialized"})
    );
}
