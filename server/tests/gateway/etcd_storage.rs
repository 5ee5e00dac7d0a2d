//! An etcd near its quota, and one without space, are reported where people see it, with the remedy.

use std::process::Command;

use galera::access::Role;
use galera::recover::action::ActionState;
use galera_console::etcd_storage::DefragmentationPolicy;
use http::{Method, StatusCode};
use registry::Error;
use serde_json::json;
use testing::etcd::EtcdCluster;

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::{CrashPoint, FakeCluster};
use crate::test_console::{PASSWORD, TestConsole};

/// Runs `etcdctl`, as the notice advises.
fn etcdctl(endpoint: &str, arguments: &str) {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint])
        .args(arguments.split(' '))
        .output()
        .expect("etcdctl is installed");
    assert!(output.status.success(), "{arguments}: {output:?}");
}

#[tokio::test]
async fn an_etcd_without_space_is_reported_and_nothing_begins_until_the_remedy() {
    let process = EtcdCluster::spawn(1, "http", &["--quota-backend-bytes=33554432"]);
    process.wait_until_ready(&process.registry()).await;
    let etcd = TestEtcd::Process(process);
    let console = TestConsole::start(&etcd).await;
    console.add_user("vera", &[Role::Viewer]).await;
    console
        .add_user("otto", &[Role::Operator, Role::Admin])
        .await;
    let client = console.sign_in("otto").await;
    let metric = async |line: &str| client.get("/metrics").await.text().contains(line);
    eventually("the metric", async || {
        metric("galera_console_etcd_alarm{alarm=\"NOSPACE\"} 0").await
    })
    .await;
    let registry = etcd.registry();
    for number in 0.. {
        assert!(number < 128, "etcd has no quota");
        let key = format!("/filler/{number}");
        let written = registry.put(key, vec![b'x'; 1024 * 1024], None).await;
        if matches!(written, Err(Error::NoSpace { .. })) {
            break;
        }
    }
    eventually("the metric", async || {
        metric("galera_console_etcd_alarm{alarm=\"NOSPACE\"} 1").await
    })
    .await;
    for page in ["/", "/clusters/lab", "/actions"] {
        let text = client.get(page).await.text();
        assert!(
            text.contains("etcd has no space left (NOSPACE alarm)"),
            "{page}"
        );
        assert!(text.contains("etcdctl alarm disarm"), "{page}");
    }
    let overview = client.get("/api/v1/clusters").await.text();
    assert!(overview.contains("NOSPACE"), "{overview}");

    // No sign-in, and nothing begins.
    let credentials = json!({"username": "vera", "password": PASSWORD});
    let anonymous = console.anonymous();
    let pause = json!({"enabled": false, "reason": "maintenance of etcd"});
    for refused in [
        anonymous
            .send_json(Method::POST, "/api/v1/session", &credentials)
            .await,
        client
            .send_json(Method::PUT, "/api/v1/recovery", &pause)
            .await,
    ] {
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let problem = refused.problem();
        assert_eq!(problem.code, "etcd_no_space");
        assert!(
            problem.detail.contains("disarm its NOSPACE alarm"),
            "{}",
            problem.detail
        );
        assert!(!problem.detail.contains("127."), "{}", problem.detail);
    }
    // Every replica would be taken out of service, and with them the notice.
    assert_eq!(anonymous.get("/readyz").await.status, StatusCode::OK);

    let revision = registry.storage_status().await.unwrap().revision;
    let notice = client.get("/").await.text();
    assert!(notice.contains(" compact --physical "), "{notice}");
    let endpoint = etcd.url();
    etcdctl(&endpoint, "del --prefix /filler/");
    etcdctl(&endpoint, &format!("compact --physical {}", revision + 1));
    etcdctl(&endpoint, "defrag --cluster");
    etcdctl(&endpoint, "alarm disarm");
    eventually("no notice", async || {
        !client.get("/").await.text().contains("NOSPACE")
    })
    .await;
    console.sign_in("vera").await;
}

/// The warning comes while writes succeed, and is notified through the audit trail.
#[tokio::test]
async fn an_etcd_near_its_quota_is_warned_about_and_recorded_once() {
    // What the console assumes without --etcd-quota in these tests: 64 MiB.
    let etcd = TestEtcd::process().await;
    let console = TestConsole::start(&etcd).await;
    console
        .add_user("otto", &[Role::Operator, Role::Admin])
        .await;
    let client = console.sign_in("otto").await;
    let registry = etcd.registry();
    for number in 0..56 {
        let value = vec![b'x'; 1024 * 1024];
        registry
            .put(format!("/filler/{number}"), value, None)
            .await
            .unwrap();
    }
    eventually("the warning", async || {
        let text = client.get("/").await.text();
        text.contains("etcd soon has no space left") && text.contains("of 64.0 MiB (--etcd-quota)")
    })
    .await;
    eventually("the entry", async || {
        let audit = client.get("/api/v1/audit").await.text();
        audit.matches("etcd_space_low").count() == 1
    })
    .await;
}

/// The value of a metric.
async fn metric(client: &TestClient, name: &str) -> Option<f64> {
    let metrics = client.get("/metrics").await.text();
    let line = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    metrics.lines().find_map(line)
}

/// A database that is mostly free becomes smaller once, but not while an action is carried out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mostly_free_database_is_defragmented_once_and_never_during_an_action() {
    const SUCCEEDED: &str = "galera_console_etcd_defragmentations_total{result=\"succeeded\"}";
    let etcd = TestEtcd::process().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.defragmentation = Some(DefragmentationPolicy {
            free_bytes: 8 << 20,
            ..DefragmentationPolicy::default()
        });
    })
    .await;
    let client = &fixture.viewer;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.hold_at(CrashPoint::BeforePlanning);
    let approved = apply_verb(&fixture.approver, &id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    nodes.wait_until_killed().await;
    make_free_pages(&etcd).await;
    // The console has read that most of the database is free.
    eventually("the free pages are read", async || {
        let size = metric(client, "galera_console_etcd_database_size_bytes").await;
        let used = metric(client, "galera_console_etcd_database_in_use_bytes").await;
        matches!((size, used), (Some(size), Some(used)) if size > 24e6 && used < 4e6)
    })
    .await;
    assert_eq!(metric(client, SUCCEEDED).await, Some(0.0));
    nodes.release();
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    eventually("the defragmentation", async || {
        metric(client, SUCCEEDED).await == Some(1.0)
    })
    .await;
    eventually("the smaller database", async || {
        let size = metric(client, "galera_console_etcd_database_size_bytes").await;
        size.is_some_and(|size| size < 8e6)
    })
    .await;
    let duration = "galera_console_etcd_defragmentation_duration_seconds";
    assert!(
        metric(client, duration)
            .await
            .is_some_and(|seconds| seconds > 0.0)
    );

    // Not again within the interval.
    make_free_pages(&etcd).await;
    eventually("the free pages are read again", async || {
        let size = metric(client, "galera_console_etcd_database_size_bytes").await;
        let used = metric(client, "galera_console_etcd_database_in_use_bytes").await;
        matches!((size, used), (Some(size), Some(used)) if size > 24e6 && used < 4e6)
    })
    .await;
    assert_eq!(metric(client, SUCCEEDED).await, Some(1.0));
}

/// Writes 24 MiB and deletes them with their history.
async fn make_free_pages(etcd: &TestEtcd) {
    let registry = etcd.registry();
    for number in 0..24 {
        let value = vec![b'x'; 1024 * 1024];
        let key = format!("/filler/{number}");
        registry.put(key, value, None).await.unwrap();
    }
    let endpoint = etcd.url();
    etcdctl(&endpoint, "del --prefix /filler/");
    let revision = registry.storage_status().await.unwrap().revision;
    etcdctl(&endpoint, &format!("compact --physical {revision}"));
}
