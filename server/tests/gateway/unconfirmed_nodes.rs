//! A client with write access to etcd registers a server of its own: it is shown, and without effect until an operator
//! admits it.

use galera::access::Role;
use galera::view::{ClusterView, NodeState, NodeView, ReasonCode, VerdictState};
use serde_json::{Value, json};

use crate::action_fixture::post;
use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::test_console::{ConsoleOptions, STATE_PREFIX, TestConsole};

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

/// A pinned member, a registered server that no member lists, and a console that watches both.
struct WatchedIntruder {
    console: TestConsole,
    viewer: TestClient,
    operator: TestClient,
    rogue: FakeDatabase,
    member: FakeDatabase,
}

impl WatchedIntruder {
    async fn start(etcd: &TestEtcd) -> Self {
        let member = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
        let rogue = FakeDatabase::listen("127.0.0.2", &VARIABLES, &[]).await;
        let gcomm = |number: u32| format!("0000000{number}-0001-11ef-a1b2-c3d4e5f60718");
        member.set_status(&as_str_rows(&primary_status(&gcomm(1), &member.id())));
        rogue.set_status(&as_str_rows(&primary_status(&gcomm(2), &rogue.id())));
        let options = ConsoleOptions {
            members: vec![member.id()],
            ..ConsoleOptions::default()
        };
        let console = TestConsole::start_with(etcd, options).await;
        console.add_user("vera", &[Role::Viewer]).await;
        console.add_user("otto", &[Role::Operator]).await;
        let viewer = console.sign_in("vera").await;
        let operator = console.sign_in("otto").await;
        for (field, value) in [
            ("registered", "{}".to_owned()),
            ("wsrep_cluster_status", "Primary".to_owned()),
            ("highest_position", format!("{HISTORY}:99999999")),
        ] {
            let key = format!("/galera/lab/{}/{field}", rogue.id());
            etcd.registry().put(key, value, None).await.unwrap();
        }
        Self {
            console,
            viewer,
            operator,
            rogue,
            member,
        }
    }

    async fn view(&self) -> ClusterView {
        self.viewer.get("/api/v1/clusters/lab").await.json()
    }

    async fn rogue(&self) -> Option<NodeView> {
        let id = self.rogue.id();
        let nodes = self.view().await.nodes;
        nodes.into_iter().find(|node| node.id.to_string() == id)
    }

    /// Waits until the registered server was read several times: long enough for rivals to be proven.
    async fn rogue_was_read(&self) {
        eventually("the registered server to be read", async || {
            self.rogue.statements().len() >= 6
        })
        .await;
        eventually("its answer to be shown", async || {
            let shown = self.rogue().await;
            shown.is_some_and(|node| node.state == NodeState::Synced)
        })
        .await;
    }

    async fn admit(&self, client: &TestClient, node: &str) -> (u16, Value) {
        let path = format!("/api/v1/clusters/lab/nodes/{node}/admit");
        let answer = post(client, &path, &json!({"reason": "replaces db9"})).await;
        (answer.status.as_u16(), answer.json())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i44_a_registered_server_of_an_intruder_changes_nothing() {
    let etcd = TestEtcd::in_memory();
    let lab = WatchedIntruder::start(&etcd).await;
    lab.rogue_was_read().await;
    let view = lab.view().await;
    assert_eq!(
        view.verdict.state,
        VerdictState::Healthy,
        "{:#?}",
        view.verdict
    );
    assert!(lab.rogue().await.unwrap().unconfirmed);
    assert_eq!((view.expected_members.len(), view.components.len()), (1, 1));
    let reasons = view.verdict.reasons.iter().map(|reason| reason.code);
    assert!(
        reasons
            .into_iter()
            .any(|code| code == ReasonCode::NodeUnconfirmed)
    );
    let page = lab.viewer.get("/clusters/lab/recovery").await.text();
    assert!(page.contains("Unconfirmed nodes"));
    let metrics = lab.console.anonymous().get("/metrics").await.text();
    let expected = "galera_console_cluster_unconfirmed_nodes{cluster=\"lab\"} 1";
    assert!(metrics.contains(expected), "{metrics}");
    // What it claims to have reached is not remembered either.
    let positions = etcd
        .registry()
        .get("/galera-console/positions/lab")
        .await
        .unwrap();
    let positions = positions.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
    assert!(!positions.unwrap_or_default().contains("99999999"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_reason_may_be_null() {
    let etcd = TestEtcd::in_memory();
    let lab = WatchedIntruder::start(&etcd).await;
    let path = "/api/v1/clusters/lab/nodes/10.9.9.9/admit";
    for body in ["", "null", "{}"] {
        let answer = lab.operator.post(path, "application/json", body).await;
        assert_eq!(answer.problem().code, "unknown_node", "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admitted_node_counts_and_the_admission_is_audited() {
    let etcd = TestEtcd::in_memory();
    let lab = WatchedIntruder::start(&etcd).await;
    lab.rogue_was_read().await;
    let id = lab.rogue.id();
    let (status, problem) = lab.admit(&lab.viewer, &id).await;
    assert_eq!((status, &problem["code"]), (403, &json!("missing_role")));
    let (status, admitted) = lab.admit(&lab.operator, &id).await;
    assert_eq!(
        (status, &admitted["by"]),
        (200, &json!("admitted")),
        "{admitted}"
    );
    assert!(!lab.rogue().await.unwrap().unconfirmed);
    eventually("the admitted node to count", async || {
        lab.view().await.verdict.state == VerdictState::SplitBrain
    })
    .await;
    let (status, problem) = lab.admit(&lab.operator, &id).await;
    assert_eq!((status, &problem["code"]), (409, &json!("node_confirmed")));
    let trail: Value = lab.viewer.get("/api/v1/audit?cluster=lab").await.json();
    let entries = trail["entries"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["event"] == "node_admitted");
    let entry = entry.unwrap_or_else(|| panic!("{trail:#}"));
    assert_eq!(
        (
            &entry["actor"],
            &entry["subject"],
            &entry["detail"]["reason"]
        ),
        (&json!("otto"), &json!(id), &json!("replaces db9"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_unconfirmed_nodes_can_be_admitted() {
    let etcd = TestEtcd::in_memory();
    let lab = WatchedIntruder::start(&etcd).await;
    lab.rogue_was_read().await;
    let member = lab.member.id();
    for (node, expected) in [
        ("10.9.9.9", (404, "unknown_node")),
        ("%3Cscript%3E", (404, "unknown_node")),
        (member.as_str(), (409, "node_confirmed")),
    ] {
        let (status, problem) = lab.admit(&lab.operator, node).await;
        assert_eq!(
            (status, problem["code"].as_str().unwrap()),
            expected,
            "{node}"
        );
    }
    let path = "/api/v1/clusters/nowhere/nodes/db1/admit";
    let answer = post(&lab.operator, path, &json!({})).await;
    assert_eq!(answer.problem().code, "unknown_cluster");
    // The body is optional.
    let path = format!("/api/v1/clusters/lab/nodes/{}/admit", lab.rogue.id());
    let request = lab.operator.request(http::Method::POST, &path);
    let answer = lab
        .operator
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A console that remembers a position which no member reached corrects it by an action of two people, on every replica
/// and for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_remembered_position_is_corrected_by_two_people() {
    let etcd = TestEtcd::in_memory();
    let poisoned = json!({"highest": {HISTORY: {
        // By a clock that is far ahead of this one.
        "seqno": 99_999_999, "node": "10.66.6.6", "at": "2126-11-20T00:00:00Z"
    }}});
    let key = format!("{STATE_PREFIX}/positions/lab");
    etcd.registry()
        .put(key, poisoned.to_string(), None)
        .await
        .unwrap();
    let member = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let gcomm = "00000001-0001-11ef-a1b2-c3d4e5f60718";
    member.set_status(&as_str_rows(&primary_status(gcomm, &member.id())));
    let options = || ConsoleOptions {
        members: vec![member.id()],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options()).await;
    console.add_user("otto", &[Role::Operator]).await;
    console.add_user("anna", &[Role::Approver]).await;
    let (operator, approver) = (console.sign_in("otto").await, console.sign_in("anna").await);
    let other = TestConsole::start_with(&etcd, options()).await;
    let elsewhere = other.sign_in("otto").await;
    let plan = async |client: &TestClient| -> Value {
        client
            .get("/api/v1/clusters/lab/plans/positions")
            .await
            .json()
    };
    eventually("the false position to be in the plan", async || {
        plan(&operator).await["executable"] == true && plan(&elsewhere).await["executable"] == true
    })
    .await;
    let page = operator.get("/clusters/lab/recovery").await.text();
    assert!(page.contains("<section id=\"positions\""));
    let request = json!({
        "kind": "positions", "plan_digest": plan(&operator).await["digest"], "confirm": "lab",
        "reason": "a forged registration"
    });
    let answer = post(&operator, "/api/v1/clusters/lab/actions", &request).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let action: Value = answer.json();
    let path = format!("/api/v1/actions/{}", action["id"].as_str().unwrap());
    let own = post(&operator, &format!("{path}/approve"), &json!({})).await;
    assert_eq!(own.status, 403, "{}", own.text());
    let approved = post(&approver, &format!("{path}/approve"), &json!({})).await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    eventually("the action to end", async || {
        let state: Value = operator.get(&path).await.json();
        state["state"] == "succeeded"
    })
    .await;
    for client in [&operator, &elsewhere] {
        eventually("the position to be forgotten", async || {
            plan(client).await["target"].is_null()
        })
        .await;
    }
    let page = operator.get("/clusters/lab/recovery").await.text();
    assert!(!page.contains("<section id=\"positions\""));
    let late = TestConsole::start_with(&etcd, options()).await;
    let late = late.sign_in("otto").await;
    eventually(
        "a replica that starts later to know the cluster",
        async || {
            late.get("/api/v1/clusters/lab/plans/positions")
                .await
                .status
                == 200
        },
    )
    .await;
    assert!(plan(&late).await["target"].is_null());
}
