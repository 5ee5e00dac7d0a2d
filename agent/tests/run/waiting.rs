//! What the agent cannot decide it waits for, and reports that.

use galera::observe::registration::NO_POSITION;
use registry::Registry;
use testing::etcd::{EtcdCluster, loopback_address};

use crate::node::AgentNode;
use crate::until;

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

async fn value(registry: &Registry, key: &str) -> Option<String> {
    let entry = registry.get(format!("/galera/lab/{key}")).await.unwrap()?;
    Some(String::from_utf8(entry.value).unwrap())
}

fn founder(node: &str, history: &str) -> String {
    format!(r#"{{"node":"{node}","at":"2026-11-24T00:00:00Z","state_uuid":{history}}}"#)
}

/// The directory of a stopped node.
fn stopped_node(address: &str, etcd: &EtcdCluster, seqno: &str) -> AgentNode {
    let state = format!("version: 2.1\nuuid: {HISTORY}\nseqno: {seqno}\nsafe_to_bootstrap: 1\n");
    AgentNode::new(address, &etcd.address(0)).with_file("grastate.dat", &state)
}

#[tokio::test]
async fn without_etcd_the_data_is_untouched() {
    let mut node = AgentNode::new("127.0.0.1", "127.0.0.1:1");
    node.start();
    node.wait_for_log("etcd at http://127.0.0.1:1 is unreachable")
        .await;
    assert_eq!(node.files().len(), 0, "{:?}", node.files());
    assert_eq!(node.stop().await, 0);
}

#[tokio::test]
async fn a_founded_cluster_is_never_founded_again() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let address = loopback_address().to_string();
    for garbage in [
        founder("10.0.0.9", "null"),
        founder("10.0.0.9", &format!("\"{HISTORY}\"")),
        "\u{0}garbage".to_owned(),
    ] {
        registry
            .put("/galera/lab/founder", garbage.clone(), None)
            .await
            .unwrap();
        let mut node = AgentNode::new(&address, &etcd.address(0))
            .with_variable("AUTO_BOOTSTRAP", "all-reported");
        node.start();
        node.wait_for_log("cluster lab has no Primary").await;
        until("its report", async || {
            let key = format!("{address}/recovered_position");
            value(&registry, &key)
                .await
                .filter(|position| position == NO_POSITION)
        })
        .await;
        assert_eq!(
            node.files().into_keys().collect::<Vec<_>>(),
            [".galera-agent.json"]
        );
        assert_eq!(value(&registry, "founder").await.unwrap(), garbage);
        assert_eq!(node.stop().await, 0);
        assert_eq!(value(&registry, &format!("{address}/phase")).await, None);
    }
}

#[tokio::test]
async fn a_mismatched_order_is_not_followed() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let address = loopback_address().to_string();
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    registry
        .put("/galera/lab/founder", history, None)
        .await
        .unwrap();
    let mut node = stopped_node(&address, &etcd, "17");
    let before = node.files();
    node.start();
    node.wait_for_log("for an approved bootstrap order").await;
    let lease = registry
        .grant_without_keep_alive(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    let order = |position: &str, action: &str| {
        format!(r#"{{"node":"{address}","position":"{HISTORY}:{position}","action_id":{action}}}"#)
    };
    for (order, lease, words) in [
        (order("18", "\"a1\""), Some(lease), "it names position"),
        (order("17", "null"), Some(lease), "it names no action"),
        (order("17", "\"a2\""), None, "its key has no lease"),
    ] {
        registry
            .put("/galera/lab/bootstrap", order, lease)
            .await
            .unwrap();
        node.wait_for_log(words).await;
    }
    let registered = value(&registry, &format!("{address}/registered"))
        .await
        .unwrap();
    assert!(registered.contains("\"id\":"), "{registered}");
    assert_eq!(node.stop().await, 0);
    let mut after = node.files();
    after.remove(".galera-agent.json");
    assert_eq!(after, before);
}

#[tokio::test]
async fn the_registration_follows_the_data_to_a_new_address() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    registry
        .put("/galera/lab/founder", history, None)
        .await
        .unwrap();
    let (old, new) = (
        loopback_address().to_string(),
        loopback_address().to_string(),
    );
    let mut node = stopped_node(&old, &etcd, "17");
    node.start();
    node.wait_for_log("for an approved bootstrap order").await;
    assert_eq!(node.stop().await, 0);
    let registered = value(&registry, &format!("{old}/registered"))
        .await
        .unwrap();
    let position = value(&registry, &format!("{old}/highest_position")).await;
    assert_eq!(position.as_deref(), Some(format!("{HISTORY}:17").as_str()));
    let mut node = node.with_variable("NODE_ADDRESS", &new);
    node.start();
    node.wait_for_log(&format!("Moved the registration of this data from {old}"))
        .await;
    until("the registration", async || {
        value(&registry, &format!("{new}/registered")).await
    })
    .await;
    assert_eq!(
        value(&registry, &format!("{new}/registered"))
            .await
            .unwrap(),
        registered
    );
    assert_eq!(value(&registry, &format!("{old}/registered")).await, None);
    assert_eq!(
        value(&registry, &format!("{old}/highest_position")).await,
        None
    );
    assert_eq!(node.stop().await, 0);
}

#[tokio::test]
async fn duplicate_addresses_are_detected() {
    let etcd = EtcdCluster::single().await;
    let address = loopback_address().to_string();
    let registry = etcd.registry();
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    registry
        .put("/galera/lab/founder", history, None)
        .await
        .unwrap();
    let mut first = stopped_node(&address, &etcd, "17");
    first.start();
    first.wait_for_log("for an approved bootstrap order").await;
    let mut second = AgentNode::new(&address, &etcd.address(0));
    let (code, line) = second.run_refused().await;
    assert_eq!(code, 64, "{line}");
    assert!(line.contains("NODE_ADDRESS must be unique"), "{line}");
    // After a restart the killed agent need not wait for its old lease.
    first.kill();
    first.start();
    first.wait_for_log("for an approved bootstrap order").await;
    assert_eq!(first.stop().await, 0);
}

#[tokio::test]
async fn broken_state_files_yield_no_position() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    registry
        .put("/galera/lab/founder", history, None)
        .await
        .unwrap();
    let nil = "version: 2.1\nuuid: 00000000-0000-0000-0000-000000000000\nseqno: -1\nsafe_to_bootstrap: 1\n";
    for (state, words) in [
        (nil, "names no history"),
        ("\u{0}\u{0}\u{0}", "Could not recover the position"),
    ] {
        let address = loopback_address().to_string();
        let mut node = AgentNode::new(&address, &etcd.address(0))
            .with_file("grastate.dat", state)
            .with_file("gvwstate.dat", "")
            .with_variable("AUTO_BOOTSTRAP", "all-reported");
        node.start();
        node.wait_for_log(words).await;
        until("nothing to offer", async || {
            let key = format!("{address}/recovered_position");
            value(&registry, &key)
                .await
                .filter(|position| position == NO_POSITION)
        })
        .await;
        assert_eq!(node.files()["grastate.dat"], state);
        assert_eq!(node.stop().await, 0);
    }
}

#[tokio::test]
async fn garbage_in_the_registry_is_left_untouched() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let address = loopback_address().to_string();
    let huge = "9".repeat(1_000_000);
    let garbage = [
        ("registered", "{"),
        ("10.0.0.9/registered", "\u{0}\u{1b}[31m"),
        ("10.0.0.9/highest_position", huge.as_str()),
        ("10.0.0.9/deeper/phase", "running"),
        ("<script>/wsrep_local_state_comment", "Synced"),
        ("bootstrap", "{\"node\":7}"),
    ];
    for (key, value) in garbage {
        let key = format!("/galera/lab/{key}");
        registry.put(key, value, None).await.unwrap();
    }
    let mut node =
        AgentNode::new(&address, &etcd.address(0)).with_variable("AUTO_BOOTSTRAP", "all-reported");
    node.start();
    until("it to wait", async || {
        let phase = value(&registry, &format!("{address}/phase")).await;
        phase.filter(|phase| phase == "waiting")
    })
    .await;
    for (key, written) in garbage {
        assert_eq!(
            value(&registry, key).await.as_deref(),
            Some(written),
            "{key}"
        );
    }
    assert_eq!(value(&registry, "founder").await, None);
    assert_eq!(
        node.files().into_keys().collect::<Vec<_>>(),
        [".galera-agent.json"]
    );
    assert_eq!(node.stop().await, 0);
}

#[tokio::test]
async fn clock_skew_changes_no_decision() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    registry
        .put("/galera/lab/founder", history, None)
        .await
        .unwrap();
    for clock in ["+1h", "-1h"] {
        let address = loopback_address().to_string();
        let mut node = stopped_node(&address, &etcd, "17").with_clock_offset(clock);
        node.start();
        node.wait_for_log("for an approved bootstrap order").await;
        let hour = |text: String| text.split('T').nth(1).unwrap()[..2].to_owned();
        let registered = value(&registry, &format!("{address}/registered"))
            .await
            .unwrap();
        let founded = serde_json::from_str::<serde_json::Value>(&registered).unwrap();
        let seen = founded["first_seen"].as_str().unwrap().to_owned();
        let present = galera_agent::clock::now().to_string();
        assert_ne!(hour(seen), hour(present), "the clock is right");
        // The lease lives for as long as etcd grants.
        let lease = registry
            .grant_without_keep_alive(std::time::Duration::from_secs(60))
            .await
            .unwrap();
        let order =
            format!(r#"{{"node":"{address}","position":"{HISTORY}:17","action_id":"at{clock}"}}"#);
        registry
            .put("/galera/lab/bootstrap", order, Some(lease))
            .await
            .unwrap();
        // The directory has nothing that a server could start from.
        node.wait_for_log("Server started as the first member")
            .await;
        assert_ne!(node.wait().await, 0);
        registry.revoke(lease).await.unwrap();
    }
}
