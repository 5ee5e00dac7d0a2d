use galera::access::Role;
use http::Method;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, LOCATION, SET_COOKIE, X_FRAME_OPTIONS,
};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{StatusPageFixture, assert_same, post, send};
use crate::client::{TestClient, TestConsole};
use crate::etcd::{TIMEOUT, eventually};

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
async fn a_public_page_and_its_parts_are_for_everybody_and_cached() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "public", "").await;
    let nobody = scene.console.anonymous();
    for (path, media_type) in PARTS.into_iter().zip([
        "text/html; charset=utf-8",
        "application/json",
        "application/atom+xml; charset=utf-8",
        "image/svg+xml",
    ]) {
        let answer = nobody.get(path).await;
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
                "{path} tells {secret}: {}",
                answer.text()
            );
        }
        let tag = answer.header(ETAG).to_owned();
        let again = get_with(&nobody, path, IF_NONE_MATCH, &tag).await;
        assert_eq!(
            (again.status.as_u16(), again.body.len()),
            (304, 0),
            "{path}"
        );
        assert_eq!(again.header(ETAG), tag, "{path}");
        let packed = get_with(&nobody, path, ACCEPT_ENCODING, "br").await;
        assert_eq!(packed.header(CONTENT_ENCODING), "br", "{path}");
        assert!(packed.body.len() < answer.body.len(), "{path}");
    }
}

#[tokio::test]
async fn a_page_for_members_is_for_whoever_is_signed_in() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "members", "").await;
    scene.console.add_user("vera", &[Role::Viewer]).await;
    let viewer = scene.console.sign_in("vera").await;
    assert_eq!(viewer.get("/status/shop").await.status, 200);
    let answer = scene.console.anonymous().get("/status/shop").await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header(LOCATION), "/sign-in?next=/status/shop");
    let unknown = scene
        .console
        .anonymous()
        .get("/status/nowhere/feed.atom")
        .await;
    for part in &PARTS[1..] {
        assert_same(&scene.console.anonymous().get(part).await, &unknown, part);
    }
}

#[tokio::test]
async fn summary_has_the_shape_that_statuspage_has() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "public", "").await;
    let body = r#"{"clusters":["lab"],"title":"Slow","text":"We look."}"#;
    post(&scene.operator, "/api/v1/status/incidents", body).await;
    scene
        .wait_for_text("/status/shop/summary.json", "Slow")
        .await;
    let summary: Value = scene
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
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "public", "").await;
    let body = r#"{"clusters":["lab"],"title":"A <b> & \"c\"","text":"x < y\n]]> & z"}"#;
    post(&scene.operator, "/api/v1/status/incidents", body).await;
    scene
        .wait_for_text("/status/shop/feed.atom", "A &lt;b&gt;")
        .await;
    let answer = scene
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
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "public", "").await;
    let nobody = scene.console.anonymous();
    let badge = async |query: &str| nobody.get(&format!("/status/shop/badge.svg{query}")).await;
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
async fn a_page_is_shown_in_frames_only_where_it_says_so() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("closed", "public", "").await;
    scene
        .create_page("shop", "public", r#","embed":["https://intranet.example"]"#)
        .await;
    let nobody = scene.console.anonymous();
    let closed = nobody.get("/status/closed").await;
    assert!(
        closed
            .header(CONTENT_SECURITY_POLICY)
            .ends_with("frame-ancestors 'none'")
    );
    assert_eq!(closed.header(X_FRAME_OPTIONS), "DENY");
    let shop = nobody.get("/status/shop").await;
    let policy = shop.header(CONTENT_SECURITY_POLICY);
    assert!(
        policy.ends_with("frame-ancestors https://intranet.example"),
        "{policy}"
    );
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(shop.headers.get(X_FRAME_OPTIONS).is_none());
}

#[tokio::test]
async fn a_page_shows_of_nodes_what_it_says() {
    let scene = StatusPageFixture::start().await;
    scene
        .create_page("shop", "public", r#","show":{"addresses":true}"#)
        .await;
    scene.wait_for_text("/status/shop", "127.0.0.1:1").await;
}

#[tokio::test]
async fn a_deleted_page_is_gone_with_its_parts() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "public", "").await;
    let path = "/api/v1/status/pages/shop";
    let refused = send(&scene.admin, Method::DELETE, path, r#"{"confirm":"Shop"}"#).await;
    assert_eq!(refused.problem().code, "not_confirmed");
    let deleted = send(&scene.admin, Method::DELETE, path, r#"{"confirm":"shop"}"#).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    let nobody = scene.console.anonymous();
    eventually("the page is gone", async || {
        nobody.get("/status/shop").await.status == 404
    })
    .await;
    let never = nobody.get("/status/never").await;
    assert_eq!(never.header(CACHE_CONTROL), "public, max-age=10");
    for path in PARTS {
        assert_same(&nobody.get(path).await, &never, path);
    }
    let events = scene.audit_events().await;
    assert_eq!(events[events.len() - 2..], ["page_created", "page_deleted"]);
}

#[tokio::test]
async fn a_change_that_rests_on_an_old_revision_is_refused() {
    let scene = StatusPageFixture::start().await;
    let page = scene.create_page("shop", "public", "").await;
    let change = |title: &str| {
        format!(
            r#"{{"title":"{title}","clusters":[{{"cluster":"lab"}}],"visibility":"public","revision":{}}}"#,
            page["revision"]
        )
    };
    let path = "/api/v1/status/pages/shop";
    let first = send(&scene.admin, Method::PUT, path, &change("One")).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let second = send(&scene.admin, Method::PUT, path, &change("Two")).await;
    assert_eq!(
        (second.status.as_u16(), second.problem().code.as_str()),
        (409, "changed")
    );
    scene.wait_for_text("/status/shop", "<h1>One</h1>").await;
}

#[tokio::test]
async fn every_replica_tells_the_page() {
    let scene = StatusPageFixture::start().await;
    let other = TestConsole::start(&scene.etcd).await;
    scene.create_page("shop", "public", "").await;
    eventually("the other replica tells it", async || {
        other.anonymous().get("/status/shop").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn etcd_away_the_page_goes_on_and_says_so() {
    let mut scene = StatusPageFixture::start().await;
    scene.create_page("shop", "public", "").await;
    scene.etcd.kill();
    scene
        .wait_for_text("/status/shop", "cannot be loaded right now")
        .await;
    scene.etcd.restart().await;
    let nobody = scene.console.anonymous();
    eventually("the page is whole again", async || {
        let page = nobody.get("/status/shop").await;
        page.status == 200 && !page.text().contains("cannot be loaded right now")
    })
    .await;
}

#[tokio::test]
async fn an_open_page_is_told_of_every_change() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "public", "").await;
    let request = scene
        .console
        .anonymous()
        .request(Method::GET, "/status/shop/events");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let answer = scene.console.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
    let mut body = answer.into_body();
    let mut word = async || {
        let frame = tokio::time::timeout(TIMEOUT, body.frame()).await.unwrap();
        String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
    };
    let first = word().await;
    assert!(first.starts_with("data: {\"version\":\""), "{first}");
    let body = r#"{"title":"New address","text":"From Monday on."}"#;
    post(&scene.operator, "/api/v1/status/announcements", body).await;
    while word().await == first {}
    send(
        &scene.admin,
        Method::DELETE,
        "/api/v1/status/pages/shop",
        r#"{"confirm":"shop"}"#,
    )
    .await;
    while !word().await.starts_with("event: gone") {}
}
