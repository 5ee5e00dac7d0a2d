use galera::access::Role;
use galera::record::audit::AuditEvent;
use http::Method;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, LOCATION, SET_COOKIE, X_FRAME_OPTIONS,
};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{StatusPageFixture, assert_same, post, send};
use crate::client::TestClient;
use crate::etcd::{TIMEOUT, eventually};
use crate::test_console::TestConsole;

const PARTS: [&str; 4] = [
    "/status/shop",
    "/status/shop/summary.json",
    "/status/shop/feed.atom",
    "/status/shop/badge.svg",
];

async fn get_with(
    client: &TestClient,
    path: &str,
    name: http::HeaderName,
    value: &str,
) -> super::TestResponse {
    let request = client.request(Method::GET, path).header(name, value);
    client
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn a_public_page_and_its_parts_need_no_sign_in_and_are_cached() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let anonymous = fixture.console.anonymous();
    for (path, media_type) in PARTS.into_iter().zip([
        "text/html; charset=utf-8",
        "application/json",
        "application/atom+xml; charset=utf-8",
        "image/svg+xml",
    ]) {
        let answer = anonymous.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header(CONTENT_TYPE), media_type, "{path}");
        assert!(
            answer.header(CACHE_CONTROL).starts_with("public, "),
            "{path}"
        );
        assert!(answer.header(SET_COOKIE).is_empty(), "{path}");
        for secret in [">lab", "\"lab\"", "127.0.0.1", "olga", "ada"] {
            assert!(
                !answer.text().contains(secret),
                "{path} reveals {secret}: {}",
                answer.text()
            );
        }
        let tag = answer.header(ETAG).to_owned();
        let again = get_with(&anonymous, path, IF_NONE_MATCH, &tag).await;
        assert_eq!(
            (again.status.as_u16(), again.body.len()),
            (304, 0),
            "{path}"
        );
        assert_eq!(again.header(ETAG), tag, "{path}");
        let packed = get_with(&anonymous, path, ACCEPT_ENCODING, "br").await;
        assert_eq!(packed.header(CONTENT_ENCODING), "br", "{path}");
        assert!(packed.body.len() < answer.body.len(), "{path}");
    }
}

#[tokio::test]
async fn a_members_page_requires_signing_in() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "members", "").await;
    fixture.console.add_user("vera", &[Role::Viewer]).await;
    let viewer = fixture.console.sign_in("vera").await;
    assert_eq!(viewer.get("/status/shop").await.status, 200);
    let answer = fixture.console.anonymous().get("/status/shop").await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header(LOCATION), "/sign-in?next=/status/shop");
    let unknown = fixture
        .console
        .anonymous()
        .get("/status/nowhere/feed.atom")
        .await;
    for part in &PARTS[1..] {
        assert_same(&fixture.console.anonymous().get(part).await, &unknown, part);
    }
}

#[tokio::test]
async fn summary_has_the_format_of_statuspage() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let body = r#"{"clusters":["lab"],"title":"Slow","text":"We look."}"#;
    post(&fixture.operator, "/api/v1/status/incidents", body).await;
    fixture
        .wait_for_text("/status/shop/summary.json", "Slow")
        .await;
    let summary: Value = fixture
        .console
        .anonymous()
        .get("/status/shop/summary.json")
        .await
        .json();
    assert_eq!(summary["page"]["id"], "shop");
    assert_eq!(summary["components"][0]["id"], "orders");
    let status = summary["components"][0]["status"].as_str().unwrap();
    assert!(["major_outage", "unknown"].contains(&status), "{status}");
    let incident = &summary["incidents"][0];
    assert_eq!(incident["status"], "investigating");
    assert_eq!(incident["incident_updates"][0]["body"], "We look.");
    assert_eq!(incident["components"][0]["name"], "Orders");
    assert!(
        summary["scheduled_maintenances"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert!(
        summary["status"]["indicator"].is_string() && summary["status"]["description"].is_string()
    );
}

#[tokio::test]
async fn the_feed_is_atom() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let body = r#"{"clusters":["lab"],"title":"A <b> & \"c\"","text":"x < y\n]]> & z"}"#;
    post(&fixture.operator, "/api/v1/status/incidents", body).await;
    fixture
        .wait_for_text("/status/shop/feed.atom", "A &lt;b&gt;")
        .await;
    let answer = fixture
        .console
        .anonymous()
        .get("/status/shop/feed.atom")
        .await;
    let feed = atom_syndication::Feed::read_from(&answer.body[..]).unwrap();
    assert_eq!(feed.title().as_str(), "Shop");
    assert!(feed.id().starts_with("tag:") && feed.links().iter().any(|link| link.rel() == "self"));
    assert_eq!(feed.authors().len(), 1);
    let entry = &feed.entries()[0];
    assert_eq!(entry.title().as_str(), "A <b> & \"c\" (investigating)");
    assert!(
        entry
            .content()
            .unwrap()
            .value()
            .unwrap()
            .contains("x < y\n]]> & z")
    );
    assert_eq!(feed.updated(), entry.updated());
}

#[tokio::test]
async fn badges_show_a_state_or_an_uptime() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let anonymous = fixture.console.anonymous();
    let badge = async |query: &str| {
        anonymous
            .get(&format!("/status/shop/badge.svg{query}"))
            .await
    };
    assert!(badge("").await.text().contains("<title>Shop: "));
    let one = badge("?cluster=orders").await.text();
    assert!(one.contains("<title>Orders: "), "{one}");
    let uptime = badge("?cluster=Orders&metric=uptime&days=30").await.text();
    assert!(uptime.contains("<title>Orders 30 days: "), "{uptime}");
    for query in [
        "?days=7",
        "?metric=uptime&days=8",
        "?metric=colour",
        "?days=x",
    ] {
        assert_eq!(badge(query).await.status, 400, "{query}");
    }
    assert_eq!(badge("?cluster=lab").await.status, 404);
}

#[tokio::test]
async fn only_listed_origins_may_embed_a_page() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("closed", "public", "").await;
    fixture
        .create_page("shop", "public", r#","embed":["https://intranet.example"]"#)
        .await;
    let anonymous = fixture.console.anonymous();
    let closed = anonymous.get("/status/closed").await;
    assert!(
        closed
            .header(CONTENT_SECURITY_POLICY)
            .ends_with("frame-ancestors 'none'")
    );
    assert_eq!(closed.header(X_FRAME_OPTIONS), "DENY");
    let shop = anonymous.get("/status/shop").await;
    let policy = shop.header(CONTENT_SECURITY_POLICY);
    assert!(
        policy.ends_with("frame-ancestors https://intranet.example"),
        "{policy}"
    );
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(shop.headers.get(X_FRAME_OPTIONS).is_none());
}

#[tokio::test]
async fn a_page_shows_the_selected_node_details() {
    let fixture = StatusPageFixture::start().await;
    fixture
        .create_page("shop", "public", r#","show":{"addresses":true}"#)
        .await;
    fixture.wait_for_text("/status/shop", "127.0.0.1:1").await;
}

#[tokio::test]
async fn a_deleted_page_is_gone_with_its_parts() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let path = "/api/v1/status/pages/shop";
    let refused = send(
        &fixture.admin,
        Method::DELETE,
        path,
        r#"{"confirm":"Shop"}"#,
    )
    .await;
    assert_eq!(refused.problem().code, "not_confirmed");
    let deleted = send(
        &fixture.admin,
        Method::DELETE,
        path,
        r#"{"confirm":"shop"}"#,
    )
    .await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    let anonymous = fixture.console.anonymous();
    eventually("the page is gone", async || {
        anonymous.get("/status/shop").await.status == 404
    })
    .await;
    let never = anonymous.get("/status/never").await;
    assert_eq!(never.header(CACHE_CONTROL), "public, max-age=10");
    for path in PARTS {
        assert_same(&anonymous.get(path).await, &never, path);
    }
    let events = fixture.audit_events().await;
    assert_eq!(
        events[events.len() - 2..],
        [AuditEvent::PAGE_CREATED, AuditEvent::PAGE_DELETED]
    );
}

#[tokio::test]
async fn a_change_based_on_an_old_revision_is_refused() {
    let fixture = StatusPageFixture::start().await;
    let page = fixture.create_page("shop", "public", "").await;
    let change = |title: &str| {
        format!(
            r#"{{"title":"{title}","clusters":[{{"cluster":"lab"}}],"visibility":"public","revision":{}}}"#,
            page["revision"]
        )
    };
    let path = "/api/v1/status/pages/shop";
    let first = send(&fixture.admin, Method::PUT, path, &change("One")).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let second = send(&fixture.admin, Method::PUT, path, &change("Two")).await;
    assert_eq!(
        (second.status.as_u16(), second.problem().code.as_str()),
        (409, "changed")
    );
    fixture.wait_for_text("/status/shop", "<h1>One</h1>").await;
}

#[tokio::test]
async fn every_replica_serves_the_page() {
    let fixture = StatusPageFixture::start().await;
    let other = TestConsole::start(&fixture.etcd).await;
    fixture.create_page("shop", "public", "").await;
    eventually("the other replica serves it", async || {
        other.anonymous().get("/status/shop").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn the_page_survives_an_etcd_outage_and_reports_it() {
    let mut fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    fixture.etcd.kill();
    fixture
        .wait_for_text("/status/shop", "cannot be loaded right now")
        .await;
    fixture.etcd.restart().await;
    let anonymous = fixture.console.anonymous();
    eventually("the page has recovered", async || {
        let page = anonymous.get("/status/shop").await;
        page.status == 200 && !page.text().contains("cannot be loaded right now")
    })
    .await;
}

#[tokio::test]
async fn an_open_page_is_notified_of_every_change() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let request = fixture
        .console
        .anonymous()
        .request(Method::GET, "/status/shop/events");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = fixture
        .console
        .router
        .clone()
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
    let mut body = answer.into_body();
    let mut next_event = async || {
        let frame = tokio::time::timeout(TIMEOUT, body.frame()).await.unwrap();
        String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
    };
    let first = next_event().await;
    assert!(first.starts_with("data: {\"version\":\""), "{first}");
    let body = r#"{"title":"New address","text":"From Monday on."}"#;
    post(&fixture.operator, "/api/v1/status/announcements", body).await;
    while next_event().await == first {}
    send(
        &fixture.admin,
        Method::DELETE,
        "/api/v1/status/pages/shop",
        r#"{"confirm":"shop"}"#,
    )
    .await;
    while !next_event().await.starts_with("event: gone") {}
}
