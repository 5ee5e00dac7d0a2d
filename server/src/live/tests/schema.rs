//! docs/live-protocol-2.schema.json describes what the code sends, and docs/live-protocol-2.md shows it.

use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use galera::publish::api::Overview;
use galera::publish::live::{
    LIVE_VERSIONS, OverviewQuery, OverviewRow, TopicDocument, TopicFrame, head_document,
};
use galera::view::VerdictState;
use serde_json::{Value, json};

use super::super::message;
use super::*;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    std::fs::read_to_string(path.join(name)).unwrap()
}

/// Makes every object of the schema refuse members that it does not describe, so that a new field has to be described.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let described = members.get("properties").is_some_and(Value::is_object);
            if described && members.contains_key("required") {
                members
                    .entry("additionalProperties")
                    .or_insert(false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

struct ProtocolSchema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl ProtocolSchema {
    fn load() -> Self {
        let mut schema = serde_json::from_str(&document("live-protocol-2.schema.json")).unwrap();
        close(&mut schema);
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("protocol.json", schema).unwrap();
        let index = compiler.compile("protocol.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn accepts(&self, message: &Value) -> Result<(), String> {
        self.schemas
            .validate(message, self.index)
            .map_err(|error| format!("{error:#}"))
    }
}

/// A degraded cluster of two nodes in which every optional field has a value on one node and none on the other.
fn cluster() -> ClusterView {
    let text = r#"{
        "name": "lab", "revision": 42, "observed_at": TIME,
        "verdict": {"state": "degraded", "since": TIME, "reasons": [
            {"code": "member_unreachable", "node": "10.0.0.2", "message": "n2 (10.0.0.2) is unreachable: connection refused"}]},
        "expected_members": ["10.0.0.1", "10.0.0.2"],
        "components": [{"status": "primary", "members": ["10.0.0.1"], "state_uuid": "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b", "conf_id": 17, "size": 1}],
        "registry": {"reachable": false, "since": TIME, "error": "timed out"},
        "quorum": {"votes": 1, "total": 2, "arbitrators": 0, "spare": 0, "summary": "1 of 2 votes"},
        "arbitrators": [
            {"name": "garb1", "state": "member", "address": "10.0.0.9:4567", "since": TIME, "message": "It votes."},
            {"name": null, "state": "inferred", "address": null, "since": null, "message": "The component has an unknown member."}],
        "nodes": [
            {"id": "10.0.0.1", "name": "n1", "state": "synced", "state_comment": "Synced", "cluster_status": "primary",
             "position": {"uuid": "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b", "seqno": 2881}, "position_fresh": true, "behind": 0,
             "commit_rate": 12.5, "recent_rates": [12.0, 12.5], "recv_queue": 0, "send_queue": 0, "flow_control_paused": 0.0,
             "ready": true, "connected": true, "segment": 0, "votes": 1, "cached_from": 2000, "version": "10.11.19-MariaDB",
             "gcomm_uuid": "00000001-0001-11ef-a1b2-c3d4e5f60718", "evs_state": "OPERATIONAL", "expected": true,
             "registered": true, "unconfirmed": false, "names": ["db1"], "findings": [{"code": "read_only", "message": "m"}],
             "sources": [
                {"kind": "sql", "observed_at": TIME, "stale": false, "error": null, "failing_since": null, "state": "Synced",
                 "cluster_status": "Primary", "seqno": 2881, "phase": null},
                {"kind": "registry", "observed_at": TIME, "stale": false, "error": null, "failing_since": null,
                 "state": "Synced", "cluster_status": "Primary", "seqno": 2875, "phase": "running"}]},
            {"id": "10.0.0.2", "name": null, "state": "unreachable", "state_comment": null, "cluster_status": null,
             "position": null, "position_fresh": false, "behind": null, "commit_rate": null, "recent_rates": [],
             "recv_queue": null, "send_queue": null, "flow_control_paused": null, "ready": null, "connected": null,
             "segment": null, "version": null, "gcomm_uuid": null, "evs_state": null, "expected": true, "registered": false,
             "sources": [
                {"kind": "sql", "observed_at": null, "stale": true, "error": "connection refused", "error_code": "refused",
                 "failing_since": TIME, "state": null, "cluster_status": null, "seqno": null, "phase": null},
                {"kind": "registry", "observed_at": null, "stale": true, "error": null, "failing_since": null,
                 "state": null, "cluster_status": null, "seqno": null, "phase": null}]}
        ]
    }"#;
    serde_json::from_str(&text.replace("TIME", "\"2026-11-28T12:00:00Z\"")).unwrap()
}

/// One frame of each kind and topic, as the code makes it; the headings of the document name them.
fn frames() -> Vec<(&'static str, Value)> {
    let before = cluster();
    let mut after = cluster();
    after.revision += 1;
    after.nodes[0].position.as_mut().unwrap().seqno += 1;
    after.nodes[0].sources[0].seqno = Some(2_882);
    let mut without = after.clone();
    without.nodes.pop();
    without.expected_members.pop();
    let documents = [&before, &after, &without].map(TopicDocument::of_cluster);
    let mut down = before.clone();
    down.verdict.state = VerdictState::NoPrimary;
    let overview = Overview {
        clusters: vec![down.summary()],
        notices: vec!["The registry has an unreadable key.".to_owned()],
    };
    let rows = OverviewRow::all(&overview, &[]);
    let window = OverviewQuery::default().document(&rows, &overview.notices);
    let full = |topic: &str, document: &TopicDocument| TopicFrame::Full {
        topic: topic.to_owned(),
        revision: 1,
        rows: document.to_value(),
    };
    let patch = |revision: u64, from: &TopicDocument, to: &TopicDocument| TopicFrame::Patch {
        topic: "cluster/lab".to_owned(),
        revision,
        base: revision - 1,
        rows: to.change_since(from).patch,
    };
    let hello = LiveMessage::Hello {
        version: 1,
        versions: LIVE_VERSIONS.to_vec(),
        server_time: before.observed_at,
    };
    let actions = TopicDocument::of_actions([("a1".to_owned(), json!({"id": "a1"}))]);
    let error = message::unknown_cluster("nowhere").about("cluster/nowhere");
    let value = |frame: TopicFrame| serde_json::to_value(frame).unwrap();
    vec![
        ("hello", serde_json::to_value(hello).unwrap()),
        ("head", value(full("head", &head_document(&overview)))),
        (
            "overview",
            value(full("overview?verdict=no_primary&count=50", &window)),
        ),
        ("cluster", value(full("cluster/lab", &documents[0]))),
        ("numbers", value(patch(2, &documents[0], &documents[1]))),
        ("removed", value(patch(3, &documents[1], &documents[2]))),
        ("actions", value(full("actions", &actions))),
        ("error", serde_json::from_str(&error.frame()).unwrap()),
    ]
}

#[test]
fn every_frame_is_as_the_schema_describes() {
    let schema = ProtocolSchema::load();
    for (name, frame) in frames() {
        schema
            .accepts(&frame)
            .unwrap_or_else(|error| panic!("{name}: {error}\n{frame:#}"));
    }
}

#[test]
fn the_schema_refuses_what_is_never_sent() {
    let schema = ProtocolSchema::load();
    let frames = frames();
    let frame = |name: &str| {
        let mut named = frames.iter().filter(|(known, _)| *known == name);
        named.next().unwrap().1.clone()
    };
    let mut unknown_field = frame("cluster");
    unknown_field["rows"]["nodes"]["10.0.0.1"]["colour"] = "red".into();
    let mut unknown_state = frame("overview");
    unknown_state["rows"]["clusters"]["lab"]["verdict"]["state"] = "fine".into();
    let mut null = frame("cluster");
    null["rows"]["nodes"]["10.0.0.2"]["position"] = Value::Null;
    let mut without_base = frame("numbers");
    without_base.as_object_mut().unwrap().remove("base");
    for wrong in [unknown_field, unknown_state, null, without_base] {
        assert!(schema.accepts(&wrong).is_err(), "{wrong:#}");
    }
}

#[test]
fn the_document_shows_what_the_code_sends_and_accepts() {
    let text = document("live-protocol-2.md");
    let blocks: Vec<Value> = text
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect();
    let (sent, received): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|block| block.get("type").is_some());
    let frames = frames();
    for block in &sent {
        assert!(
            frames.iter().any(|(_, frame)| frame == block),
            "no frame of the code is {block:#}"
        );
    }
    assert!(sent.len() >= 6, "{} examples", sent.len());
    assert!(!received.is_empty());
    for block in received {
        let (_, errors) = message::parse_subscription(&block.to_string()).unwrap();
        assert_eq!(errors, [], "{block}");
    }
}
