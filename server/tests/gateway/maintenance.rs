//! Scheduled maintenance mutes alerts, is visible, and does not hide a split brain.

use std::time::Duration;

use console_core::clock::now;
use galera::access::Role;
use galera::view::{ClusterView, VerdictState};
use serde_json::{Value, json};

use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::notification_targets::{add_target, webhook};
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::test_console::{ConsoleOptions, TestConsole};
use crate::webhook_receiver::{ReceivedRequest, WebhookReceiver};

const ONE: &str = "00000001-0001-11ef-a1b2-c3d4e5f60718";
/// Never part of a maintenance either.
const DATA_ALARM: &str = "lab: alarm about its data";
const OTHER: &str = "00000002-0001-11ef-a1b2-c3d4e5f60718";

/// A console with two scripted nodes, a public page and a receiver of notifications.
struct MaintenanceFixture {
    _etcd: TestEtcd,
    nodes: [FakeDatabase; 2],
    console: TestConsole,
    admin: TestClient,
    receiver: WebhookReceiver,
}

impl MaintenanceFixture {
    /// One node is Primary, the other has no cluster.
    async fn start() -> Self {
        let etcd = TestEtcd::in_memory();
        let one = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
        let other = FakeDatabase::listen("127.0.0.2", &VARIABLES, &[]).await;
        one.set_status(&as_str_rows(&primary_status(ONE, &one.id())));
        let options = ConsoleOptions {
            members: vec![one.id(), other.id()],
            ..ConsoleOptions::default()
        };
        let console = TestConsole::start_with(&etcd, options).await;
        console
            .add_user("root", &[Role::Admin, Role::Operator])
            .await;
        let admin = console.sign_in("root").await;
        let receiver = WebhookReceiver::start([]).await;
        let fixture = Self {
            _etcd: etcd,
            nodes: [one, other],
            console,
            admin,
            receiver,
        };
        fixture.wait_for_verdict(VerdictState::Degraded).await;
        let page = json!({"slug": "shop", "title": "Shop", "visibility": "public",
            "clusters": [{"cluster": "lab", "name": "Orders"}]});
        fixture.post("/api/v1/status/pages", &page).await;
        add_target(&fixture.admin, &webhook(&fixture.receiver.url())).await;
        fixture.wait_for_notifications(&["lab is degraded"]).await;
        fixture
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self
            .admin
            .post(path, "application/json", body.to_string())
            .await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    }

    /// Waits until the verdict is this one and recorded, because notifications are made from the history.
    async fn wait_for_verdict(&self, state: VerdictState) {
        eventually(state.as_str(), async || {
            let path = "/api/v1/clusters/lab";
            let view: ClusterView = self.admin.get(path).await.json();
            view.verdict.state == state
        })
        .await;
        eventually(&format!("{} is recorded", state.as_str()), async || {
            let path = "/api/v1/clusters/lab/events?limit=50";
            let events: Value = self.admin.get(path).await.json();
            let mut events = events["events"].as_array().unwrap().iter();
            let newest = events.find(|event| event["kind"] == "verdict");
            newest.is_some_and(|event| event["to"] == json!(state))
        })
        .await;
    }

    /// Both nodes answer, without quorum.
    fn lose_quorum(&self) {
        for (node, gcomm) in self.nodes.iter().zip([ONE, OTHER]) {
            let mut lost = primary_status(gcomm, &node.id());
            for (name, value) in &mut lost {
                match *name {
                    "wsrep_cluster_status" => "non-Primary".clone_into(value),
                    "wsrep_cluster_conf_id" => "18446744073709551615".clone_into(value),
                    "wsrep_local_state" => "0".clone_into(value),
                    "wsrep_local_state_comment" => "Initialized".clone_into(value),
                    _ => {}
                }
            }
            node.set_status(&as_str_rows(&lost));
        }
    }

    /// Both nodes are Primary, each alone.
    fn split(&self) {
        for (node, gcomm) in self.nodes.iter().zip([ONE, OTHER]) {
            node.set_status(&as_str_rows(&primary_status(gcomm, &node.id())));
        }
    }

    /// The titles of what was received, but for alarms about data: a Primary component that none preceded raises one, at a
    /// time of its own.
    fn received(&self) -> Vec<String> {
        let requests = self.receiver.requests();
        let titles = requests.iter().map(ReceivedRequest::title);
        titles.filter(|title| title != DATA_ALARM).collect()
    }

    /// Waits until exactly these notifications were received.
    async fn wait_for_notifications(&self, titles: &[&str]) {
        let received = || self.received();
        eventually(&format!("{titles:?} were received"), async || {
            received().len() >= titles.len()
        })
        .await;
        assert_eq!(received(), titles);
    }

    /// Waits until the public page holds `text`.
    async fn wait_for_page_text(&self, text: &str) {
        let anonymous = self.console.anonymous();
        eventually(&format!("the page contains {text}"), async || {
            anonymous.get("/status/shop").await.text().contains(text)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_mutes_alerts_is_visible_and_does_not_hide_a_split_brain() {
    let fixture = MaintenanceFixture::start().await;
    let until = now().plus(Duration::from_secs(3_600)).to_string();
    let work = json!({"clusters": ["lab"], "title": "Upgrade", "text": "One after the other.", "until": until});
    let work = fixture.post("/api/v1/status/maintenance", &work).await;
    fixture
        .wait_for_page_text("The database is under maintenance")
        .await;

    fixture.lose_quorum();
    fixture.wait_for_verdict(VerdictState::NoPrimary).await;
    fixture
        .wait_for_page_text("Maintenance in progress; unavailable.")
        .await;
    // The incident is sent after everything that was due before it: the verdict was muted.
    let incident = json!({"clusters": ["lab"], "title": "A sign", "text": "Time has passed."});
    fixture.post("/api/v1/status/incidents", &incident).await;
    let mut expected = vec!["lab is degraded", "Incident opened: A sign"];
    fixture.wait_for_notifications(&expected).await;

    // A split brain is never part of maintenance: it is sent immediately, and the page does not call it maintenance.
    fixture.split();
    expected.push("lab is in split brain: two components are Primary");
    fixture.wait_for_notifications(&expected).await;
    fixture.wait_for_verdict(VerdictState::SplitBrain).await;
    fixture
        .wait_for_page_text("Parts of it accept writes independently of each other.")
        .await;

    // Without the split brain alerts are muted again; a state that is still bad when the maintenance ends is sent then.
    fixture.lose_quorum();
    fixture.wait_for_verdict(VerdictState::NoPrimary).await;
    fixture
        .wait_for_page_text("The database is under maintenance")
        .await;
    let end = format!(
        "/api/v1/status/maintenance/{}/end",
        work["id"].as_str().unwrap()
    );
    assert_eq!(fixture.received(), expected);
    fixture.post(&end, &json!({})).await;
    expected.push("lab has no Primary component");
    fixture.wait_for_notifications(&expected).await;
    fixture
        .wait_for_page_text("The database is unavailable")
        .await;
    eventually("the alarm was received", async || {
        let requests = fixture.receiver.requests();
        let mut titles = requests.iter().map(ReceivedRequest::title);
        titles.any(|title| title == DATA_ALARM)
    })
    .await;
}
