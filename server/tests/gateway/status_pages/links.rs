use http::Method;
use http::header::{CACHE_CONTROL, LOCATION};
use serde_json::Value;

use super::{StatusPageFixture, assert_same, post, send};
use crate::client::{NOW, STATE_PREFIX};
use crate::etcd::eventually;

async fn create_link(scene: &StatusPageFixture, body: &str) -> Value {
    let answer = post(&scene.admin, "/api/v1/status/pages/shop/links", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let link: Value = answer.json();
    let path = link_path(&link);
    eventually("the link leads to the page", async || {
        scene.console.anonymous().get(&path).await.status == 200
    })
    .await;
    link
}

fn link_path(link: &Value) -> String {
    format!("/s/{}/", link["secret"].as_str().unwrap())
}

#[tokio::test]
async fn a_secret_link_leads_to_the_page_and_nothing_else_does() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "link", "").await;
    let link = create_link(&scene, r#"{"label":"Partner"}"#).await;
    let (nobody, path) = (scene.console.anonymous(), link_path(&link));
    assert_eq!(link["url"], format!("http://console.test{path}"));
    for part in ["", "summary.json", "feed.atom", "badge.svg"] {
        let answer = nobody.get(&format!("{path}{part}")).await;
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
    assert_eq!(nobody.get(&keyed).await.header(LOCATION), path);
    let without_slash = nobody.get(path.trim_end_matches('/')).await;
    assert_eq!(without_slash.header(LOCATION), path);
    // Whoever is signed in needs no link.
    assert_eq!(scene.operator.get("/status/shop").await.status, 200);
}

#[tokio::test]
async fn wrong_revoked_and_expired_links_and_unknown_pages_are_one_answer() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "link", "").await;
    scene.create_page("other", "link", "").await;
    let soon = console_core::clock::now().plus(std::time::Duration::from_secs(2));
    let expiring = create_link(&scene, &format!(r#"{{"label":"a","expires_at":"{soon}"}}"#)).await;
    let revoked = create_link(&scene, r#"{"label":"b"}"#).await;
    let good = create_link(&scene, r#"{"label":"c"}"#).await;
    let id = revoked["id"].as_str().unwrap();
    let revoke = format!("/api/v1/status/pages/shop/links/{id}");
    let answer = send(&scene.admin, Method::DELETE, &revoke, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let again = send(&scene.admin, Method::DELETE, &revoke, "").await;
    assert_eq!(again.problem().code, "link_revoked");
    let nobody = scene.console.anonymous();
    for gone in [&expiring, &revoked] {
        let path = link_path(gone);
        eventually("the link has ended", async || {
            nobody.get(&path).await.status == 404
        })
        .await;
    }
    let unknown = nobody.get("/status/never").await;
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
        assert_same(&nobody.get(&path).await, &unknown, &path);
    }
}

#[tokio::test]
async fn a_secret_is_kept_nowhere() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("shop", "link", "").await;
    let link = create_link(&scene, r#"{"label":"Partner"}"#).await;
    let secret = link["secret"].as_str().unwrap();
    let everything = scene.console.registry.list(STATE_PREFIX).await.unwrap();
    assert!(everything.entries.len() > 3);
    for entry in &everything.entries {
        let value = String::from_utf8_lossy(&entry.value);
        assert!(
            !value.contains(secret),
            "{}",
            String::from_utf8_lossy(&entry.key)
        );
    }
    let page = scene.operator.get("/api/v1/status/pages/shop").await.text();
    assert!(!page.contains("hash") && page.contains("Partner"), "{page}");
}

#[tokio::test]
async fn links_are_for_pages_that_need_them_and_end_in_the_future() {
    let scene = StatusPageFixture::start().await;
    scene.create_page("open", "public", "").await;
    let path = "/api/v1/status/pages/open/links";
    let answer = post(&scene.admin, path, r#"{"label":"a"}"#).await;
    assert_eq!(answer.problem().code, "needs_no_link");
    scene.create_page("shop", "link", "").await;
    let past = NOW.minus(std::time::Duration::from_secs(86_400 * 365));
    let body = format!(r#"{{"label":"a","expires_at":"{past}"}}"#);
    let answer = post(&scene.admin, "/api/v1/status/pages/shop/links", &body).await;
    assert_eq!(answer.problem().code, "invalid_time");
}
