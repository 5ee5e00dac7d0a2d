//! Findings that last are announced once, unless a person acknowledged them; every replica shows that.

use std::time::Duration;

use console_core::keyspace;
use galera::access::Role;
use galera::insight::finding_record::FindingPace;
use galera_console::finding_records::FindingSchedule;
use serde_json::{Value, json};

use crate::action_fixture::{assert_refused, post};
use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::test_console::{ConsoleOptions, STATE_PREFIX, TestConsole};

const PATH: &str = "/api/v1/clusters/lab/findings";
const FORM: &str = "application/x-www-form-urlencoded";

/// A database of which 99 of 100 connections are in use, or ten.
struct BusyDatabase(FakeDatabase);

impl BusyDatabase {
    async fn start() -> Self {
        let variables = [&VARIABLES[..], &[("max_connections", "100")]].concat();
        let database = Self(FakeDatabase::listen("127.0.0.1", &variables, &[]).await);
        database.set_used("99");
        database
    }

    fn set_used(&self, connections: &str) {
        let mut status = primary_status("00000001-0001-11ef-a1b2-c3d4e5f60718", &self.0.id());
        status.push(("Threads_connected", connections.to_owned()));
        self.0.set_status(&as_str_rows(&status));
    }

    fn options(&self) -> ConsoleOptions {
        ConsoleOptions {
            members: vec![self.0.id()],
            finding_schedule: Some(FindingSchedule {
                interval: Duration::from_millis(50),
                pace: FindingPace {
                    opens_after: Duration::from_millis(100),
                    ends_after: Duration::from_millis(100),
                },
            }),
            ..ConsoleOptions::default()
        }
    }
}

async fn finding(client: &TestClient) -> Value {
    let report: Value = client.get(PATH).await.json();
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let mut found = findings.into_iter();
    found
        .find(|finding| finding["code"] == "connections_used")
        .unwrap_or_default()
}

/// The audit entries of `event` about connections, newest first.
async fn entries(client: &TestClient, event: &str) -> Vec<Value> {
    let trail: Value = client.get("/api/v1/audit?cluster=lab").await.json();
    let entries = trail["entries"].as_array().cloned().unwrap_or_default();
    let concerned = entries.into_iter().filter(|entry| {
        entry["event"] == event && entry["detail"].to_string().contains("connections_used")
    });
    concerned.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_is_announced_acknowledged_reopened_and_ended() {
    let etcd = TestEtcd::in_memory();
    let database = BusyDatabase::start().await;
    let console = TestConsole::start_with(&etcd, database.options()).await;
    console.add_user("vera", &[Role::Viewer]).await;
    console.add_user("otto", &[Role::Operator]).await;
    let (viewer, operator) = (console.sign_in("vera").await, console.sign_in("otto").await);
    eventually("the finding to be announced", async || {
        entries(&viewer, "findings_opened").await.len() == 1
    })
    .await;
    let opened = &entries(&viewer, "findings_opened").await[0];
    let detail = &opened["detail"];
    assert!(
        detail["findings"]
            .to_string()
            .contains("connections_used=critical"),
        "{opened:#}"
    );
    assert!(detail["nodes"].to_string().contains(&database.0.id()));
    eventually("the beginning on the page", async || {
        finding(&viewer).await["since"].is_string()
    })
    .await;

    let accept = format!("{PATH}/acknowledge");
    let request =
        json!({"code": "connections_used", "reason": "load test until Friday", "days": 7});
    let with = |name: &str, value: Value| {
        let mut changed = request.clone();
        changed[name] = value;
        changed
    };
    let refusals = [
        (&viewer, request.clone(), 403, "missing_role"),
        (&operator, with("reason", json!(" ")), 422, "no_reason"),
        (&operator, with("days", json!(0)), 422, "invalid_end"),
        (&operator, with("days", json!(367)), 422, "invalid_end"),
        (&operator, with("days", json!(u64::MAX)), 422, "invalid_end"),
        (
            &operator,
            with("until", json!("2026-01-01T00:00:00Z")),
            422,
            "invalid_end",
        ),
        (&operator, with("days", Value::Null), 422, "invalid_end"),
        (
            &operator,
            with("code", json!("binlog_format")),
            409,
            "no_such_finding",
        ),
        (
            &operator,
            with("subject", json!("x")),
            409,
            "no_such_finding",
        ),
        (
            &operator,
            with("nodes", json!(["10.9.9.9"])),
            409,
            "no_such_finding",
        ),
        (&operator, with("nodes", json!([])), 409, "no_such_finding"),
    ];
    for (client, body, status, code) in refusals {
        assert_refused(&post(client, &accept, &body).await, status, code);
    }
    let reopen = format!("{PATH}/reopen");
    let code = json!({"code": "connections_used"});
    assert_refused(
        &post(&operator, &reopen, &code).await,
        409,
        "not_acknowledged",
    );

    let accepted = post(&operator, &accept, &request).await;
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    let shown = finding(&viewer).await;
    assert_eq!(shown["acknowledged"]["by"], "otto", "{shown:#}");
    assert_eq!(shown["acknowledged"]["nodes"], json!([database.0.id()]));
    let entry = &entries(&viewer, "finding_acknowledged").await[0];
    assert_eq!(entry["detail"]["reason"], "load test until Friday");
    let metrics = viewer.get("/metrics").await.text();
    let counted = r#"galera_finding_acknowledged{cluster="lab",code="connections_used",severity="critical"} 1.0"#;
    assert!(metrics.contains(counted), "{metrics}");
    let page = operator.get("/clusters/lab/findings").await.text();
    assert!(page.contains("Acknowledged by otto until"), "{page}");
    let other = TestConsole::start_with(&etcd, database.options()).await;
    let elsewhere = other.sign_in("vera").await;
    eventually("another replica to show it", async || {
        finding(&elsewhere).await["acknowledged"]["by"] == "otto"
    })
    .await;

    // It is open still, and announced again.
    assert_eq!(post(&operator, &reopen, &code).await.status, 200);
    assert!(finding(&viewer).await["acknowledged"].is_null());
    eventually("the reopened finding to be announced", async || {
        entries(&viewer, "findings_opened").await.len() == 2
    })
    .await;
    assert_eq!(entries(&viewer, "finding_reopened").await.len(), 1);
    database.set_used("10");
    eventually("its end", async || {
        entries(&viewer, "findings_ended").await.len() == 1
    })
    .await;
    assert!(finding(&viewer).await.is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_is_acknowledged_by_the_form_of_its_page() {
    let etcd = TestEtcd::in_memory();
    let database = BusyDatabase::start().await;
    let console = TestConsole::start_with(&etcd, database.options()).await;
    console.add_user("otto", &[Role::Operator]).await;
    let operator = console.sign_in("otto").await;
    eventually("the finding", async || !finding(&operator).await.is_null()).await;
    let node = database.0.id();
    let form = |reason: &str| {
        format!("code=connections_used&subject=&nodes={node}&reason={reason}&days=30")
    };
    let path = "/clusters/lab/findings/acknowledge";
    let refused = operator.post(path, FORM, form("")).await;
    assert!(
        refused.text().contains("State a reason"),
        "{}",
        refused.text()
    );
    let accepted = operator.post(path, FORM, form("load+test")).await;
    assert_eq!(accepted.status, 200);
    assert_eq!(
        finding(&operator).await["acknowledged"]["reason"],
        "load test"
    );
    let reopened = operator
        .post(
            "/clusters/lab/findings/reopen",
            FORM,
            "code=connections_used&subject=",
        )
        .await;
    assert_eq!(reopened.status, 200);
    assert!(finding(&operator).await["acknowledged"].is_null());
}

/// What is stored cannot be read: findings are shown as open, and an acknowledgement replaces nothing silently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_record_hides_no_finding() {
    let etcd = TestEtcd::in_memory();
    let database = BusyDatabase::start().await;
    let key = keyspace::finding_record_of(STATE_PREFIX, &"lab".parse().unwrap());
    etcd.registry().put(key.clone(), "{", None).await.unwrap();
    let console = TestConsole::start_with(&etcd, database.options()).await;
    console.add_user("otto", &[Role::Operator]).await;
    let operator = console.sign_in("otto").await;
    eventually("the finding", async || !finding(&operator).await.is_null()).await;
    let request = json!({"code": "connections_used", "reason": "x", "days": 1});
    let answer = post(&operator, &format!("{PATH}/acknowledge"), &request).await;
    let problem = assert_refused(&answer, 409, "record_damaged");
    assert!(problem.detail.contains(&key), "{}", problem.detail);
    let stored = etcd.registry().get(key.as_str()).await.unwrap().unwrap();
    assert_eq!(stored.value, b"{");
}
