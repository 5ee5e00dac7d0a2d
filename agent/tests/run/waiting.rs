//! What the agent cannot decide it waits for, and reports that.

use galera::observe::registration::NO_POSITION;
use registry::Registry;
use testing::etcd::{EtcdCluster, loopback_address};

use crate::node::AgentNode;
use crate::until;

pub(crate) const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

pub(crate) async fn value(registry: &Registry, key: &str) -> Option<String> {
    let entry = registry.get(format!("/galera/lab/{key}")).await.unwrap()?;
    Some(String::from_utf8(entry.value).unwrap())
}

pub(crate) fn founder(node: &str, history: &str) -> String {
    format!(r#"{{"node":"{node}","at":"2026-11-24T00:00:00Z","state_uuid":{history}}}"#)
}

/// The directory of a stopped node.
pub(crate) fn stopped_node(address: &str, etcd: &EtcdCluster, seqno: &str) -> AgentNode {
    AgentNode::new(address, &etcd.address(0))
        .with_file("grastate.dat", &saved_state(seqno))
        .with_script(SERVER_WITHOUT_TABLES)
}

/// A server whose storage engine is where `engine-position` beside its data directory says, or else grastate.dat.
const SERVER_WITHOUT_TABLES: &str = r#"#!/bin/sh
for argument in "$@"; do
    case "$argument" in
        --datadir=*) data=${argument#*=} ;;
        --log-error=*) log=${argument#*=} ;;
        --wsrep-recover) recover=1 ;;
    esac
done
[ -n "$recover" ] || exec mariadbd "$@"
uuid=$(sed -n 's/^uuid: *//p' "$data/grastate.dat")
seqno=$(cat "$data/../engine-position" 2>/dev/null || sed -n 's/^seqno: *//p' "$data/grastate.dat")
echo "WSREP: Recovered position: $uuid:$seqno" >> "$log"
"#;

/// The grastate.dat of a stopped node.
pub(crate) fn saved_state(seqno: &str) -> String {
    format!("version: 2.1\nuuid: {HISTORY}\nseqno: {seqno}\nsafe_to_bootstrap: 1\n")
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
async fn a_waiting_member_restores_its_registration() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let address = loopback_address().to_string();
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    registry
        .put("/galera/lab/founder", history, None)
        .await
        .unwrap();
    let mut node = stopped_node(&address, &etcd, "17");
    node.start();
    node.wait_for_log("for an approved bootstrap order").await;
    let key = format!("/galera/lab/{address}/registered");
    let registered = registry.get(key.clone()).await.unwrap().unwrap();
    let deleted = registry.delete_if(key, registered.mod_revision);
    deleted.await.unwrap();
    until("the registration", async || {
        value(&registry, &format!("{address}/registered")).await
    })
    .await;
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
