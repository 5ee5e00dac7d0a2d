//! The JSON of actions, as stored in etcd, returned by the API and exchanged between replicas.

use galera::publish::api::ActionList;
use galera::recover::action::Action;

/// As version 0.1.0 stores it, continued by a second replica.
const RECORDED: &str = include_str!("recorded/action.json");

#[test]
fn a_recorded_action_keeps_its_json() {
    let action: Action = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(serde_json::to_string(&action).unwrap(), RECORDED.trim_end());
}

#[test]
fn stored_ids_are_not_validated() {
    let stored = RECORDED.replace("19d0a6f1e2c3-0badcafe", "not an id");
    let action: Action = serde_json::from_str(&stored).unwrap();
    assert_eq!(action.id.as_str(), "not an id");
    assert_eq!(serde_json::to_string(&action).unwrap(), stored.trim_end());
}

#[test]
fn a_page_of_actions_ends_with_an_id() {
    let page = r#"{"actions":[],"next_before":"19d0a6f1e2c3-0badcafe"}"#;
    let list: ActionList = serde_json::from_str(page).unwrap();
    assert_eq!(serde_json::to_string(&list).unwrap(), page);
}
