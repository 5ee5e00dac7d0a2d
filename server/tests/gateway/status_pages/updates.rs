use galera::ReplicaId;
use galera::record::audit::AuditEvent;
use galera::view::VerdictState;
use serde_json::Value;

use super::{StatusPageFixture, post};
use crate::etcd::eventually;
use crate::test_console::{ConsoleOptions, TestConsole};

#[tokio::test]
async fn an_incident_is_opened_updated_and_resolved() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let body = r#"{"clusters":["lab"],"title":"Slow <b>writes</b>","text":"We look."}"#;
    let opened = post(&fixture.operator, "/api/v1/status/incidents", body).await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    let incident: Value = opened.json();
    fixture
        .wait_for_text("/status/shop", "Slow &lt;b&gt;writes&lt;/b&gt;")
        .await;
    let updates = format!(
        "/api/v1/status/incidents/{}/updates",
        incident["id"].as_str().unwrap()
    );
    for (state, text) in [
        ("monitoring", "It looks well."),
        ("resolved", "It was the disk."),
    ] {
        let body = format!(r#"{{"state":"{state}","text":"{text}"}}"#);
        let answer = post(&fixture.operator, &updates, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        fixture.wait_for_text("/status/shop", text).await;
    }
    let page = fixture.console.anonymous().get("/status/shop").await.text();
    assert!(!page.contains("Current incidents"), "{page}");
    let late = post(
        &fixture.operator,
        &updates,
        r#"{"state":"monitoring","text":"x"}"#,
    )
    .await;
    assert_eq!(
        (late.status.as_u16(), late.problem().code.as_str()),
        (409, "incident_resolved")
    );
    let events = fixture.audit_events().await;
    assert_eq!(
        events[events.len() - 3..],
        [
            AuditEvent::INCIDENT_OPENED,
            AuditEvent::INCIDENT_UPDATED,
            AuditEvent::INCIDENT_RESOLVED
        ]
    );
    let list = fixture
        .operator
        .get("/api/v1/status/incidents?state=open")
        .await;
    assert!(
        list.json::<Value>()["incidents"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn the_impact_that_a_person_gives_is_shown_until_another_one_is_given() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let incidents = "/api/v1/status/incidents";
    let body =
        r#"{"clusters":["lab"],"title":"Checkout fails","text":"We look.","impact":"critical"}"#;
    let opened = post(&fixture.operator, incidents, body).await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    let incident: Value = opened.json();
    fixture
        .wait_for_text("/status/shop", "Critical impact")
        .await;
    let summary = async || {
        let summary = fixture.console.anonymous();
        summary
            .get("/status/shop/summary.json")
            .await
            .json::<Value>()
    };
    assert_eq!(summary().await["incidents"][0]["impact"], "critical");

    // An update without an impact keeps it; one with another replaces it.
    let updates = format!("{incidents}/{}/updates", incident["id"].as_str().unwrap());
    for (update, impact) in [
        (r#"{"state":"identified","text":"The disk."}"#, "critical"),
        (
            r#"{"state":"monitoring","text":"Replaced.","impact":"none"}"#,
            "none",
        ),
    ] {
        let answer = post(&fixture.operator, &updates, update).await;
        assert_eq!(answer.json::<Value>()["impact"], impact, "{update}");
    }
    fixture.wait_for_text("/status/shop", "Replaced.").await;
    let page = fixture.console.anonymous().get("/status/shop").await.text();
    assert!(!page.contains("Critical impact"), "{page}");
    assert_eq!(summary().await["incidents"][0]["impact"], "none");

    let absurd = r#"{"clusters":["lab"],"title":"t","text":"t","impact":"doom"}"#;
    let refused = post(&fixture.operator, incidents, absurd).await;
    assert!(refused.status.is_client_error(), "{}", refused.text());
    assert!(refused.text().contains("doom"), "{}", refused.text());
}

#[tokio::test]
async fn maintenance_is_shown_and_ended_early() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    let until = console_core::clock::now().plus(std::time::Duration::from_secs(3_600));
    let body = format!(
        r#"{{"clusters":["lab"],"title":"Upgrade","text":"One node after the other.","until":"{until}"}}"#
    );
    let planned = post(&fixture.operator, "/api/v1/status/maintenance", &body).await;
    assert_eq!(planned.status, 201, "{}", planned.text());
    let planned: Value = planned.json();
    assert_eq!(planned["phase"], "current");
    fixture
        .wait_for_text("/status/shop", "under maintenance")
        .await;
    let lab = "lab".parse().unwrap();
    let now = console_core::clock::now;
    let status_pages = &fixture.console.state.status_pages;
    let current = status_pages.in_maintenance(&lab, now()).unwrap();
    assert_eq!(current.title, "Upgrade");
    eventually("the console shows it", async || {
        let overview: Value = fixture.operator.get("/api/v1/clusters").await.json();
        overview["notices"]
            .to_string()
            .contains("Maintenance of lab until")
    })
    .await;
    let end = format!(
        "/api/v1/status/maintenance/{}/end",
        planned["id"].as_str().unwrap()
    );
    assert_eq!(post(&fixture.operator, &end, "").await.status, 200);
    assert_eq!(status_pages.in_maintenance(&lab, now()), None);
    assert_eq!(
        post(&fixture.operator, &end, "").await.problem().code,
        "maintenance_over"
    );
    let events = fixture.audit_events().await;
    assert_eq!(
        events[events.len() - 2..],
        [
            AuditEvent::MAINTENANCE_PLANNED,
            AuditEvent::MAINTENANCE_ENDED
        ]
    );
}

#[tokio::test]
async fn an_announcement_is_shown_until_it_is_withdrawn() {
    let fixture = StatusPageFixture::start().await;
    fixture.create_page("shop", "public", "").await;
    fixture.create_page("other", "public", "").await;
    let body = r#"{"title":"New address","text":"From Monday on.","pages":["shop"]}"#;
    let made = post(&fixture.operator, "/api/v1/status/announcements", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    fixture
        .wait_for_text("/status/shop", "From Monday on.")
        .await;
    let anonymous = fixture.console.anonymous();
    let other = anonymous.get("/status/other").await.text();
    assert!(!other.contains("From Monday on."));
    let id = made.json::<Value>()["id"].as_str().unwrap().to_owned();
    let withdraw = format!("/api/v1/status/announcements/{id}/withdraw");
    assert_eq!(post(&fixture.operator, &withdraw, "").await.status, 200);
    eventually("it is gone", async || {
        !anonymous
            .get("/status/shop")
            .await
            .text()
            .contains("From Monday on.")
    })
    .await;
}

#[tokio::test]
async fn several_replicas_open_one_automatic_incident() {
    let fixture = StatusPageFixture::start().await;
    let options = ConsoleOptions {
        replica: ReplicaId::new("r2"),
        ..ConsoleOptions::default()
    };
    let _other = TestConsole::start_with(&fixture.etcd, options).await;
    // The only node of this cluster refuses connections, so its verdict is down.
    eventually("the cluster is down", async || {
        let monitor = &fixture.console.state.monitor;
        monitor.views()[0].value.verdict.state == VerdictState::Down
    })
    .await;
    let rule = r#","automatic":{"after_secs":0}"#;
    fixture.create_page("shop", "public", rule).await;
    fixture.create_page("also", "public", rule).await;
    fixture
        .wait_for_text("/status/shop", "Database unavailable")
        .await;
    fixture
        .wait_for_text("/status/also", "Database unavailable")
        .await;
    let list: Value = fixture
        .operator
        .get("/api/v1/status/incidents")
        .await
        .json();
    let incidents = list["incidents"].as_array().unwrap();
    assert_eq!(incidents.len(), 1, "{list}");
    assert_eq!(incidents[0]["automatic"], 0);
    let by = incidents[0]["updates"][0]["by"].as_str().unwrap();
    assert!(["r1", "r2"].contains(&by), "{by}");
    // Once an operator has resolved it, it is not opened again while the state lasts.
    let path = format!(
        "/api/v1/status/incidents/{}/updates",
        incidents[0]["id"].as_str().unwrap()
    );
    post(
        &fixture.operator,
        &path,
        r#"{"state":"resolved","text":"On purpose."}"#,
    )
    .await;
    fixture.wait_for_text("/status/shop", "On purpose.").await;
    let body = r#"{"clusters":["lab"],"title":"Later","text":"A sign that time has passed."}"#;
    post(&fixture.operator, "/api/v1/status/incidents", body).await;
    fixture
        .wait_for_text("/status/shop", "A sign that time has passed.")
        .await;
    let opened = fixture
        .audit_events()
        .await
        .iter()
        .filter(|e| **e == AuditEvent::INCIDENT_OPENED)
        .count();
    assert_eq!(opened, 2);
}
