use galera::access::Role;
use galera::publish::api::ActionWait;
use insta::assert_snapshot;
use serde_json::json;

use super::super::action_detail::tests::view;
use super::*;
use crate::fixtures;

#[test]
fn an_approved_action_that_waits_says_why() {
    let mut waiting = view("approved");
    waiting.waiting = Some(ActionWait {
        code: "locked".to_owned(),
        message: "Replica <r9> holds the lock.".to_owned(),
        since: fixtures::fixed_now(),
    });
    let html = action_table(&[waiting], fixtures::fixed_now()).html();
    assert!(
        html.contains("Waiting: Replica &lt;r9&gt; holds the lock. expires in <time"),
        "{html}"
    );
}

#[test]
fn list_of_actions() {
    let mut ended = view("succeeded");
    ended.action.outcome = Some("127.0.0.1 is Primary".to_owned());
    ended.action.ended_at = Some(fixtures::fixed_now());
    let list = |action, next: Option<&str>| ActionList {
        actions: vec![action],
        next_before: next.map(|id| id.parse().unwrap()),
    };
    let switch = json!({"enabled": true, "off": null, "clusters": {}, "approvals": {"bootstrap": 1}, "sql_account": true});
    let page = page(
        &list(view("pending"), None),
        &list(ended, Some("019a-1")),
        &serde_json::from_value(switch).unwrap(),
        &fixtures::session("olga", &[Role::Operator]),
        fixtures::fixed_now(),
    );
    assert_snapshot!(fixtures::by_lines(&page.html()));
}
