//! etcd outage: signed-in users keep reading, no new sign-ins, automatic recovery.

use std::time::Duration;

use galera::access::Role;

use crate::etcd::{TIMEOUT, TestEtcd, eventually};
use crate::test_console::{ConsoleOptions, PASSWORD, TestConsole};

#[tokio::test]
async fn etcd_fails_and_recovers() {
    let mut etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    etcd.kill();
    eventually("the console notices", async || {
        console.state.authenticator.cache().etcd_error().is_some()
    })
    .await;
    for path in [
        "/api/v1/session",
        "/api/v1/clusters",
        "/api/v1/clusters/lab",
        "/clusters/lab",
        "/readyz",
        "/healthz",
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    for (what, answer) in [
        (
            "signing in",
            console.anonymous().sign_in("dora", PASSWORD).await,
        ),
        ("signing out", client.delete("/api/v1/session").await),
        (
            "registry",
            client.get("/api/v1/clusters/lab/registry").await,
        ),
    ] {
        assert_eq!(answer.status, 503, "{what}");
        assert_eq!(answer.problem().code, "registry_unavailable", "{what}");
        assert!(!answer.header("retry-after").is_empty(), "{what}");
    }
    etcd.restart().await;
    eventually("sign-in works again", async || {
        console.anonymous().sign_in("dora", PASSWORD).await.status == 200
    })
    .await;
    assert_eq!(
        client.get("/api/v1/session").await.status,
        200,
        "the earlier session is still valid"
    );
    assert_eq!(client.delete("/api/v1/session").await.status, 204);
}

#[tokio::test]
async fn a_console_that_starts_without_etcd_is_not_ready() {
    let mut etcd = TestEtcd::in_memory();
    etcd.kill();
    let console = TestConsole::start_unready(&etcd, &ConsoleOptions::default());
    let client = console.with_token("any");
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.get("/readyz").await.problem().code, "not_ready");
    assert_eq!(
        client.get("/api/v1/clusters").await.problem().code,
        "registry_unavailable"
    );
    assert_eq!(
        console
            .anonymous()
            .get("/api/v1/clusters")
            .await
            .problem()
            .code,
        "not_signed_in"
    );
    let page = client.get("/clusters/lab").await;
    assert_eq!(
        page.header("location"),
        "/sign-in?error=registry_unavailable&next=/clusters/lab"
    );
    assert_eq!(
        console.anonymous().sign_in("dora", PASSWORD).await.status,
        503
    );
    etcd.restart().await;
    eventually("it becomes ready", async || {
        client.get("/readyz").await.status == 200
    })
    .await;
}

/// Longer than a page may take to render: one that waits for etcd is an internal error.
const LONG: Duration = Duration::from_secs(15);

#[tokio::test]
async fn no_page_waits_for_an_etcd_that_never_answers() {
    let etcd = TestEtcd::process().await;
    let options = ConsoleOptions {
        etcd_deadline: Some(LONG),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("dora", &Role::ALL).await;
    let client = console.sign_in("dora").await;
    etcd.pause();
    let mut health = console.state.monitor.registry_health_changes();
    let noticed = health.wait_for(|health| !health.reachable);
    tokio::time::timeout(TIMEOUT + LONG, noticed)
        .await
        .expect("the console notices")
        .unwrap();
    for page in [
        "/",
        "/clusters/lab",
        "/clusters/lab/registry",
        "/clusters/lab/events",
        "/clusters/lab/recovery",
        "/clusters/lab/stop-check",
        "/clusters/lab/findings",
        "/clusters/lab/rolling-restart",
        "/clusters/lab/nodes/127.0.0.1:1",
        "/actions",
        "/audit",
        "/account",
        "/incidents",
        "/status-pages",
        "/notifications",
    ] {
        let answer = client.get(page).await;
        let text = answer.text();
        // What is not in memory is named; anything else is shown.
        let explained = answer.status == 503 && text.contains("etcd is unreachable");
        assert!(answer.status == 200 || explained, "{page}: {text}");
    }
}
