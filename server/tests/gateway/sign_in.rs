//! Signing in and out, through the API and forms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use console_core::resolver::Resolver;
use galera::access::Role;
use galera::publish::api::SessionView;
use http::header::{LOCATION, RETRY_AFTER, SET_COOKIE};

use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{ConsoleOptions, NOW, PASSWORD, TestConsole};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn signing_in_and_out() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user_with_real_hash("dora", &[Role::Viewer, Role::Approver])
        .await;
    let answer = console.anonymous().sign_in(" DORA ", PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let view: SessionView = answer.json();
    assert_eq!(
        (view.username.as_str(), &view.roles[..]),
        ("dora", &[Role::Viewer, Role::Approver][..])
    );
    let cookie = answer.header(SET_COOKIE);
    assert!(
        cookie.starts_with("galera_console_session=")
            && cookie.contains("; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains("Secure"), "{cookie}");
    let client = console.with_token(answer.token());
    assert_eq!(
        client.get("/api/v1/session").await.json::<SessionView>(),
        view
    );
    let goodbye = client.delete("/api/v1/session").await;
    assert_eq!(goodbye.status, 204);
    assert!(goodbye.header(SET_COOKIE).contains("Max-Age=0"));
    assert_eq!(
        client.get("/api/v1/session").await.problem().code,
        "session_ended"
    );
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_the_host() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(
        &etcd,
        ConsoleOptions {
            https: true,
            ..ConsoleOptions::default()
        },
    )
    .await;
    console
        .add_user_with_real_hash("dora", &[Role::Viewer])
        .await;
    let answer = console.anonymous().sign_in("dora", PASSWORD).await;
    let cookie = answer.header(SET_COOKIE);
    assert!(
        cookie.starts_with("__Host-galera_console_session=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    assert!(
        answer
            .header("strict-transport-security")
            .starts_with("max-age=")
    );
    let mut client = console.anonymous();
    client.cookie = Some(format!("galera_console_session={}", answer.token()));
    assert_eq!(
        client.get("/api/v1/session").await.status,
        401,
        "the unbound name counts for nothing"
    );
}

#[tokio::test]
async fn an_unknown_user_is_indistinguishable_from_a_wrong_password() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user_with_real_hash("dora", &[Role::Viewer])
        .await;
    let mut answers = Vec::new();
    for (name, password) in [
        ("dora", "wrong"),
        ("nobody", "wrong"),
        ("<script>", "wrong"),
        ("dora", &"x".repeat(2000)),
    ] {
        let answer = console.anonymous().sign_in(name, password).await;
        assert_eq!(answer.status, 401, "{name}");
        let problem = answer.problem();
        answers.push((problem.code, problem.title, problem.detail));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, "invalid_credentials");
}

#[tokio::test]
async fn a_disabled_account_is_reported_only_with_the_right_password() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user_with_real_hash("dora", &[Role::Viewer])
        .await;
    console
        .store
        .set_disabled(&"dora".parse().unwrap(), true, false, NOW)
        .await
        .unwrap();
    assert_eq!(
        console
            .anonymous()
            .sign_in("dora", "wrong")
            .await
            .problem()
            .code,
        "invalid_credentials"
    );
    let answer = console.anonymous().sign_in("dora", PASSWORD).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().code.as_str()),
        (403, "account_disabled")
    );
}

#[tokio::test]
async fn repeated_failures_are_throttled() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user_with_real_hash("dora", &[Role::Viewer])
        .await;
    console
        .add_user_with_real_hash("emil", &[Role::Viewer])
        .await;
    for _ in 0..11 {
        console.anonymous().sign_in("dora", "wrong").await;
    }
    let answer = console.anonymous().sign_in("dora", PASSWORD).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().code.as_str()),
        (429, "throttled")
    );
    assert_eq!(answer.header(RETRY_AFTER), "1");
    assert_eq!(
        console.anonymous().sign_in("emil", PASSWORD).await.status,
        200,
        "another account is not concerned"
    );
}

#[tokio::test]
async fn sign_in_forms_redirect_back_to_local_paths_only() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console
        .add_user_with_real_hash("dora", &[Role::Viewer])
        .await;
    let form = async |password: &str, next: &str| {
        let password = password.replace(' ', "+");
        let body = format!("username=dora&password={password}&next={next}");
        console.anonymous().post("/sign-in", FORM, body).await
    };
    let to = |answer: &crate::client::TestResponse| {
        (answer.status.as_u16(), answer.header(LOCATION).to_owned())
    };
    let good = form(PASSWORD, "%2Fclusters%2Flab%3Fa%3D1").await;
    // By way of the sign-in page, which a browser that refuses cookies cannot leave.
    let via = "/sign-in?error=session_not_kept&next=/clusters/lab%3Fa%3D1";
    assert_eq!(to(&good), (303, via.to_owned()));
    let kept = console.with_token(good.token()).get(via).await;
    assert_eq!(to(&kept), (303, "/clusters/lab?a=1".to_owned()));
    let refused = console.anonymous().get(via).await;
    assert_eq!(refused.status, 200);
    let text = refused.text();
    assert!(text.contains("did not keep the session cookie"), "{text}");
    assert!(text.contains("value=\"/clusters/lab?a=1\""), "{text}");
    assert_eq!(
        console
            .with_token(good.token())
            .get("/api/v1/session")
            .await
            .status,
        200
    );
    let root = "/sign-in?error=session_not_kept&next=/".to_owned();
    for next in ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example"] {
        assert_eq!(to(&form(PASSWORD, next).await), (303, root.clone()));
    }
    let wrong = form("wrong", "/clusters/lab").await;
    assert_eq!(
        to(&wrong),
        (
            303,
            "/sign-in?error=invalid_credentials&next=/clusters/lab".to_owned()
        )
    );
    assert!(!wrong.headers.contains_key(SET_COOKIE));

    let client = console.with_token(good.token());
    let out = client.post("/sign-out", FORM, "").await;
    assert_eq!(to(&out), (303, "/sign-in".to_owned()));
    assert_eq!(client.get("/api/v1/session").await.status, 401);
    let again = client.post("/sign-out", FORM, "").await;
    assert_eq!(
        to(&again),
        (303, "/sign-in".to_owned()),
        "leaving twice is no error"
    );
}

#[tokio::test]
async fn a_silent_resolver_delays_no_sign_in() {
    let etcd = TestEtcd::in_memory();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let resolver = Resolver::with_look_up(16, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = released.lock().unwrap().recv();
        Err(std::io::ErrorKind::TimedOut.into())
    });
    let options = ConsoleOptions {
        members: (0..50).map(|node| format!("silent{node}.test")).collect(),
        resolver: Some(resolver.clone()),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("dora", &[Role::Viewer]).await;
    eventually("every look-up to be taken", async || {
        asked.load(Ordering::SeqCst) == 16 && resolver.limit().refused() > 0
    })
    .await;
    let client = console.sign_in("dora").await;
    assert_eq!(client.get("/pkg/c.1.js").await.status, 200);
    let scrape = client.get("/metrics").await.text();
    assert!(
        !scrape.contains("galera_console_limit_refusals_total{limit=\"dns_lookups\"} 0\n")
            && scrape.contains("galera_console_limit_refusals_total{limit=\"dns_lookups\"}"),
        "{scrape}"
    );
    drop(release);
}
