//! The second factor: enrolment, sign-in with a code, recovery codes, and accounts that must have one.

use aws_lc_rs::hmac;
use galera::access::{Role, RoleAssignment};
use galera::publish::accounts::{EnrolmentView, OwnAccountView, RecoveryCodesView};
use http::Method;
use http::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{ConsoleOptions, PASSWORD, STATE_PREFIX, TestConsole};

/// The code that an app shows `steps` after the present one (RFC 6238, written apart from the console's).
pub(crate) fn code(secret: &str, steps: i64) -> String {
    let mut bits = String::new();
    for letter in secret.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            _ => letter - b'2' + 26,
        };
        bits.push_str(&format!("{value:05b}"));
    }
    let key: Vec<u8> = (0..bits.len() / 8)
        .map(|i| u8::from_str_radix(&bits[8 * i..8 * i + 8], 2).unwrap())
        .collect();
    let step = console_core::clock::now().unix_millis() / 30_000 + steps;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let bytes: [u8; 4] = tag.as_ref()[at..at + 4].try_into().unwrap();
    format!(
        "{:06}",
        (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000
    )
}

/// An account with a second factor, enrolled with the code of the step before, so that the present one is unused.
pub(crate) struct Enrolled {
    pub(crate) client: TestClient,
    pub(crate) secret: String,
    pub(crate) recovery_codes: Vec<String>,
}

pub(crate) async fn enrol(client: &TestClient) -> Enrolled {
    let started = client
        .send_json(Method::POST, "/api/v1/me/factor", &json!({}))
        .await;
    assert_eq!(started.status, 200, "{}", started.text());
    let offer: EnrolmentView = started.json();
    assert!(offer.uri.contains(&offer.secret));
    let confirm = async || {
        let body = json!({"code": code(&offer.secret, -1)});
        client
            .send_json(Method::POST, "/api/v1/me/factor/confirm", &body)
            .await
    };
    let mut confirmed = confirm().await;
    if confirmed.status == 403 {
        // The step before was the last but one when the code arrived.
        confirmed = confirm().await;
    }
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    Enrolled {
        client: client.clone(),
        secret: offer.secret,
        recovery_codes: confirmed.json::<RecoveryCodesView>().recovery_codes,
    }
}

fn refusal(response: &TestResponse) -> (u16, String) {
    (response.status.as_u16(), response.problem().code)
}

async fn events(client: &TestClient) -> Vec<String> {
    let page: Value = client.get("/api/v1/audit?limit=100").await.json();
    let entries = page["entries"].as_array().unwrap();
    let event = |entry: &Value| entry["event"].as_str().unwrap().to_owned();
    entries.iter().map(event).collect()
}

#[tokio::test]
async fn a_code_is_required_after_the_right_password_only() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let other_session = console.sign_in("dora").await;
    let enrolled = enrol(&console.sign_in("dora").await).await;
    assert_eq!(enrolled.client.get("/api/v1/session").await.status, 200);
    eventually("the session that proved no code to end", async || {
        other_session.get("/api/v1/session").await.status == 401
    })
    .await;
    let client = console.anonymous();
    let wrong = client.sign_in("dora", "wrong password").await;
    assert_eq!(refusal(&wrong), (401, "invalid_credentials".to_owned()));
    let without = client.sign_in("dora", PASSWORD).await;
    assert_eq!(
        refusal(&without),
        (401, "second_factor_required".to_owned())
    );
    assert!(without.header("set-cookie").is_empty());
    for bad in ["000000", "12345", "AAAA-BBBB-CCCC-DDDD", "١٢٣٤٥٦"] {
        let refused = client.sign_in_with_code("dora", bad).await;
        assert_eq!(
            refusal(&refused),
            (401, "second_factor_invalid".to_owned()),
            "{bad}"
        );
    }
    let far = client
        .sign_in_with_code("dora", &code(&enrolled.secret, 120))
        .await;
    assert_eq!(
        refusal(&far),
        (401, "second_factor_invalid".to_owned()),
        "an hour ahead"
    );
    let right = client
        .sign_in_with_code("dora", &code(&enrolled.secret, 0))
        .await;
    assert_eq!(right.status, 200, "{}", right.text());
    let recorded = events(&enrolled.client).await;
    for event in ["factor_enrolled", "sign_in_failed", "signed_in"] {
        assert!(
            recorded.iter().any(|known| known == event),
            "{event} in {recorded:?}"
        );
    }
}

#[tokio::test]
async fn two_replicas_accept_a_code_once() {
    let etcd = TestEtcd::in_memory();
    let (one, other) = (
        TestConsole::start(&etcd).await,
        TestConsole::start(&etcd).await,
    );
    one.add_user("dora", &[Role::Viewer]).await;
    let enrolled = enrol(&one.sign_in("dora").await).await;
    for steps in [0, 1] {
        let code = code(&enrolled.secret, steps);
        let (a, b) = (one.anonymous(), other.anonymous());
        let (first, second) = tokio::join!(
            a.sign_in_with_code("dora", &code),
            b.sign_in_with_code("dora", &code)
        );
        let refused = if first.status == 200 { &second } else { &first };
        assert_ne!(
            first.status == 200,
            second.status == 200,
            "{} {}",
            first.text(),
            second.text()
        );
        assert_eq!(refusal(refused), (401, "second_factor_used".to_owned()));
        let remedy = "The code was used already; wait until the app shows the next one.";
        assert_eq!(refused.problem().detail, remedy);
    }
    let recovery = &enrolled.recovery_codes[0];
    let (a, b) = (one.anonymous(), other.anonymous());
    let (first, second) = tokio::join!(
        a.sign_in_with_code("dora", recovery),
        b.sign_in_with_code("dora", recovery)
    );
    assert_ne!(
        first.status == 200,
        second.status == 200,
        "{} {}",
        first.text(),
        second.text()
    );
    let view: OwnAccountView = enrolled.client.get("/api/v1/me").await.json();
    assert_eq!(view.second_factor.recovery_codes_left, 9);
}

#[tokio::test]
async fn wrong_codes_are_slowed_down() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let enrolled = enrol(&console.sign_in("dora").await).await;
    let client = console.anonymous();
    let mut last = 0;
    for _ in 0..7 {
        last = client
            .sign_in_with_code("dora", "000000")
            .await
            .status
            .as_u16();
        // A password without a code is not a guess, and permits none.
        client.sign_in("dora", PASSWORD).await;
    }
    assert_eq!(last, 429);
    let right = client
        .sign_in_with_code("dora", &code(&enrolled.secret, 0))
        .await;
    assert_eq!(right.status, 429, "{}", right.text());
}

#[tokio::test]
async fn an_account_whose_role_requires_a_factor_can_only_enrol() {
    let etcd = TestEtcd::in_memory();
    let options = ConsoleOptions {
        second_factor_roles: vec![Role::Approver],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("adam", &[Role::Approver]).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let unaffected = console.sign_in("dora").await;
    assert_eq!(unaffected.get("/api/v1/clusters").await.status, 200);
    let client = console.sign_in("adam").await;
    let session: Value = client.get("/api/v1/session").await.json();
    assert_eq!(session["second_factor_enrolment_required"], true);
    for path in [
        "/api/v1/clusters",
        "/api/v1/actions",
        "/api/v1/audit",
        "/api/v1/live",
    ] {
        let refused = client.get(path).await;
        let expected = (403, "second_factor_enrolment_required".to_owned());
        assert_eq!(refusal(&refused), expected, "{path}");
    }
    let page = client.get("/actions").await;
    assert_eq!(
        (page.status.as_u16(), page.header(LOCATION)),
        (303, "/account")
    );
    let enrolled = enrol(&client).await;
    assert_eq!(client.get("/api/v1/clusters").await.status, 200);
    // It can be replaced, but not removed.
    let removed = client.delete("/api/v1/me/factor").await;
    assert_eq!(refusal(&removed), (409, "second_factor_needed".to_owned()));
    enrol(&enrolled.client).await;
    // A role that is granted later has the same effect on sessions that exist.
    let change = accounts::store::AccountChange {
        roles: Some(RoleAssignment::everywhere(vec![
            Role::Viewer,
            Role::Approver,
        ])),
        ..Default::default()
    };
    let now = console_core::clock::now();
    console
        .store
        .change(&"dora".parse().unwrap(), &change, now)
        .await
        .unwrap();
    eventually("the session to need a factor", async || {
        unaffected.get("/api/v1/clusters").await.status == 403
    })
    .await;
}

#[tokio::test]
async fn a_lost_factor_is_reset_by_an_administrator() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    console.add_user("root", &[Role::Admin]).await;
    let enrolled = enrol(&console.sign_in("dora").await).await;
    let admin = console.sign_in("root").await;
    let listed: Value = admin.get("/api/v1/accounts/dora").await.json();
    assert_eq!(listed["second_factor"], true);
    let reset = admin.delete("/api/v1/accounts/dora/factor").await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    eventually("the sessions of the lost factor to end", async || {
        enrolled.client.get("/api/v1/session").await.status == 401
    })
    .await;
    console.sign_in("dora").await;
    assert!(events(&admin).await.contains(&"factor_reset".to_owned()));
}

#[tokio::test]
async fn deleting_or_replacing_the_factor_in_etcd_does_not_make_the_password_suffice() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    console.add_user("emil", &[Role::Viewer]).await;
    let enrolled = enrol(&console.sign_in("dora").await).await;
    enrol(&console.sign_in("emil").await).await;
    let key = |name: &str| format!("{STATE_PREFIX}/factors/{name}");
    let entry = console.registry.get(key("dora")).await.unwrap().unwrap();
    let other = console.registry.get(key("emil")).await.unwrap().unwrap();
    console
        .registry
        .put(key("dora"), other.value, None)
        .await
        .unwrap();
    let moved = console
        .anonymous()
        .sign_in_with_code("dora", &code(&enrolled.secret, 0))
        .await;
    assert_eq!(refusal(&moved), (403, "second_factor_unusable".to_owned()));
    console.registry.put(key("dora"), "{", None).await.unwrap();
    let damaged = console.anonymous().sign_in("dora", PASSWORD).await;
    assert_eq!(
        refusal(&damaged),
        (403, "second_factor_unusable".to_owned())
    );
    let current = console.registry.get(key("dora")).await.unwrap().unwrap();
    console
        .registry
        .delete_if(key("dora"), current.mod_revision)
        .await
        .unwrap();
    let deleted = console.anonymous().sign_in("dora", PASSWORD).await;
    assert_eq!(
        refusal(&deleted),
        (403, "second_factor_unusable".to_owned())
    );
    assert!(deleted.problem().detail.contains("user reset-factor dora"));
    // The account's record rewritten by version 0.1, which does not know the member.
    console
        .registry
        .put(key("dora"), entry.value, None)
        .await
        .unwrap();
    let account = format!("{STATE_PREFIX}/users/dora");
    let stored = console
        .registry
        .get(account.clone())
        .await
        .unwrap()
        .unwrap();
    let mut record: Value = serde_json::from_slice(&stored.value).unwrap();
    record.as_object_mut().unwrap().remove("factor");
    console
        .registry
        .put(account, record.to_string(), None)
        .await
        .unwrap();
    let without = console.anonymous().sign_in("dora", PASSWORD).await;
    assert_eq!(
        refusal(&without),
        (401, "second_factor_required".to_owned())
    );
}

#[tokio::test]
async fn the_secret_is_shown_only_until_it_is_confirmed_and_never_in_etcd_logs_or_audit() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let early = json!({"code": "123456"});
    let refused = client
        .send_json(Method::POST, "/api/v1/me/factor/confirm", &early)
        .await;
    assert_eq!(refusal(&refused), (409, "not_enrolling".to_owned()));
    assert_eq!(
        refusal(&client.get("/api/v1/me/factor/qr.svg").await).0,
        409
    );
    client
        .send_json(Method::POST, "/api/v1/me/factor", &json!({}))
        .await;
    let wrong = client
        .send_json(Method::POST, "/api/v1/me/factor/confirm", &early)
        .await;
    assert_eq!(refusal(&wrong), (403, "second_factor_invalid".to_owned()));
    let view: OwnAccountView = client.get("/api/v1/me").await.json();
    assert!(view.second_factor.enrolment.is_some() && view.second_factor.enrolled_at.is_none());
    let image = client.get("/api/v1/me/factor/qr.svg").await;
    assert_eq!(image.header(CONTENT_TYPE), "image/svg+xml");
    let enrolled = enrol(&client).await;
    let after = client.get("/api/v1/me").await.text();
    let trail = client.get("/api/v1/audit").await.text();
    for text in [after, trail] {
        assert!(!text.contains(&enrolled.secret));
        assert!(
            enrolled
                .recovery_codes
                .iter()
                .all(|code| !text.contains(code))
        );
    }
    let renewed = client
        .send_json(Method::POST, "/api/v1/me/recovery-codes", &json!({}))
        .await;
    let renewed: RecoveryCodesView = renewed.json();
    assert!(!renewed.recovery_codes.contains(&enrolled.recovery_codes[0]));
    let former = console
        .anonymous()
        .sign_in_with_code("dora", &enrolled.recovery_codes[0])
        .await;
    assert_eq!(former.status, 401);
    assert_eq!(client.delete("/api/v1/me/factor").await.status, 204);
    console.sign_in("dora").await;
}

#[tokio::test]
async fn the_form_asks_for_the_code_in_a_second_step() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let enrolled = enrol(&console.sign_in("dora").await).await;
    let client = console.anonymous();
    let form = "application/x-www-form-urlencoded";
    let password = PASSWORD.replace(' ', "+");
    let body = format!("username=dora&password={password}&next=/audit");
    let page = client.post("/sign-in", form, body).await;
    assert_eq!(page.status, 200);
    let html = page.text();
    assert!(!html.contains(PASSWORD) && page.header("cache-control") == "no-store");
    let challenge = html.split("name=\"challenge\" value=\"").nth(1).unwrap();
    let challenge = challenge.split('"').next().unwrap();
    let second = async |challenge: &str, code: &str| {
        let body = format!("challenge={challenge}&code={code}&next=/audit");
        client.post("/sign-in/code", form, body).await
    };
    let wrong = second(challenge, "000000").await;
    assert!(
        wrong.status == 200 && wrong.text().contains("The code is wrong"),
        "{}",
        wrong.text()
    );
    let right = second(challenge, &code(&enrolled.secret, 0)).await;
    assert_eq!(
        (right.status.as_u16(), right.header(LOCATION)),
        (303, "/sign-in?error=session_not_kept&next=/audit")
    );
    assert_eq!(
        console
            .with_token(right.token())
            .get("/api/v1/session")
            .await
            .status,
        200
    );
    // The proof of the password is not a session, and a session not such a proof.
    assert_eq!(
        console
            .with_token(challenge)
            .get("/api/v1/session")
            .await
            .status,
        401
    );
    let session = second(right.token(), &code(&enrolled.secret, 1)).await;
    assert!(
        session
            .header(LOCATION)
            .starts_with("/sign-in?error=invalid_credentials")
    );
    // It ends with the password.
    let change = json!({"current": PASSWORD, "new": "another good password"});
    let changed = enrolled
        .client
        .send_json(Method::POST, "/api/v1/me/password", &change)
        .await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    let late = second(challenge, &code(&enrolled.secret, 1)).await;
    assert!(
        late.text().contains("The sign-in took too long"),
        "{}",
        late.text()
    );
}
