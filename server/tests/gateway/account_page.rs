//! The page of the own account and its forms, as a browser without scripts uses them.

use galera::access::Role;
use galera::publish::accounts::{AccountView, OwnAccountView};
use galera::recover::action::ActionState;
use http::header::{CONTENT_SECURITY_POLICY, LOCATION};

use crate::action_fixture::ActionFixture;
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::forms::submit;
use crate::second_factor::code;
use crate::step_up::age_proof;
use crate::test_console::{PASSWORD, TestConsole};

const HTML: &str = "text/html";

async fn account_page(client: &TestClient) -> String {
    let page = client.get("/account").await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.text()
}

#[tokio::test]
async fn a_factor_is_enrolled_without_scripts() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    assert!(
        account_page(&client)
            .await
            .contains("Enrol an authenticator app")
    );
    let started = submit(&client, "/account/factor", "", HTML).await;
    assert_eq!(
        (started.status.as_u16(), started.header(LOCATION)),
        (303, "/account")
    );
    let page = account_page(&client).await;
    let view: OwnAccountView = client.get("/api/v1/me").await.json();
    let secret = view.second_factor.enrolment.unwrap().secret;
    assert!(
        page.contains(&secret) && page.contains("/api/v1/me/factor/qr.svg"),
        "{page}"
    );
    let wrong = submit(&client, "/account/factor/confirm", "code=000000", HTML).await;
    assert!(
        wrong.status == 403 && wrong.text().contains("href=\"/account\""),
        "{}",
        wrong.text()
    );
    let body = format!("code={}", code(&secret, 0));
    let codes = submit(&client, "/account/factor/confirm", body, HTML).await;
    assert_eq!(codes.status, 200, "{}", codes.text());
    assert_eq!(codes.text().matches("<li><code>").count(), 10);
    assert_eq!(codes.header("cache-control"), "no-store");
    assert!(
        codes
            .header(CONTENT_SECURITY_POLICY)
            .contains("form-action 'none'")
    );
    let page = account_page(&client).await;
    assert!(
        page.contains("10 of your recovery codes") && !page.contains(&secret),
        "{page}"
    );
    let renewed = submit(&client, "/account/recovery-codes", "", HTML).await;
    assert_eq!(renewed.text().matches("<li><code>").count(), 10);
    let removed = submit(&client, "/account/factor/remove", "", HTML).await;
    assert_eq!(removed.status, 303, "{}", removed.text());
    assert!(
        account_page(&client)
            .await
            .contains("Enrol an authenticator app")
    );
}

#[tokio::test]
async fn an_old_session_shows_no_secret_until_its_user_confirms() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    submit(&client, "/account/factor", "", HTML).await;
    age_proof(&console, &client).await;
    let page = account_page(&client).await;
    assert!(
        page.contains("Confirm your identity") && !page.contains("qr.svg"),
        "{page}"
    );
    let refused = submit(&client, "/account/factor", "", "*/*").await;
    assert_eq!(refused.problem().code, "step_up_required");
    let wrong = submit(&client, "/account/step-up", "proof=wrong+password", "*/*").await;
    // Not 401, which the script takes for the end of the session.
    assert_eq!(
        (wrong.status.as_u16(), wrong.problem().code.as_str()),
        (403, "wrong_password")
    );
    let body = format!("proof={}", PASSWORD.replace(' ', "+"));
    let confirmed = submit(&client, "/account/step-up", body, HTML).await;
    assert_eq!(confirmed.header(LOCATION), "/account");
    assert!(account_page(&client).await.contains("qr.svg"));
}

#[tokio::test]
async fn passwords_and_sessions_are_changed_without_scripts() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let (client, other) = (console.sign_in("dora").await, console.sign_in("dora").await);
    let current = PASSWORD.replace(' ', "+");
    let weak = format!("current={current}&new=password1234");
    let refused = submit(&client, "/account/password", weak, HTML).await;
    assert!(
        refused.status == 422 && refused.text().contains("easily guessed"),
        "{}",
        refused.text()
    );
    let view: OwnAccountView = client.get("/api/v1/me").await.json();
    let id = &view
        .sessions
        .iter()
        .find(|session| !session.current)
        .unwrap()
        .id;
    let ended = submit(&client, &format!("/account/sessions/{id}/end"), "", HTML).await;
    assert_eq!(ended.header(LOCATION), "/account");
    assert_eq!(other.get("/api/v1/session").await.status, 401);
    let body = format!("current={current}&new=another+good+password");
    let changed = submit(&client, "/account/password", body, HTML).await;
    assert_eq!(changed.header(LOCATION), "/account", "{}", changed.text());
    assert_eq!(client.get("/api/v1/session").await.status, 200);
    let everywhere = submit(&client, "/account/sessions/end", "", HTML).await;
    assert_eq!(everywhere.header(LOCATION), "/sign-in");
    eventually("every session to end", async || {
        client.get("/api/v1/session").await.status == 401
    })
    .await;
}

#[tokio::test]
async fn accounts_are_managed_without_scripts() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("root", &[Role::Admin]).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let (admin, viewer) = (console.sign_in("root").await, console.sign_in("vera").await);
    assert_eq!(viewer.get("/fragments/accounts").await.status, 403);
    let password = PASSWORD.replace(' ', "+");
    let body = format!(
        "name=olga&kind=person&password={password}&email=&role-0=viewer&clusters-0=\
         &role-1=operator&role-1=approver&clusters-1=prod-*%2C+lab"
    );
    let refused = submit(&viewer, "/accounts", body.clone(), HTML).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let added = submit(&admin, "/accounts", body, HTML).await;
    assert_eq!(added.header(LOCATION), "/accounts", "{}", added.text());
    let account = async || {
        let answer = admin.get("/api/v1/accounts/olga").await;
        answer.json::<AccountView>()
    };
    let shown = |account: &AccountView| -> Vec<String> {
        account.grants.iter().map(ToString::to_string).collect()
    };
    let expected = [
        "viewer on all clusters",
        "operator, approver on lab, prod-*",
    ];
    assert_eq!(shown(&account().await), expected);
    let page = admin.get("/accounts?edit=olga").await;
    assert_eq!(page.status, 200, "{}", page.text());
    for part in [expected[1], "value=\"lab, prod-*\"", "/accounts/olga/roles"] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    let change = async |verb: &str, body: &'static str| {
        let path = format!("/accounts/olga/{verb}");
        submit(&admin, &path, body, HTML).await
    };
    // Clusters without a role are refused, not left out.
    let refused = change("roles", "role-0=viewer&clusters-0=&clusters-1=lab").await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(shown(&account().await), expected);
    let saved = change("roles", "role-0=operator&clusters-0=shop&clusters-1=").await;
    assert_eq!(saved.header(LOCATION), "/accounts?edit=olga");
    assert_eq!(shown(&account().await), ["operator on shop"]);
    assert_eq!(change("disable", "").await.status, 303);
    assert!(account().await.disabled);
    assert_eq!(change("enable", "").await.status, 303);
    assert!(!account().await.disabled);
    assert_eq!(change("end-sessions", "").await.status, 303);
    assert_eq!(change("nothing", "").await.status, 404);
    age_proof(&console, &admin).await;
    let refused = change("remove", "").await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let confirm = format!("proof={password}");
    submit(&admin, "/account/step-up", confirm, HTML).await;
    assert_eq!(change("remove", "").await.header(LOCATION), "/accounts");
    assert_eq!(admin.get("/api/v1/accounts/olga").await.status, 404);
}

#[tokio::test]
async fn an_approval_carries_its_proof() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let action = fixture.request(&fixture.operator).await.action;
    let path = format!("/actions/{}/approve", action.id);
    age_proof(&fixture.console, &fixture.approver).await;
    for (body, code) in [
        ("comment=", "step_up_required"),
        ("comment=&proof=wrong+password", "wrong_password"),
        ("comment=&proof=123456", "no_proof"),
    ] {
        let refused = submit(&fixture.approver, &path, body, "*/*").await;
        assert_eq!(refused.problem().code, code, "{body}");
    }
    let body = format!("comment=&proof={}", PASSWORD.replace(' ', "+"));
    let approved = submit(&fixture.approver, &path, body, HTML).await;
    assert_eq!(approved.status, 303, "{}", approved.text());
    let done = fixture
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await;
    let text = serde_json::to_string(&done).unwrap();
    assert!(!text.contains(PASSWORD));
}

#[tokio::test]
async fn a_token_is_created_and_revoked_without_scripts() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("dora", &[Role::Viewer, Role::Admin]).await;
    let client = console.sign_in("dora").await;
    let page = account_page(&client).await;
    assert!(
        page.contains("API tokens") && page.contains("Service accounts"),
        "{page}"
    );
    let body = "name=deploy&role=viewer&clusters=lab%2C+prod-*&days=30";
    let shown = submit(&client, "/account/tokens", body, HTML).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert_eq!(shown.header("cache-control"), "no-store");
    let policy = shown.header(CONTENT_SECURITY_POLICY).to_owned();
    assert!(policy.contains("script-src 'sha256-"), "{policy}");
    let text = shown.text();
    let start = text.find("gct_").unwrap();
    let token = &text[start..start + 93];
    let program = console.with_bearer(token);
    assert_eq!(program.get("/api/v1/clusters/lab").await.status, 200);
    let page = account_page(&client).await;
    assert!(
        page.contains("lab, prod-*") && !page.contains(token),
        "{page}"
    );
    let refused = submit(&client, "/account/tokens", "name=x&days=30", HTML).await;
    assert!(
        refused.status == 422 && refused.text().contains("at least one role"),
        "{}",
        refused.text()
    );
    let id = token.split('_').nth(1).unwrap();
    let revoked = submit(&client, &format!("/account/tokens/{id}/revoke"), "", HTML).await;
    assert_eq!(
        (revoked.status.as_u16(), revoked.header(LOCATION)),
        (303, "/account")
    );
    assert_eq!(program.get("/api/v1/clusters/lab").await.status, 401);
    let added = submit(&client, "/account/services", "name=ci&role=operator", HTML).await;
    assert_eq!(
        (added.status.as_u16(), added.header(LOCATION)),
        (303, "/account")
    );
    let body = "name=build&role=operator&days=300&account=ci";
    let shown = submit(&client, "/account/tokens", body, HTML).await;
    assert!(shown.text().contains("build of ci"), "{}", shown.text());
    let page = account_page(&client).await;
    assert!(
        page.contains("Tokens of all accounts") && page.contains("build"),
        "{page}"
    );
}
