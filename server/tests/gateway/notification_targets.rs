//! Targets through the API and the page.

use galera::access::Role;
use galera::publish::notification::delivery::{TargetList, TargetView};
use galera::record::audit::AuditEvent;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

use crate::action_fixture::assert_refused;
use crate::client::{TestClient, TestResponse};
use crate::etcd::TestEtcd;
use crate::test_console::TestConsole;
use crate::webhook_receiver::WebhookReceiver;

pub(crate) const WEBHOOK_SECRET: &str = "0123456789abcdef0123456789abcdef";
const TARGETS_PATH: &str = "/api/v1/notifications/targets";

/// A webhook that gets every notification immediately.
pub(crate) fn webhook(url: &str) -> Value {
    json!({
        "name": "hook", "type": "webhook", "url": url, "secret": WEBHOOK_SECRET,
        "minimum_seconds": 0, "window_seconds": 0,
    })
}

pub(crate) async fn add_target(admin: &TestClient, body: &Value) -> TargetView {
    let answer = admin
        .post(TARGETS_PATH, "application/json", body.to_string())
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

async fn update_target(client: &TestClient, id: &str, body: &Value) -> TestResponse {
    let request = client
        .request(Method::PATCH, &format!("{TARGETS_PATH}/{id}"))
        .header(CONTENT_TYPE, "application/json");
    client
        .send(request.body(body.to_string().into()).unwrap())
        .await
}

#[tokio::test]
async fn targets_are_stored_and_their_secrets_are_not_shown() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("root", &[Role::Admin]).await;
    console.add_user("olga", &[Role::Operator]).await;
    let (admin, operator) = (console.sign_in("root").await, console.sign_in("olga").await);
    let mut body = webhook("https://hooks.example.org/galera");
    body["enabled"] = false.into();
    let target = add_target(&admin, &body).await;
    let list: TargetList = operator.get(TARGETS_PATH).await.json();
    assert_eq!(list.targets.len(), 1);
    assert!(!list.smtp);
    let everything = [
        operator.get(TARGETS_PATH).await.text(),
        operator
            .get(&format!("{TARGETS_PATH}/{}", target.id))
            .await
            .text(),
        admin.get("/api/v1/audit").await.text(),
        admin.get("/fragments/notifications").await.text(),
        admin
            .get(&format!("/fragments/notifications?edit={}", target.id))
            .await
            .text(),
    ];
    for text in everything {
        assert!(
            text.contains("hooks.example.org") && !text.contains(WEBHOOK_SECRET),
            "{text}"
        );
    }
    // Concurrent changes do not overwrite each other.
    let stale = json!({"name": "mine", "revision": target.revision});
    assert_eq!(update_target(&admin, &target.id, &stale).await.status, 200);
    assert_refused(
        &update_target(&admin, &target.id, &stale).await,
        409,
        "contended",
    );
    let fault = assert_refused(
        &update_target(&admin, &target.id, &json!({"url": "ftp://x"})).await,
        422,
        "invalid_target",
    );
    assert!(fault.detail.starts_with("Url: "), "{}", fault.detail);
    assert_refused(
        &update_target(&admin, &target.id, &json!({"colour": "red"})).await,
        400,
        "invalid_body",
    );
    assert_refused(
        &update_target(&admin, "../users/root", &json!({})).await,
        404,
        "unknown_path",
    );
    assert_refused(
        &update_target(&admin, "nowhere", &json!({})).await,
        404,
        "unknown_target",
    );
    let nothing = "/api/v1/notifications/deliveries?target=..";
    assert_refused(&operator.get(nothing).await, 404, "unknown_target");
    for event in [
        AuditEvent::NOTIFY_TARGET_ADDED,
        AuditEvent::NOTIFY_TARGET_CHANGED,
    ] {
        let audit = admin.get("/api/v1/audit").await.text();
        assert!(audit.contains(event.as_str()), "{event}");
    }
}

#[tokio::test]
async fn the_page_works_without_a_script() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("root", &[Role::Admin]).await;
    console.add_user("olga", &[Role::Operator]).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let admin = console.sign_in("root").await;
    let receiver = WebhookReceiver::start([]).await;
    let submit = async |path: &str, body: String| {
        let request = admin
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "text/html");
        admin.send(request.body(body.into()).unwrap()).await
    };
    let page = admin
        .get("/fragments/notifications?add=webhook")
        .await
        .text();
    for name in [
        "name=\"url\"",
        "name=\"secret\"",
        "name=\"kinds\"",
        "name=\"minimum_seconds\"",
    ] {
        assert!(page.contains(name), "{name} in {page}");
    }
    let url = format!("http%3A%2F%2F{}%2F", receiver.address);
    let fields = format!(
        "type=webhook&name=pager&url={url}&secret={WEBHOOK_SECRET}&kinds=verdict&clusters=other&minimum_seconds=0&window_seconds=0&enabled=true"
    );
    let bad = submit(
        "/notifications/targets",
        fields.replace("kinds=verdict&", ""),
    )
    .await;
    assert_eq!(bad.status, 422);
    assert!(
        bad.text().contains("/notifications?add=webhook"),
        "{}",
        bad.text()
    );
    let created = submit("/notifications/targets", fields).await;
    assert_eq!(
        (created.status.as_u16(), created.header(LOCATION)),
        (303, "/notifications"),
        "{}",
        created.text()
    );
    let list: TargetList = admin.get(TARGETS_PATH).await.json();
    let id = &list.targets[0].id;
    assert_eq!(list.targets[0].rules.clusters.len(), 1);
    let tested = submit(&format!("/notifications/targets/{id}/test"), String::new()).await;
    assert_eq!(
        tested.header(LOCATION),
        "/notifications",
        "{}",
        tested.text()
    );
    assert_eq!(receiver.requests().len(), 1);
    let page = admin.get("/notifications").await.text();
    assert!(
        page.contains("pager") && page.contains("delivered"),
        "{page}"
    );
    let notification = receiver.requests()[0].id();
    let again = submit(
        &format!("/notifications/deliveries/{id}/{notification}/redeliver"),
        String::new(),
    )
    .await;
    assert_eq!(
        again.header(LOCATION),
        format!("/notifications?target={id}"),
        "{}",
        again.text()
    );
    // An operator sees it and may send again; the page names the role required for the rest.
    let operator = console
        .sign_in("olga")
        .await
        .get("/fragments/notifications")
        .await
        .text();
    assert!(operator.contains("Requires the admin role."), "{operator}");
    let viewer = console
        .sign_in("vera")
        .await
        .get("/fragments/notifications")
        .await;
    assert_refused(&viewer, 403, "missing_role");
    let removed = submit(
        &format!("/notifications/targets/{id}/remove"),
        String::new(),
    )
    .await;
    assert_eq!(
        removed.header(LOCATION),
        "/notifications",
        "{}",
        removed.text()
    );
    let list: TargetList = admin.get(TARGETS_PATH).await.json();
    assert!(list.targets.is_empty());
}
