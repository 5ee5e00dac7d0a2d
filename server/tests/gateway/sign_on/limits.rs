//! Roles on some clusters only: what a person with them sees and does, through every way.

use galera::access::Role;
use galera::publish::api::SessionView;
use http::Method;
use serde_json::{Value, json};

use super::{SignOnFixture, person};
use crate::live_messages::LiveConnection;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_outside_does_not_exist() {
    let fixture = SignOnFixture::start().await;
    let client = fixture.sign_in(person("sam", &["shop"])).await;
    let overview = client.get("/api/v1/clusters").await.text();
    assert!(
        overview.contains("shop") && !overview.contains("lab"),
        "{overview}"
    );
    for path in [
        "/api/v1/clusters/lab",
        "/api/v1/clusters/lab/registry",
        "/api/v1/clusters/lab/events",
        "/api/v1/clusters/lab/findings",
        "/api/v1/clusters/lab/recovery",
        "/api/v1/clusters/lab/plans/bootstrap",
        "/api/v1/clusters/lab/stop-check",
    ] {
        assert_eq!(
            client.get(path).await.problem().code,
            "unknown_cluster",
            "{path}"
        );
        let own = path.replace("lab", "shop");
        let answer = client.get(&own).await;
        assert_ne!(answer.status, 404, "{own}: {}", answer.text());
        assert_ne!(answer.status, 403, "{own}: {}", answer.text());
    }
    let path = "/api/v1/session?cluster=lab";
    let session: SessionView = client.get(path).await.json();
    assert!(session.roles.is_empty());
    for path in [
        "/api/v1/alarms",
        "/api/v1/notifications/targets",
        "/api/v1/status/announcements",
    ] {
        let problem = client.get(path).await.problem();
        assert_eq!(problem.code, "limited_to_clusters", "{path}");
    }
    // Pages that show parts of it work without them.
    for path in [
        "/fragments/",
        "/fragments/actions",
        "/fragments/audit",
        "/fragments/incidents",
        "/fragments/clusters/shop/recovery",
        "/fragments/account",
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(
            !answer.text().contains(">lab<"),
            "{path}: {}",
            answer.text()
        );
    }
    let audit = client.get("/api/v1/audit?limit=1000").await;
    assert_eq!(audit.status, 200, "{}", audit.text());
    let mut live = LiveConnection::open(&client).await;
    live.send(json!({"subscribe": ["overview", "cluster/lab"]}).to_string())
        .await;
    let overview = live.next("overview").await.to_string();
    assert!(
        overview.contains("shop") && !overview.contains("\"lab\""),
        "{overview}"
    );
}

#[tokio::test]
async fn a_role_counts_on_its_clusters_only() {
    let fixture = SignOnFixture::start().await;
    let client = fixture.sign_in(person("sam", &["shop", "everyone"])).await;
    let session: SessionView = client.get("/api/v1/session").await.json();
    assert_eq!(session.roles, [Role::Viewer, Role::Operator]);
    assert_eq!(client.get("/api/v1/clusters/lab").await.status, 200);
    let off = json!({"enabled": false, "reason": "work"});
    for (path, expected) in [
        ("/api/v1/clusters/lab/recovery", 403),
        ("/api/v1/clusters/shop/recovery", 200),
        ("/api/v1/recovery", 403),
    ] {
        let answer = client.send_json(Method::PUT, path, &off).await;
        assert_eq!(answer.status, expected, "{path}: {}", answer.text());
    }
    let incident = |clusters: Value| json!({"clusters": clusters, "title": "t", "text": "t"});
    let path = "/api/v1/status/incidents";
    for (clusters, expected) in [
        (json!(["shop"]), 201),
        (json!(["lab"]), 422),
        (json!(["lab", "shop"]), 422),
    ] {
        let answer = client
            .send_json(Method::POST, path, &incident(clusters.clone()))
            .await;
        assert_eq!(answer.status, expected, "{clusters}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_when_its_clusters_change() {
    let fixture = SignOnFixture::start().await;
    let client = fixture.sign_in(person("sam", &["shop", "everyone"])).await;
    let mut live = LiveConnection::open(&client).await;
    live.send(json!({"subscribe": ["cluster/lab"]}).to_string())
        .await;
    live.next("cluster").await;
    fixture.sign_in(person("sam", &["shop"])).await;
    live.wait_closed().await;
    assert_eq!(client.get("/api/v1/clusters/lab").await.status, 404);
    assert_eq!(client.get("/api/v1/clusters/shop").await.status, 200);
    LiveConnection::open(&client).await;
}
