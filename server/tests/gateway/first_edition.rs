//! A state prefix that version 0.1 wrote, below a console with a state secret: nothing is lost, nothing is sealed twice, and
//! what was under way ends safely. ../recordings/README.md describes the recording.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use console_core::keyspace::{AccountKeys, protection};
use console_core::state_secret::{generate_file, read_file};
use galera::recover::action::ActionState;
use galera_console::config::StateSecretConfig;
use http::Method;
use registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::action_fixture::{ActionFixture, apply_verb, fixture_options};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::test_console::{PASSWORD, STATE_PREFIX, TestConsole};

static RECORDING: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../recordings/first_edition.json")).unwrap()
});

/// The recorded keys and values of one part of the recording, without the locks and elections of the former processes.
pub(crate) fn recorded(part: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let records = RECORDING[part].as_array().unwrap().iter();
    records
        .filter(|record| {
            let key = record["key"].as_str().unwrap();
            record["leased"] != true || is_live_session(key, record["text"].as_str().unwrap())
        })
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap();
            (text("key"), text("text"))
        })
}

/// Sessions that were to last; the leases of the others have ended.
fn is_live_session(key: &str, text: &str) -> bool {
    let session = || serde_json::from_str::<Value>(text).unwrap();
    key.contains("/sessions/") && session()["expires_at"].as_str().unwrap() > "2080"
}

fn below(folder: &str) -> impl Iterator<Item = (&'static str, Value)> {
    let prefix = format!("{STATE_PREFIX}/{folder}/");
    recorded("records").filter_map(move |(key, text)| {
        let name = key.strip_prefix(&prefix)?;
        Some((name, serde_json::from_str(text).ok()?))
    })
}

/// A console on the recording.
struct UpgradedConsole {
    etcd: TestEtcd,
    registry: Registry,
    nodes: Arc<FakeCluster>,
    secret: TempDir,
    console: TestConsole,
}

impl UpgradedConsole {
    /// With `part` of the recording in place of the records of the same keys.
    async fn start(part: Option<&str>) -> Self {
        let etcd = TestEtcd::process().await;
        let registry = etcd.registry();
        let lease = std::time::Duration::from_secs(3600);
        let lease = registry.grant_without_keep_alive(lease).await.unwrap();
        for (key, text) in recorded("records").chain(part.into_iter().flat_map(recorded)) {
            let lease = key.contains("/sessions/").then_some(lease);
            registry.put(key, text, lease).await.unwrap();
        }
        let nodes = FakeCluster::two_lost(registry.clone());
        let secret = tempfile::tempdir().unwrap();
        generate_file(&secret.path().join("state-secret")).unwrap();
        let console = Self::console(&etcd, &nodes, secret.path()).await;
        Self {
            etcd,
            registry,
            nodes,
            secret,
            console,
        }
    }

    async fn console(etcd: &TestEtcd, nodes: &Arc<FakeCluster>, secret: &Path) -> TestConsole {
        let file = secret.join("state-secret");
        let mut options = fixture_options(nodes, "new");
        options.state_secret = Some(StateSecretConfig {
            secrets: Some(read_file(&file).unwrap()),
            file,
            migration: Default::default(),
            seen_records: None,
        });
        TestConsole::start_with(etcd, options).await
    }

    async fn restart(&mut self) {
        self.console = Self::console(&self.etcd, &self.nodes, self.secret.path()).await;
    }

    /// The recorded action in its final `state`, without a statement sent for it.
    async fn ended(&self, state: ActionState) -> Value {
        let root = self.console.sign_in("root").await;
        let path = format!("/api/v1/actions/{}", waiting());
        let mut action = Value::Null;
        eventually(state.as_str(), async || {
            action = json_at(&root, &path).await;
            let now: ActionState = serde_json::from_value(action["state"].clone()).unwrap();
            assert!(!now.is_final() || now == state, "{action:#}");
            now == state
        })
        .await;
        assert_eq!(self.nodes.sent(), 0);
        json_at(&root, &path).await
    }

    /// Entries of the audit trail about the migration.
    async fn migrations(&self) -> Vec<Value> {
        let page = json_at(
            &self.console.sign_in("root").await,
            "/api/v1/audit?limit=200",
        )
        .await;
        let entries = page["entries"].as_array().unwrap().iter();
        entries
            .filter(|entry| entry["event"] == "records_sealed")
            .cloned()
            .collect()
    }
}

async fn json_at(client: &TestClient, path: &str) -> Value {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// The id of the action that waits, or waited.
fn waiting() -> &'static str {
    RECORDING["waiting"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_the_first_edition_are_sealed_once_and_later_plain_ones_refused() {
    let mut upgraded = UpgradedConsole::start(None).await;
    let protected = recorded("records")
        .filter(|(key, _)| protection(STATE_PREFIX, key.as_bytes()).is_some())
        .count();
    assert!(protected > 40, "{protected}");
    let migrations = upgraded.migrations().await;
    assert_eq!(migrations.len(), 1, "{migrations:?}");
    assert_eq!(migrations[0]["detail"]["records"], protected.to_string());
    let stored = upgraded.registry.list(STATE_PREFIX).await.unwrap();
    for entry in &stored.entries {
        let text = String::from_utf8_lossy(&entry.value);
        assert!(
            !text.contains("$argon2id") && !text.contains("0123456789abcdef"),
            "{text}"
        );
    }

    upgraded.restart().await;
    assert_eq!(upgraded.migrations().await, migrations);
    let root = upgraded.console.sign_in("root").await;
    let alarms = json_at(&root, "/api/v1/alarms").await;
    assert_eq!(alarms["alarms"], json!([]), "{alarms}");

    // A plain record is now a forgery, although it is a copy of a recorded one.
    let key = AccountKeys::new(STATE_PREFIX).user("mallory");
    let (_, admin) = below("users").find(|(name, _)| *name == "root").unwrap();
    upgraded
        .registry
        .put(key.as_str(), admin.to_string(), None)
        .await
        .unwrap();
    eventually("the record is named", async || {
        root.get("/api/v1/clusters").await.text().contains(&key)
    })
    .await;
    let refused = upgraded
        .console
        .anonymous()
        .sign_in("mallory", PASSWORD)
        .await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    upgraded.restart().await;
    assert_eq!(upgraded.migrations().await, migrations);
    let refused = upgraded
        .console
        .anonymous()
        .sign_in("mallory", PASSWORD)
        .await;
    assert_eq!(refused.status, 401, "{}", refused.text());
}

/// The members of `recorded` are in `shown`, with equal values, and lists have equal lengths.
fn assert_contains(shown: &Value, recorded: &Value, place: &str) {
    match (shown, recorded) {
        (Value::Object(shown), Value::Object(recorded)) => {
            for (name, value) in recorded {
                let place = format!("{place}.{name}");
                match shown.get(name) {
                    Some(shown) => assert_contains(shown, value, &place),
                    // An absent member is null.
                    None => assert!(value.is_null(), "{place} is lost: {value}"),
                }
            }
        }
        (Value::Array(shown), Value::Array(recorded)) => {
            assert_eq!(shown.len(), recorded.len(), "{place}");
            for (index, (shown, recorded)) in shown.iter().zip(recorded).enumerate() {
                assert_contains(shown, recorded, &format!("{place}[{index}]"));
            }
        }
        _ => assert_eq!(shown, recorded, "{place}"),
    }
}

/// The item of a list whose `member` is `name`.
fn item<'a>(list: &'a Value, member: &str, name: &str) -> &'a Value {
    let mut items = list.as_array().unwrap().iter();
    let found = items.find(|item| item[member] == name);
    found.unwrap_or_else(|| panic!("{name} is lost: {list}"))
}

/// Removes what the API never shows.
fn without(mut record: Value, secrets: &[&str]) -> Value {
    for name in secrets {
        record.as_object_mut().unwrap().remove(*name);
    }
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_edition_recorded_is_shown_by_the_api() {
    let upgraded = UpgradedConsole::start(None).await;
    let root = upgraded.console.sign_in("root").await;
    let accounts = json_at(&root, "/api/v1/accounts").await;
    for (name, record) in below("users") {
        let shown = item(&accounts["accounts"], "name", name);
        let record = without(record, &["password_hash", "credential", "changed_at"]);
        assert_contains(shown, &record, name);
    }
    let mut states = std::collections::BTreeSet::new();
    for (id, record) in below("actions") {
        if let Some(id) = id.strip_suffix("/undone") {
            let shown = json_at(&root, &format!("/api/v1/actions/{id}")).await;
            assert_contains(&shown["undone"], &record, id);
            continue;
        }
        let shown = json_at(&root, &format!("/api/v1/actions/{id}")).await;
        assert_contains(&shown, &record, id);
        states.insert(record["state"].as_str().unwrap().to_owned());
    }
    // What is approved or executing does not stay so.
    assert_eq!(states.len(), ActionState::ALL.len() - 2, "{states:?}");
    for (folder, member) in [
        ("pages", "slug"),
        ("incidents", "id"),
        ("maintenance", "id"),
        ("announcements", "id"),
    ] {
        let shown = json_at(&root, &format!("/api/v1/status/{folder}")).await;
        for (name, mut record) in below(&format!("status/{folder}")) {
            for link in record["links"].as_array_mut().into_iter().flatten() {
                *link = without(link.take(), &["hash"]);
            }
            assert_contains(item(&shown[folder], member, name), &record, name);
        }
    }
    let targets = json_at(&root, "/api/v1/notifications/targets").await;
    for (id, record) in below("notify/targets") {
        let shown = item(&targets["targets"], "id", id);
        assert_contains(shown, &without(record.clone(), &["channel", "rules"]), id);
        assert_contains(shown, &record["rules"], id);
        let channel = &record["channel"];
        assert_eq!(shown["type"], channel["type"]);
        assert_eq!(
            shown["has_secret"],
            channel["type"] != "alertmanager",
            "{id}"
        );
        let url = channel["url"].as_str().unwrap();
        assert!(url.starts_with(shown["url"].as_str().unwrap()), "{id}");
    }
    let deliveries = json_at(&root, "/api/v1/notifications/deliveries").await;
    for (key, record) in below("notify/log") {
        let delivered = deliveries["deliveries"].as_array().unwrap().iter();
        let shown = delivered
            .clone()
            .find(|delivery| delivery["notice"]["id"] == record["notice"]["id"]);
        assert_contains(shown.unwrap(), &record, key);
        // Otherwise it could not be sent again.
        assert!(shown.unwrap()["seal"].is_object(), "{key}");
    }
    for (cluster, record) in below("switches/cluster") {
        let path = format!("/api/v1/clusters/{cluster}/recovery");
        assert_contains(&json_at(&root, &path).await["off"], &record, cluster);
    }
    for cluster in ["lab", "shop"] {
        let path = format!("/api/v1/clusters/{cluster}/events?limit=200");
        let events = json_at(&root, &path).await;
        for (sequence, mut record) in below(&format!("chronicle/live/tail/{cluster}")) {
            record["sequence"] = sequence.parse::<u64>().unwrap().into();
            let mut shown = events["events"].as_array().unwrap().iter();
            let shown = shown.find(|event| event["sequence"] == record["sequence"]);
            assert_contains(shown.unwrap_or(&Value::Null), &record, sequence);
        }
    }
    let audit = json_at(&root, "/api/v1/audit?limit=200").await;
    for (sequence, record) in below("audit/entries/000000000000") {
        let mut shown = audit["entries"].as_array().unwrap().iter();
        let shown = shown.find(|entry| entry["sequence"] == record["sequence"]);
        assert_contains(shown.unwrap(), &record, sequence);
    }
    let lab = json_at(&root, "/api/v1/clusters/lab").await;
    for (_, record) in below("expected") {
        for member in record["members"].as_array().unwrap() {
            let expected = lab["expected_members"].as_array().unwrap();
            assert!(expected.contains(member), "{member}: {expected:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_sessions_and_secret_links_of_the_first_edition_work() {
    let upgraded = UpgradedConsole::start(None).await;
    let console = &upgraded.console;
    for (name, password, status) in [
        ("bea", PASSWORD, 200),
        ("erna", "staple of correct horses", 200),
        ("erna", PASSWORD, 401),
        // Disabled.
        ("dora", "staple of correct horses", 403),
    ] {
        let answer = console.anonymous().sign_in(name, password).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
    }
    let cookie = RECORDING["cookie"].as_str().unwrap();
    let vera = console.with_token(cookie.split_once('=').unwrap().1);
    let session = json_at(&vera, "/api/v1/session").await;
    assert_eq!(
        (&session["username"], &session["roles"]),
        (&json!("vera"), &json!(["viewer"]))
    );
    let secret = RECORDING["secret_link"].as_str().unwrap();
    let page = console.anonymous().get(&format!("/s/{secret}/")).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Partner"), "{}", page.text());
    let public = console.anonymous().get("/status/shop").await.text();
    for text in ["Slow reads", "New address"] {
        assert!(public.contains(text), "{text}: {public}");
    }
}

/// The plan of 0.1 describes its evidence in other words: it is no longer the plan that would be requested. The approvers see that
/// before they approve, and the outcome says it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_waited_through_the_update_is_superseded_and_can_be_requested_again() {
    let upgraded = UpgradedConsole::start(None).await;
    let console = &upgraded.console;
    let (ada, adam) = (console.sign_in("ada").await, console.sign_in("adam").await);
    // Its first approval counts.
    let again = apply_verb(&ada, waiting(), "approve").await;
    assert_eq!(again.problem().code, "already_approved");
    let page = adam.get(&format!("/actions/{}", waiting())).await.text();
    for text in ["Changed since the request", "would end it as superseded"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("is still open"), "{page}");
    let approved = apply_verb(&adam, waiting(), "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    let ended = upgraded.ended(ActionState::Superseded).await;
    let outcome = ended["outcome"].as_str().unwrap();
    assert!(
        outcome.contains("has other evidence") && outcome.contains("can be requested again"),
        "{outcome}"
    );

    let fixture = ActionFixture::sign_in_all(
        UpgradedConsole::console(&upgraded.etcd, &upgraded.nodes, upgraded.secret.path()).await,
    )
    .await;
    let id = fixture.request(&fixture.operator).await.action.id;
    let approved = apply_verb(&fixture.approver, &id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(upgraded.nodes.sent(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_what_was_approved_or_begun_by_the_first_edition_sends_nothing_again() {
    let upgraded = UpgradedConsole::start(Some("approved")).await;
    let root = upgraded.console.sign_in("root").await;
    // Recovery was paused: what people had approved is not begun, and shows how to go on.
    let action = format!("/api/v1/actions/{}", waiting());
    eventually("the refusal to be shown", async || {
        let wait = json_at(&root, &action).await["waiting"].clone();
        let message = wait["message"].as_str().unwrap_or_default();
        wait["code"] == "refused" && message.contains("paused") && message.contains("Execute it")
    })
    .await;
    let path = "/api/v1/clusters/lab/recovery";
    let on = root
        .send_json(Method::PUT, path, &json!({"enabled": true}))
        .await;
    assert_eq!(on.status, 200, "{}", on.text());
    let adam = upgraded.console.sign_in("adam").await;
    apply_verb(&adam, waiting(), "execute").await;
    upgraded.ended(ActionState::Superseded).await;

    // Whether 0.1 sent the statement is not known.
    let upgraded = UpgradedConsole::start(Some("executing")).await;
    let ended = upgraded.ended(ActionState::Unverified).await;
    assert!(
        ended["outcome"]
            .as_str()
            .unwrap()
            .contains("check the nodes"),
        "{ended}"
    );
}
