//! Recorded figures, from a scripted server to the API, the pages and the metrics.

use galera::access::Role;
use galera::view::VerdictState;
use serde_json::Value;

use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::probing::{VARIABLES, as_str_rows, primary_status, wait_for_verdict};
use crate::recording_fixture::recording;
use crate::test_console::{ConsoleOptions, TestConsole};

const PATH: &str = "/api/v1/clusters/lab/series";

/// The values of the last minutes of one metric.
async fn values(viewer: &TestClient, name: &str) -> Vec<f64> {
    let answer: Value = viewer
        .get(&format!("{PATH}?name={name}&step=1"))
        .await
        .json();
    let means = answer["series"][0]["mean"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    means.iter().filter_map(Value::as_f64).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_probed_is_recorded_and_served() {
    let recording = recording().await;
    let viewer = &recording.viewer;
    eventually("figures to be recorded", async || {
        values(viewer, "last_committed").await.len() > 2
    })
    .await;
    let answer: Value = viewer
        .get(&format!("{PATH}?name=recv_queue,connections&step=60"))
        .await
        .json();
    let series = answer["series"].as_array().unwrap();
    let names: Vec<_> = series
        .iter()
        .map(|series| series["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["recv_queue", "connections"]);
    assert_eq!(answer["state"]["recording"], true);
    assert!(answer["recorded_since"].is_string() && answer["step"] == 60);
    assert_eq!(series[0]["node"], recording.node.id());
    assert!(
        series[0]["mean"].as_array().unwrap()[0].is_null(),
        "an hour ago nothing was recorded"
    );
    let of_node = format!(
        "/api/v1/clusters/lab/nodes/{}/series?name=commit_rate",
        recording.node.id()
    );
    assert_eq!(viewer.get(&of_node).await.status, 200);
    let metrics = recording
        .console
        .anonymous()
        .get("/metrics")
        .await
        .text()
        .to_owned();
    assert!(
        metrics.contains("galera_console_series_recording 1"),
        "{metrics}"
    );
    for page in [
        "/clusters/lab/series?range=15m".to_owned(),
        format!("/clusters/lab/nodes/{}", recording.node.id()),
    ] {
        let html = viewer.get(&page).await.text().to_owned();
        assert!(
            html.contains("class=\"chart\"") && html.contains("Recorded since"),
            "{page}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_answered_is_refused_by_name() {
    let recording = recording().await;
    let viewer = &recording.viewer;
    eventually("figures to be recorded", async || {
        !values(viewer, "last_committed").await.is_empty()
    })
    .await;
    for (query, status, code) in [
        ("from=2126-01-01T00:00:00Z", 400, "from_in_the_future"),
        (
            "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            400,
            "reversed_range",
        ),
        (
            "from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z",
            404,
            "before_first_record",
        ),
        ("step=0", 400, "invalid_step"),
        ("name=velocity", 400, "unknown_metric"),
        ("node=10.9.9.9", 404, "unknown_node"),
        ("node=%3Cb%3E", 400, "invalid_query"),
    ] {
        let answer = viewer.get(&format!("{PATH}?{query}")).await;
        let problem: Value = answer.json();
        assert_eq!(
            (
                u64::from(answer.status.as_u16()),
                problem["code"].as_str().unwrap()
            ),
            (status, code),
            "{query}"
        );
    }
    let unknown = viewer.get("/api/v1/clusters/nowhere/series").await;
    assert_eq!(unknown.json::<Value>()["code"], "unknown_cluster");
    assert_eq!(recording.console.anonymous().get(PATH).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_used_is_a_notice_and_monitoring_continues() {
    let etcd = TestEtcd::in_memory();
    let node = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    node.set_status(&as_str_rows(&primary_status(
        "00000001-0001-11ef-a1b2-c3d4e5f60718",
        &node.id(),
    )));
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("series")).unwrap();
    let file = directory.path().join("series/series.db");
    std::fs::write(&file, [7_u8; 4_000]).unwrap();
    let options = ConsoleOptions {
        members: vec![node.id()],
        data_directory: Some(directory.path().to_owned()),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    wait_for_verdict(&viewer, VerdictState::Healthy).await;
    let notices =
        async || viewer.get("/api/v1/clusters").await.json::<Value>()["notices"].to_string();
    eventually("the notice", async || {
        notices().await.contains("series.db is damaged")
    })
    .await;
    let metrics = async || console.anonymous().get("/metrics").await.text().to_owned();
    assert!(
        metrics()
            .await
            .contains("galera_console_series_recording 0")
    );
    let answer = viewer.get(PATH).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.json::<Value>()["code"].as_str()
        ),
        (503, Some("series_unreadable"))
    );
    std::fs::rename(&file, directory.path().join("old.db")).unwrap();
    eventually("the notice to end", async || {
        !notices().await.contains("series.db")
    })
    .await;
    eventually("figures to be recorded", async || {
        !values(&viewer, "last_committed").await.is_empty()
    })
    .await;
    assert!(
        metrics()
            .await
            .contains("galera_console_series_recording 1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_directory_the_page_says_how_to_record() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, ConsoleOptions::default()).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    let answer: Value = viewer.get(PATH).await.json();
    assert_eq!(answer["code"], "series_not_recorded");
    assert!(answer["detail"].as_str().unwrap().contains("--data-dir"));
    assert!(
        viewer
            .get("/clusters/lab/series")
            .await
            .text()
            .contains("--data-dir DIR")
    );
}
