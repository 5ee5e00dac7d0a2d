use http::Method;
use http::header::{CACHE_CONTROL, LOCATION};
use serde_json::Value;

use super::{StatusPageFixture, assert_same, post, send};
use crate::etcd::eventually;
use crate::test_console::{NOW, STATE_PREFIX};

async fn create_link(fixture: &StatusPageFixture, body: &str) -> Value {
    let answer = post(&fixture.admin, "/api/v1/status/pages/shop/links", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let link: Value = answer.json();
    let path = link_path(&link);
    eventually("the link opens the page", async || {
        fixture.console.anonymous().get(&path).await.status == 200
    })
    .await;
    link
}

fn link_path(link: &Value) -> String {
    format!("/s/{}/", link["secret"].as_str().unwrap())
}

#[tokio::test]
async fn only_a_secret_link_opens_the_page() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "link", "").await;
    let link = create_link(&fixture, r#"{"label":"Partner"}"#).await;
    let (anonymous, path) = (fixture.console.anonymous(), link_path(&link));
    assert_eq!(link["url"], format!("http://console.test{path}"));
    for part in ["", "summary.json", "feed.atom", "badge.svg"] {
        let answer = anonymous.get(&format!("{path}{part}")).await;
        assert_eq!(answer.status, 200, "{part}: {}", answer.text());
        assert_eq!(answer.header(CACHE_CONTROL), "private, no-cache", "{part}");
        assert_eq!(answer.header("x-robots-tag"), "noindex", "{part}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{part}");
        assert!(
            !answer.text().contains(link["secret"].as_str().unwrap()),
            "{part}"
        );
    }
    let keyed = format!("/status/shop?key={}", link["secret"].as_str().unwrap());
    assert_eq!(anonymous.get(&keyed).await.header(LOCATION), path);
    let without_slash = anonymous.get(path.trim_end_matches('/')).await;
    assert_eq!(without_slash.header(LOCATION), path);
    // A signed-in user needs no link.
    assert_eq!(fixture.operator.get("/status/shop").await.status, 200);
}

#[tokio::test]
async fn invalid_links_and_unknown_pages_are_indistinguishable() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "link", "").await;
    fixture.create_page("other", "link", "").await;
    let soon = console_core::clock::now().plus(std::time::Duration::from_secs(2));
    let expiring = create_link(
        &fixture,
        &format!(r#"{{"label":"a","expires_at":"{soon}"}}"#),
    )
    .await;
    let revoked = create_link(&fixture, r#"{"label":"b"}"#).await;
    let good = create_link(&fixture, r#"{"label":"c"}"#).await;
    let id = revoked["id"].as_str().unwrap();
    let revoke = format!("/api/v1/status/pages/shop/links/{id}");
    let answer = send(&fixture.admin, Method::DELETE, &revoke, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let again = send(&fixture.admin, Method::DELETE, &revoke, "").await;
    assert_eq!(again.problem().code, "link_revoked");
    let anonymous = fixture.console.anonymous();
    for gone in [&expiring, &revoked] {
        let path = link_path(gone);
        eventually("the link is no longer valid", async || {
            anonymous.get(&path).await.status == 404
        })
        .await;
    }
    let unknown = anonymous.get("/status/never").await;
    let secret = |link: &Value| link["secret"].as_str().unwrap().to_owned();
    for path in [
        "/status/shop".to_owned(),
        "/status/shop?key=wrong".to_owned(),
        format!("/status/shop?key={}", secret(&revoked)),
        format!("/status/shop?key={}", secret(&expiring)),
        format!("/status/other?key={}", secret(&good)),
        format!("/status/never?key={}", secret(&good)),
        "/status/shop/feed.atom".to_owned(),
        "/status/shop/nothing".to_owned(),
        "/status/%3Cscript%3E".to_owned(),
        "/s/wrong".to_owned(),
        "/s/wrong/".to_owned(),
        format!("/s/{}", secret(&revoked)),
        link_path(&revoked),
        link_path(&expiring),
        format!("{}badge.svg", link_path(&revoked)),
        format!("{}nothing", link_path(&good)),
    ] {
        assert_same(&anonymous.get(&path).await, &unknown, &path);
    }
}

#[tokio::test]
async fn a_secret_is_not_stored() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "link", "").await;
    let link = create_link(&fixture, r#"{"label":"Partner"}"#).await;
    let secret = link["secret"].as_str().unwrap();
    let stored = fixture.console.registry.list(STATE_PREFIX).await.unwrap();
    assert!(stored.entries.len() > 3);
    for entry in &stored.entries {
        let value = String::from_utf8_lossy(&entry.value);
        assert!(
            !value.contains(secret),
            "{}",
            String::from_utf8_lossy(&entry.key)
        );
    }
    let page = fixture
        .operator
        .get("/api/v1/status/pages/shop")
        .await
        .text();
    assert!(!page.contains("hash") && page.contains("Partner"), "{page}");
}

#[tokio::test]
async fn links_require_a_page_that_needs_them_and_a_future_expiry() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("open", "public", "").await;
    let path = "/api/v1/status/pages/open/links";
    let answer = post(&fixture.admin, path, r#"{"label":"a"}"#).await;
    assert_eq!(answer.problem().code, "needs_no_link");
    fixture.create_page("shop", "link", "").await;
    let past = NOW.minus(std::time::Duration::from_secs(86_400 * 365));
    let body = format!(r#"{{"label":"a","expires_at":"{past}"}}"#);
    let answer = post(&fixture.admin, "/api/v1/status/pages/shop/links", &body).await;
    assert_eq!(answer.problem().code, "invalid_time");
}
