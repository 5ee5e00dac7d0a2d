//! A client with write access to etcd forges, moves, replays or deletes records of a console with a state secret.

use std::path::Path;

use console_core::clock::now;
use console_core::keyspace::{AccountKeys, ActionKeys};
use console_core::state_secret::generate_file;
use galera::access::Role;
use galera::recover::action::{ActionState, Approval};
use galera_console::config::StateSecretConfig;
use http::Method;
use http::header::CONTENT_TYPE;
use registry::memory::MemoryEtcd;
use registry::{Registry, RegistryEntry, Transaction, WriteOp};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::action_fixture::{ActionFixture, apply_verb, post};
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::second_factor::{code, enrol};
use crate::test_console::{ConsoleOptions, PASSWORD, STATE_PREFIX, TestConsole};

/// A console whose records are sealed, and what its intruder has.
struct SealedConsole {
    fixture: ActionFixture,
    nodes: std::sync::Arc<FakeCluster>,
    /// A connection that writes what it is given.
    intruder: Registry,
    etcd: MemoryEtcd,
    _secret: TempDir,
}

pub(crate) fn secret_in(folder: &Path) -> StateSecretConfig {
    let file = folder.join("state-secret");
    StateSecretConfig {
        secrets: Some(generate_file(&file).unwrap()),
        file,
        migration: Default::default(),
        seen_records: None,
    }
}

impl SealedConsole {
    async fn start() -> Self {
        let etcd = TestEtcd::in_memory();
        let nodes = FakeCluster::two_lost(etcd.registry());
        let secret = tempfile::tempdir().unwrap();
        let state_secret = secret_in(secret.path());
        let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
            options.state_secret = Some(state_secret);
        })
        .await;
        Self {
            fixture,
            nodes,
            intruder: etcd.registry(),
            etcd: match etcd {
                TestEtcd::Memory(store) => store,
                TestEtcd::Process(_) => unreachable!("in memory"),
            },
            _secret: secret,
        }
    }

    fn console(&self) -> &TestConsole {
        &self.fixture.console
    }

    async fn stored(&self, key: &str) -> RegistryEntry {
        self.intruder.get(key).await.unwrap().unwrap()
    }

    async fn write(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.intruder.put(key, value, None).await.unwrap();
    }

    async fn delete(&self, key: &str) {
        let deletion = Transaction::new().then([WriteOp::delete(key)]);
        self.intruder.transact(&deletion).await.unwrap();
    }

    /// Waits until every signed-in page names `key`, and the metrics count it.
    async fn wait_until_named(&self, key: &str) {
        eventually("the tampered record is named", async || {
            let page = self.fixture.viewer.get("/clusters").await.text();
            let clusters = self.fixture.viewer.get("/api/v1/clusters").await.text();
            page.contains(key) || clusters.contains(key)
        })
        .await;
        let metrics = self.console().anonymous().get("/metrics").await.text();
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("galera_console_tampered_records "));
        assert!(count.is_some_and(|count| count.trim() != "0"), "{count:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_account_cannot_sign_in() {
    let sealed = SealedConsole::start().await;
    let keys = AccountKeys::new(STATE_PREFIX);
    // What a console without a secret stores; the password is known.
    let record = json!({
        "password_hash": crate::test_console::CHEAP_HASH,
        "credential": "00000000-0000-4000-8000-000000000000",
        "roles": ["admin", "approver"],
        "disabled": false,
        "created_at": now(),
        "changed_at": now(),
    });
    let key = keys.user("mallory");
    sealed.write(&key, record.to_string()).await;
    sealed.wait_until_named(&key).await;
    let answer = sealed
        .console()
        .anonymous()
        .sign_in("mallory", PASSWORD)
        .await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    // A genuine record of another account, moved.
    let admin = sealed.stored(&keys.user("root")).await;
    sealed.write(&key, admin.value).await;
    let answer = sealed
        .console()
        .anonymous()
        .sign_in("mallory", PASSWORD)
        .await;
    assert_eq!(answer.status, 401, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_hashes_and_signing_keys_are_not_readable_in_etcd() {
    let sealed = SealedConsole::start().await;
    let keys = AccountKeys::new(STATE_PREFIX);
    for (key, secret) in [(keys.user("root"), "argon2"), (keys.signing_key(), "hs256")] {
        let stored = String::from_utf8(sealed.stored(&key).await.value).unwrap();
        assert!(!stored.contains(secret), "{stored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_account_is_not_enabled_by_its_former_record() {
    let sealed = SealedConsole::start().await;
    let key = AccountKeys::new(STATE_PREFIX).user("adam");
    let enabled = sealed.stored(&key).await;
    let store = &sealed.console().store;
    let adam = "adam".parse().unwrap();
    store.set_disabled(&adam, true, false, now()).await.unwrap();
    sealed.write(&key, enabled.value).await;
    let console = sealed.console();
    let answer = console.anonymous().sign_in("adam", PASSWORD).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    sealed.wait_until_named(&key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_signed_out_cannot_be_put_back() {
    let sealed = SealedConsole::start().await;
    let console = sealed.console();
    console
        .add_user("zoe", &[galera::access::Role::Admin])
        .await;
    let prefix = format!("{STATE_PREFIX}/sessions/");
    let before = sealed.intruder.list(prefix.as_str()).await.unwrap().entries;
    let client = console.sign_in("zoe").await;
    let after = sealed.intruder.list(prefix.as_str()).await.unwrap().entries;
    let session = after
        .into_iter()
        .find(|entry| before.iter().all(|old| old.key != entry.key))
        .unwrap();
    assert_eq!(client.get("/api/v1/session").await.status, 200);
    assert_eq!(client.delete("/api/v1/session").await.status, 204);
    let key = String::from_utf8(session.key).unwrap();
    sealed.write(&key, session.value).await;
    sealed.wait_until_named(&key).await;
    assert_eq!(client.get("/api/v1/session").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_approval_executes_nothing() {
    let sealed = SealedConsole::start().await;
    let fixture = &sealed.fixture;
    let mut action = fixture.request(&fixture.operator).await.action;
    let key = ActionKeys::new(STATE_PREFIX).action(&action.id);
    // The record is readable, so a careful forgery changes nothing but the decision.
    let mut altered = sealed.stored(&key).await.value;
    let pending = b"\"pending\"";
    let at = altered
        .windows(pending.len())
        .position(|part| part == pending);
    let at = at.unwrap();
    altered.splice(at..at + pending.len(), *b"\"approved\"");
    action.state = ActionState::Approved;
    action.approvals.push(Approval {
        groups: Vec::new(),
        notification_target: None,
        by: "adam".to_owned(),
        credential: None,
        at: now(),
        comment: None,
    });
    let forged = serde_json::to_vec(&action).unwrap();
    for value in [forged, altered] {
        sealed.write(&key, value).await;
        sealed.wait_until_named(&key).await;
        assert_eq!(sealed.nodes.sent(), 0);
    }
    let answer = apply_verb(&fixture.approver, &action.id, "approve").await;
    assert!(!answer.status.is_success(), "{}", answer.text());
    assert_eq!(sealed.nodes.sent(), 0);
}

async fn switch_recovery(fixture: &ActionFixture, body: Value) {
    let request = fixture
        .admin
        .request(Method::PUT, "/api/v1/recovery")
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string().into())
        .unwrap();
    let answer = fixture.admin.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pause_does_not_resume_recovery() {
    let sealed = SealedConsole::start().await;
    let fixture = &sealed.fixture;
    switch_recovery(fixture, json!({"enabled": false, "reason": "maintenance"})).await;
    let key = ActionKeys::new(STATE_PREFIX).global_switch();
    sealed.delete(&key).await;
    sealed.wait_until_named(&key).await;
    let plan = "/api/v1/clusters/lab/plans/bootstrap";
    let body = json!({ "attestations": crate::action_fixture::lost_members() });
    let plan: Value = post(&fixture.operator, plan, &body).await.json();
    assert_eq!(plan["executable"], false);
    assert!(plan.to_string().contains("outside the console"), "{plan}");
    // A person resumes it, which is the way out.
    switch_recovery(fixture, json!({"enabled": true})).await;
    let plan = fixture.plan().await;
    assert!(plan.executable, "{}", plan.summary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_is_neither_readable_nor_removed_by_deleting_or_replaying_its_record() {
    let sealed = SealedConsole::start().await;
    let client = &sealed.fixture.approver;
    let key = AccountKeys::new(STATE_PREFIX).factor("adam");
    let enrolled = enrol(client).await;
    let before = sealed.stored(&key).await;
    let stored = String::from_utf8_lossy(&before.value).into_owned();
    assert!(!stored.contains(&enrolled.secret), "{stored}");
    let anonymous = sealed.console().anonymous();
    let first = code(&enrolled.secret, 0);
    assert_eq!(
        anonymous.sign_in_with_code("adam", &first).await.status,
        200
    );
    let proof = json!({"code": enrolled.recovery_codes[0]});
    let confirmed = post(client, "/api/v1/session/step-up", &proof).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    let refusal = async |code: &str| {
        let answer = anonymous.sign_in_with_code("adam", code).await;
        (answer.status.as_u16(), answer.problem().code)
    };
    // The genuine record from before the codes were used. Also a replica that checked no code notices.
    sealed.write(&key, before.value).await;
    sealed.wait_until_named(&key).await;
    let unusable = (403, "second_factor_unusable".to_owned());
    assert_eq!(refusal(&first).await, unusable);
    assert_eq!(refusal(&enrolled.recovery_codes[0]).await, unusable);
    sealed.delete(&key).await;
    assert_eq!(refusal("").await, unusable);
    // The way out is an administrator's.
    let path = "/api/v1/accounts/adam/factor";
    let reset = sealed.fixture.admin.delete(path).await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    sealed.console().sign_in("adam").await;
}

/// A replica that starts after the recorded members were altered has no memory of them: it plans nothing with the members
/// that it happens to see (I36).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i36_altered_expected_members_block_the_plans_of_a_new_replica() {
    let etcd = TestEtcd::in_memory();
    let member = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let gcomm = "00000001-0001-11ef-a1b2-c3d4e5f60718";
    member.set_status(&as_str_rows(&primary_status(gcomm, &member.id())));
    let secret = tempfile::tempdir().unwrap();
    let state_secret = secret_in(secret.path());
    let options = || ConsoleOptions {
        members: vec![member.id()],
        state_secret: Some(state_secret.clone()),
        ..ConsoleOptions::default()
    };
    let first = TestConsole::start_with(&etcd, options()).await;
    first.add_user("vera", &[Role::Viewer]).await;
    let intruder = etcd.registry();
    let key = format!("{STATE_PREFIX}/expected/lab");
    eventually("the members to be recorded", async || {
        intruder.get(key.as_str()).await.unwrap().is_some()
    })
    .await;
    let fewer = json!({"members": [], "confirmed": {}});
    intruder
        .put(key.as_str(), fewer.to_string(), None)
        .await
        .unwrap();
    // The replica that knows them restores them.
    eventually("the record to be restored", async || {
        let stored = intruder.get(key.as_str()).await.unwrap().unwrap();
        String::from_utf8_lossy(&stored.value).contains(&member.id())
    })
    .await;
    drop(first);
    let unchanged = std::cell::Cell::new(0);
    eventually("no replica to restore it any longer", async || {
        let stored = intruder.get(key.as_str()).await.unwrap().unwrap();
        if stored.value != fewer.to_string().as_bytes() {
            unchanged.set(0);
            intruder
                .put(key.as_str(), fewer.to_string(), None)
                .await
                .unwrap();
        }
        unchanged.set(unchanged.get() + 1);
        unchanged.get() > 5
    })
    .await;
    let second = TestConsole::start_with(&etcd, options()).await;
    let viewer = second.sign_in("vera").await;
    eventually("the plan to name the record", async || {
        let answer = viewer.get("/api/v1/clusters/lab/plans/bootstrap").await;
        let plan: Value = answer.json();
        let check = &plan["checks"][0];
        check["code"] == "registry_readable"
            && check["status"] == "unknown"
            && check["message"].as_str().unwrap().contains(&key)
    })
    .await;
}

/// A replica that runs while etcd is replaced by a backup needs no file: the revision fell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restored_under_a_running_console_ends_sessions_and_revives_no_account() {
    let sealed = SealedConsole::start().await;
    let console = sealed.console();
    console.add_user("eve", &[Role::Viewer]).await;
    let name = "eve".parse().unwrap();
    let viewer = console.sign_in("eve").await;
    let backup = sealed.intruder.list(STATE_PREFIX).await.unwrap().entries;
    console.store.remove(&name, true).await.unwrap();
    let admin = console.sign_in("root").await;
    sealed.etcd.wipe();
    let former = backup
        .iter()
        .map(|entry| WriteOp::put(entry.key.clone(), entry.value.clone(), None));
    let restoring = Transaction::new().then(former);
    sealed.intruder.transact(&restoring).await.unwrap();
    eventually("every session ends", async || {
        admin.get("/api/v1/session").await.status == 401
            && viewer.get("/api/v1/session").await.status == 401
    })
    .await;
    eventually("a new session shows what was found", async || {
        let answer = console.anonymous().sign_in("root", PASSWORD).await;
        answer.status == 200 && {
            let root = console.with_token(answer.token());
            let page = root.get("/api/v1/clusters").await.text();
            page.contains("its revision fell from") && page.contains("the accounts eve")
        }
    })
    .await;
    // Until the trail continues, 409 names the head that was put back.
    eventually("eve is unknown", async || {
        let answer = console.anonymous().sign_in("eve", PASSWORD).await;
        assert_ne!(answer.status, 200, "{}", answer.text());
        answer.status == 401
    })
    .await;
    let audit = console.sign_in("root").await;
    let audit = audit.get("/api/v1/audit?limit=100").await.text();
    assert!(audit.contains("\"earlier_state_found\""), "{audit}");
}

/// The record of a token, as `SealedConsole` stores it, and its secret.
async fn token_of(
    sealed: &SealedConsole,
    client: &crate::client::TestClient,
    name: &str,
) -> (String, String) {
    let request = crate::api_tokens::token_request(name, &[Role::Operator], &[]);
    let created = crate::api_tokens::create(client, &request).await;
    let key = AccountKeys::new(STATE_PREFIX).token(&created.token.id);
    assert!(sealed.intruder.get(key.clone()).await.unwrap().is_some());
    (key, created.secret)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_or_moved_token_is_refused_and_named() {
    let sealed = SealedConsole::start().await;
    let (key, secret) = token_of(&sealed, &sealed.fixture.operator, "deploy").await;
    let stored = sealed.stored(&key).await;
    assert!(
        !String::from_utf8_lossy(&stored.value).contains("deploy"),
        "not encrypted"
    );
    // Another person's token, moved to the key of this one.
    let (other, _) = token_of(&sealed, &sealed.fixture.operator_approver, "mine").await;
    let program = sealed.console().with_bearer(&secret);
    assert_eq!(program.get("/api/v1/clusters").await.status, 200);
    let moved = sealed.stored(&other).await;
    sealed.write(&key, moved.value).await;
    sealed.wait_until_named(&key).await;
    eventually("the token is refused", async || {
        program.get("/api/v1/clusters").await.status == 401
    })
    .await;
    // In clear, as a console without a state secret stores it.
    let forged = json!({
        "account": "bea", "credential": "00000000-0000-4000-8000-000000000000", "name": "x",
        "roles": ["approver"], "hash": {"key": "", "hmac_sha256": ""}, "created_at": now(),
        "created_by": "bea", "expires_at": now(),
    });
    let key = AccountKeys::new(STATE_PREFIX).token("0123456789abcdef");
    sealed.write(&key, forged.to_string()).await;
    sealed.wait_until_named(&key).await;
    let list = sealed
        .fixture
        .admin
        .get("/api/v1/tokens?account=*")
        .await
        .text();
    assert!(!list.contains("0123456789abcdef"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_does_not_come_back() {
    let sealed = SealedConsole::start().await;
    let (key, secret) = token_of(&sealed, &sealed.fixture.operator, "deploy").await;
    let before = sealed.stored(&key).await;
    let program = sealed.console().with_bearer(&secret);
    assert_eq!(program.get("/api/v1/clusters").await.status, 200);
    let id = key.rsplit('/').next().unwrap();
    let answer = sealed
        .fixture
        .operator
        .delete(&format!("/api/v1/tokens/{id}"))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    sealed.write(&key, before.value).await;
    sealed.wait_until_named(&key).await;
    let answer = program.get("/api/v1/clusters").await;
    assert_eq!(answer.status, 401, "{}", answer.text());
}
