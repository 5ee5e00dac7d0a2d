//! Replicas whose state secret files differ, as in a rotation that is not complete, and an intruder who imitates one.

use std::path::Path;
use std::sync::Arc;

use console_core::keyspace;
use console_core::state_secret::{StateSecretSealer, StateSecrets, sealed_with};
use galera_console::config::StateSecretConfig;
use registry::{Registry, Transaction, WriteOp};
use serde_json::json;
use tempfile::TempDir;

use crate::action_fixture::{ActionFixture, post};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::test_console::{ConsoleOptions, PASSWORD, STATE_PREFIX, TestConsole};

const SESSION_KEY: &str = "/state/keys/session";
/// Pages, fragments and routes of the API, with and without a session.
const PATHS: [&str; 8] = [
    "/",
    "/sign-in",
    "/clusters",
    "/clusters/lab",
    "/fragments/audit",
    "/api/v1/session",
    "/api/v1/clusters",
    "/api/v1/actions",
];

fn secrets(newest: &str, previous: Option<&str>) -> StateSecrets {
    StateSecrets::derive(newest, previous).unwrap()
}

fn secret(folder: &Path, secrets: &StateSecrets) -> StateSecretConfig {
    StateSecretConfig {
        secrets: Some(secrets.clone()),
        file: folder.join("secret"),
        migration: Default::default(),
        seen_records: None,
    }
}

/// Replicas on one etcd, each with a state secret file of its own.
struct SecretRotation {
    etcd: TestEtcd,
    nodes: Arc<FakeCluster>,
    folder: TempDir,
}

impl SecretRotation {
    fn new() -> Self {
        let etcd = TestEtcd::in_memory();
        Self {
            nodes: FakeCluster::two_lost(etcd.registry()),
            etcd,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn first(&self, newest: &str, previous: Option<&str>) -> ActionFixture {
        let secret = secret(self.folder.path(), &secrets(newest, previous));
        let alter = |options: &mut ConsoleOptions| options.state_secret = Some(secret);
        ActionFixture::start_with(&self.etcd, &self.nodes, alter).await
    }

    async fn next(&self, newest: &str, previous: Option<&str>) -> ActionFixture {
        let secret = secret(self.folder.path(), &secrets(newest, previous));
        let alter = |options: &mut ConsoleOptions| options.state_secret = Some(secret);
        ActionFixture::replica_with(&self.etcd, &self.nodes, alter).await
    }

    fn starting(&self, newest: &str) -> TestConsole {
        let options = ConsoleOptions {
            state_secret: Some(secret(self.folder.path(), &secrets(newest, None))),
            ..ConsoleOptions::default()
        };
        TestConsole::start_unready(&self.etcd, &options)
    }

    async fn stored(&self, key: &str) -> Vec<u8> {
        let entry = self.etcd.registry().get(key).await.unwrap();
        entry.unwrap().value
    }
}

async fn metric(console: &TestConsole, name: &str) -> String {
    let text = console.anonymous().get("/metrics").await.text();
    let name = format!("galera_console_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap_or_default().to_owned()
}

/// The client's session, at another replica.
fn at(console: &TestConsole, client: &TestClient) -> TestClient {
    TestClient {
        router: console.router.clone(),
        ..client.clone()
    }
}

/// Waits until `console` is not ready because it lacks `needed`, and asserts that every request is answered with that.
async fn assert_outdated(console: &TestConsole, clients: &[&TestClient], needed: &str) {
    let anonymous = console.anonymous();
    eventually("the replica is not ready", async || {
        let ready = anonymous.get("/readyz").await;
        ready.status == 503 && ready.text().contains("older than the one in use")
    })
    .await;
    let missing = secrets(needed, None).newest().kid().to_owned();
    let anonymous = &anonymous;
    for client in clients.iter().copied().chain([anonymous]) {
        for path in PATHS {
            let answer = client.get(path).await;
            assert_eq!(answer.status, 503, "{path}: {}", answer.text());
            assert!(
                answer.text().contains(&missing),
                "{path}: {}",
                answer.text()
            );
        }
        let problem = client.get("/api/v1/session").await.problem();
        assert_eq!(problem.code, "state_secret_outdated");
    }
    let signed_in = anonymous.sign_in("olga", PASSWORD).await;
    assert_eq!(signed_in.problem().code, "state_secret_outdated");
    assert_eq!(anonymous.get("/healthz").await.status, 200);
    assert_eq!(metric(console, "state_secret_outdated").await, "1");
    assert_eq!(metric(console, "tampered_records").await, "0");
    assert_eq!(metric(console, "audit_trail_alarms_total").await, "0");
}

/// Asserts that the replica works with what is in etcd: sessions of before and new ones, actions, the audit trail.
async fn assert_works(fixture: &ActionFixture, before: &TestClient) {
    let console = &fixture.console;
    assert_eq!(console.anonymous().get("/readyz").await.status, 200);
    let same = at(console, before).get("/api/v1/session").await;
    assert_eq!(same.status, 200, "{}", same.text());
    let action = fixture.request(&fixture.operator).await;
    let path = format!("/api/v1/actions/{}/cancel", action.action.id);
    let cancelled = post(&fixture.operator, &path, &json!({})).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    assert_eq!(metric(console, "tampered_records").await, "0");
    let audit = fixture.viewer.get("/api/v1/audit?limit=1000").await.text();
    for event in ["record_tampered", "audit_trail_tampered"] {
        assert!(!audit.contains(event), "{audit}");
    }
    // The trail is whole, whoever wrote it last.
    let trail = console.state.actions.trail();
    assert!(trail.check_head().await.unwrap());
}

/// The mistake of a rolling restart, in the order in which it does most harm: the old replica runs, and leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_replica_with_the_older_file_leaves_everything_to_the_newer_one() {
    let rotation = SecretRotation::new();
    let old = rotation.first("one", None).await;
    let new = rotation.next("two", Some("one")).await;
    assert_outdated(&old.console, &[&old.viewer, &old.admin], "two").await;
    let key = rotation.stored(SESSION_KEY).await;
    eventually("the newer replica leads", async || {
        metric(&new.console, "leader").await == "1"
    })
    .await;
    assert_works(&new, &old.operator).await;
    assert_eq!(rotation.stored(SESSION_KEY).await, key, "no new key");
    // It stays so, also if an intruder removes what proves it.
    let former = secrets("one", None).newest().kid().to_owned();
    let note = keyspace::secret_succession(STATE_PREFIX, &former);
    let written = rotation.stored(&note).await;
    let deletion = Transaction::new().then([WriteOp::delete(note.as_str())]);
    let intruder = rotation.etcd.registry();
    intruder.transact(&deletion).await.unwrap();
    eventually("the note is written again", async || {
        let stored = intruder.get(note.as_str()).await.unwrap();
        stored.is_some_and(|entry| entry.value == written)
    })
    .await;
    assert_outdated(&old.console, &[&old.viewer], "two").await;
    drop(old);
    assert_works(&new, &new.viewer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_with_the_older_file_answers_nothing() {
    let rotation = SecretRotation::new();
    let before = rotation.first("one", None).await;
    let session = before.viewer.clone();
    drop(before);
    let new = rotation.next("two", Some("one")).await;
    let old = rotation.starting("one");
    assert_outdated(&old, &[&at(&old, &session)], "two").await;
    assert_works(&new, &session).await;
    // The same with a file that was rotated a second time, on another host.
    let other = rotation.starting("other");
    eventually("it is not ready", async || {
        other.anonymous().get("/readyz").await.status == 503
    })
    .await;
    assert_works(&new, &session).await;
}

/// As docs/etcd.md describes it, in both orders of the second step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_with_swapped_lines_interrupts_no_session() {
    let rotation = SecretRotation::new();
    let first = rotation.first("one", None).await;
    let session = first.viewer.clone();
    let swapped = rotation.next("one", Some("two")).await;
    assert_works(&first, &session).await;
    drop(first);
    let again = rotation.next("one", Some("two")).await;
    let new = rotation.next("two", Some("one")).await;
    for replica in [&swapped, &again, &new] {
        assert_works(replica, &session).await;
        assert_eq!(metric(&replica.console, "state_secret_outdated").await, "0");
    }
    drop((swapped, again));
    let last = rotation.next("two", Some("one")).await;
    drop(new);
    assert_works(&last, &session).await;
    let former = secrets("one", None);
    eventually("everything is sealed with the newest secret", async || {
        let stored = rotation.etcd.registry().list(STATE_PREFIX).await.unwrap();
        let mut kids = stored
            .entries
            .iter()
            .filter_map(|entry| sealed_with(&entry.value));
        !kids.any(|kid| former.contains(&kid))
    })
    .await;
    drop(last);
    // The former secret is removed.
    let alone = rotation.next("two", None).await;
    assert_works(&alone, &session).await;
}

/// Records and notes of a secret that exists nowhere: they are forgeries, which no replica waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intruder_who_imitates_a_newer_secret_freezes_nothing() {
    let rotation = SecretRotation::new();
    let console = rotation.first("one", None).await;
    let intruder = rotation.etcd.registry();
    let forger = sealed(&intruder, "mallory");
    let former = secrets("one", None).newest().kid().to_owned();
    let next = secrets("mallory", None).newest().kid().to_owned();
    let note = json!({"next": next, "tag": "00".repeat(32)}).to_string();
    let place = keyspace::secret_succession(STATE_PREFIX, &former);
    intruder.put(place, note, None).await.unwrap();
    for key in [
        SESSION_KEY,
        "/state/authority",
        "/state/format",
        "/state/audit/head",
        "/state/users/vera",
    ] {
        // As a console with that secret would write it.
        forger.put(key, "{}", None).await.unwrap();
    }
    // Until the replica has seen that its key was replaced, it signs sessions with it; they end.
    eventually(
        "a new key signs sessions, and the forgeries are named",
        async || {
            let signed_in = console.console.anonymous().sign_in("root", PASSWORD).await;
            if signed_in.status != 200 {
                let problem = signed_in.problem();
                assert_eq!(problem.status, 503, "{problem:?}");
                assert!(!problem.detail.contains("unreachable"), "{problem:?}");
                return false;
            }
            let admin = console.console.with_token(signed_in.token());
            let page = admin.get("/api/v1/clusters").await.text();
            page.contains("changed outside the console")
        },
    )
    .await;
    let ready = console.console.anonymous().get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert_eq!(metric(&console.console, "state_secret_outdated").await, "0");
    assert_ne!(metric(&console.console, "tampered_records").await, "0");
    let trail = console.console.state.actions.trail();
    eventually("the trail continues", async || {
        trail.check_head().await.unwrap_or(false)
    })
    .await;
}

fn sealed(registry: &Registry, text: &str) -> Registry {
    let sealer = StateSecretSealer::new(STATE_PREFIX, secrets(text, None));
    registry.clone().with_sealer(Arc::new(sealer))
}
