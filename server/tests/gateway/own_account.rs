//! The own account: sessions, password, and how sessions end.

use std::time::Duration;

use galera::access::Role;
use galera::publish::accounts::OwnAccountView;
use http::Method;
use http::header::SET_COOKIE;
use serde_json::json;

use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{ConsoleOptions, PASSWORD, TestConsole};

const NEW_PASSWORD: &str = "another good password";

async fn profile(client: &TestClient) -> OwnAccountView {
    let answer = client.get("/api/v1/me").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn has_ended(client: &TestClient) -> bool {
    client.get("/api/v1/session").await.status == 401
}

async fn change_password(client: &TestClient, current: &str, new: &str) -> (u16, String) {
    let body = json!({"current": current, "new": new});
    let answer = client
        .send_json(Method::POST, "/api/v1/me/password", &body)
        .await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn users_see_their_own_sessions_and_end_them_on_every_replica() {
    let etcd = TestEtcd::in_memory();
    let (one, other) = (
        TestConsole::start(&etcd).await,
        TestConsole::start(&etcd).await,
    );
    for name in ["dora", "emil"] {
        one.add_user(name, &[Role::Viewer]).await;
    }
    let here = one.sign_in("dora").await;
    let there = other.sign_in("dora").await;
    let foreign = one.sign_in("emil").await;
    eventually("both sessions are listed", async || {
        profile(&here).await.sessions.len() == 2
    })
    .await;
    let sessions = profile(&here).await.sessions;
    let current: Vec<bool> = sessions.iter().map(|session| session.current).collect();
    assert_eq!(current.iter().filter(|current| **current).count(), 1);
    assert_eq!(sessions[0].address.as_deref(), Some("127.0.0.1"));
    let foreign_id = &profile(&foreign).await.sessions[0].id;
    for id in [
        foreign_id.as_str(),
        "00000000-0000-0000-0000-000000000000",
        "x",
    ] {
        let refused = here.delete(&format!("/api/v1/me/sessions/{id}")).await;
        assert_eq!(refused.problem().code, "unknown_session", "{id}");
    }
    assert!(!has_ended(&foreign).await);
    let id = &sessions.iter().find(|session| !session.current).unwrap().id;
    let ended = here.delete(&format!("/api/v1/me/sessions/{id}")).await;
    assert_eq!(ended.status, 204, "{}", ended.text());
    eventually("the other replica to end it", async || {
        has_ended(&there).await
    })
    .await;
    assert!(!has_ended(&here).await);
    let again = other.sign_in("dora").await;
    let everywhere = here.delete("/api/v1/me/sessions").await;
    assert_eq!(everywhere.status, 204, "{}", everywhere.text());
    assert!(everywhere.header(SET_COOKIE).contains("Max-Age=0"));
    assert!(has_ended(&here).await && !has_ended(&foreign).await);
    eventually("every session to end", async || has_ended(&again).await).await;
}

#[tokio::test]
async fn a_new_password_needs_the_former_one_and_ends_the_other_sessions() {
    let etcd = TestEtcd::in_memory();
    let (one, other) = (
        TestConsole::start(&etcd).await,
        TestConsole::start(&etcd).await,
    );
    one.add_user("dora", &[Role::Viewer]).await;
    let here = one.sign_in("dora").await;
    let there = other.sign_in("dora").await;
    let (status, text) = change_password(&here, "wrong password", NEW_PASSWORD).await;
    assert!(status == 403 && text.contains("wrong_password"), "{text}");
    for weak in ["password1234", "short", "dora-dora-2026", "galera-admin1"] {
        let (status, text) = change_password(&here, PASSWORD, weak).await;
        assert!(
            status == 422 && text.contains("weak_password"),
            "{weak}: {text}"
        );
    }
    assert!(!has_ended(&there).await);
    let (status, text) = change_password(&here, PASSWORD, NEW_PASSWORD).await;
    assert_eq!(status, 204, "{text}");
    assert!(
        !has_ended(&here).await,
        "the session that changed it continues"
    );
    let mut elsewhere = other.anonymous();
    elsewhere.cookie.clone_from(&here.cookie);
    for _ in 0..20 {
        assert!(!has_ended(&elsewhere).await, "in every replica");
    }
    eventually("the other session to end", async || has_ended(&there).await).await;
    assert_eq!(one.anonymous().sign_in("dora", PASSWORD).await.status, 401);
    assert_eq!(
        one.anonymous().sign_in("dora", NEW_PASSWORD).await.status,
        200
    );
    let trail = here.get("/api/v1/audit").await.text();
    assert!(trail.contains("account_password_changed") && !trail.contains(NEW_PASSWORD));
}

#[tokio::test]
async fn a_session_ends_without_use_and_not_with_use() {
    let etcd = TestEtcd::in_memory();
    let options = ConsoleOptions {
        session_idle_timeout: Some(Duration::from_secs(4)),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let (used, unused) = (console.sign_in("dora").await, console.sign_in("dora").await);
    let polling = console.sign_in("dora").await;
    eventually("the unused sessions to end", async || {
        assert_eq!(used.get("/api/v1/clusters").await.status, 200);
        // An open page updates itself; that is not a use.
        polling.get("/fragments/actions").await;
        profile(&used).await.sessions.len() == 1
    })
    .await;
    assert!(has_ended(&unused).await && has_ended(&polling).await);
    assert_eq!(
        polling.get("/api/v1/session").await.problem().code,
        "session_ended"
    );
}
