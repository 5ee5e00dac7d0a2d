//! Alarms about the data of a cluster: shown by every replica, also by one that starts later, until a person acknowledges
//! them (I45).

use galera::access::Role;
use galera::view::{ClusterView, ReasonCode, VerdictState};
use serde_json::{Value, json};

use crate::action_fixture::post;
use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::test_console::{ConsoleOptions, STATE_PREFIX, TestConsole};

const OTHER_HISTORY: &str = "7b2d4e10-0c2f-11ef-8d11-0242ac120002";
const PATH: &str = "/api/v1/clusters/lab/alarms/acknowledge";

async fn view(client: &TestClient) -> ClusterView {
    client.get("/api/v1/clusters/lab").await.json()
}

fn is_alarmed(view: &ClusterView) -> bool {
    let mut reasons = view.verdict.reasons.iter();
    reasons.any(|reason| reason.code == ReasonCode::HistoryAlarm)
}

/// The status of a server, in another history if `founded` again.
fn status(database: &FakeDatabase, founded: bool) -> Vec<(&'static str, String)> {
    let mut rows = primary_status("00000001-0001-11ef-a1b2-c3d4e5f60718", &database.id());
    if founded {
        for (name, value) in &mut rows {
            match *name {
                "wsrep_local_state_uuid" | "wsrep_cluster_state_uuid" => {
                    *value = OTHER_HISTORY.to_owned();
                }
                "wsrep_cluster_conf_id" => *value = "1".to_owned(),
                _ => {}
            }
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i45_a_replaced_history_stays_an_alarm_on_every_replica_until_it_is_acknowledged() {
    let etcd = TestEtcd::in_memory();
    let database = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    database.set_status(&as_str_rows(&status(&database, false)));
    let options = || ConsoleOptions {
        members: vec![database.id()],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options()).await;
    console.add_user("vera", &[Role::Viewer]).await;
    console.add_user("otto", &[Role::Operator]).await;
    let (viewer, operator) = (console.sign_in("vera").await, console.sign_in("otto").await);
    let key = format!("{STATE_PREFIX}/alarms/lab");
    let recorded = async || etcd.registry().get(key.as_str()).await.unwrap().is_some();
    eventually("the history to be recorded", recorded).await;
    assert_eq!(view(&viewer).await.verdict.state, VerdictState::Healthy);
    let problem = post(&operator, PATH, &json!({"through": 9, "reason": "early"}))
        .await
        .problem();
    assert_eq!(problem.code, "no_open_alarm");

    database.set_status(&as_str_rows(&status(&database, true)));
    eventually("the alarm", async || is_alarmed(&view(&viewer).await)).await;
    let shown = view(&viewer).await;
    assert_eq!(shown.verdict.state, VerdictState::Degraded, "{shown:#?}");
    let later = TestConsole::start_with(&etcd, options()).await;
    let elsewhere = later.sign_in("vera").await;
    eventually("a replica that starts later to show it", async || {
        is_alarmed(&view(&elsewhere).await)
    })
    .await;
    let raised = async || {
        let trail: Value = viewer.get("/api/v1/audit?cluster=lab").await.json();
        let entries = trail["entries"].as_array().unwrap().iter();
        let raised = entries.filter(|entry| entry["event"] == "history_alarm_raised");
        raised.cloned().collect::<Vec<_>>()
    };
    eventually(
        "the alarm in the audit trail, from which it is notified",
        async || !raised().await.is_empty(),
    )
    .await;
    let page = operator.get("/clusters/lab/recovery").await.text();
    assert!(page.contains("Alarms about the data"), "{page}");
    let overview: Value = viewer.get("/api/v1/clusters").await.json();
    assert!(
        overview["notices"]
            .to_string()
            .contains("an alarm about its data is open"),
        "{overview:#}"
    );
    let metrics = console.anonymous().get("/metrics").await.text();
    let counted = "galera_console_cluster_data_alarms{cluster=\"lab\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    let state: Value = viewer.get("/api/v1/clusters/lab/recovery").await.json();
    let through = &state["history_alarms"][0]["number"];
    let request = json!({"through": through, "reason": "founded again on purpose"});
    for (client, body, expected) in [
        (&viewer, request.clone(), (403, "missing_role")),
        (
            &operator,
            json!({"through": 0, "reason": "none"}),
            (409, "no_open_alarm"),
        ),
        (
            &operator,
            json!({"through": through, "reason": " "}),
            (422, "no_reason"),
        ),
    ] {
        let answer = post(client, PATH, &body).await;
        let problem = answer.problem();
        assert_eq!((answer.status.as_u16(), problem.code.as_str()), expected);
    }
    let answer = post(&operator, PATH, &request).await;
    assert_eq!(answer.json::<Value>(), json!({"acknowledged": [1]}));
    for client in [&viewer, &elsewhere] {
        eventually("the alarm to end", async || {
            view(client).await.verdict.state == VerdictState::Healthy
        })
        .await;
    }
    let trail: Value = viewer.get("/api/v1/audit?cluster=lab").await.json();
    let entries = trail["entries"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["event"] == "history_alarms_acknowledged");
    let entry = entry.unwrap_or_else(|| panic!("{trail:#}"));
    assert_eq!(
        (&entry["actor"], &entry["detail"]["reason"]),
        (&json!("otto"), &json!("founded again on purpose"))
    );
    // One entry of two replicas.
    let raised = raised().await;
    assert_eq!(raised.len(), 1, "{raised:#?}");
    let text = raised[0]["detail"]["text"].as_str().unwrap();
    assert!(text.contains(OTHER_HISTORY), "{text}");
}
