use galera::access::Role;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::delivery_log::tests::waiting_delivery;
use super::*;
use crate::fixtures;

fn target(id: &str, channel: &str, waiting: usize) -> Value {
    let webhook = channel == "webhook";
    json!({
        "id": id, "name": format!("The {channel}"), "enabled": webhook, "type": channel,
        "url": webhook.then_some("https://hooks.example.org/galera"), "has_secret": webhook,
        "to": if webhook { json!([]) } else { json!(["ops@example.org"]) }, "people": !webhook,
        "kinds": ["verdict", "action_requested"], "clusters": if webhook { json!(["lab"]) } else { json!([]) },
        "minimum_seconds": 15, "window_seconds": 30, "changed_at": fixtures::fixed_now().to_string(),
        "changed_by": "ada", "revision": 42, "waiting": waiting,
        "last": (waiting > 0).then(waiting_delivery),
    })
}

fn html(uri: &str, role: Role) -> String {
    let targets =
        json!({"targets": [target("t", "webhook", 1), target("u", "email", 0)], "smtp": true});
    let deliveries = DeliveryList {
        deliveries: vec![waiting_delivery()],
        more: 7,
    };
    let query = PageQuery::from_uri(&uri.parse().unwrap());
    let page = page(
        &serde_json::from_value(targets).unwrap(),
        &deliveries,
        &NotificationsFilter::from_query(&query),
        &fixtures::session("ada", &[role]),
        fixtures::fixed_now(),
    );
    fixtures::by_lines(&page.html())
}

#[test]
fn targets_and_deliveries() {
    assert_snapshot!(html("/notifications", Role::Operator));
}

#[test]
fn target_being_edited() {
    let html = html("/notifications?edit=t", Role::Admin);
    let form = html.find("<section id=\"form\"").unwrap();
    let log = html.find("<section id=\"log\"").unwrap();
    assert_snapshot!(&html[form..log]);
}
