//! `incident list|export`: a post-mortem from etcd and the files of this host.

use serde_json::Value;

use crate::database::FakeDatabase;
use crate::earlier_state::{Host, request, sign_in};
use crate::etcd::eventually;
use crate::flood::{VARIABLES, status};
use crate::program::ConsoleProcess;

fn json(answer: &str) -> Value {
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    serde_json::from_str(body.unwrap()).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Waits until the cluster has the verdict `state`.
async fn wait_for_verdict(serving: &ConsoleProcess, cookie: &str, state: &str) {
    eventually(&format!("the verdict {state}"), async || {
        let view = json(&request(serving, "GET /api/v1/clusters/lab", cookie, ""));
        view["verdict"]["state"] == state
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_is_exported_while_the_console_runs_and_afterwards() {
    let host = Host::new().await;
    let database =
        FakeDatabase::listen("127.0.0.1", &VARIABLES, &status("Synced", "Primary")).await;
    host.add("otto", "operator");
    let serving = host
        .serve_with(&["--cluster", &format!("lab={}", database.id())])
        .await;
    let cookie = sign_in(&serving, "otto").unwrap();
    wait_for_verdict(&serving, &cookie, "healthy").await;
    database.set_status(&status("Donor/Desynced", "Primary"));
    wait_for_verdict(&serving, &cookie, "degraded").await;
    let incident = r#"{"clusters":["lab"],"title":"Slow orders","text":"We look into it."}"#;
    let opened = request(&serving, "POST /api/v1/status/incidents", &cookie, incident);
    let id = json(&opened)["id"].as_str().unwrap().to_owned();
    let file = host.path("report.html");
    let export = ["incident", "export", &id, "--output"];
    // What was just seen is recorded within seconds.
    eventually("a report with the views and the figures", async || {
        let _ = std::fs::remove_file(&file);
        host.succeed(&[&export[..], &[file.to_str().unwrap()]].concat());
        let html = std::fs::read_to_string(&file).unwrap();
        html.contains("As recorded then.") && html.contains("class=\"chart\"")
    })
    .await;
    let listed = host.succeed(&["incident", "list"]);
    assert!(
        listed.starts_with(&id) && listed.ends_with("lab  Slow orders\n"),
        "{listed}"
    );
    assert_eq!(serving.stop(), 0);

    let html = host.succeed(&[&export[..], &["-"]].concat());
    let node = database.id();
    for expected in [
        "We look into it.",
        "verdict degraded",
        "was Healthy",
        "Incident opened",
        "As recorded then.",
        &node,
    ] {
        assert!(html.contains(expected), "{expected} in {html}");
    }
    assert!(!html.contains("Not in this report"), "{html}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_exported_is_named() {
    let host = Host::new().await;
    host.add("otto", "operator");
    assert_eq!(
        host.succeed(&["incident", "list"]),
        "There are no incidents.\n"
    );
    let (code, text) = host.run(&["incident", "export", "nope"]);
    assert!(
        code == 64 && text.contains("there is no incident \"nope\""),
        "{text}"
    );

    let serving = host.serve().await;
    let cookie = sign_in(&serving, "otto").unwrap();
    let incident = r#"{"clusters":["lab"],"title":"Slow","text":"We look into it."}"#;
    let refused = request(&serving, "POST /api/v1/status/incidents", &cookie, incident);
    assert!(refused.contains("unknown_cluster"), "{refused}");
    assert_eq!(serving.stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_neither_overwritten_nor_read_if_they_are_damaged() {
    let host = Host::new().await;
    let database =
        FakeDatabase::listen("127.0.0.1", &VARIABLES, &status("Synced", "Primary")).await;
    host.add("otto", "operator");
    let serving = host
        .serve_with(&["--cluster", &format!("lab={}", database.id())])
        .await;
    let cookie = sign_in(&serving, "otto").unwrap();
    wait_for_verdict(&serving, &cookie, "healthy").await;
    let incident = r#"{"clusters":["lab"],"title":"Slow","text":"We look into it."}"#;
    let opened = request(&serving, "POST /api/v1/status/incidents", &cookie, incident);
    let id = json(&opened)["id"].as_str().unwrap().to_owned();
    assert_eq!(serving.stop(), 0);
    let file = host.path("report.html");
    std::fs::write(&file, "mine").unwrap();
    let export = [
        "incident",
        "export",
        &id,
        "--output",
        file.to_str().unwrap(),
    ];
    let (code, text) = host.run(&export);
    assert!(code == 64 && text.contains("does not exist yet"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");

    std::fs::remove_file(&file).unwrap();
    std::fs::write(host.path("data/views/views.db"), vec![7; 8_192]).unwrap();
    let (code, text) = host.run(&export);
    assert!(code == 64 && text.contains("views.db"), "{text}");
    assert!(!file.exists());
}
