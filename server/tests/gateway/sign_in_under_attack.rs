//! An attacker fails to sign in, from many addresses or from the one of a proxy; the owners of the accounts are not kept out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ConnectInfo;
use console_core::clock::now;
use galera::access::Role;
use galera::publish::api::AuditPage;
use galera::record::audit::AuditEvent;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{Method, Request};
use tokio::task::JoinSet;

use crate::client::TestResponse;
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{PASSWORD, TestConsole};

const NAMES: [&str; 4] = ["dora", "emil", "fred", "gina"];
const PROXY: [u8; 4] = [192, 0, 2, 1];

async fn console() -> TestConsole {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    for name in NAMES {
        console.add_user(name, &[Role::Viewer]).await;
    }
    console
}

fn request_from(console: &TestConsole, from: [u8; 4], method: Method) -> http::request::Builder {
    let peer = SocketAddr::from((from, 4711));
    let request = console.anonymous().request(method, "/api/v1/session");
    request.extension(ConnectInfo(peer))
}

async fn sign_in(
    console: &TestConsole,
    from: [u8; 4],
    name: &str,
    password: &str,
    cookies: &str,
) -> TestResponse {
    let body = serde_json::json!({"username": name, "password": password});
    let request: Request<axum::body::Body> = request_from(console, from, Method::POST)
        .header(CONTENT_TYPE, "application/json")
        .header(COOKIE, cookies)
        .body(body.to_string().into())
        .unwrap();
    console.anonymous().send(request).await
}

/// The cookie by which the account knows the device.
fn device_cookie(signed_in: &TestResponse) -> String {
    let cookies = signed_in.headers.get_all(SET_COOKIE).iter();
    let cookie = cookies
        .map(|cookie| cookie.to_str().unwrap())
        .find(|cookie| cookie.starts_with("galera_console_device_"))
        .unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_owner_signs_in_while_others_fail_on_the_name() {
    let console = console().await;
    for round in 0..30 {
        for attacker in [1, 2, 3] {
            let answer = sign_in(&console, [203, 0, 113, attacker], "dora", "wrong", "").await;
            assert_ne!(answer.status, 200);
        }
        let answer = sign_in(&console, [198, 51, 100, 7], "dora", PASSWORD, "").await;
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
    }
    let attack = sign_in(&console, [203, 0, 113, 1], "dora", PASSWORD, "").await;
    assert_eq!(attack.status, 429, "the attackers are throttled");
    // The trail has the first failure of each address; the others are counted.
    let client = console.sign_in("dora").await;
    let page: AuditPage = client.get("/api/v1/audit?limit=1000").await.json();
    let failures = page
        .entries
        .iter()
        .filter(|entry| entry.record.event == AuditEvent::SIGN_IN_FAILED);
    assert_eq!(failures.count(), 3);
}

#[tokio::test]
async fn a_first_try_from_elsewhere_is_checked_before_the_guesses_that_wait() {
    const GUESSES: u8 = 40;
    let console = Arc::new(console().await);
    let checked = Arc::new(AtomicUsize::new(0));
    let mut guesses = JoinSet::new();
    for guesser in 1..=GUESSES {
        let (console, checked) = (Arc::clone(&console), Arc::clone(&checked));
        guesses.spawn(async move {
            let answer = sign_in(&console, [203, 0, 113, guesser], "dora", "wrong", "").await;
            checked.fetch_add(usize::from(answer.status == 401), Ordering::Relaxed);
        });
    }
    // The others wait behind those that are being checked.
    eventually("a guess was checked", async || {
        checked.load(Ordering::Relaxed) > 0
    })
    .await;
    let before = checked.load(Ordering::Relaxed);
    let owner = sign_in(&console, [198, 51, 100, 7], "dora", PASSWORD, "").await;
    let meanwhile = checked.load(Ordering::Relaxed) - before;
    assert_eq!(owner.status, 200, "{}", owner.text());
    assert!(
        meanwhile < usize::from(GUESSES) / 2,
        "{meanwhile} guesses were checked first"
    );
    guesses.shutdown().await;
}

#[tokio::test]
async fn a_known_device_signs_in_while_the_proxy_is_blocked() {
    let console = console().await;
    let cookie = device_cookie(&sign_in(&console, PROXY, "dora", PASSWORD, "").await);
    for attempt in 0..31 {
        sign_in(&console, PROXY, NAMES[attempt % 4], "wrong", "").await;
    }
    for name in NAMES {
        let answer = sign_in(&console, PROXY, name, PASSWORD, "").await;
        assert_eq!(answer.status, 429, "{name}");
    }
    let known = sign_in(&console, PROXY, "dora", PASSWORD, &cookie).await;
    assert_eq!(known.status, 200, "{}", known.text());
    // The cookie is of use for its account only, and not without the password.
    let value = cookie.split_once('=').unwrap().1;
    let other = device_cookie(&sign_in(&console, [198, 51, 100, 7], "emil", PASSWORD, "").await);
    let forged = format!("{}={value}", other.split_once('=').unwrap().0);
    let answer = sign_in(&console, PROXY, "emil", PASSWORD, &forged).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wrong = sign_in(&console, PROXY, "dora", "wrong", &cookie).await;
    assert_eq!(wrong.status, 401, "{}", wrong.text());
    // A new password ends it.
    let dora = "dora".parse().unwrap();
    console
        .store
        .set_password(&dora, "another long password", now())
        .await
        .unwrap();
    eventually("the device is no longer known", async || {
        let answer = sign_in(&console, PROXY, "dora", "another long password", &cookie).await;
        answer.status == 429
    })
    .await;
}

#[tokio::test]
async fn addresses_from_an_untrusted_proxy_are_counted() {
    let console = console().await;
    let forwarded = async || {
        let request = request_from(&console, PROXY, Method::GET)
            .header("x-forwarded-for", "198.51.100.7")
            .body(axum::body::Body::empty())
            .unwrap();
        console.anonymous().send(request).await;
        let metrics = console.anonymous().get("/metrics").await.text();
        let name = "galera_console_untrusted_forwarding_total ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(name));
        count.map(str::to_owned)
    };
    assert_eq!(forwarded().await.as_deref(), Some("1"));
    assert_eq!(forwarded().await.as_deref(), Some("2"));
}
