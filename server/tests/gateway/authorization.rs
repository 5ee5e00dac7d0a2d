//! Every route with every role.

use std::io::Read as _;

use accounts::UserRecord;
use flate2::read::GzDecoder;
use galera::access::Role;
use http::Method;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};

use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{NOW, TestConsole};

/// A route, and its status without a session, for an account without roles, and for an account with any role.
const READ_ROUTES: &[(Method, &str, u16, u16, u16)] = &[
    (Method::GET, "/healthz", 200, 200, 200),
    (Method::GET, "/readyz", 200, 200, 200),
    (Method::GET, "/metrics", 200, 200, 200),
    (Method::GET, "/api/v1/session", 401, 200, 200),
    (Method::GET, "/api/v1/me", 401, 200, 200),
    (Method::GET, "/api/v1/me/factor/qr.svg", 401, 409, 409),
    (Method::DELETE, "/api/v1/me/sessions/nowhere", 401, 404, 404),
    (Method::GET, "/api/v1/alarms", 401, 403, 200),
    (Method::GET, "/api/v1/clusters", 401, 403, 200),
    (Method::GET, "/api/v1/clusters/lab", 401, 403, 200),
    (Method::GET, "/api/v1/clusters/lab/registry", 401, 403, 200),
    (Method::GET, "/api/v1/clusters/lab/events", 401, 403, 200),
    (Method::GET, "/api/v1/clusters/nowhere", 401, 403, 404),
    (
        Method::GET,
        "/api/v1/clusters/nowhere/registry",
        401,
        403,
        404,
    ),
    (
        Method::GET,
        "/api/v1/clusters/lab/plans/bootstrap",
        401,
        403,
        200,
    ),
    (
        Method::GET,
        "/api/v1/clusters/lab/plans/cleanup",
        401,
        403,
        200,
    ),
    (
        Method::GET,
        "/api/v1/clusters/lab/plans/decommission",
        401,
        403,
        200,
    ),
    (
        Method::GET,
        "/api/v1/clusters/lab/plans/upgrade",
        401,
        403,
        404,
    ),
    (
        Method::GET,
        "/api/v1/clusters/nowhere/plans/cleanup",
        401,
        403,
        404,
    ),
    (Method::GET, "/api/v1/clusters/lab/recovery", 401, 403, 200),
    (
        Method::GET,
        "/api/v1/clusters/nowhere/recovery",
        401,
        403,
        404,
    ),
    (Method::GET, "/api/v1/recovery", 401, 403, 200),
    (Method::GET, "/api/v1/actions", 401, 403, 200),
    (Method::GET, "/api/v1/actions/0-0", 401, 403, 404),
    (Method::GET, "/api/v1/audit", 401, 403, 200),
    (Method::GET, "/api/v1/status/pages", 401, 403, 200),
    (Method::GET, "/api/v1/status/pages/nowhere", 401, 403, 404),
    (Method::GET, "/api/v1/status/incidents", 401, 403, 200),
    (Method::GET, "/api/v1/status/incidents/0-0", 401, 403, 404),
    (Method::GET, "/api/v1/status/maintenance", 401, 403, 200),
    (Method::GET, "/api/v1/status/announcements", 401, 403, 200),
    (
        Method::GET,
        "/api/v1/status/qr.svg?path=/status/shop",
        401,
        403,
        200,
    ),
    (Method::GET, "/status/nowhere", 404, 404, 404),
    (Method::GET, "/s/nowhere/", 404, 404, 404),
    (Method::GET, "/api/v1/live", 401, 403, 426),
    (Method::GET, "/api/v1/nothing", 404, 404, 404),
    (Method::GET, "/api", 404, 404, 404),
    (Method::GET, "/", 303, 403, 200),
    (Method::GET, "/clusters/lab", 303, 403, 200),
    (Method::GET, "/sign-in", 200, 303, 303),
    (Method::GET, "/pkg/c.1.js", 200, 200, 200),
    (Method::GET, "/favicon.svg", 200, 200, 200),
    // Last, because it ends the session.
    (Method::DELETE, "/api/v1/session", 401, 204, 204),
];

/// A route that changes something, a body, and its status for a viewer, an operator, an approver and an administrator.
/// Without a session it is 401, for an account without roles 403.
const WRITE_ROUTES: &[(Method, &str, &str, [u16; 4])] = &[
    (
        POST,
        "/api/v1/clusters/lab/plans/bootstrap",
        "{}",
        [403, 200, 403, 200],
    ),
    (
        POST,
        "/api/v1/clusters/lab/actions",
        ACTION_REQUEST,
        [403, 409, 403, 403],
    ),
    (
        POST,
        "/api/v1/clusters/lab/actions",
        OVERRIDE_REQUEST,
        [403, 409, 403, 409],
    ),
    (
        POST,
        "/api/v1/clusters/nowhere/actions",
        ACTION_REQUEST,
        [403, 404, 403, 404],
    ),
    (
        POST,
        "/api/v1/actions/0-0/approve",
        "{}",
        [403, 403, 404, 403],
    ),
    (
        POST,
        "/api/v1/actions/0-0/reject",
        "{}",
        [403, 403, 404, 403],
    ),
    (
        POST,
        "/api/v1/actions/0-0/cancel",
        "{}",
        [403, 404, 403, 404],
    ),
    (
        POST,
        "/api/v1/actions/0-0/execute",
        "{}",
        [403, 404, 404, 403],
    ),
    (
        POST,
        "/api/v1/actions/0-0/comment",
        "{}",
        [403, 404, 404, 404],
    ),
    (POST, "/api/v1/actions/0-0/undo", "{}", [403, 404, 403, 403]),
    (
        GET,
        "/api/v1/notifications/targets",
        "",
        [403, 200, 403, 200],
    ),
    (
        GET,
        "/api/v1/notifications/targets/0",
        "",
        [403, 404, 403, 404],
    ),
    (
        GET,
        "/api/v1/notifications/deliveries",
        "",
        [403, 200, 403, 200],
    ),
    (
        POST,
        "/api/v1/notifications/deliveries/0/lab.1/redeliver",
        "{}",
        [403, 404, 403, 404],
    ),
    (
        POST,
        "/api/v1/notifications/targets",
        "{}",
        [403, 403, 403, 422],
    ),
    (
        PATCH,
        "/api/v1/notifications/targets/0",
        "{}",
        [403, 403, 403, 404],
    ),
    (
        DELETE,
        "/api/v1/notifications/targets/0",
        "",
        [403, 403, 403, 404],
    ),
    (
        POST,
        "/api/v1/notifications/targets/0/test",
        "{}",
        [403, 403, 403, 404],
    ),
    (
        POST,
        "/api/v1/alarms/acknowledge",
        r#"{"reason":"seen"}"#,
        [403, 403, 403, 204],
    ),
    (
        POST,
        "/api/v1/clusters/lab/findings/acknowledge",
        r#"{"code":"x","reason":"y","days":1}"#,
        [403, 409, 403, 409],
    ),
    (
        POST,
        "/api/v1/clusters/lab/findings/reopen",
        r#"{"code":"x"}"#,
        [403, 409, 403, 409],
    ),
    (GET, "/api/v1/accounts", "", [403, 403, 403, 200]),
    (GET, "/api/v1/accounts/nobody", "", [403, 403, 403, 404]),
    (POST, "/api/v1/accounts", WEAK_ACCOUNT, [403, 403, 403, 422]),
    (
        PATCH,
        "/api/v1/accounts/nobody",
        r#"{"disabled":true}"#,
        [403, 403, 403, 404],
    ),
    (DELETE, "/api/v1/accounts/nobody", "", [403, 403, 403, 404]),
    (
        DELETE,
        "/api/v1/accounts/nobody/factor",
        "",
        [403, 403, 403, 404],
    ),
    (
        DELETE,
        "/api/v1/accounts/nobody/sessions",
        "",
        [403, 403, 403, 404],
    ),
    (PUT, "/api/v1/recovery", RECOVERY_OFF, [403, 200, 200, 200]),
    (PUT, "/api/v1/recovery", RECOVERY_ON, [403, 403, 403, 200]),
    (
        PUT,
        "/api/v1/clusters/lab/recovery",
        RECOVERY_OFF,
        [403, 200, 200, 200],
    ),
    (
        PUT,
        "/api/v1/clusters/lab/recovery",
        RECOVERY_ON,
        [403, 403, 403, 200],
    ),
    (
        POST,
        "/api/v1/status/pages",
        INVALID_PAGE,
        [403, 403, 403, 422],
    ),
    (
        PUT,
        "/api/v1/status/pages/nowhere",
        INVALID_PAGE,
        [403, 403, 403, 404],
    ),
    (
        DELETE,
        "/api/v1/status/pages/nowhere",
        r#"{"confirm":"nowhere"}"#,
        [403, 403, 403, 404],
    ),
    (
        POST,
        "/api/v1/status/pages/nowhere/links",
        r#"{"label":"l"}"#,
        [403, 403, 403, 404],
    ),
    (
        DELETE,
        "/api/v1/status/pages/nowhere/links/0-0",
        "",
        [403, 403, 403, 404],
    ),
    (
        POST,
        "/api/v1/status/incidents",
        r#"{"clusters":[],"title":"t","text":"t"}"#,
        [403, 422, 403, 422],
    ),
    (
        POST,
        "/api/v1/status/incidents/0-0/updates",
        r#"{"state":"resolved","text":"t"}"#,
        [403, 404, 403, 404],
    ),
    (
        POST,
        "/api/v1/status/maintenance",
        r#"{"clusters":[],"title":"t","text":"t","until":"2026-01-01T00:00:00Z"}"#,
        [403, 422, 403, 422],
    ),
    (
        POST,
        "/api/v1/status/maintenance/0-0/end",
        "",
        [403, 404, 403, 404],
    ),
    (
        POST,
        "/api/v1/status/announcements",
        r#"{"title":"","text":"t"}"#,
        [403, 422, 403, 422],
    ),
    (
        POST,
        "/api/v1/status/announcements/0-0/withdraw",
        "",
        [403, 404, 403, 404],
    ),
];

const WEAK_ACCOUNT: &str = r#"{"name":"mallory","password":"password1234","roles":["admin"]}"#;
const INVALID_PAGE: &str = r#"{"title":"","clusters":[]}"#;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const GET: Method = Method::GET;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;
const ACTION_REQUEST: &str =
    r#"{"kind":"bootstrap","plan_digest":"0","confirm":"lab","reason":"r"}"#;
const OVERRIDE_REQUEST: &str = r#"{"kind":"bootstrap","plan_digest":"0","confirm":"lab","reason":"r","break_glass":{"overrides":[]}}"#;
const RECOVERY_OFF: &str = r#"{"enabled":false,"reason":"maintenance"}"#;
const RECOVERY_ON: &str = r#"{"enabled":true}"#;

#[tokio::test]
async fn every_write_route_enforces_roles() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    add_user_without_roles(&console, "bare").await;
    assert_write_routes(&console.anonymous(), "no session", |_| 401).await;
    assert_write_routes(&console.sign_in("bare").await, "bare", |_| 403).await;
    for (index, role) in Role::ALL.into_iter().enumerate() {
        console.add_user(role.as_str(), &[role]).await;
        let client = console.sign_in(role.as_str()).await;
        assert_write_routes(&client, role.as_str(), |row| row.3[index]).await;
    }
}

async fn assert_write_routes(
    client: &TestClient,
    who: &str,
    expected: impl Fn(&(Method, &str, &str, [u16; 4])) -> u16,
) {
    for row in WRITE_ROUTES {
        let request = client
            .request(row.0.clone(), row.1)
            .header("content-type", "application/json")
            .body(row.2.into())
            .unwrap();
        let answer = client.send(request).await;
        assert_eq!(
            answer.status.as_u16(),
            expected(row),
            "{} {} {} for {who}: {}",
            row.0,
            row.1,
            row.2,
            answer.text()
        );
        if answer.status.as_u16() == 403 {
            assert_eq!(answer.problem().code, "missing_role", "{}", row.1);
        }
    }
}

#[tokio::test]
async fn every_read_route_enforces_roles() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    assert_read_routes(&console.anonymous(), "no session", |row| row.2).await;
    for role in Role::ALL {
        console.add_user(role.as_str(), &[role]).await;
        assert_read_routes(
            &console.sign_in(role.as_str()).await,
            role.as_str(),
            |row| row.4,
        )
        .await;
    }
    add_user_without_roles(&console, "bare").await;
    assert_read_routes(&console.sign_in("bare").await, "bare", |row| row.3).await;
}

/// Prometheus and browsers ask for compressed responses, whose bodies are read in another way.
#[tokio::test]
async fn every_read_route_is_complete_when_compressed() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    for (method, path, ..) in READ_ROUTES {
        if method != Method::GET {
            continue;
        }
        let request = client
            .request(Method::GET, path)
            .header(ACCEPT_ENCODING, "gzip")
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = client.send(request).await;
        let mut text = String::new();
        if answer.header(CONTENT_ENCODING) == "gzip" {
            let read = GzDecoder::new(&answer.body[..]).read_to_string(&mut text);
            assert!(read.is_ok(), "{path}: {read:?}");
        } else {
            text = answer.text();
        }
        assert!(answer.status != 200 || !text.is_empty(), "{path}");
        if *path == "/metrics" {
            assert!(text.ends_with("# EOF\n"), "{text}");
        }
    }
}

/// Checks every row of [`READ_ROUTES`].
async fn assert_read_routes(
    client: &TestClient,
    who: &str,
    expected: impl Fn(&(Method, &str, u16, u16, u16)) -> u16,
) {
    for row in READ_ROUTES {
        let request = client
            .request(row.0.clone(), row.1)
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = client.send(request).await;
        assert_eq!(
            answer.status.as_u16(),
            expected(row),
            "{} {} for {who}: {}",
            row.0,
            row.1,
            answer.text()
        );
        if !row.1.starts_with("/api") {
            continue;
        }
        match answer.status.as_u16() {
            401 => assert_eq!(answer.problem().code, "not_signed_in", "{}", row.1),
            403 => {
                let problem = answer.problem();
                assert_eq!(problem.code, "missing_role", "{}", row.1);
                assert!(problem.detail.contains("viewer"), "{}", problem.detail);
            }
            404 | 426 => drop(answer.problem()),
            _ => {}
        }
    }
}

/// The command line refuses to create such an account, so it is written directly.
async fn add_user_without_roles(console: &TestConsole, name: &str) {
    console.add_user(name, &[Role::Viewer]).await;
    let key = format!("{}/users/{name}", crate::test_console::STATE_PREFIX);
    let entry = console.registry.get(key.clone()).await.unwrap().unwrap();
    let mut record: UserRecord = serde_json::from_slice(&entry.value).unwrap();
    record.roles.clear();
    record.changed_at = NOW;
    let value = serde_json::to_vec(&record).unwrap();
    let revision = console.registry.put(key, value, None).await.unwrap();
    assert!(revision > entry.mod_revision);
    let client = console.sign_in(name).await;
    eventually("the roles are removed", async || {
        client.get("/api/v1/clusters").await.status == 403
    })
    .await;
}
