//! Findings, from a scripted server to the API, the page and the metrics.

use galera::access::Role;
use galera::view::VerdictState;
use serde_json::Value;

use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::probing::{VARIABLES, as_str_rows, primary_status, wait_for_verdict};
use crate::test_console::{ConsoleOptions, TestConsole};

const RISKY: [(&str, &str); 3] = [
    ("binlog_format", "<b>MIXED</b>"),
    ("max_connections", "100"),
    (
        "wsrep_provider_options",
        "pc.weight = 1; pc.ignore_sb = true; socket.ssl_key = /etc/mysql/key.pem",
    ),
];

async fn report(api: &crate::client::TestClient) -> Value {
    api.get("/api/v1/clusters/lab/findings").await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_are_served_with_what_they_rest_on() {
    let etcd = TestEtcd::in_memory();
    let variables = [&VARIABLES[..], &RISKY[..]].concat();
    let node = FakeDatabase::listen("127.0.0.1", &variables, &[]).await;
    let mut status = primary_status("00000001-0001-11ef-a1b2-c3d4e5f60718", &node.id());
    status.push(("Threads_connected", "99".to_owned()));
    node.set_status(&as_str_rows(&status));
    let options = ConsoleOptions {
        members: vec![node.id()],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    wait_for_verdict(&viewer, VerdictState::Healthy).await;
    eventually("the variables to be read", async || {
        let unseen = report(&viewer).await["unseen"].to_string();
        !unseen.contains("not been read yet")
    })
    .await;
    let report = report(&viewer).await;
    assert_eq!(report["cluster"], "lab");
    let found = |code: &str| {
        let findings = report["findings"].as_array().expect("a list");
        let found = findings.iter().find(|finding| finding["code"] == code);
        found
            .unwrap_or_else(|| panic!("{code} in {report:#}"))
            .clone()
    };
    assert_eq!(found("quorum_ignored")["severity"], "critical");
    let connections = found("connections_used");
    assert_eq!(connections["severity"], "critical");
    assert_eq!(connections["nodes"][0], node.id());
    assert_eq!(connections["evidence"][0]["value"], "99");
    let text = report.to_string();
    assert!(
        !text.contains("key.pem"),
        "options that nothing rests on are not shown: {text}"
    );

    let page = viewer.get("/clusters/lab/findings").await;
    assert_eq!(page.status, 200);
    let page = page.text();
    assert!(page.contains("&lt;b&gt;MIXED&lt;/b&gt;"), "{page}");
    assert!(!page.contains("<b>MIXED"), "{page}");
    assert!(page.contains("Not seen"), "{page}");

    let metrics = viewer.get("/metrics").await.text();
    assert!(
        metrics.contains(
            r#"galera_finding{cluster="lab",code="quorum_ignored",severity="critical"} 1.0"#
        ),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_need_a_session_and_a_known_cluster() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, ConsoleOptions::default()).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let stranger = console.anonymous();
    assert_eq!(
        stranger.get("/api/v1/clusters/lab/findings").await.status,
        401
    );
    let viewer = console.sign_in("vera").await;
    for path in [
        "/api/v1/clusters/nowhere/findings",
        "/clusters/nowhere/findings",
    ] {
        assert_eq!(viewer.get(path).await.status, 404, "{path}");
    }
}
