//! Page fragments and forms, as a browser requests and submits them.

use galera::access::Role;
use http::Method;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};

use crate::client::{TestClient, TestResponse};
use crate::etcd::TestEtcd;
use crate::test_console::TestConsole;

const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) async fn submit(
    client: &TestClient,
    path: &str,
    body: impl Into<axum::body::Body>,
    accept: &str,
) -> TestResponse {
    let request = client
        .request(Method::POST, path)
        .header(CONTENT_TYPE, FORM)
        .header(ACCEPT, accept);
    client.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_fragment_is_a_title_and_the_content() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    assert_eq!(
        console
            .anonymous()
            .get("/fragments/actions")
            .await
            .problem()
            .status,
        401
    );
    let client = console.sign_in("dora").await;
    for (path, title) in [
        ("/fragments/actions", "Actions"),
        ("/fragments/audit?actor=dora", "Audit"),
        ("/fragments/clusters/lab/recovery", "Recovery · lab"),
    ] {
        let answer = client.get(path).await;
        let text = answer.text();
        let (first, content) = text.split_once('\n').unwrap();
        assert_eq!(
            (answer.status.as_u16(), first),
            (200, title),
            "{path}: {text}"
        );
        assert!(
            content.starts_with("<div") && content.ends_with("</div>"),
            "{path}: {text}"
        );
        assert!(
            answer.header(CONTENT_TYPE).starts_with("text/plain"),
            "{path}"
        );
    }
    for (path, code) in [
        ("/fragments/nowhere", "unknown_path"),
        ("/fragments/clusters/nowhere/recovery", "unknown_cluster"),
        ("/fragments/actions/none", "unknown_action"),
    ] {
        assert_eq!(client.get(path).await.problem().code, code, "{path}");
    }
}

#[tokio::test]
async fn a_browser_is_redirected_and_a_script_gets_the_location() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("ada", &[Role::Admin]).await;
    let client = console.sign_in("ada").await;
    let off = submit(
        &client,
        "/clusters/lab/recovery",
        "enabled=false&reason=moving",
        "text/html",
    )
    .await;
    assert_eq!(
        (off.status.as_u16(), off.header(LOCATION)),
        (303, "/clusters/lab/recovery"),
        "{}",
        off.text()
    );
    let page = client.get("/fragments/clusters/lab/recovery").await.text();
    assert!(
        page.contains("Recovery paused") && page.contains("moving"),
        "{page}"
    );
    let on = submit(&client, "/clusters/lab/recovery", "enabled=true", "*/*").await;
    assert_eq!(
        (on.status.as_u16(), on.text().as_str()),
        (200, "/clusters/lab/recovery")
    );
}

#[tokio::test]
async fn a_form_returns_the_error_of_the_api() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    console.add_user("olga", &[Role::Operator]).await;
    let (viewer, operator) = (console.sign_in("dora").await, console.sign_in("olga").await);
    let refused = submit(&viewer, "/recovery", "enabled=false&reason=x", "*/*").await;
    assert_eq!(refused.problem().code, "missing_role");
    let page = submit(&operator, "/recovery", "enabled=false", "text/html").await;
    assert_eq!(page.status, 422);
    assert!(
        page.text().contains("<a href=\"/actions\">Back</a>"),
        "{}",
        page.text()
    );
    assert!(
        page.header(CONTENT_SECURITY_POLICY)
            .contains("style-src 'self'")
    );
    // A field that was left empty is not sent, and refused as the API names it.
    for (path, fields) in [
        ("/clusters/lab/alarms/acknowledge", "through=1&reason="),
        (
            "/clusters/lab/findings/acknowledge",
            "code=even_votes&days=1&reason=+",
        ),
    ] {
        let refused = submit(&operator, path, fields, "*/*").await.problem();
        assert_eq!((refused.status, refused.code.as_str()), (422, "no_reason"));
    }
    let unknown = submit(&operator, "/actions/none/approve", "comment=", "*/*").await;
    assert!([403, 404].contains(&unknown.problem().status));
    let broken = submit(
        &operator,
        "/clusters/lab/actions",
        "kind=bootstrap&attestations=%5B",
        "*/*",
    )
    .await;
    assert_eq!(broken.problem().code, "invalid_body");
    let foreign = operator
        .request(Method::POST, "/recovery")
        .header("sec-fetch-site", "cross-site")
        .header(CONTENT_TYPE, FORM);
    let foreign = operator
        .send(foreign.body("enabled=false&reason=x".into()).unwrap())
        .await;
    assert_eq!(foreign.problem().code, "cross_origin");
}
