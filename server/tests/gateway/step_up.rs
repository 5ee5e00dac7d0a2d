//! What needs a recent proof that the account's owner uses the session.

use galera::access::Role;
use galera::publish::accounts::{OwnAccountView, StepUpView};
use galera::recover::action::ActionState;
use http::Method;
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::second_factor::{code, enrol};
use crate::test_console::{ConsoleOptions, PASSWORD, STATE_PREFIX, TestConsole};

/// Makes the last proof of every session of `client`'s user an hour old.
pub(crate) async fn age_proof(console: &TestConsole, client: &TestClient) {
    let before: OwnAccountView = client.get("/api/v1/me").await.json();
    let prefix = format!("{STATE_PREFIX}/sessions/");
    for entry in console.registry.list(prefix).await.unwrap().entries {
        let mut record: Value = serde_json::from_slice(&entry.value).unwrap();
        if record["username"] == before.username.as_str() {
            let hour = std::time::Duration::from_secs(3600);
            record["proven_at"] = json!(console_core::clock::now().minus(hour));
            let lease = Some(entry.lease);
            console
                .registry
                .put(entry.key, record.to_string(), lease)
                .await
                .unwrap();
        }
    }
    eventually("the proof to be old", async || {
        let view: OwnAccountView = client.get("/api/v1/me").await.json();
        view.step_up.proven_at < before.step_up.proven_at
    })
    .await;
}

async fn step_up(client: &TestClient, proof: &Value) -> (u16, String) {
    let answer = client
        .send_json(Method::POST, "/api/v1/session/step-up", proof)
        .await;
    let code = match answer.status.as_u16() {
        200 => String::new(),
        _ => answer.problem().code,
    };
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn an_old_session_approves_only_after_the_password_is_entered_again() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let replica = ActionFixture::replica(&etcd, &nodes).await;
    let action = fixture.request(&fixture.operator).await.action;
    age_proof(&fixture.console, &fixture.approver).await;
    let refused = apply_verb(&fixture.approver, &action.id, "approve").await;
    assert_eq!(refused.status, 403);
    let problem = refused.problem();
    assert_eq!(problem.code, "step_up_required");
    assert!(
        problem.detail.contains("POST /api/v1/session/step-up"),
        "{}",
        problem.detail
    );
    // The role is checked first.
    let viewer = apply_verb(&fixture.viewer, &action.id, "approve").await;
    assert_eq!(viewer.problem().code, "missing_role");
    // Rejecting needs no proof, and neither does reading.
    assert_eq!(fixture.approver.get("/api/v1/actions").await.status, 200);
    let expected = |code: &str| (403, code.to_owned());
    let wrong = step_up(&fixture.approver, &json!({"password": "wrong password"})).await;
    assert_eq!(wrong, expected("wrong_password"));
    assert_eq!(step_up(&fixture.approver, &json!({})).await.0, 422);
    let still = apply_verb(&fixture.approver, &action.id, "approve").await;
    assert_eq!(still.problem().code, "step_up_required");
    assert_eq!(
        step_up(&fixture.approver, &json!({"password": PASSWORD}))
            .await
            .0,
        200
    );
    // Another replica, which need not have seen it yet.
    let mut elsewhere = replica.console.anonymous();
    elsewhere.cookie.clone_from(&fixture.approver.cookie);
    let approved = apply_verb(&elsewhere, &action.id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    fixture
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await;
}

#[tokio::test]
async fn with_a_second_factor_only_a_code_counts_and_each_once() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("root", &[Role::Admin]).await;
    let enrolled = enrol(&console.sign_in("root").await).await;
    age_proof(&console, &enrolled.client).await;
    let client = &enrolled.client;
    let expected = |code: &str| (403, code.to_owned());
    let password = step_up(client, &json!({"password": PASSWORD})).await;
    assert_eq!(password, expected("second_factor_required"));
    let wrong = step_up(client, &json!({"code": "000000"})).await;
    assert_eq!(wrong, expected("second_factor_invalid"));
    let right = json!({"code": code(&enrolled.secret, 0)});
    assert_eq!(step_up(client, &right).await.0, 200);
    assert_eq!(
        step_up(client, &right).await,
        expected("second_factor_used")
    );
    let recovery = json!({"code": enrolled.recovery_codes[0]});
    assert_eq!(step_up(client, &recovery).await.0, 200);
    assert_eq!(step_up(client, &recovery).await.0, 403);
}

#[tokio::test]
async fn account_changes_and_emergency_overrides_need_a_recent_proof() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("root", &[Role::Admin]).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let admin = console.sign_in("root").await;
    age_proof(&console, &admin).await;
    let account = json!({"name": "emil", "password": PASSWORD, "roles": ["viewer"]});
    let override_request = json!({
        "kind": "bootstrap", "plan_digest": "00", "confirm": "lab", "reason": "x",
        "break_glass": {"overrides": ["settled"]},
    });
    let none = json!({});
    let requests = [
        (Method::POST, "/api/v1/accounts", &account),
        (Method::PATCH, "/api/v1/accounts/dora", &none),
        (Method::DELETE, "/api/v1/accounts/dora", &none),
        (Method::DELETE, "/api/v1/accounts/dora/factor", &none),
        (Method::DELETE, "/api/v1/accounts/dora/sessions", &none),
        (
            Method::POST,
            "/api/v1/clusters/lab/actions",
            &override_request,
        ),
        (Method::POST, "/api/v1/me/factor", &none),
        (
            Method::POST,
            "/api/v1/me/factor/confirm",
            &json!({"code": "1"}),
        ),
        (Method::DELETE, "/api/v1/me/factor", &none),
        (Method::POST, "/api/v1/me/recovery-codes", &none),
        (Method::GET, "/api/v1/me/factor/qr.svg", &none),
    ];
    for (method, path, body) in requests {
        let refused = admin.send_json(method.clone(), path, body).await;
        assert_eq!(
            refused.problem().code,
            "step_up_required",
            "{method} {path}"
        );
    }
    assert_eq!(step_up(&admin, &json!({"password": PASSWORD})).await.0, 200);
    let added = admin
        .send_json(Method::POST, "/api/v1/accounts", &account)
        .await;
    assert_eq!(added.status, 201, "{}", added.text());
}

#[tokio::test]
async fn the_setting_0_asks_for_no_further_proof() {
    let etcd = TestEtcd::in_memory();
    let options = ConsoleOptions {
        step_up_interval: None,
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("root", &[Role::Admin]).await;
    let admin = console.sign_in("root").await;
    age_proof(&console, &admin).await;
    let unknown = admin.delete("/api/v1/accounts/nobody").await;
    assert_eq!(unknown.problem().code, "unknown_account");
    let view: StepUpView = admin
        .send_json(
            Method::POST,
            "/api/v1/session/step-up",
            &json!({"password": PASSWORD}),
        )
        .await
        .json();
    assert_eq!(view.valid_until, None);
}

#[tokio::test]
async fn guessing_the_password_in_a_stolen_session_is_slowed_down_and_audited() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("root", &[Role::Admin]).await;
    let client = console.sign_in("root").await;
    let mut last = 0;
    for n in 0..12 {
        last = step_up(&client, &json!({"password": format!("guess {n}")}))
            .await
            .0;
    }
    assert_eq!(last, 429);
    let trail = client.get("/api/v1/audit").await.text();
    assert!(trail.contains("step_up_failed"), "{trail}");
}

#[tokio::test]
async fn failed_sign_ins_of_others_do_not_keep_the_owner_from_confirming() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("root", &[Role::Admin]).await;
    let client = console.sign_in("root").await;
    for n in 0..15 {
        let guess = format!("guess {n}");
        console.anonymous().sign_in("root", &guess).await;
    }
    let denied = console.anonymous().sign_in("root", PASSWORD).await;
    assert_eq!(denied.status, 429, "{}", denied.text());
    let confirmed = step_up(&client, &json!({"password": PASSWORD})).await;
    assert_eq!(confirmed.0, 200, "{}", confirmed.1);
}
