//! Bodies of the HTTP API: names, words and types are a contract with external clients.

use std::time::Duration;

use galera::ActionId;
use galera::access::Role;
use galera::record::audit::{AuditEvent, AuditRecord};
use galera::view::{NodeState, VerdictState};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, apply_verb, post};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::event_history::{HistoryReplica, wait_for_events};
use crate::fake_cluster::FakeCluster;
use crate::notification_delivery::send_test;
use crate::notification_targets::{add_target, webhook};
use crate::redaction::stable_body;
use crate::test_console::{NOW, PASSWORD, TestConsole};
use crate::webhook_receiver::WebhookReceiver;

/// A console and its client, signed in with the role.
async fn console_for(etcd: &TestEtcd, role: Role) -> (TestConsole, TestClient) {
    let console = TestConsole::start(etcd).await;
    console.add_user("dora", &[role]).await;
    let client = console.sign_in("dora").await;
    (console, client)
}

/// The only node of these consoles' cluster refuses connections, so its verdict stays down.
pub(crate) async fn wait_until_down(client: &TestClient) {
    eventually("the cluster is down", async || {
        let overview: Value = client.get("/api/v1/clusters").await.json();
        overview["clusters"][0]["verdict"]["state"] == "down"
    })
    .await;
}

#[tokio::test]
async fn session() {
    let etcd = TestEtcd::in_memory();
    let (console, client) = console_for(&etcd, Role::Viewer).await;
    let body = stable_body(&console.anonymous().sign_in("dora", PASSWORD).await, 200);
    assert_eq!(stable_body(&client.get("/api/v1/session").await, 200), body);
    assert_json_snapshot!(body);
}

#[tokio::test]
async fn own_account() {
    let etcd = TestEtcd::in_memory();
    let (_console, client) = console_for(&etcd, Role::Approver).await;
    let started = post(&client, "/api/v1/me/factor", &json!({})).await;
    assert_eq!(started.status, 200);
    let mut body = stable_body(&client.get("/api/v1/me").await, 200);
    body["sessions"][0]["id"] = "id".into();
    for secret in ["secret", "uri"] {
        body["second_factor"]["enrolment"][secret] = secret.into();
    }
    assert_json_snapshot!(body);
}

#[tokio::test]
async fn list_of_accounts() {
    let etcd = TestEtcd::in_memory();
    let (console, client) = console_for(&etcd, Role::Admin).await;
    console
        .add_user("emil", &[Role::Viewer, Role::Operator])
        .await;
    assert_json_snapshot!(stable_body(&client.get("/api/v1/accounts").await, 200));
}

#[tokio::test]
async fn list_of_clusters() {
    let etcd = TestEtcd::in_memory();
    let (_console, client) = console_for(&etcd, Role::Viewer).await;
    wait_until_down(&client).await;
    assert_json_snapshot!(stable_body(&client.get("/api/v1/clusters").await, 200));
}

#[tokio::test]
async fn registry_view() {
    let etcd = TestEtcd::in_memory();
    let (console, client) = console_for(&etcd, Role::Viewer).await;
    let registry = &console.registry;
    let lease = registry.grant_without_keep_alive(Duration::from_secs(3_600));
    let lease = lease.await.unwrap();
    for (key, value, lease) in [
        ("127.0.0.1:1/note", "<b>by hand</b>", None),
        ("127.0.0.1:1/registered", "{}", None),
        ("127.0.0.1:1/wsrep_cluster_status", "Primary", Some(lease)),
        ("127.0.0.2:1/registered", "{}", None),
    ] {
        let key = format!("/galera/lab/{key}");
        registry.put(key, value, lease).await.unwrap();
    }
    let path = "/api/v1/clusters/lab/registry";
    eventually("only the node without a lease is stale", async || {
        let view: Value = client.get(path).await.json();
        let keys = view["keys"].as_array().unwrap();
        let stale: Vec<bool> = keys.iter().map(|key| key["stale"] == true).collect();
        stale == [false, false, false, true]
    })
    .await;
    assert_json_snapshot!(stable_body(&client.get(path).await, 200));
}

#[tokio::test]
async fn page_of_events() {
    let etcd = TestEtcd::in_memory();
    let shop = "shop".parse().unwrap();
    // The leader, which observes the cluster; the console below only reads.
    let mut replica = HistoryReplica::start(&etcd.registry(), "r2");
    replica.set_state(&shop, (VerdictState::Healthy, NodeState::Synced));
    wait_for_events(&replica, &shop, 2).await;
    replica.set_state(&shop, (VerdictState::Degraded, NodeState::Unreachable));
    wait_for_events(&replica, &shop, 4).await;
    let (_console, client) = console_for(&etcd, Role::Viewer).await;
    let path = "/api/v1/clusters/shop/events?limit=2";
    eventually("the console has read the events", async || {
        let page: Value = client.get(path).await.json();
        page["events"]
            .as_array()
            .is_some_and(|events| events.len() == 2)
    })
    .await;
    assert_json_snapshot!(stable_body(&client.get(path).await, 200));
}

#[tokio::test]
async fn page_of_the_audit_trail() {
    let etcd = TestEtcd::in_memory();
    let (console, client) = console_for(&etcd, Role::Viewer).await;
    let detail = [("kind", "bootstrap"), ("reason", "two hosts lost power")];
    let detail = detail.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for event in [AuditEvent::ACTION_REQUESTED, AuditEvent::ACTION_APPROVED] {
        let record = AuditRecord {
            at: NOW,
            actor: "olga".to_owned(),
            event,
            cluster: "lab".parse().ok(),
            subject: Some("019a00000001-00000001".to_owned()),
            detail: detail.clone().into(),
        };
        let trail = console.state.actions.trail();
        trail.record(record).await.unwrap();
    }
    let path = "/api/v1/audit?actor=olga&limit=1";
    assert_json_snapshot!(stable_body(&client.get(path).await, 200));
}

/// A console with a requested action.
async fn with_action(etcd: &TestEtcd) -> (ActionFixture, ActionId) {
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    (fixture, id)
}

#[tokio::test]
async fn list_of_actions() {
    let etcd = TestEtcd::in_memory();
    let (fixture, id) = with_action(&etcd).await;
    let withdrawn = apply_verb(&fixture.operator, &id, "cancel").await;
    assert_eq!(withdrawn.status, 200, "{}", withdrawn.text());
    fixture.request(&fixture.operator).await;
    let mut body = stable_body(&fixture.viewer.get("/api/v1/actions?limit=1").await, 200);
    // Plans have separate snapshots.
    body["actions"][0]["plan"]["checks"] = "[checks]".into();
    assert_json_snapshot!(body);
}

#[tokio::test]
async fn recovery_of_all_clusters() {
    let etcd = TestEtcd::in_memory();
    let (_console, client) = console_for(&etcd, Role::Viewer).await;
    assert_json_snapshot!(stable_body(&client.get("/api/v1/recovery").await, 200));
}

#[tokio::test]
async fn recovery_of_a_cluster() {
    let etcd = TestEtcd::in_memory();
    let (_console, client) = console_for(&etcd, Role::Operator).await;
    let path = "/api/v1/clusters/lab/recovery";
    let request = client
        .request(http::Method::PUT, path)
        .header("content-type", "application/json")
        .body(r#"{"enabled":false,"reason":"rack migration"}"#.into())
        .unwrap();
    let body = stable_body(&client.send(request).await, 200);
    assert_eq!(stable_body(&client.get(path).await, 200), body);
    assert_json_snapshot!(body);
}

#[tokio::test]
async fn notification_target() {
    let etcd = TestEtcd::in_memory();
    let (_console, client) = console_for(&etcd, Role::Admin).await;
    let mut target = webhook("https://hooks.example.org/galera");
    target["enabled"] = false.into();
    let path = "/api/v1/notifications/targets";
    let added = client.post(path, "application/json", target.to_string());
    let body = stable_body(&added.await, 201);
    assert_eq!(
        stable_body(&client.get(path).await, 200)["targets"][0],
        body
    );
    assert_json_snapshot!(body);
}

#[tokio::test]
async fn list_of_deliveries() {
    let etcd = TestEtcd::in_memory();
    let (_console, client) = console_for(&etcd, Role::Admin).await;
    let receiver = WebhookReceiver::start([]).await;
    let mut target = webhook(&receiver.url());
    // Only the test is sent to it.
    target["enabled"] = false.into();
    let target = add_target(&client, &target).await;
    send_test(&client, &target).await;
    let path = format!("/api/v1/notifications/deliveries?target={}", target.id);
    assert_json_snapshot!(stable_body(&client.get(&path).await, 200));
}
