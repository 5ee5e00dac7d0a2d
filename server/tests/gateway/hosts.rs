//! Which hosts requests may name, what /metrics requires, and what viewers and the log do not get.

use axum::body::Body;
use galera::access::Role;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE,
};
use http::{Method, Request};
use insta::assert_json_snapshot;
use registry::Secret;
use tower::ServiceExt;

use crate::client::{TestClient, TestResponse};
use crate::etcd::TestEtcd;
use crate::redaction::stable_body;
use crate::test_console::{ConsoleOptions, PASSWORD, TestConsole};

/// A console at https://console.test that is also `alias.test`.
async fn console() -> TestConsole {
    let options = ConsoleOptions {
        https: true,
        allowed_hosts: vec!["alias.test".parse_host()],
        metrics_token: Some(Secret::new("0123456789abcdef")),
        ..ConsoleOptions::default()
    };
    TestConsole::start_with(&TestEtcd::in_memory(), options).await
}

trait ParseHost {
    fn parse_host(&self) -> galera_console::allowed_hosts::HostPattern;
}

impl ParseHost for str {
    fn parse_host(&self) -> galera_console::allowed_hosts::HostPattern {
        galera_console::allowed_hosts::HostPattern::parse(self).unwrap()
    }
}

async fn get(client: &TestClient, host: &str, path: &str) -> TestResponse {
    let request = Request::get(path).header(HOST, host);
    client.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn misdirected_request_421() {
    let console = console().await;
    let answer = get(&console.anonymous(), "evil.test", "/api/v1/session").await;
    answer.problem();
    assert_json_snapshot!(stable_body(&answer, 421));
}

#[tokio::test]
async fn only_own_hosts_are_answered_except_for_health_and_metrics() {
    let console = console().await;
    let client = console.anonymous();
    for path in [
        "/",
        "/sign-in",
        "/api/v1/clusters",
        "/api/x",
        "/status/team",
        "/s/abc/",
        "/pkg/x",
        "/nope",
    ] {
        for host in [
            "evil.test",
            "10.1.2.3:3000",
            "console.test.evil.test",
            "console",
        ] {
            let answer = get(&client, host, path).await;
            assert_eq!(answer.status, 421, "{host} {path}");
            let problem: galera::publish::api::ProblemDetails = answer.json();
            assert_eq!(problem.code, "host_not_allowed", "{host} {path}");
            assert!(
                problem.detail.contains("--allowed-hosts"),
                "{}",
                problem.detail
            );
        }
        for host in [
            "console.test",
            "ALIAS.test:8443",
            "localhost:3000",
            "127.0.0.1",
            "[::1]:3000",
        ] {
            assert_ne!(get(&client, host, path).await.status, 421, "{host} {path}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            get(&client, "10.1.2.3:3000", path).await.status,
            200,
            "{path}"
        );
    }
    // Its token is missing; its host is not looked at.
    assert_eq!(get(&client, "10.1.2.3:3000", "/metrics").await.status, 401);
}

/// A browser that arrives by another name gets a page, which loads nothing: its style sheet would be refused as well.
#[tokio::test]
async fn a_browser_gets_a_page_about_an_unknown_host() {
    let console = console().await;
    let client = console.anonymous();
    let open = async |path: &str| {
        let request = Request::get(path)
            .header(HOST, "evil.test&b=1")
            .header(ACCEPT, "text/html,*/*;q=0.8");
        client.send(request.body(Body::empty()).unwrap()).await
    };
    for path in [
        "/",
        "/sign-in",
        "/status/team",
        "/s/abc/",
        "/status/team/x",
        "/nope",
    ] {
        let answer = open(path).await;
        assert_eq!(answer.status, 421, "{path}");
        assert!(
            answer.header(CONTENT_TYPE).starts_with("text/html"),
            "{path}"
        );
        assert!(
            answer
                .header(CONTENT_SECURITY_POLICY)
                .contains("style-src 'sha256-"),
            "{path}"
        );
        let text = answer.text();
        for expected in [
            "<h1>Unknown host</h1>",
            "--allowed-hosts",
            "evil.test&amp;b=1",
        ] {
            assert!(text.contains(expected), "{path}: {text}");
        }
        assert!(
            !text.contains("<link") && !text.contains("<a "),
            "{path}: {text}"
        );
    }
    assert_eq!(
        open("/api/v1/clusters").await.problem().code,
        "host_not_allowed"
    );
}

#[tokio::test]
async fn without_settings_every_host_is_answered() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    let answer = get(&console.anonymous(), "any.test", "/sign-in").await;
    assert_eq!(answer.status, 200);
}

/// A proxy may check one of two values, and the console use the other.
#[tokio::test]
async fn what_decides_about_trust_is_named_once_on_every_path() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("ada", &[Role::Admin]).await;
    let ada = console.sign_in("ada").await;
    let session = ada.cookie.clone().unwrap();
    let send = async |path: &str, headers: &[(&str, &str)], accept: &str| {
        let mut request = Request::get(path).header(ACCEPT, accept);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        console.anonymous().send(request).await
    };
    let cookies = format!("{session}; galera_console_session=x");
    let twice = [
        (
            "2 Host headers",
            vec![("host", "a.test"), ("host", "b.test")],
        ),
        ("2 Origin headers", vec![("origin", "http://a.test"); 2]),
        (
            "2 Sec-Fetch-Site headers",
            vec![("sec-fetch-site", "none"); 2],
        ),
        (
            "2 Authorization headers",
            vec![("authorization", "Bearer x"); 2],
        ),
        (
            "2 cookies galera_console_session",
            vec![("cookie", cookies.as_str())],
        ),
        (
            "2 cookies galera_console_session",
            vec![
                ("cookie", session.as_str()),
                ("cookie", "galera_console_session=x"),
            ],
        ),
        (
            "--trusted-proxies",
            vec![("x-forwarded-for", "10.0.0.1"); 2],
        ),
    ];
    for path in [
        "/",
        "/sign-in",
        "/api/v1/session",
        "/api/v1/live",
        "/fragments/audit",
        "/status/team",
        "/s/abc/",
        "/pkg/c.1.js",
        "/healthz",
        "/metrics",
    ] {
        for (expected, headers) in &twice {
            let answer = send(path, headers, "*/*").await;
            assert_eq!(answer.status, 400, "{path} {headers:?}: {}", answer.text());
            let problem: galera::publish::api::ProblemDetails = answer.json();
            assert_eq!(problem.code, "ambiguous_header", "{path} {headers:?}");
            assert!(
                problem.detail.contains(expected),
                "{path}: {}",
                problem.detail
            );
        }
    }
    let page = send("/", &twice[4].1, "text/html").await;
    assert_eq!(page.status, 400);
    let text = page.text();
    assert!(text.contains("<h1>Ambiguous request</h1>"), "{text}");
    assert!(text.contains("delete the cookies of this host"), "{text}");
    // Without a client's own Host.
    for path in [
        "/",
        "/api/v1/session",
        "/status/team",
        "/healthz",
        "/metrics",
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = console.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 400, "{path}");
        for host in ["a b", "a<b>", "a/b", ""] {
            let answer = send(path, &[("host", host)], "*/*").await;
            assert_eq!(answer.status, 400, "{path} {host:?}: {}", answer.text());
        }
    }
    let target = send("http://b.test/sign-in", &[("host", "a.test")], "*/*").await;
    assert_eq!(target.problem().code, "ambiguous_header");
}

#[tokio::test]
async fn changes_are_accepted_from_pages_of_allowed_hosts() {
    let console = console().await;
    console.add_user("ada", &[Role::Admin]).await;
    let sign_in = async |host: &str, origin: &str| {
        let body = serde_json::json!({"username": "ada", "password": PASSWORD}).to_string();
        let request = Request::post("/api/v1/session")
            .header(HOST, host)
            .header(ORIGIN, origin)
            .header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body)).unwrap();
        console.anonymous().send(request).await
    };
    for (host, origin) in [
        ("console.test", "https://console.test"),
        ("alias.test", "https://alias.test"),
        // A proxy replaced Host.
        ("127.0.0.1:3000", "https://alias.test"),
        ("127.0.0.1:3000", "https://console.test"),
    ] {
        let answer = sign_in(host, origin).await;
        assert_eq!(answer.status, 200, "{host} {origin}: {}", answer.text());
        assert!(answer.header("set-cookie").contains("; Secure"), "{host}");
        assert!(!answer.header("strict-transport-security").is_empty());
    }
    for (host, origin, status) in [
        ("console.test", "https://evil.test", 403),
        ("console.test", "http://alias.test", 403),
        ("evil.test", "https://evil.test", 421),
        ("evil.test", "https://console.test", 421),
    ] {
        let answer = sign_in(host, origin).await;
        assert_eq!(answer.status, status, "{host} {origin}");
    }
}

#[tokio::test]
async fn metrics_need_the_configured_token() {
    let console = console().await;
    let client = console.anonymous();
    let scrape = async |authorization: Option<&str>| {
        let request = client.request(Method::GET, "/metrics");
        let request = match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        client.send(request.body(Body::empty()).unwrap()).await
    };
    for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
        let answer = scrape(Some(right)).await;
        assert_eq!(answer.status, 200, "{right}");
        assert!(answer.text().ends_with("# EOF\n"));
    }
    for wrong in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer 0123456789abcde"),
        Some("Bearer 0123456789abcdef0"),
        Some("Basic 0123456789abcdef"),
        Some("0123456789abcdef"),
    ] {
        let answer = scrape(wrong).await;
        assert_eq!(answer.status, 401, "{wrong:?}");
        assert_eq!(answer.header(WWW_AUTHENTICATE), "Bearer");
        assert_eq!(answer.problem().code, "metrics_token_required");
    }
}

#[tokio::test]
async fn viewers_do_not_read_addresses_in_the_audit_trail() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("vera", &[Role::Viewer]).await;
    console
        .add_user("olga", &[Role::Operator, Role::Approver])
        .await;
    console.add_user("ada", &[Role::Admin]).await;
    let (vera, olga, ada) = (
        console.sign_in("vera").await,
        console.sign_in("olga").await,
        console.sign_in("ada").await,
    );
    for path in ["/api/v1/audit", "/api/v1/audit?format=csv"] {
        assert!(ada.get(path).await.text().contains("127.0.0.1"), "{path}");
        assert!(olga.get(path).await.text().contains("127.0.0.1"), "{path}");
        let text = vera.get(path).await.text();
        assert!(text.contains("not shown to viewers"), "{path}: {text}");
        assert!(!text.contains("127.0.0.1"), "{path}: {text}");
    }
}

#[tokio::test]
async fn tokens_in_the_url_of_a_target_are_not_in_the_audit_trail() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("ada", &[Role::Admin]).await;
    let ada = console.sign_in("ada").await;
    let target = serde_json::json!({
        "name": "hook", "type": "webhook", "secret": "0123456789abcdef",
        "url": "https://receiver.example.org/hooks/tok-path?key=tok-query",
    });
    let created = ada
        .post(
            "/api/v1/notifications/targets",
            "application/json",
            target.to_string(),
        )
        .await;
    assert_eq!(created.status, 201, "{}", created.text());
    let trail = ada.get("/api/v1/audit").await.text();
    assert!(trail.contains("https://receiver.example.org"), "{trail}");
    assert!(!trail.contains("tok-"), "{trail}");
}
