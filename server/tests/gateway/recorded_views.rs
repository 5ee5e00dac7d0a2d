//! Recorded views: `?at=` of the API and the page of a time, from a scripted server.

use galera::Timestamp;
use galera::view::VerdictState;
use serde_json::Value;

use crate::client::TestClient;
use crate::etcd::eventually;
use crate::probing::{as_str_rows, primary_status, wait_for_verdict};
use crate::recording_fixture::{HISTORY, console_with, recording};

const PATH: &str = "/api/v1/clusters/lab";
/// The time of the current view, once that time is recorded.
async fn recorded_now(viewer: &TestClient) -> String {
    let view: Value = viewer.get(PATH).await.json();
    let at = view["observed_at"].as_str().unwrap().to_owned();
    eventually("the view to be recorded", async || {
        viewer.get(&format!("{PATH}?at={at}")).await.status == 200
    })
    .await;
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_has_the_view_that_was_shown_then() {
    let recording = recording().await;
    let viewer = &recording.viewer;
    let healthy_at = recorded_now(viewer).await;
    let mut status = primary_status(HISTORY, &recording.node.id());
    for (name, value) in &mut status {
        if *name == "wsrep_local_state_comment" {
            "Donor/Desynced".clone_into(value);
        } else if *name == "wsrep_local_state" {
            "2".clone_into(value);
        }
    }
    recording.node.set_status(&as_str_rows(&status));
    wait_for_verdict(viewer, VerdictState::Degraded).await;
    let degraded_at = recorded_now(viewer).await;
    eventually("the change to be recorded", async || {
        let view: Value = viewer.get(&format!("{PATH}?at={degraded_at}")).await.json();
        view["verdict"]["state"] == "degraded"
    })
    .await;

    let then: Value = viewer.get(&format!("{PATH}?at={healthy_at}")).await.json();
    assert_eq!(then["verdict"]["state"], "healthy");
    assert_eq!(then["nodes"][0]["state"], "synced");
    assert_eq!(then["nodes"][0]["id"], recording.node.id());
    let time = |text: &str| Timestamp::parse(text).unwrap();
    let recorded_at = time(then["recorded_at"].as_str().unwrap());
    assert!(recorded_at <= time(&healthy_at), "{recorded_at}");
    let current: Value = viewer.get(PATH).await.json();
    let members = |value: &Value| {
        let names = value["nodes"][0].as_object().unwrap().keys();
        names.cloned().collect::<Vec<_>>()
    };
    assert_eq!(members(&then), members(&current), "unknown is null, as now");

    for page in [
        format!("/clusters/lab?at={healthy_at}"),
        format!(
            "/clusters/lab/nodes/{}?at={healthy_at}",
            recording.node.id()
        ),
    ] {
        let redirected = viewer.get(&page).await;
        let location = format!("/clusters/lab/timeline?at={healthy_at}");
        assert_eq!(redirected.status, 303, "{page}");
        assert_eq!(redirected.headers["location"], location, "{page}");
    }
    let page = viewer
        .get(&format!("/clusters/lab/timeline?at={healthy_at}"))
        .await;
    let html = page.text();
    assert!(html.contains("id=\"then\""), "{html}");
    assert!(html.contains("class=\"strip\""), "{html}");
    let without = "/clusters/lab/timeline?at=2001-01-01&range=90d";
    let html = viewer.get(without).await.text().to_owned();
    assert!(html.contains("The first recorded view of lab"), "{html}");

    let metrics = recording.console.anonymous().get("/metrics").await;
    assert!(metrics.text().contains("galera_console_views_recording 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_without_a_view_is_refused_by_name() {
    let recording = recording().await;
    let viewer = &recording.viewer;
    recorded_now(viewer).await;
    for (at, status, code) in [
        ("2126-01-01T00:00:00Z", 400, "at_in_the_future"),
        ("2001-01-01T00:00:00Z", 404, "before_first_record"),
        ("yesterday", 400, "invalid_query"),
        ("", 400, "invalid_query"),
        ("1960-01-01T00:00:00Z", 400, "invalid_query"),
        ("%3Cscript%3E", 400, "invalid_query"),
    ] {
        let answer = viewer.get(&format!("{PATH}?at={at}")).await;
        let code_of: Value = answer.json();
        assert_eq!(
            (answer.status.as_u16(), code_of["code"].as_str().unwrap()),
            (status, code),
            "{at}"
        );
    }
    let nowhere = "/api/v1/clusters/nowhere?at=2026-01-01T00:00:00Z";
    let unknown: Value = viewer.get(nowhere).await.json();
    assert_eq!(unknown["code"], "unknown_cluster");
    let anonymous = recording.console.anonymous();
    let path = format!("{PATH}?at=2026-01-01T00:00:00Z");
    assert_eq!(anonymous.get(&path).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_directory_nothing_is_recorded_and_the_remedy_is_named() {
    let console = console_with(None, tempfile::tempdir().unwrap()).await;
    let path = format!("{PATH}?at=2026-01-01T00:00:00Z");
    let answer = console.viewer.get(&path).await;
    assert_eq!(answer.status, 404);
    let problem = answer.problem();
    assert_eq!(problem.code, "views_not_recorded");
    assert!(problem.detail.contains("--data-dir"), "{}", problem.detail);
}
