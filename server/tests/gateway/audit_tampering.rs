//! A client with write access to etcd changes the audit trail.

use console_core::keyspace;
use galera::record::audit::find_anchors;
use galera_console::config::StateSecretConfig;
use registry::{Transaction, WriteOp};

use crate::action_fixture::ActionFixture;
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::test_console::STATE_PREFIX;

async fn metric(client: &TestClient, name: &str) -> String {
    let text = client.get("/metrics").await.text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("galera_console_{name} ")));
    line.unwrap_or_default().to_owned()
}

/// Waits until every page of both replicas says that the trail was changed.
async fn wait_for_notices(fixtures: &[&ActionFixture]) {
    for fixture in fixtures {
        eventually("the page says that the trail was changed", async || {
            let page = fixture.viewer.get("/api/v1/clusters").await.text();
            page.contains("The audit trail was changed outside the console")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_trail_is_shown_by_every_replica_and_the_console_goes_on() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let secret = StateSecretConfig {
        secrets: Some(console_core::state_secret::generate_file(&file).unwrap()),
        file,
        migration: Default::default(),
        seen_records: None,
    };
    let one = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.state_secret = Some(secret.clone());
    })
    .await;
    let other = ActionFixture::replica_with(&etcd, &nodes, |options| {
        options.state_secret = Some(secret.clone());
    })
    .await;
    let intruder = etcd.registry();
    let head = keyspace::audit_head(STATE_PREFIX);
    let trail = one.console.state.actions.trail();
    // Replicas write entries of their own as they start: the head must be that of the number.
    let (earlier, last) = loop {
        let last = trail.newest_sequence().await.unwrap();
        let earlier = intruder.get(head.as_str()).await.unwrap().unwrap();
        if trail.newest_sequence().await.unwrap() == last {
            break (earlier, last);
        }
    };
    one.console.sign_in("olga").await;
    one.console.sign_in("adam").await;
    assert_eq!(
        metric(&one.console.anonymous(), "audit_trail_alarms_total").await,
        "0"
    );
    // The last entries are removed, two at least, and the head is what it was before them.
    let newest = trail.newest_sequence().await.unwrap();
    assert!(newest >= last + 2);
    let mut cut = Transaction::new().then([WriteOp::put(head, earlier.value, None)]);
    for sequence in last + 1..=newest {
        let key = keyspace::audit_entry(STATE_PREFIX, sequence / 100, sequence);
        cut = cut.then([WriteOp::delete(key)]);
    }
    intruder.transact(&cut).await.unwrap();
    wait_for_notices(&[&one, &other]).await;
    for fixture in [&one, &other] {
        let alarms = metric(&fixture.console.anonymous(), "audit_trail_alarms_total").await;
        assert_ne!(alarms, "0");
    }
    other.console.sign_in("olga").await;
    // The notice comes before the entry. The replica that notices first may not have seen every entry that is missing, or
    // none: its entry takes the place of the first, and the other replica misses those after it.
    let missing: Vec<String> = (last + 1..=newest)
        .flat_map(|first| [" to", "\""].map(|end| format!("\"missing\":\"{first}{end}")))
        .collect();
    eventually("the entry about the missing ones", async || {
        let audit = one.viewer.get("/api/v1/audit?limit=1000").await.text();
        audit.contains("\"audit_trail_tampered\"")
            && missing.iter().any(|first| audit.contains(first))
    })
    .await;
    acknowledge(&one, &other).await;
}

/// An administrator of one replica ends the alarm of both, without a restart and with a reason.
async fn acknowledge(one: &ActionFixture, other: &ActionFixture) {
    let admin = one.console.sign_in("root").await;
    let page = admin.get("/fragments/audit").await.text();
    assert!(page.contains("/audit/acknowledge"), "{page}");
    let path = "/api/v1/alarms/acknowledge";
    let reason = serde_json::json!({"reason": "disk of etcd2 replaced"});
    for (client, status, reason) in [
        (&one.viewer, 403, &reason),
        (&admin, 422, &serde_json::json!({"reason": " "})),
        (&admin, 204, &reason),
    ] {
        let answer = client.send_json(http::Method::POST, path, reason).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    for fixture in [one, other] {
        eventually("the notice ends", async || {
            let page = fixture.viewer.get("/api/v1/clusters").await.text();
            let alarms = fixture.viewer.get("/api/v1/alarms").await.text();
            !page.contains("The audit trail was changed") && alarms == r#"{"alarms":[]}"#
        })
        .await;
        let total = metric(&fixture.console.anonymous(), "audit_trail_alarms_total").await;
        assert_ne!(total, "0", "the number stays");
    }
    let audit = one.viewer.get("/api/v1/audit?limit=1000").await.text();
    assert!(
        audit.contains("\"alarms_acknowledged\"") && audit.contains("disk of etcd2"),
        "{audit}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anchors_in_a_file_reveal_what_happened_while_no_console_ran() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("anchors");
    let with_anchors = |options: &mut crate::test_console::ConsoleOptions| {
        options.anchor_file = Some(path.clone());
    };
    {
        let fixture = ActionFixture::start_with(&etcd, &nodes, with_anchors).await;
        let trail = fixture.console.state.actions.trail().clone();
        while trail.last_seen().unwrap().sequence < 101 {
            fixture.console.sign_in("vera").await;
        }
        eventually("an anchor was taken", async || {
            let text = std::fs::read_to_string(&path).unwrap();
            find_anchors(&text).count() == 1
        })
        .await;
    }
    // Everything is removed, which looks like a first start.
    let all = etcd.registry().list(format!("{STATE_PREFIX}/audit/")).await;
    for entry in all.unwrap().entries {
        let deletion = Transaction::new().then([WriteOp::delete(entry.key)]);
        etcd.registry().transact(&deletion).await.unwrap();
    }
    let fixture = ActionFixture::replica_with(&etcd, &nodes, with_anchors).await;
    wait_for_notices(&[&fixture]).await;
    let audit = fixture.viewer.get("/api/v1/audit").await.text();
    assert!(audit.contains("\"audit_trail_tampered\""), "{audit}");
}
