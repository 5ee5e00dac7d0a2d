//! A rolling restart of one scripted server, by API and page.

use galera::Timestamp;
use galera::access::Role;
use galera::view::VerdictState;
use serde_json::Value;

use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::probing::{VARIABLES, as_str_rows, primary_status, wait_for_verdict};
use crate::test_console::{ConsoleOptions, TestConsole};

const API: &str = "/api/v1/clusters/lab/rolling-restart";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_counts_as_restarted_once_its_server_started_later() {
    let etcd = TestEtcd::in_memory();
    let node = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let mut status = primary_status("00000001-0001-11ef-a1b2-c3d4e5f60718", &node.id());
    status.push(("Uptime", "3600".to_owned()));
    node.set_status(&as_str_rows(&status));
    let options = ConsoleOptions {
        members: vec![node.id()],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    wait_for_verdict(&viewer, VerdictState::Healthy).await;
    let begun =
        async |since: &str| -> Value { viewer.get(&format!("{API}?since={since}")).await.json() };
    eventually("the start of the server to be known", async || {
        begun("2026-01-01T00:00:00Z").await["complete"] == true
    })
    .await;
    let now = console_core::clock::now();
    let restart = begun(&now.to_string()).await;
    assert_eq!(restart["complete"], false, "{restart:#}");
    // It is the only member.
    assert_eq!(restart["steps"][0]["state"], "blocked", "{restart:#}");

    let page = viewer.get("/clusters/lab/rolling-restart").await.text();
    assert!(page.contains("Begin restart"), "{page}");
    // The beginning is the time of the request, however long the page with the button was open.
    let form = "application/x-www-form-urlencoded";
    let begin = viewer.post("/clusters/lab/rolling-restart", form, "").await;
    assert_eq!(begin.status, 200);
    let path = begin.text();
    let (_, since) = path.split_once("?since=").unwrap();
    assert!(Timestamp::parse(since).unwrap() >= now, "{path}");
    let page = viewer.get(&path).await.text();
    assert!(page.contains("0 of 1 restarted"), "{page}");
    assert!(page.contains("Views of the cluster"), "{page}");
    // No address begins another one.
    let link = "/clusters/lab/rolling-restart?since=now";
    assert_eq!(viewer.get(link).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_is_a_time_in_the_past() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, ConsoleOptions::default()).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    for query in [
        "",
        "?since=",
        "?since=yesterday",
        "?since=2999-01-01T00:00:00Z",
    ] {
        let answer = viewer.get(&format!("{API}{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(
            answer.text().contains("since"),
            "{query}: {}",
            answer.text()
        );
    }
    let unknown = "/api/v1/clusters/nowhere/rolling-restart?since=2026-01-01T00:00:00Z";
    assert_eq!(viewer.get(unknown).await.status, 404);
    let page = "/clusters/nowhere/rolling-restart";
    assert_eq!(viewer.get(page).await.status, 404);
    let form = "application/x-www-form-urlencoded";
    assert_eq!(viewer.post(page, form, "").await.status, 404);
}
