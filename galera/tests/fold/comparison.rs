//! `ClusterView::equals_apart_from_times` compares every field except the times of observation, and
//! `ClusterView::has_same_states` every field except those and the numbers that change with every commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use galera::observe::registration::{ArbitratorPhase, ArbitratorRecord};
use galera::view::ClusterView;
use serde_json::{Value, json};

use crate::fixture::{
    FakeServer, FoldFixture, HISTORY, OTHER_HISTORY, RUNNING_FIELDS, at, refused,
};

/// A view with every kind of part: a component, reasons, sources that report and one that fails.
fn sample_view() -> ClusterView {
    let mut fixture = FoldFixture::expecting(&["db1", "db2"])
        .answers(
            "db1",
            FakeServer::synced("db1").view(&["db1:3306", "db2:3306"], 0),
        )
        .registered("db1", 9.0, &RUNNING_FIELDS)
        .fails("db2", 1.0, refused());
    let arbitrator = ArbitratorRecord {
        phase: ArbitratorPhase::NonPrimary,
        address: "db9:4567".to_owned(),
        since: at(0.0),
        waiting_for: None,
        state_uuid: None,
        members: Vec::new(),
    };
    fixture.evidence.arbitrators = Arc::new([("garb1".parse().unwrap(), arbitrator)].into());
    fixture.view()
}

/// JSON pointers to all values below `value`.
fn collect_places(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, v)| (name.clone(), v)).collect(),
        Value::Array(items) => (0..).map(|i: usize| i.to_string()).zip(items).collect(),
        _ => Vec::new(),
    };
    for (name, value) in children {
        let place = format!("{place}/{name}");
        collect_places(value, &place, found);
        found.insert(place);
    }
}

/// The same place without the indexes of arrays.
fn field_path(place: &str) -> String {
    let names = place
        .split('/')
        .filter(|name| name.parse::<usize>().is_err());
    names.collect::<Vec<_>>().join("/")
}

/// Views that differ from `view` at `place` only.
fn views_changed_at(view: &ClusterView, place: &str) -> Vec<ClusterView> {
    let json = serde_json::to_value(view).unwrap();
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(41),
        json!("synced"),
        json!("donor"),
        json!("degraded"),
        json!("diverged"),
        json!("primary"),
        json!("non_primary"),
        json!("sql"),
        json!("registry"),
        json!("registry_unreachable"),
        json!("waiting"),
        json!("2026-11-23T08:00:00Z"),
        json!(OTHER_HISTORY),
        json!({"uuid": HISTORY, "seqno": 41}),
        json!([]),
        json!(["db9"]),
        json!([0.5]),
    ];
    if let Some(Value::Array(items)) = json.pointer(place) {
        // Of items that have other types, the first is repeated.
        values.extend(items.first().map(|first| json!([first, first, first])));
    }
    let changed = values.into_iter().filter_map(|value| {
        let mut json = json.clone();
        *json.pointer_mut(place)? = value;
        serde_json::from_value::<ClusterView>(json).ok()
    });
    changed.filter(|changed| changed != view).collect()
}

/// The fields that `equals` ignores in a sample view.
fn ignored_fields(equals: fn(&ClusterView, &ClusterView) -> bool) -> Vec<String> {
    let view = sample_view();
    assert!(equals(&view, &view.clone()));
    let mut all = BTreeSet::new();
    collect_places(&serde_json::to_value(&view).unwrap(), "", &mut all);
    let mut ignored = BTreeSet::new();
    for place in &all {
        let changed = views_changed_at(&view, place);
        let is_leaf = !all
            .iter()
            .any(|other| other.starts_with(&format!("{place}/")));
        assert!(
            !(is_leaf && changed.is_empty()),
            "no other value is valid at {place}"
        );
        if changed.is_empty() {
            continue;
        }
        let equal = |other: &&ClusterView| equals(&view, other);
        match changed.iter().filter(equal).count() {
            0 => {}
            count if count == changed.len() => _ = ignored.insert(field_path(place)),
            // Of a position, whether there is one is a state, and its number is not.
            _ if place.ends_with("/position") => {}
            _ => panic!("some changes at {place} are ignored"),
        }
        for other in &changed {
            assert_eq!(equals(&view, other), equals(other, &view), "{place}");
        }
    }
    for place in [
        "/components/size",
        "/verdict/reasons/code",
        "/nodes/position/seqno",
    ] {
        assert!(
            all.iter().any(|known| field_path(known) == place),
            "{place}"
        );
    }
    ignored.into_iter().collect()
}

#[test]
fn every_field_but_the_times_of_observation_is_compared() {
    let times = ["/nodes/sources/observed_at", "/observed_at", "/revision"];
    assert_eq!(ignored_fields(ClusterView::equals_apart_from_times), times);
}

#[test]
fn states_are_everything_but_times_and_what_changes_with_every_commit() {
    let numbers = [
        "/nodes/behind",
        "/nodes/cached_from",
        "/nodes/commit_rate",
        "/nodes/flow_control_paused",
        "/nodes/position/seqno",
        "/nodes/recent_rates",
        "/nodes/recv_queue",
        "/nodes/send_queue",
        "/nodes/sources/observed_at",
        "/nodes/sources/seqno",
        "/observed_at",
        "/revision",
    ];
    assert_eq!(ignored_fields(ClusterView::has_same_states), numbers);
}

#[test]
fn a_missing_node_or_source_is_a_difference() {
    let view = sample_view();
    let mut shorter = view.clone();
    shorter.nodes.pop();
    assert!(!view.equals_apart_from_times(&shorter) && !shorter.equals_apart_from_times(&view));
    let mut shorter = view.clone();
    shorter.nodes[0].sources.pop();
    assert!(!view.equals_apart_from_times(&shorter) && !shorter.equals_apart_from_times(&view));
}
