//! Invalid requests: each gets a specific problem document.

use axum::body::Body;
use galera::access::Role;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, ETAG, HOST, IF_NONE_MATCH, ORIGIN,
};
use http::{Method, Request};

use crate::etcd::TestEtcd;
use crate::test_console::{PASSWORD, TestConsole};

const JSON: &str = "application/json";

#[tokio::test]
async fn invalid_bodies() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    let post = async |media_type: &str, body: Body| {
        console
            .anonymous()
            .post("/api/v1/session", media_type, body)
            .await
    };
    for (media_type, body, status, code) in [
        (JSON, Body::from("{\"username\":"), 400, "malformed_json"),
        (JSON, Body::from(""), 400, "malformed_json"),
        (JSON, Body::from("{}"), 400, "invalid_body"),
        (JSON, Body::from("[1]"), 400, "invalid_body"),
        (
            JSON,
            Body::from(r#"{"username":1,"password":"x"}"#),
            400,
            "invalid_body",
        ),
        (JSON, Body::from(vec![0xff; 10]), 400, "malformed_json"),
        (
            JSON,
            Body::from(format!("{{\"a\":{}", "[".repeat(10_000))),
            400,
            "malformed_json",
        ),
        (JSON, Body::from(vec![b' '; 65_537]), 413, "body_too_large"),
        (
            JSON,
            Body::from(vec![b' '; 3_000_000]),
            413,
            "body_too_large",
        ),
        ("text/plain", Body::from("x"), 415, "unsupported_media_type"),
        (
            "application/x-www-form-urlencoded",
            Body::from("username=a"),
            415,
            "unsupported_media_type",
        ),
    ] {
        let answer = post(media_type, body).await;
        let problem = answer.problem();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (status, code),
            "{problem:?}"
        );
        assert!(
            !problem.detail.contains("axum") && problem.detail.len() < 500,
            "{problem:?}"
        );
    }
    let form = console
        .anonymous()
        .post("/sign-in", "application/x-www-form-urlencoded", "user=x")
        .await
        .problem();
    assert_eq!((form.status, form.code.as_str()), (400, "invalid_body"));
}

#[tokio::test]
async fn unknown_paths_methods_and_names() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    for name in [
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "a%20b",
        "a%2Fb",
        "..%2F..%2Fetc",
        "%FF%FE",
        "%00",
        &"x".repeat(300),
        "nowhere",
    ] {
        for suffix in ["", "/registry"] {
            let answer = client
                .get(&format!("/api/v1/clusters/{name}{suffix}"))
                .await;
            let problem = answer.problem();
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (404, "unknown_cluster"),
                "{name}"
            );
            assert!(problem.detail.len() < 300, "{problem:?}");
        }
    }
    for path in [
        "/api/v2/clusters",
        "/api/v1/clusters/lab/",
        "/api/",
        "/pkg/none.js",
        "/pkg/..%2Fmanifest.json",
    ] {
        assert_eq!(client.get(path).await.problem().status, 404, "{path}");
    }
    for (method, path) in [
        (Method::PUT, "/api/v1/clusters"),
        (Method::POST, "/healthz"),
        (Method::DELETE, "/api/v1/live"),
    ] {
        let answer = client
            .send(client.request(method, path).body(Body::empty()).unwrap())
            .await;
        assert_eq!(answer.problem().code, "method_not_allowed", "{path}");
        assert!(answer.header("allow").contains("GET"), "{path}");
    }
}

#[tokio::test]
async fn cross_origin_requests_are_refused() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let cookie = client.cookie.clone().unwrap();
    let send = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "console.test")
            .header(COOKIE, &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        console
            .anonymous()
            .send(request.body(Body::empty()).unwrap())
            .await
    };
    for (headers, code) in [
        (&[][..], "origin_required"),
        (&[("origin", "http://evil.example")], "cross_origin"),
        (&[("origin", "null")], "cross_origin"),
        (&[("sec-fetch-site", "cross-site")], "cross_origin"),
        (
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "http://console.test"),
            ],
            "cross_origin",
        ),
    ] {
        for path in ["/api/v1/session", "/sign-out"] {
            let method = if path == "/sign-out" {
                Method::POST
            } else {
                Method::DELETE
            };
            let problem = send(method, path, headers).await.problem();
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (403, code),
                "{path} {headers:?}"
            );
        }
    }
    let websocket = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(
        send(Method::GET, "/api/v1/live", &websocket)
            .await
            .problem()
            .code,
        "cross_origin"
    );
    assert_eq!(
        client.get("/api/v1/session").await.status,
        200,
        "the session is unchanged"
    );
    assert_eq!(
        send(
            Method::DELETE,
            "/api/v1/session",
            &[("sec-fetch-site", "same-origin")]
        )
        .await
        .status,
        204
    );
}

#[tokio::test]
async fn every_response_has_security_headers() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    for path in [
        "/",
        "/sign-in",
        "/api/v1/clusters",
        "/api/v1/nothing",
        "/pkg/c.1.js",
        "/pkg/none",
        "/favicon.svg",
        "/no-page",
        "/metrics",
    ] {
        let answer = client.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'"),
            "{path}"
        );
        assert!(
            !answer.header("permissions-policy").is_empty()
                && !answer.header("x-request-id").is_empty(),
            "{path}"
        );
        assert!(
            !answer.headers.contains_key("strict-transport-security"),
            "{path}"
        );
        let cached = answer.status == 200 && (path.starts_with("/pkg/") || path == "/favicon.svg");
        assert_eq!(
            answer.header("cache-control") == "no-store",
            !cached,
            "{path}"
        );
    }
    let request = client
        .request(Method::GET, "/api/v1/nothing")
        .header("x-request-id", "my-id.1");
    assert_eq!(
        client
            .send(request.body(Body::empty()).unwrap())
            .await
            .problem()
            .request_id,
        "my-id.1"
    );
}

#[tokio::test]
async fn responses_are_compressed_and_revalidated() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    for (accepted, expected) in [("br, gzip", "br"), ("gzip", "gzip"), ("identity", "")] {
        for path in ["/", "/api/v1/clusters/lab"] {
            let request = client
                .request(Method::GET, path)
                .header(ACCEPT_ENCODING, accepted);
            let answer = client.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                answer.header(CONTENT_ENCODING),
                expected,
                "{path} {accepted}"
            );
        }
    }
    let request = client
        .request(Method::GET, "/pkg/c.1.css")
        .header(ACCEPT_ENCODING, "br");
    let css = client.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (css.text().as_str(), css.header(CONTENT_ENCODING)),
        ("brotli", "br")
    );
    assert_eq!(
        css.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    // The registry is read once more after the start, which is a new revision.
    crate::etcd::eventually("the same revision twice", async || {
        let first = client.get("/api/v1/clusters/lab").await;
        let request = client
            .request(Method::GET, "/api/v1/clusters/lab")
            .header(IF_NONE_MATCH, first.header(ETAG));
        let second = client.send(request.body(Body::empty()).unwrap()).await;
        second.status == 304 && second.body.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_password_is_never_echoed() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    let body = format!(r#"{{"username":"dora","password":{{"x":"{PASSWORD}"}}}}"#);
    let answer = console
        .anonymous()
        .post("/api/v1/session", JSON, body)
        .await;
    assert!(!answer.text().contains(PASSWORD), "{}", answer.text());
    let request = console
        .anonymous()
        .request(Method::POST, "/api/v1/session")
        .header(CONTENT_TYPE, JSON);
    let request = request
        .header(ORIGIN, "http://console.test")
        .body(Body::from("{\"password\":\"x\"}"))
        .unwrap();
    assert_eq!(console.anonymous().send(request).await.status, 400);
}
