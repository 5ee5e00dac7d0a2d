//! The audit trail: complete, ordered, the same in JSON and CSV, and tamper-evident.

use galera::publish::api::AuditPage;
use galera::record::audit::{AuditChainError, AuditEntry, AuditEvent, AuditRecord, verify};
use galera::recover::action::ActionState;
use http::header::CONTENT_TYPE;

use crate::action_fixture::{ActionFixture, apply_verb, assert_refused};
use crate::client::TestClient;
use crate::etcd::TestEtcd;
use crate::fake_cluster::FakeCluster;
use crate::test_console::PASSWORD;

async fn audit_entries(client: &TestClient) -> Vec<AuditEntry> {
    let page: AuditPage = client.get("/api/v1/audit?limit=1000").await.json();
    assert_eq!(page.next_before, None);
    page.entries.into_iter().rev().collect()
}

#[tokio::test]
async fn every_event_is_recorded_and_the_chain_verifies() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    assert_eq!(
        fixture
            .console
            .anonymous()
            .sign_in("olga", "wrong")
            .await
            .status,
        401
    );
    let signing_out = fixture.console.sign_in("vera").await;
    assert_eq!(signing_out.delete("/api/v1/session").await.status, 204);
    let id = fixture.request(&fixture.operator).await.action.id;
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Succeeded).await;

    let entries = audit_entries(&fixture.operator).await;
    verify(&entries).unwrap();
    let events: Vec<(&str, AuditEvent)> = entries
        .iter()
        .skip_while(|entry| entry.record.event == AuditEvent::SIGNED_IN)
        .map(|entry| (entry.record.actor.as_str(), entry.record.event.clone()))
        .collect();
    assert_eq!(
        events,
        [
            ("olga", AuditEvent::SIGN_IN_FAILED),
            ("vera", AuditEvent::SIGNED_IN),
            ("vera", AuditEvent::SIGNED_OUT),
            ("olga", AuditEvent::ACTION_REQUESTED),
            ("adam", AuditEvent::ACTION_APPROVED),
            ("r1", AuditEvent::ACTION_BEGAN),
            ("r1", AuditEvent::ACTION_STEP),
            ("r1", AuditEvent::ACTION_ANSWERED),
            ("r1", AuditEvent::ACTION_ENDED),
        ]
    );
    let step = entries
        .iter()
        .find(|entry| entry.record.event == AuditEvent::ACTION_STEP)
        .unwrap();
    assert!(
        step.record.detail["does"].contains("pc.bootstrap=YES"),
        "{step:?}"
    );
    assert!(
        !entries
            .iter()
            .any(|entry| format!("{entry:?}").contains(PASSWORD))
    );

    let mut altered = entries.clone();
    altered[3].record.actor = "somebody".to_owned();
    assert!(matches!(verify(&altered), Err(AuditChainError::Altered(_))));
    let of_adam: AuditPage = fixture.viewer.get("/api/v1/audit?actor=adam").await.json();
    assert_eq!(of_adam.entries.len(), 2);
    let of_lab: AuditPage = fixture.viewer.get("/api/v1/audit?cluster=lab").await.json();
    assert_eq!(of_lab.entries.len(), 6);
    let of_none: AuditPage = fixture
        .viewer
        .get("/api/v1/audit?cluster=other")
        .await
        .json();
    assert!(of_none.entries.is_empty());
}

#[tokio::test]
async fn pages_span_blocks_and_csv_matches_json() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let record = |number: usize| AuditRecord {
        at: crate::test_console::NOW,
        actor: format!("actor{number}"),
        event: AuditEvent::SIGNED_IN,
        cluster: None,
        subject: None,
        detail: std::collections::BTreeMap::from([("quote".to_owned(), "a,\"b\"".to_owned())]),
    };
    for number in 0..230 {
        fixture
            .console
            .state
            .actions
            .trail()
            .record(record(number))
            .await
            .unwrap();
    }
    let mut path = "/api/v1/audit?limit=70".to_owned();
    let mut all = Vec::new();
    loop {
        let page: AuditPage = fixture.operator.get(&path).await.json();
        assert!(page.entries.len() <= 70);
        all.extend(page.entries);
        match page.next_before {
            Some(before) => path = format!("/api/v1/audit?limit=70&before={before}"),
            None => break,
        }
    }
    all.reverse();
    assert_eq!(verify(&all).unwrap().entries, 236);
    let csv = fixture
        .operator
        .get("/api/v1/audit?format=csv&limit=1000")
        .await;
    assert!(csv.header(CONTENT_TYPE).starts_with("text/csv"));
    let text = csv.text();
    assert_eq!(text.lines().count(), 237);
    assert!(
        text.contains(r#""{""quote"":""a,\""b\""""}""#),
        "{}",
        &text[..400]
    );
    assert_refused(
        &fixture.viewer.get("/api/v1/audit?format=pdf").await,
        400,
        "invalid_query",
    );
    assert_refused(
        &fixture.viewer.get("/api/v1/audit?before=x").await,
        400,
        "invalid_query",
    );
}

#[tokio::test]
async fn concurrent_writers_produce_one_chain() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let one = ActionFixture::start(&etcd, &nodes).await;
    let other = ActionFixture::replica(&etcd, &nodes).await;
    let clients = [&one, &other].into_iter().flat_map(|fixture| {
        ["olga", "adam", "ada", "bea"].map(|name| fixture.console.sign_in(name))
    });
    futures::future::join_all(clients).await;
    let entries = audit_entries(&one.operator).await;
    assert_eq!(verify(&entries).unwrap().entries, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_entries_are_archived_by_the_leader() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let folder = tempfile::tempdir().unwrap();
    {
        let fixture = ActionFixture::start(&etcd, &nodes).await;
        let old = AuditRecord {
            at: galera::Timestamp::from_unix_millis(946_684_800_000),
            actor: "ann".to_owned(),
            event: AuditEvent::SIGNED_IN,
            cluster: None,
            subject: None,
            detail: std::collections::BTreeMap::new(),
        };
        for _ in 0..210 {
            let trail = fixture.console.state.actions.trail();
            trail.record(old.clone()).await.unwrap();
        }
    }
    let archive = folder.path().to_owned();
    let keep = std::time::Duration::ZERO;
    let fixture = ActionFixture::replica_with(&etcd, &nodes, |options| {
        options.audit_retention = Some((keep, archive));
    })
    .await;
    crate::etcd::eventually("old entries are archived", async || {
        let page: AuditPage = fixture.viewer.get("/api/v1/audit?limit=1000").await.json();
        page.begins_at == Some(200)
    })
    .await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let csv = fixture.viewer.get("/api/v1/audit?format=csv").await;
    assert_eq!(csv.header("x-audit-begins-at"), "200");
}
