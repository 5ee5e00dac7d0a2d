//! API tokens: how they are made, used, refused and revoked.

use std::time::Duration;

use accounts::store::AccountChange;
use accounts::{NewToken, TokenStore, UserName};
use console_core::clock::now;
use console_core::keyspace::AccountKeys;
use galera::Timestamp;
use galera::access::{ClusterScope, Role, RoleAssignment};
use galera::publish::accounts::{NewTokenView, TokenList, TokenState};
use galera_console::config::LimitsConfig;
use http::Method;
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use crate::action_fixture::{
    ActionFixture, action_request, apply_verb, assert_refused, post, request_action,
};
use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::test_console::{ConsoleOptions, PASSWORD, STATE_PREFIX, TestConsole};

const DAY: Duration = Duration::from_secs(86_400);

/// Creates a token over the API.
pub(crate) async fn create(client: &TestClient, body: &Value) -> NewTokenView {
    let answer = post(client, "/api/v1/tokens", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

/// The body of a request for a token of the own account.
pub(crate) fn token_request(name: &str, roles: &[Role], clusters: &[&str]) -> Value {
    json!({"name": name, "roles": roles, "clusters": clusters, "days": 30})
}

/// A token as the command line creates it, at any time.
pub(crate) async fn issue(
    console: &TestConsole,
    account: &str,
    new: NewToken,
    at: Timestamp,
) -> String {
    let account: UserName = account.parse().unwrap();
    let tokens: &TokenStore = &console.state.tokens;
    let created = tokens.create(&account, new, at).await.unwrap();
    console
        .state
        .authenticator
        .learn_created_token(&created)
        .await;
    created.secret
}

/// A token of `account` with `roles` for all clusters.
pub(crate) fn new_token(name: &str, roles: &[Role], expires_at: Timestamp) -> NewToken {
    NewToken {
        name: name.to_owned(),
        roles: roles.to_vec(),
        clusters: ClusterScope::all(),
        expires_at,
    }
}

/// A console with an operator, and a token of hers.
async fn with_token() -> (TestConsole, TestClient, NewTokenView) {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console
        .add_user("olga", &[Role::Operator, Role::Viewer])
        .await;
    let olga = console.sign_in("olga").await;
    let request = token_request("deploy", &[Role::Operator], &[]);
    let created = create(&olga, &request).await;
    (console, olga, created)
}

async fn tokens_of(client: &TestClient) -> TokenList {
    client.get("/api/v1/tokens").await.json()
}

#[tokio::test]
async fn a_token_is_shown_once_and_used_without_an_origin() {
    let (console, olga, created) = with_token().await;
    assert!(
        created
            .secret
            .starts_with(&format!("gct_{}_", created.token.id))
    );
    let program = console.with_bearer(&created.secret);
    assert_eq!(program.get("/api/v1/clusters/lab").await.status, 200);
    let session: Value = program.get("/api/v1/session").await.json();
    assert_eq!(session["username"], "olga");
    assert_eq!(session["roles"], json!(["operator"]));
    // A change, without Origin.
    let paused = json!({"enabled": false, "reason": "maintenance"});
    let path = "/api/v1/clusters/lab/recovery";
    let answer = program.send_json(Method::PUT, path, &paused).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = olga.get("/api/v1/tokens").await.text();
    let secret = created.secret.rsplit('_').next().unwrap();
    assert!(!list.contains(secret), "{list}");
    eventually("the use is recorded", async || {
        tokens_of(&olga).await.tokens[0].last_used_from.is_some()
    })
    .await;
    let own = format!("/api/v1/tokens/{}", created.token.id);
    let stored = console.registry.list("/state/tokens/").await.unwrap();
    let stored = String::from_utf8_lossy(&stored.entries[0].value).into_owned();
    assert!(!stored.contains(secret), "{stored}");
    assert_eq!(olga.get(&own).await.status, 200);
}

/// Sends `GET /api/v1/clusters` with these headers only.
async fn with_headers(console: &TestConsole, headers: &[(http::HeaderName, &str)]) -> TestResponse {
    let client = console.anonymous();
    let mut request = client.request(Method::GET, "/api/v1/clusters");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    client
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn every_bad_credential_has_its_problem() {
    let (console, olga, created) = with_token().await;
    let other = create(&olga, &token_request("other", &[Role::Viewer], &[])).await;
    let token = created.secret.clone();
    let (own_id, rest) = token.rsplit_once('_').unwrap();
    let cut = &token[..token.len() - 1];
    let last = if token.ends_with('0') { "1" } else { "0" };
    let mistyped = format!("{cut}{last}");
    // The id of one with the secret of another, and a checksum that fits.
    let moved = with_checksum(&format!(
        "{own_id}_{}",
        &other.secret.rsplit('_').next().unwrap()[..64]
    ));
    let unknown = with_checksum(&format!("gct_0123456789abcdef_{}", &rest[..64]));
    for (value, code) in [
        ("Bearer".to_owned(), "token_malformed"),
        ("Bearer x".to_owned(), "token_malformed"),
        (format!("Bearer {cut}"), "token_malformed"),
        (format!("Bearer {token} {token}"), "token_malformed"),
        (format!("Bearer {mistyped}"), "token_checksum"),
        (format!("Bearer {moved}"), "token_invalid"),
        (format!("Bearer {unknown}"), "token_invalid"),
        ("Basic b2xnYTpvbGdh".to_owned(), "unsupported_authorization"),
        (token.clone(), "unsupported_authorization"),
    ] {
        let answer = with_headers(&console, &[(AUTHORIZATION, &value)]).await;
        let problem = assert_refused(&answer, 401, code);
        assert!(
            answer.header(WWW_AUTHENTICATE).starts_with("Bearer"),
            "{value}"
        );
        assert!(!problem.detail.contains("olga"), "{}", problem.detail);
    }
    let [of_moved, of_unknown] = [moved, unknown].map(|token| format!("Bearer {token}"));
    let mut details = Vec::new();
    for value in [&of_moved, &of_unknown] {
        let answer = with_headers(&console, &[(AUTHORIZATION, value)]).await;
        details.push(answer.problem().detail);
    }
    assert_eq!(details[0], details[1]);
    let bearer = format!("Bearer {token}");
    let twice = [(AUTHORIZATION, &*bearer), (AUTHORIZATION, &bearer)];
    let answer = with_headers(&console, &twice).await;
    assert_refused(&answer, 400, "ambiguous_header");
    let cookie = olga.cookie.clone().unwrap();
    let answer = with_headers(&console, &[(AUTHORIZATION, &bearer), (COOKIE, &cookie)]).await;
    let problem = assert_refused(&answer, 400, "two_credentials");
    assert!(
        problem.detail.contains("galera_console_session"),
        "{}",
        problem.detail
    );
    assert!(
        problem.detail.contains("Authorization"),
        "{}",
        problem.detail
    );
    // A proxy in front that asks for its own credentials.
    let behind_proxy = [(AUTHORIZATION, "Basic b2xnYTpvbGdh"), (COOKIE, &*cookie)];
    assert_eq!(with_headers(&console, &behind_proxy).await.status, 200);
}

/// A token with this beginning and the checksum that fits it.
fn with_checksum(text: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(text);
    let sum: String = digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{text}{sum}")
}

#[tokio::test]
async fn a_token_is_of_the_api_only() {
    let (console, _olga, created) = with_token().await;
    let program = console.with_bearer(&created.secret);
    for path in ["/", "/clusters/lab", "/account", "/actions"] {
        assert_eq!(program.get(path).await.status, 303, "{path}");
    }
    assert_eq!(program.get("/fragments/clusters/lab").await.status, 401);
    // Forms need the console's own origin, whatever else the request has.
    let answer = program
        .post(
            "/recovery",
            "application/x-www-form-urlencoded",
            "enabled=false",
        )
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test]
async fn what_a_new_token_must_be() {
    let (console, olga, _created) = with_token().await;
    let with = |name: &str, member: &str, value: Value| {
        let mut body = token_request(name, &[Role::Viewer], &[]);
        body[member] = value;
        body
    };
    let neither = json!({"name": "a", "roles": ["viewer"]});
    for (body, status, code) in [
        (with("", "days", json!(1)), 422, "invalid_token_name"),
        (with("a b", "days", json!(1)), 422, "invalid_token_name"),
        (with("deploy", "days", json!(1)), 409, "token_exists"),
        (with("a", "roles", json!([])), 422, "no_role"),
        (with("a", "roles", json!(["admin"])), 422, "role_not_owned"),
        (with("a", "days", json!(91)), 422, "invalid_expiry"),
        (with("a", "days", json!(0)), 422, "invalid_expiry"),
        (
            with("a", "expires_at", json!("2026-01-01T00:00:00Z")),
            422,
            "no_expiry",
        ),
        (with("a", "clusters", json!(["a b"])), 400, "invalid_body"),
        (with("a", "account", json!("root")), 403, "missing_role"),
        (neither, 422, "no_expiry"),
    ] {
        let answer = post(&olga, "/api/v1/tokens", &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text());
        assert_eq!(answer.problem().code, code, "{body}: {}", answer.text());
    }
    console.add_user("root", &[Role::Admin]).await;
    let root = console.sign_in("root").await;
    let answer = post(
        &root,
        "/api/v1/tokens",
        &with("a", "account", json!("olga")),
    )
    .await;
    assert_refused(&answer, 403, "not_a_service_account");
}

#[tokio::test]
async fn a_revoked_token_stops_on_every_replica() {
    revoke_beside_another_replica(TestEtcd::in_memory()).await;
}

#[tokio::test]
async fn a_revoked_token_stops_on_a_real_etcd() {
    revoke_beside_another_replica(TestEtcd::process().await).await;
}

async fn revoke_beside_another_replica(etcd: TestEtcd) {
    let console = TestConsole::start(&etcd).await;
    console.add_user("olga", &[Role::Operator]).await;
    console.add_user("vera", &[Role::Viewer]).await;
    console.add_user("root", &[Role::Admin]).await;
    let olga = console.sign_in("olga").await;
    let created = create(&olga, &token_request("deploy", &[Role::Operator], &[])).await;
    let keys = AccountKeys::new(STATE_PREFIX);
    let stored = console.registry.get(keys.token(&created.token.id)).await;
    assert!(stored.unwrap().unwrap().lease != 0, "kept forever");
    let other_replica = TestConsole::start(&etcd).await;
    let program = other_replica.with_bearer(&created.secret);
    assert_eq!(program.get("/api/v1/clusters").await.status, 200);
    let path = format!("/api/v1/tokens/{}", created.token.id);
    let vera = console.sign_in("vera").await;
    assert_refused(&vera.delete(&path).await, 404, "unknown_token");
    let root = console.sign_in("root").await;
    assert_eq!(root.delete(&path).await.status, 204);
    // At once here, and as soon as the watch reports it elsewhere.
    let here = console
        .with_bearer(&created.secret)
        .get("/api/v1/clusters")
        .await;
    assert_refused(&here, 401, "token_revoked");
    eventually("the other replica refuses it", async || {
        program.get("/api/v1/clusters").await.status == 401
    })
    .await;
    let answer = program.get("/api/v1/clusters").await;
    assert_refused(&answer, 401, "token_revoked");
    assert_eq!(tokens_of(&olga).await.tokens[0].state, TokenState::Revoked);
    let all: TokenList = root.get("/api/v1/tokens?account=*").await.json();
    assert_eq!(all.tokens.len(), 1);
    assert_refused(
        &vera.get("/api/v1/tokens?account=*").await,
        403,
        "missing_role",
    );
    assert_refused(
        &vera.get("/api/v1/tokens?account=olga").await,
        403,
        "missing_role",
    );
}

#[tokio::test]
async fn a_token_has_never_more_than_its_account() {
    let (console, _olga, created) = with_token().await;
    let program = console.with_bearer(&created.secret);
    let olga: UserName = "olga".parse().unwrap();
    let preview = "/api/v1/clusters/lab/plans/bootstrap";
    assert_eq!(post(&program, preview, &json!({})).await.status, 200);
    let demoted = AccountChange {
        roles: Some(RoleAssignment::everywhere(vec![Role::Viewer])),
        ..AccountChange::default()
    };
    console.store.change(&olga, &demoted, now()).await.unwrap();
    eventually("the role is lost", async || {
        post(&program, preview, &json!({})).await.status == 403
    })
    .await;
    assert_refused(&program.get("/api/v1/clusters").await, 403, "missing_role");
    let restored = AccountChange {
        roles: Some(RoleAssignment::everywhere(vec![Role::Operator])),
        ..AccountChange::default()
    };
    console.store.change(&olga, &restored, now()).await.unwrap();
    eventually("the role is back", async || {
        program.get("/api/v1/clusters").await.status == 200
    })
    .await;
    console
        .store
        .set_disabled(&olga, true, false, now())
        .await
        .unwrap();
    eventually("the token has ended", async || {
        program.get("/api/v1/clusters").await.status == 401
    })
    .await;
    assert_refused(&program.get("/api/v1/clusters").await, 401, "token_ended");
    // For good: neither enabling nor another account of the same name brings it back.
    console
        .store
        .set_disabled(&olga, false, false, now())
        .await
        .unwrap();
    console.store.remove(&olga, false).await.unwrap();
    console.add_user("olga", &[Role::Operator]).await;
    let again = console.sign_in("olga").await;
    eventually("the new account is known", async || {
        again.get("/api/v1/clusters").await.status == 200
    })
    .await;
    assert_refused(&program.get("/api/v1/clusters").await, 401, "token_ended");
    assert_eq!(tokens_of(&again).await.tokens[0].state, TokenState::Ended);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let (console, olga, _created) = with_token().await;
    let before = now().minus(2 * DAY);
    let new = new_token("old", &[Role::Viewer], now().minus(DAY));
    let old = issue(&console, "olga", new, before).await;
    let answer = console.with_bearer(&old).get("/api/v1/clusters").await;
    assert_refused(&answer, 401, "token_expired");
    let states = tokens_of(&olga).await.tokens;
    assert!(
        states
            .iter()
            .any(|token| token.state == TokenState::Expired)
    );
}

#[tokio::test]
async fn a_service_account_has_tokens_only() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("root", &[Role::Admin]).await;
    let root = console.sign_in("root").await;
    let service = json!({"name": "ci", "kind": "service", "roles": ["operator"]});
    let answer = post(&root, "/api/v1/accounts", &service).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json::<Value>()["kind"], "service");
    for (body, code) in [
        (
            json!({"name": "x", "kind": "service", "roles": ["viewer"], "password": PASSWORD}),
            "service_account",
        ),
        (json!({"name": "x", "roles": ["viewer"]}), "no_password"),
    ] {
        assert_refused(&post(&root, "/api/v1/accounts", &body).await, 422, code);
    }
    let password = json!({"password": "correct horse battery staple"});
    let answer = root
        .send_json(Method::PATCH, "/api/v1/accounts/ci", &password)
        .await;
    assert_refused(&answer, 422, "service_account");
    for password in ["", PASSWORD] {
        let answer = console.anonymous().sign_in("ci", password).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    let mut request = token_request("build", &[Role::Operator], &["lab"]);
    request["account"] = "ci".into();
    request["days"] = 365.into();
    let created = create(&root, &request).await;
    let program = console.with_bearer(&created.secret);
    assert_eq!(program.get("/api/v1/clusters/lab").await.status, 200);
    request["days"] = 366.into();
    request["name"] = "later".into();
    let answer = post(&root, "/api/v1/tokens", &request).await;
    assert_refused(&answer, 422, "invalid_expiry");
    // Not an administrator of accounts, whatever roles it has: the last person is protected.
    let answer = root.delete("/api/v1/accounts/root").await;
    assert_refused(&answer, 409, "last_admin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_approves_with_a_token() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let console = &fixture.console;
    let both = [Role::Operator, Role::Approver];
    let service: UserName = "ci".parse().unwrap();
    console
        .store
        .add_service(&service, &RoleAssignment::everywhere(both.to_vec()), now())
        .await
        .unwrap();
    let end = now().plus(DAY);
    let requester = issue(console, "ci", new_token("one", &both, end), now()).await;
    let second = issue(console, "ci", new_token("two", &both, end), now()).await;
    let person = issue(
        console,
        "adam",
        new_token("mine", &[Role::Approver], end),
        now(),
    )
    .await;
    let requester = console.with_bearer(&requester);
    let plan = fixture.plan().await;
    let answer = request_action(&requester, &action_request(&plan)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json::<Value>()["id"].as_str().unwrap().to_owned();
    let refused = apply_verb(&console.with_bearer(&second), &*id, "approve").await;
    assert_refused(&refused, 403, "service_approval_refused");
    let refused = apply_verb(&console.with_bearer(&person), &*id, "approve").await;
    let problem = assert_refused(&refused, 403, "session_required");
    assert!(
        problem.detail.contains("second factor"),
        "{}",
        problem.detail
    );
    // Where service accounts may approve, two tokens of one account are still one requester.
    let allowing = ActionFixture::replica_with(&etcd, &nodes, |options| {
        options.service_approval = true;
    })
    .await;
    let own = apply_verb(&allowing.console.with_bearer(&second), &*id, "approve").await;
    assert_refused(&own, 403, "own_request");
    let bot: UserName = "bot".parse().unwrap();
    let roles = vec![Role::Approver];
    allowing
        .console
        .store
        .add_service(&bot, &RoleAssignment::everywhere(roles), now())
        .await
        .unwrap();
    let approver = new_token("three", &[Role::Approver], end);
    let approver = issue(&allowing.console, "bot", approver, now()).await;
    let approved = apply_verb(&allowing.console.with_bearer(&approver), &*id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    let audit = fixture.viewer.get("/api/v1/audit").await.text();
    for actor in ["ci via token one", "bot via token three"] {
        assert!(
            audit.contains(&format!("\"actor\":\"{actor}\"")),
            "{actor}: {audit}"
        );
    }
    let of_ci = fixture.viewer.get("/api/v1/audit?actor=ci").await.text();
    assert!(of_ci.contains("action_requested"), "{of_ci}");
}

#[tokio::test]
async fn uses_are_audited_once() {
    let (console, olga, created) = with_token().await;
    let program = console.with_bearer(&created.secret);
    for _ in 0..5 {
        assert_eq!(program.get("/api/v1/clusters").await.status, 200);
    }
    eventually("the first use is audited", async || {
        let audit = olga.get("/api/v1/audit").await.text();
        audit.contains("token_first_used")
    })
    .await;
    let audit = olga.get("/api/v1/audit").await.text();
    assert_eq!(audit.matches("token_first_used").count(), 1, "{audit}");
    assert_eq!(audit.matches("token_used_elsewhere").count(), 0, "{audit}");
    assert!(audit.contains("token_created"), "{audit}");
    let path = format!("/api/v1/tokens/{}", created.token.id);
    assert_eq!(olga.delete(&path).await.status, 204);
    assert_eq!(olga.delete(&path).await.status, 204);
    let audit = olga.get("/api/v1/audit").await.text();
    assert_eq!(audit.matches("token_revoked").count(), 1, "{audit}");
    assert!(!audit.contains(created.secret.rsplit('_').next().unwrap()));
}

#[tokio::test]
async fn requests_of_a_token_are_limited() {
    let options = ConsoleOptions {
        limits_of_clients: LimitsConfig {
            token_requests: 3,
            ..LimitsConfig::default()
        },
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    console.add_user("olga", &[Role::Operator]).await;
    let olga = console.sign_in("olga").await;
    let request = |name| token_request(name, &[Role::Operator], &[]);
    let first = create(&olga, &request("first")).await;
    let second = create(&olga, &request("second")).await;
    let program = console.with_bearer(&first.secret);
    let mut refused = None;
    for _ in 0..10 {
        let answer = program.get("/api/v1/session").await;
        if answer.status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("a refused request");
    assert_eq!(refused.problem().code, "token_throttled");
    assert!(refused.header(RETRY_AFTER).parse::<u64>().unwrap() >= 1);
    let other = console
        .with_bearer(&second.secret)
        .get("/api/v1/session")
        .await;
    assert_eq!(other.status, 200);
    assert_eq!(olga.get("/api/v1/session").await.status, 200);
    let metrics = console.anonymous().get("/metrics").await.text();
    assert!(metrics.contains("limit=\"token_requests\""), "{metrics}");
}

#[tokio::test]
async fn wrong_tokens_keep_no_one_else_out() {
    let (console, olga, created) = with_token().await;
    let mut throttled = 0;
    for n in 0..10_000_u32 {
        let wrong = with_checksum(&format!("gct_{n:016x}_{}", "0".repeat(64)));
        let answer = console.with_bearer(&wrong).get("/api/v1/clusters").await;
        match answer.status.as_u16() {
            401 => assert_eq!(answer.problem().code, "token_invalid"),
            429 => {
                throttled += 1;
                assert_eq!(answer.problem().code, "throttled");
                assert_eq!(answer.header(CONNECTION), "close");
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(throttled > 9_000, "{throttled}");
    // From the same address: a right token, a session, and a sign-in.
    let program = console.with_bearer(&created.secret);
    assert_eq!(program.get("/api/v1/clusters").await.status, 200);
    assert_eq!(olga.get("/api/v1/clusters").await.status, 200);
    console.sign_in("olga").await;
}
