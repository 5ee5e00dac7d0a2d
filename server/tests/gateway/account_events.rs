//! The owner of an account sees what happened to it: on the account page, and at the next sign-in.

use galera::access::Role;
use galera::publish::accounts::OwnAccountView;
use http::Method;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use serde_json::json;

use crate::client::TestResponse;
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{PASSWORD, TestConsole};

async fn sign_in_form(console: &TestConsole, cookies: &str) -> TestResponse {
    let password = PASSWORD.replace(' ', "+");
    let body = format!("username=dora&password={password}&next=/actions");
    let client = console.anonymous();
    let request = client
        .request(Method::POST, "/sign-in")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(COOKIE, cookies);
    client.send(request.body(body.into()).unwrap()).await
}

fn cookie(response: &TestResponse, begin: &str) -> String {
    let cookies = response.headers.get_all(SET_COOKIE).iter();
    let cookie = cookies
        .map(|cookie| cookie.to_str().unwrap())
        .find(|cookie| cookie.starts_with(begin));
    cookie.unwrap().split(';').next().unwrap().to_owned()
}

fn events(account: &OwnAccountView) -> Vec<(&str, &str)> {
    let events = account.recent_events.iter();
    events
        .map(|event| (event.event.as_str(), event.actor.as_str()))
        .collect()
}

#[tokio::test]
async fn the_owner_sees_what_others_did_at_the_next_sign_in() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("dora", &[Role::Viewer]).await;
    console.add_user("root", &[Role::Admin]).await;
    let first = sign_in_form(&console, "").await;
    assert_eq!(
        (first.status.as_u16(), first.header(LOCATION)),
        (303, "/sign-in?error=session_not_kept&next=/actions")
    );
    let device = cookie(&first, "galera_console_device_");
    let root = console.sign_in("root").await;
    let path = "/api/v1/accounts/dora";
    let roles = json!({"roles": ["viewer", "operator"]});
    let changed = root.send_json(Method::PATCH, path, &roles).await;
    assert!(changed.status.is_success(), "{}", changed.text());
    let elsewhere = sign_in_form(&console, "").await;
    assert_eq!(elsewhere.status, 303, "an unknown device is shown nothing");
    eventually("both are recorded", async || {
        let dora = console.with_token(elsewhere.token());
        let account: OwnAccountView = dora.get("/api/v1/me").await.json();
        account.recent_events.len() == 3
    })
    .await;

    let shown = sign_in_form(&console, &device).await;
    assert_eq!(shown.status, 200);
    let text = shown.text();
    for part in [
        "Changes to your account",
        "Account roles changed by root",
        "Signed in from",
        "on a new device",
        "href=\"/actions\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dora = console.with_token(shown.token());
    let account: OwnAccountView = dora.get("/api/v1/me").await.json();
    let expected = [
        ("signed_in", "dora"),
        ("signed_in", "dora"),
        ("account_roles_changed", "root"),
        ("signed_in", "dora"),
    ];
    assert_eq!(events(&account), expected);
    let page = dora.get("/fragments/account").await.text();
    assert!(
        page.contains("Last changes to your account") && page.contains("Account roles changed"),
        "{page}"
    );
    let again = sign_in_form(&console, &device).await;
    assert_eq!(again.status, 303, "once: {}", again.text());
    // No account sees another one's.
    let root: OwnAccountView = root.get("/api/v1/me").await.json();
    assert_eq!(events(&root), [("signed_in", "root")]);
}
