//! `GET /api/v1/status/incidents/{id}/report`.

use galera::access::Role;
use galera::view::VerdictState;
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::etcd::eventually;
use crate::probing::{as_str_rows, primary_status, wait_for_verdict};
use crate::recording_fixture::{HISTORY, recording};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_has_what_was_seen_then_and_is_a_file_that_executes_nothing() {
    let recording = recording().await;
    recording.console.add_user("otto", &[Role::Operator]).await;
    let otto = recording.console.sign_in("otto").await;
    let mut status = primary_status(HISTORY, &recording.node.id());
    for (name, value) in &mut status {
        match *name {
            "wsrep_local_state_comment" => "Donor/Desynced".clone_into(value),
            "wsrep_local_state" => "2".clone_into(value),
            _ => {}
        }
    }
    recording.node.set_status(&as_str_rows(&status));
    wait_for_verdict(&otto, VerdictState::Degraded).await;
    let incident =
        json!({"clusters": ["lab"], "title": "Slow <b>orders</b>", "text": "We look into it."});
    let opened = otto
        .send_json(http::Method::POST, "/api/v1/status/incidents", &incident)
        .await;
    assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.text());
    let id = opened.json::<Value>()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/status/incidents/{id}/report");
    eventually("the views to be recorded", async || {
        let html = recording.viewer.get(&path).await.text();
        html.contains("As recorded then.") && html.contains("class=\"chart\"")
    })
    .await;

    let report = recording.viewer.get(&path).await;
    assert_eq!(
        report.header(header::CONTENT_TYPE),
        "text/html; charset=utf-8"
    );
    let disposition = report.header(header::CONTENT_DISPOSITION);
    assert_eq!(
        disposition,
        format!("attachment; filename=\"incident-{id}.html\"")
    );
    let policy = report.header(header::CONTENT_SECURITY_POLICY);
    assert!(
        policy.contains("default-src 'none'") && policy.contains("sandbox"),
        "{policy}"
    );
    let html = report.text();
    assert!(html.contains("Slow &lt;b&gt;orders&lt;/b&gt;") && html.contains("verdict degraded"));

    let unknown = recording
        .viewer
        .get("/api/v1/status/incidents/0-0/report")
        .await;
    assert_eq!(unknown.problem().code, "unknown_item");
    let page = recording.viewer.get("/incidents").await.text();
    assert!(page.contains(&path), "{page}");
}
