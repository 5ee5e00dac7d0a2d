//! The keys that sign sessions: rotation on command and by age, on every replica.

use std::time::Duration;

use accounts::{SESSION_KEY_AGE_MAX, rotate_session_key};
use console_core::clock::now;
use galera::access::Role;
use serde_json::{Value, json};

use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{STATE_PREFIX, TestConsole};

const KEY: &str = "/state/keys/session";

async fn stored(console: &TestConsole) -> Value {
    let entry = console.registry.get(KEY).await.unwrap().unwrap();
    serde_json::from_slice(&entry.value).unwrap()
}

fn at(console: &TestConsole, client: &TestClient) -> TestClient {
    let mut same = console.anonymous();
    same.cookie.clone_from(&client.cookie);
    same
}

async fn rotate(console: &TestConsole, end_sessions: bool) -> String {
    let rotated = rotate_session_key(&console.registry, STATE_PREFIX, "test", end_sessions, now());
    rotated.await.unwrap().kid
}

#[tokio::test]
async fn sessions_continue_after_a_rotation_and_new_ones_are_known_everywhere() {
    let etcd = TestEtcd::in_memory();
    let (one, other) = (
        TestConsole::start(&etcd).await,
        TestConsole::start(&etcd).await,
    );
    one.add_user("dora", &[Role::Viewer]).await;
    for _ in 0..3 {
        let before = one.sign_in("dora").await;
        rotate(&one, false).await;
        for console in [&one, &other] {
            assert_eq!(
                at(console, &before).get("/api/v1/session").await.status,
                200
            );
        }
        let after = one.sign_in("dora").await;
        let seen = at(&other, &after).get("/api/v1/session").await;
        assert_eq!(seen.status, 200, "known without waiting: {}", seen.text());
    }
    assert_eq!(stored(&one).await["former"].as_array().unwrap().len(), 3);
    let client = one.sign_in("dora").await;
    assert!(
        client
            .get("/api/v1/audit")
            .await
            .text()
            .contains("session_key_rotated")
    );
}

#[tokio::test]
async fn a_rotation_that_ends_sessions_is_explained() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    rotate(&console, true).await;
    eventually("the session to end", async || {
        client.get("/api/v1/session").await.status == 401
    })
    .await;
    let problem = client.get("/api/v1/session").await.problem();
    assert_eq!(problem.code, "session_ended");
    assert!(
        problem.detail.contains("key that signed it was replaced"),
        "{}",
        problem.detail
    );
    console.sign_in("dora").await;
}

#[tokio::test]
async fn a_key_is_replaced_by_age_and_a_former_one_removed_after_its_last_session() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let mut record = stored(&console).await;
    let former = record["hs256"].clone();
    record["created_at"] = json!(now().minus(SESSION_KEY_AGE_MAX));
    console
        .registry
        .put(KEY, record.to_string(), None)
        .await
        .unwrap();
    eventually("the key to be replaced", async || {
        stored(&console).await["former"][0]["hs256"] == former
    })
    .await;
    assert_eq!(client.get("/api/v1/session").await.status, 200);
    // Replaced an hour ago, at a replica that starts now.
    let mut record = stored(&console).await;
    record["former"][0]["replaced_at"] = json!(now().minus(Duration::from_secs(3600)));
    console
        .registry
        .put(KEY, record.to_string(), None)
        .await
        .unwrap();
    let other = TestConsole::start(&etcd).await;
    assert_eq!(at(&other, &client).get("/api/v1/session").await.status, 200);
    assert_eq!(client.delete("/api/v1/session").await.status, 204);
    eventually("the former key to be removed", async || {
        stored(&console).await.get("former").is_none()
    })
    .await;
    let reader = console.sign_in("dora").await;
    assert!(
        reader
            .get("/api/v1/audit")
            .await
            .text()
            .contains("session_key_removed")
    );
}

#[tokio::test]
async fn tokens_that_name_unknown_keys_are_rejected_without_a_reading_each() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    for n in 0..50 {
        let signer = accounts::token::TokenSigner::new(b"guessed");
        let until = now().plus(Duration::from_secs(60));
        let name = "dora".parse().unwrap();
        let claims = accounts::token::SessionClaims::new(name, uuid::Uuid::new_v4(), now(), until);
        let token = signer.sign_as(&claims, &format!("{n:016x}")).unwrap();
        let refused = console.with_token(&token).get("/api/v1/session").await;
        assert_eq!(refused.status, 401);
    }
    assert_eq!(client.get("/api/v1/session").await.status, 200);
}
