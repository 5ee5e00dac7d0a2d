//! Sessions across replicas: what ends them, and which tokens are rejected.

use std::time::Duration;

use accounts::UserName;
use accounts::token::{SessionClaims, TokenSigner};
use galera::Timestamp;
use galera::access::Role;
use uuid::Uuid;

use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{ConsoleOptions, NOW, PASSWORD, STATE_PREFIX, TestConsole};

fn dora() -> UserName {
    "dora".parse().unwrap()
}

#[tokio::test]
async fn replicas_share_sessions_immediately() {
    let etcd = TestEtcd::in_memory();
    let (one, other) = (
        TestConsole::start(&etcd).await,
        TestConsole::start(&etcd).await,
    );
    one.add_user("dora", &[Role::Viewer]).await;
    for _ in 0..5 {
        let at_one = one.sign_in("dora").await;
        let mut at_other = other.anonymous();
        at_other.cookie.clone_from(&at_one.cookie);
        assert_eq!(
            at_other.get("/api/v1/session").await.status,
            200,
            "known without waiting"
        );
        assert_eq!(at_one.delete("/api/v1/session").await.status, 204);
        eventually("the other replica to end it", async || {
            at_other.get("/api/v1/session").await.status == 401
        })
        .await;
    }
}

#[tokio::test]
async fn every_account_change_ends_its_sessions() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("admin", &[Role::Admin]).await;
    console.add_user("dora", &[Role::Viewer]).await;
    for change in ["disable", "passwd", "remove"] {
        let client = console.sign_in("dora").await;
        let token = client.cookie.as_deref().unwrap().split_once('=').unwrap().1;
        let mut guard = console
            .state
            .authenticator
            .resolve_session(token)
            .await
            .unwrap();
        assert!(!guard.has_ended());
        match change {
            "disable" => console
                .store
                .set_disabled(&dora(), true, false, NOW)
                .await
                .unwrap(),
            "passwd" => console
                .store
                .set_password(&dora(), "another password", NOW)
                .await
                .unwrap(),
            _ => console.store.remove(&dora(), false).await.unwrap(),
        }
        tokio::time::timeout(crate::etcd::TIMEOUT, guard.wait_ended())
            .await
            .expect(change);
        assert_eq!(
            client.get("/api/v1/session").await.problem().code,
            "session_ended",
            "{change}"
        );
        // Prepares the next round; enabling an account restores no old session.
        match change {
            "disable" => {
                console
                    .store
                    .set_disabled(&dora(), false, false, NOW)
                    .await
                    .unwrap();
                assert_eq!(
                    console
                        .sign_in("dora")
                        .await
                        .get("/api/v1/session")
                        .await
                        .status,
                    200
                );
                assert_eq!(client.get("/api/v1/session").await.status, 401);
            }
            "passwd" => console
                .store
                .set_password(&dora(), crate::test_console::PASSWORD, NOW)
                .await
                .unwrap(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_session_expires() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(
        &etcd,
        ConsoleOptions {
            session_lifetime: Duration::from_secs(2),
            ..ConsoleOptions::default()
        },
    )
    .await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    assert_eq!(client.get("/api/v1/session").await.status, 200);
    eventually("the session to expire", async || {
        let answer = client.get("/api/v1/session").await;
        answer.status == 401 && answer.problem().code == "session_expired"
    })
    .await;
    let sessions = format!("{STATE_PREFIX}/sessions/");
    eventually("etcd to delete it", async || {
        console
            .registry
            .list(sessions.clone())
            .await
            .is_ok_and(|listing| listing.entries.is_empty())
    })
    .await;
}

#[tokio::test]
async fn forged_tokens_are_rejected() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let token = client
        .cookie
        .clone()
        .unwrap()
        .split_once('=')
        .unwrap()
        .1
        .to_owned();
    let body = token.split('.').nth(1).unwrap();
    let now = console_core::clock::now();
    let claims = SessionClaims::new(
        dora(),
        Uuid::new_v4(),
        now,
        now.plus(Duration::from_secs(60)),
    );
    let other_key = TokenSigner::new(b"guessed").sign(&claims).unwrap();
    // {"alg":"none","typ":"JWT"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
    let cut = &token[..token.len() - 2];
    let long = "a".repeat(10_000);
    for forged in [other_key.as_str(), &unsigned, cut, "", "x", "a.b.c", &long] {
        let answer = console.with_token(forged).get("/api/v1/clusters").await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().code.as_str()),
            (401, "session_invalid"),
            "{forged}"
        );
    }
    assert_eq!(
        client.get("/api/v1/clusters").await.status,
        200,
        "the genuine session stays valid"
    );
}

#[tokio::test]
async fn session_fixation_gains_nothing() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("dora", &[Role::Viewer]).await;
    console.add_user("mallory", &[Role::Viewer]).await;
    let token_of = |cookie: &str| cookie.split_once('=').unwrap().1.to_owned();
    let mallory = token_of(console.sign_in("mallory").await.cookie.as_deref().unwrap());
    let ended = console.sign_in("mallory").await;
    let former = token_of(ended.cookie.as_deref().unwrap());
    assert_eq!(ended.delete("/api/v1/session").await.status, 204);
    // The attacker places a cookie in the browser of the victim, who then signs in.
    for planted in [mallory.as_str(), former.as_str(), "chosen", ""] {
        let answer = console.with_token(planted).sign_in("dora", PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let issued = answer.token();
        assert!(![mallory.as_str(), &former, planted].contains(&issued));
        let profile = console.with_token(issued).get("/api/v1/session").await;
        assert!(profile.text().contains("dora"), "{}", profile.text());
        let planted = console.with_token(planted).get("/api/v1/session").await;
        assert!(!planted.text().contains("dora"), "{}", planted.text());
    }
    let own = console.with_token(&mallory).get("/api/v1/session").await;
    assert!(own.text().contains("mallory"), "{}", own.text());
    // Nor does a token in the address or in a header.
    for path in ["session", "token", "galera_console_session"] {
        let path = format!("/api/v1/session?{path}={mallory}");
        assert_eq!(console.anonymous().get(&path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_genuine_token_without_a_session_is_rejected() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let entry = console
        .registry
        .get(format!("{STATE_PREFIX}/keys/session"))
        .await
        .unwrap()
        .unwrap();
    let record: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    let hex = record["hs256"].as_str().unwrap();
    let key: Vec<u8> = (0..32)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let now = console_core::clock::now();
    let token = |issued: Timestamp, expires: Timestamp| {
        let claims = SessionClaims::new(dora(), Uuid::new_v4(), issued, expires);
        TokenSigner::new(&key).sign(&claims).unwrap()
    };
    let minute = Duration::from_secs(60);
    for (token, code) in [
        (token(now, now.plus(minute)), "session_ended"),
        (
            token(now.minus(minute * 5), now.plus(minute)),
            "session_ended",
        ),
        (
            token(now.minus(minute * 5), now.minus(minute)),
            "session_expired",
        ),
    ] {
        assert_eq!(
            console
                .with_token(&token)
                .get("/api/v1/session")
                .await
                .problem()
                .code,
            code
        );
    }
}

#[tokio::test]
async fn removing_the_signing_key_ends_all_sessions_and_creates_a_new_key() {
    let etcd = TestEtcd::in_memory();
    let (one, other) = (
        TestConsole::start(&etcd).await,
        TestConsole::start(&etcd).await,
    );
    one.add_user("dora", &[Role::Viewer]).await;
    let client = one.sign_in("dora").await;
    let key = format!("{STATE_PREFIX}/keys/session");
    let entry = one.registry.get(key.clone()).await.unwrap().unwrap();
    one.registry
        .delete_if(key, entry.mod_revision)
        .await
        .unwrap();
    eventually("all sessions to end", async || {
        client.get("/api/v1/session").await.status == 401
    })
    .await;
    eventually("both replicas to be ready", async || {
        one.anonymous().get("/readyz").await.status == 200
            && other.anonymous().get("/readyz").await.status == 200
    })
    .await;
    let client = one.sign_in("dora").await;
    let mut at_other = other.anonymous();
    at_other.cookie.clone_from(&client.cookie);
    assert_eq!(
        at_other.get("/api/v1/session").await.status,
        200,
        "both use the same new key"
    );
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_sessions() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let first = console.sign_in("dora").await;
    for _ in 0..50 {
        console.sign_in("dora").await;
    }
    assert_eq!(
        first.get("/api/v1/session").await.status,
        401,
        "the oldest one ended"
    );
    let sessions = console
        .registry
        .list(format!("{STATE_PREFIX}/sessions/"))
        .await
        .unwrap();
    assert_eq!(sessions.entries.len(), 50);
}
