//! Pages: access, redirects and content security policy.

use axum::body::Body;
use galera::access::Role;
use galera_console::config::LimitsConfig;
use galera_console::http::{page_paths, router};
use http::Method;
use http::header::{ACCEPT, ALLOW, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use tokio_util::sync::CancellationToken;

use crate::client::{TestClient, TestResponse};
use crate::etcd::TestEtcd;
use crate::test_console::{ConsoleOptions, TestConsole};

async fn navigate(client: &TestClient, path: &str, site: &str) -> TestResponse {
    let request = client
        .request(Method::GET, path)
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", site);
    client.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_page_needs_a_session_and_is_returned_to_after_sign_in() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let anonymous = console.anonymous();
    for (path, location) in [
        ("/", "/sign-in?next=/"),
        ("/clusters/lab", "/sign-in?next=/clusters/lab"),
        (
            "/clusters/lab/registry?a=1&b=2",
            "/sign-in?next=/clusters/lab/registry%3Fa%3D1%26b%3D2",
        ),
        (
            "/clusters/lab/nodes/127.0.0.1",
            "/sign-in?next=/clusters/lab/nodes/127.0.0.1",
        ),
    ] {
        let answer = anonymous.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header(LOCATION)),
            (303, location)
        );
    }
    let forged = console.with_token("forged").get("/clusters/lab").await;
    assert_eq!(
        forged.header(LOCATION),
        "/sign-in?error=session_invalid&next=/clusters/lab"
    );
    let form = anonymous.get("/sign-in?next=/clusters/lab").await;
    assert_eq!(form.status, 200);
    assert!(
        form.text().contains("action=\"/sign-in\""),
        "{}",
        form.text()
    );

    let client = console.sign_in("dora").await;
    let page = client.get("/clusters/lab").await;
    assert_eq!(page.status, 200);
    assert!(
        page.header(CONTENT_TYPE).starts_with("text/html") && page.text().contains("127.0.0.1:1"),
        "{}",
        page.text()
    );
    for (next, location) in [
        ("/clusters/lab", "/clusters/lab"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
    ] {
        let answer = client.get(&format!("/sign-in?next={next}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header(LOCATION)),
            (303, location)
        );
    }
}

#[tokio::test]
async fn a_link_on_another_site_does_not_end_at_the_sign_in_page() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    // The browser withholds the SameSite=Strict cookie.
    let answer = navigate(
        &console.anonymous(),
        "/clusters/lab?a=1&b=%22",
        "cross-site",
    )
    .await;
    assert_eq!(answer.status, 200);
    let target = "/sign-in?next=/clusters/lab%3Fa%3D1%26b%3D%2522";
    assert!(
        answer
            .text()
            .contains(&format!("content=\"0;url={target}\"")),
        "{}",
        answer.text()
    );
    // The next request comes from the console's own page and carries the cookie.
    let client = console.sign_in("dora").await;
    let answer = navigate(&client, target, "same-origin").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header(LOCATION)),
        (303, "/clusters/lab?a=1&b=%22")
    );
    let without = navigate(&console.anonymous(), "/sign-in?next=/", "cross-site").await;
    assert!(
        without.text().contains("action=\"/sign-in\""),
        "without a session the form is shown instead of a redirect loop"
    );
}

#[tokio::test]
async fn every_script_carries_the_page_nonce() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let mut nonces = Vec::new();
    for path in [
        "/",
        "/sign-in?error=throttled",
        "/clusters/lab",
        "/clusters/nowhere",
        "/no-such-page",
    ] {
        let client = if path.starts_with("/sign-in") {
            console.anonymous()
        } else {
            client.clone()
        };
        let page = client.get(path).await;
        let policy = page.header(CONTENT_SECURITY_POLICY);
        let nonce = policy
            .split("'nonce-")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .expect(path)
            .to_owned();
        let text = page.text();
        let scripts = text.matches("<script").count();
        assert!(scripts > 0, "{path}");
        assert_eq!(
            text.matches(&format!("nonce=\"{nonce}\"")).count(),
            scripts,
            "{path}: {text}"
        );
        assert!(
            !text.contains(" style=") && !text.contains("<style") && !text.contains(" onclick="),
            "{path}"
        );
        assert!(
            !policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"),
            "{policy}"
        );
        nonces.push(nonce);
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 5, "a nonce is used once");
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_a_page() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    for path in [
        "/no-such-page",
        "/clusters/nowhere",
        "/clusters/%3Cscript%3E",
        "/clusters/lab/nodes/nobody",
    ] {
        let page = client.get(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.header(CONTENT_TYPE).starts_with("text/html"), "{path}");
        assert!(!page.text().contains("<script>"), "{path}");
    }
    let request = client
        .request(Method::POST, "/no-such-page")
        .body(Body::empty())
        .unwrap();
    assert_eq!(client.send(request).await.problem().status, 404);
}

/// An unknown cluster is reported as such.
#[tokio::test]
async fn pages_have_the_fragment_of_their_path() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let overview = client.get("/fragments/").await;
    assert_eq!(overview.status.as_u16(), 200, "{}", overview.text());
    assert!(overview.text().starts_with("Clusters\n"));
    for path in [
        "/clusters/nowhere/registry",
        "/clusters/nowhere/nodes/n1",
        "/clusters/nowhere/stop-check",
    ] {
        let fragment = client.get(&format!("/fragments{path}")).await;
        assert_eq!(fragment.problem().code, "unknown_cluster", "{path}");
    }
    let unknown = client.get("/fragments/no-such-page").await;
    assert_eq!(unknown.problem().status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_rendered_while_other_consoles_start_in_the_process() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let state = console.state.clone();
    let stop_token = CancellationToken::new();
    // A failing test stops the other consoles too.
    let stop_guard = stop_token.clone().drop_guard();
    let others = tokio::task::spawn_blocking({
        move || {
            while !stop_token.is_cancelled() {
                drop(router(state.clone()));
            }
        }
    });
    for path in ["/", "/no-page", "/clusters/lab"].iter().cycle().take(60) {
        let page = client.get(path).await;
        assert!(page.text().contains("</html>"), "{path}: {}", page.text());
    }
    drop(stop_guard);
    others.await.unwrap();
}

#[tokio::test]
async fn pages_without_a_session_are_refused_while_too_many_are_rendered() {
    let etcd = TestEtcd::in_memory();
    let options = ConsoleOptions {
        limits_of_clients: LimitsConfig {
            anonymous_renders: 0,
            ..LimitsConfig::default()
        },
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("dora", &[Role::Viewer]).await;
    for path in ["/sign-in", "/no-such-page"] {
        let answer = console.anonymous().get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.header("retry-after"), "2", "{path}");
    }
    let client = console.sign_in("dora").await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/healthz").await.status, 200);
}

/// Requests for every page, again and again, side by side.
#[tokio::test]
async fn pages_rendered_side_by_side_are_complete() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &Role::ALL).await;
    let client = console.sign_in("dora").await;
    let pages = [
        ("/", "1 of 1 cluster"),
        ("/clusters/lab", "lab"),
        ("/clusters/lab/registry", "lab"),
        ("/clusters/lab/events", "lab"),
        ("/clusters/lab/recovery", "lab"),
        ("/actions", "Actions"),
        ("/audit", "Audit"),
        ("/account", "Account"),
        ("/accounts", "Accounts"),
        ("/settings", "Settings"),
        ("/incidents", "Incidents"),
        ("/status-pages", "Status pages"),
        ("/notifications", "Notifications"),
    ];
    for _ in 0..5 {
        let requests = pages.map(async |(path, title)| (path, title, client.get(path).await));
        for (path, title, answer) in futures::future::join_all(requests).await {
            let text = answer.text();
            assert_eq!(answer.status, 200, "{path}: {text}");
            let shown = text.split("<title>").nth(1).unwrap_or_default();
            let shown = shown.split("</title>").next().unwrap_or_default();
            assert!(shown.contains(title), "{path}: {shown:?}");
            assert!(text.contains("</main>"), "{path}: {text}");
        }
    }
}

/// A request of a browser that opens an address.
async fn open(client: &TestClient, method: Method, path: &str) -> TestResponse {
    let request = client
        .request(method, path)
        .header(ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");
    client.send(request.body(Body::empty()).unwrap()).await
}

fn assert_is_page(answer: &TestResponse, path: &str) {
    let media_type = answer.header(CONTENT_TYPE);
    assert!(
        media_type.starts_with("text/html"),
        "{path}: {} {media_type} {}",
        answer.status,
        answer.text()
    );
    assert!(answer.text().contains("<h1"), "{path}: {}", answer.text());
}

/// What every page answers with, whatever its address names, is a page.
#[tokio::test]
async fn a_browser_gets_a_page_whatever_the_address_names() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let paths = page_paths();
    assert!(paths.len() > 15, "{paths:?}");
    let without = |path: &str, name: &str| {
        let parts = path.split('/').map(|part| match part.starts_with('{') {
            true => name.to_owned(),
            false => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join("/")
    };
    for path in paths.iter().filter(|path| *path != "/sign-in") {
        for name in ["nowhere", "%00", "a%2Fb"] {
            let path = without(path, name);
            let answer = open(&client, Method::GET, &path).await;
            assert_is_page(&answer, &path);
            if path.contains(name) {
                assert_eq!(answer.status, 404, "{path}");
            }
        }
        let path = without(path, "lab");
        let bad = "since=yesterday&range=x&before=x&after=x&node=%00&q=%00&kind=x&cluster=%00&state=x&limit=-1&from=x";
        let path = format!("{path}?{bad}");
        let answer = open(&client, Method::GET, &path).await;
        assert_is_page(&answer, &path);
        assert!(answer.status.as_u16() < 500, "{path}: {}", answer.status);
    }
}

/// Errors of the layers around the pages, and of forms without script.
#[tokio::test]
async fn a_browser_gets_a_page_for_what_no_page_answers() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    for (method, path, status) in [
        // A form's address in the address bar.
        (Method::GET, "/clusters/lab/actions", 405),
        (Method::GET, "/audit/acknowledge", 405),
        (Method::GET, "/nowhere", 404),
        (Method::POST, "/clusters/nowhere/rolling-restart", 415),
        (Method::POST, "/sign-in/code", 415),
        (Method::PUT, "/account", 405),
    ] {
        let get = method == Method::GET;
        let answer = open(&client, method, path).await;
        assert_is_page(&answer, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.header(CONTENT_SECURITY_POLICY).is_empty(), "{path}");
        assert_eq!(answer.header(ALLOW).is_empty(), status != 405, "{path}");
        if status == 405 {
            let remedy = if get {
                "Go back to the page with the form"
            } else {
                "the header Allow lists the methods"
            };
            assert!(answer.text().contains(remedy), "{path}: {}", answer.text());
            assert!(!answer.text().contains("Try again"), "{path}");
        }
    }
    // Programs, and browsers that look at the API, get the document.
    let api = open(&client, Method::GET, "/api/v1/clusters/nowhere").await;
    assert_eq!(api.problem().code, "unknown_cluster");
    let program = client.get("/clusters/lab/actions").await;
    assert_eq!(program.problem().code, "method_not_allowed");
}
