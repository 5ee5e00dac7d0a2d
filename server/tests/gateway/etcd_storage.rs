//! An etcd near its quota, and one without space, are reported where people see it, with the remedy.

use std::process::Command;

use galera::access::Role;
use http::{Method, StatusCode};
use registry::Error;
use serde_json::json;
use testing::etcd::EtcdCluster;

use crate::client::{PASSWORD, TestConsole};
use crate::etcd::{TestEtcd, eventually};

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
