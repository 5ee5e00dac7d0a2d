//! Concurrent requests of one account are limited, until their responses are read.

use axum::body::Body;
use galera::access::Role;
use galera_console::config::LimitsConfig;
use http::header::RETRY_AFTER;
use http::{Method, Response, StatusCode};
use tower::ServiceExt;

use crate::client::TestClient;
use crate::etcd::TestEtcd;
use crate::test_console::{ConsoleOptions, TestConsole};

async fn console_with(requests_per_account: usize) -> TestConsole {
    let options = ConsoleOptions {
        limits_of_clients: LimitsConfig {
            requests_per_account,
            ..LimitsConfig::default()
        },
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    for name in ["dora", "emil"] {
        console.add_user(name, &[Role::Viewer]).await;
    }
    console
}

/// A response that is not read.
async fn unread(client: &TestClient, path: &str) -> Response<Body> {
    let request = client
        .request(Method::GET, path)
        .body(Body::empty())
        .unwrap();
    client.router.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn responses_that_are_not_read_count_until_they_are_dropped() {
    let console = console_with(2).await;
    let (dora, emil) = (console.sign_in("dora").await, console.sign_in("emil").await);
    let export = "/api/v1/audit?format=csv&limit=1000";
    let held = [unread(&dora, export).await, unread(&dora, export).await];
    assert!(held.iter().all(|response| response.status() == 200));
    let refused = dora.get("/api/v1/clusters").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers[RETRY_AFTER], "1");
    assert!(
        refused.text().contains("\"too_many_requests\""),
        "{}",
        refused.text()
    );
    assert_eq!(dora.get("/").await.status, 429, "pages, too");
    assert_eq!(emil.get("/api/v1/clusters").await.status, 200);
    let metrics = emil.get("/metrics").await.text();
    let line = "limit_refusals_total{limit=\"requests_per_account\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    // Health and sign-in have no account.
    assert_eq!(console.anonymous().get("/healthz").await.status, 200);
    drop(held);
    assert_eq!(dora.get("/api/v1/clusters").await.status, 200);
}

#[tokio::test]
async fn a_page_counts_once_although_it_requests_its_data() {
    let console = console_with(1).await;
    let dora = console.sign_in("dora").await;
    for _ in 0..3 {
        let page = dora.get("/").await;
        assert_eq!(page.status, 200);
        assert!(
            !page.text().contains("too_many_requests"),
            "{}",
            page.text()
        );
    }
}

#[tokio::test]
async fn an_owner_at_the_limit_can_end_sessions() {
    let console = console_with(1).await;
    let intruder = console.sign_in("dora").await;
    let owner = console.sign_in("dora").await;
    let _held = unread(&intruder, "/api/v1/audit?format=csv").await;
    assert_eq!(owner.get("/api/v1/clusters").await.status, 429);
    let ended = owner.delete("/api/v1/me/sessions").await;
    assert!(ended.status.is_success(), "{}", ended.text());
    assert_eq!(intruder.get("/api/v1/session").await.status, 401);
}
