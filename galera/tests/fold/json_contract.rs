//! The view as JSON: field names and values are a contract with external clients.

use galera::view::ClusterView;
use serde_json::{Value, json};

use crate::fixture::{FakeServer, FoldFixture, HISTORY, RUNNING_FIELDS, refused};

fn object_keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn assert_has_fields(value: &Value, names: &[&str]) {
    for name in names {
        assert!(
            object_keys(value).contains(name),
            "{name} is missing in {:?}",
            object_keys(value)
        );
    }
}

fn sample_view() -> ClusterView {
    FoldFixture::expecting(&["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        .answers("127.0.0.1", FakeServer::synced("n1").view(&["AUTO"; 2], 0))
        .answers("127.0.0.2", FakeServer::synced("n2").view(&["AUTO"; 2], 1))
        .fails("127.0.0.3", 4.0, refused())
        .registered("127.0.0.1", 9.0, &RUNNING_FIELDS)
        .view()
}

#[test]
fn view_json_matches_the_contract() {
    let json = serde_json::to_value(sample_view()).unwrap();
    assert_has_fields(
        &json,
        &[
            "name",
            "revision",
            "observed_at",
            "verdict",
            "expected_members",
            "components",
            "nodes",
        ],
    );
    assert_eq!(json["name"], "lab");
    assert_eq!(json["observed_at"], "2026-11-23T08:12:10Z");
    assert_eq!(json["verdict"]["state"], "degraded");
    assert_has_fields(&json["verdict"]["reasons"][0], &["code", "node", "message"]);
    assert_eq!(json["verdict"]["reasons"][0]["code"], "member_unreachable");
    assert_eq!(json["verdict"]["reasons"][0]["node"], "127.0.0.3");
    assert_eq!(
        json["expected_members"],
        json!(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
    );
    assert_eq!(
        json["components"],
        json!([{"status": "primary", "members": ["127.0.0.1", "127.0.0.2"], "state_uuid": HISTORY, "conf_id": 17, "size": 2}])
    );
    let node = &json["nodes"][0];
    assert_has_fields(
        node,
        &[
            "id",
            "name",
            "state",
            "cluster_status",
            "position",
            "behind",
            "commit_rate",
            "recv_queue",
            "flow_control_paused",
            "ready",
            "connected",
            "segment",
            "version",
            "sources",
        ],
    );
    assert_eq!(node["position"], json!({"uuid": HISTORY, "seqno": 2881}));
    let fields = [
        "id",
        "name",
        "state",
        "cluster_status",
        "behind",
        "recv_queue",
        "ready",
        "connected",
        "segment",
        "version",
    ];
    let values: Vec<&Value> = fields.iter().map(|name| &node[name]).collect();
    assert_eq!(
        json!(values),
        json!([
            "127.0.0.1",
            "n1",
            "synced",
            "primary",
            0,
            0,
            true,
            true,
            0,
            "10.11.19-MariaDB"
        ])
    );
    for (place, kind) in ["sql", "registry"].into_iter().enumerate() {
        let source = &node["sources"][place];
        assert_has_fields(source, &["kind", "observed_at", "stale", "error"]);
        assert_eq!(
            (&source["kind"], &source["stale"], &source["error"]),
            (&json!(kind), &json!(false), &Value::Null)
        );
    }
    assert_eq!(
        json["nodes"][2]["sources"][0]["error"],
        "connection refused"
    );
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
