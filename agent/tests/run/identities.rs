//! What an agent reports and registers about its data: it never stands for other data that were registered at its
//! address.

use galera::observe::registration::NO_POSITION;
use registry::Registry;
use testing::etcd::{EtcdCluster, loopback_address};

use crate::node::AgentNode;
use crate::until;
use crate::waiting::{HISTORY, founder, saved_state, stopped_node, value};

const WAITS: &str = "for an approved bootstrap order";

/// A registry of a cluster that was founded elsewhere.
async fn founded_registry() -> (EtcdCluster, Registry) {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    let key = "/galera/lab/founder";
    registry.put(key, history, None).await.unwrap();
    (etcd, registry)
}

async fn published(registry: &Registry, key: &str) -> String {
    until(key, async || value(registry, key).await).await
}

async fn waiting_for(registry: &Registry, address: &str, fragment: &str) -> String {
    let key = format!("{address}/waiting_for");
    until(fragment, async || {
        let reason = value(registry, &key).await;
        reason.filter(|reason| reason.contains(fragment))
    })
    .await
}

#[tokio::test]
async fn i34_other_data_leave_the_registration_of_the_former_ones() {
    let (etcd, registry) = founded_registry().await;
    let address = loopback_address().to_string();
    let former =
        format!(r#"{{"id":"former","stopped":{{"position":{{"uuid":"{HISTORY}","seqno":40}}}}}}"#);
    let registered = format!("{address}/registered");
    let key = format!("/galera/lab/{registered}");
    registry.put(key, former.clone(), None).await.unwrap();
    let empty = AgentNode::new(&address, &etcd.address(0));
    for node in [empty, stopped_node(&address, &etcd, "99")] {
        let mut node = node.with_variable("AUTO_BOOTSTRAP", "all-reported");
        node.start();
        let reason = waiting_for(&registry, &address, "is used by other").await;
        assert!(
            reason.contains("have not been reported stopped"),
            "{reason}"
        );
        assert_ne!(
            published(&registry, &format!("{address}/data_id")).await,
            "former"
        );
        assert_eq!(value(&registry, &registered).await, Some(former.clone()));
        // Nor is the position of other data the highest of the former ones.
        let highest = value(&registry, &format!("{address}/highest_position")).await;
        assert_eq!(highest, None);
        assert_eq!(node.stop().await, 0);
        assert_eq!(value(&registry, &registered).await, Some(former.clone()));
    }
}

#[tokio::test]
async fn i34_no_registration_is_lost_when_nodes_swap_addresses() {
    let (etcd, registry) = founded_registry().await;
    let (one, two) = (
        loopback_address().to_string(),
        loopback_address().to_string(),
    );
    let identities = async || {
        let mut known = Vec::new();
        for address in [&one, &two] {
            let record = published(&registry, &format!("{address}/registered")).await;
            let record: serde_json::Value = serde_json::from_str(&record).unwrap();
            let highest = value(&registry, &format!("{address}/highest_position")).await;
            known.push((record["id"].as_str().unwrap().to_owned(), highest));
        }
        known
    };
    let mut nodes = [
        stopped_node(&one, &etcd, "17"),
        stopped_node(&two, &etcd, "23"),
    ];
    for node in &mut nodes {
        node.start();
        node.wait_for_log(WAITS).await;
        assert_eq!(node.stop().await, 0);
    }
    let before = identities().await;
    let [first, second] = nodes;
    let mut first = first.with_variable("NODE_ADDRESS", &two);
    first.start();
    first
        .wait_for_log("Moved the registration of this data")
        .await;
    first.wait_for_log(WAITS).await;
    // The second has not come back yet, and is still known.
    let swapped: Vec<_> = before.iter().rev().cloned().collect();
    assert_eq!(identities().await, swapped);
    let mut second = second.with_variable("NODE_ADDRESS", &one);
    second.start();
    second.wait_for_log(WAITS).await;
    assert_eq!(identities().await, swapped);
    assert_eq!(first.stop().await, 0);
    assert_eq!(second.stop().await, 0);
}

#[tokio::test]
async fn i39_a_position_that_the_engine_does_not_confirm_is_not_reported() {
    let (etcd, registry) = founded_registry().await;
    for (engine, most) in [("12", 17), ("40", 40)] {
        let address = loopback_address().to_string();
        let mut node = stopped_node(&address, &etcd, "17");
        std::fs::write(node.path("engine-position"), engine).unwrap();
        node.start();
        let both = format!("grastate.dat names 17, but the storage engine is at {engine}");
        waiting_for(&registry, &address, &both).await;
        let position = published(&registry, &format!("{address}/recovered_position")).await;
        assert_eq!(position, NO_POSITION);
        let highest = value(&registry, &format!("{address}/highest_position")).await;
        assert_eq!(highest, None);
        assert_eq!(node.files()["grastate.dat"], saved_state("17"));
        // A Primary component that lacks some of it does not replace it.
        let lease = registry
            .grant_without_keep_alive(std::time::Duration::from_secs(60))
            .await
            .unwrap();
        for (field, status) in [
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_cluster_state_uuid", HISTORY),
            ("wsrep_last_committed", "16"),
        ] {
            let key = format!("/galera/lab/10.0.0.9/{field}");
            registry.put(key, status, Some(lease)).await.unwrap();
        }
        let ahead = format!("it may be as high as {most}");
        waiting_for(&registry, &address, &ahead).await;
        registry.revoke(lease).await.unwrap();
        assert_eq!(node.stop().await, 0);
    }
}

#[tokio::test]
async fn i36_members_seen_are_published_and_a_lost_founder_key_stops_automatic_starts() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let uuid = |number: u32| format!("{number:08x}-0c2f-11ef-9b6e-5a3f2c1d0e4b");
    let member = |number: u32| format!("member: {} 0\n", uuid(number));
    let view = format!(
        "my_uuid: {}\n#vwbeg\nview_id: 3 {HISTORY} 9\nbootstrap: 0\n{}{}{}#vwend\n",
        uuid(1),
        member(1),
        member(2),
        member(3)
    );
    let address = loopback_address().to_string();
    let mut node = stopped_node(&address, &etcd, "17")
        .with_file("gvwstate.dat", &view)
        .with_variable("AUTO_BOOTSTRAP", "all-reported")
        .with_variable("EXPECTED_MEMBERS", "1");
    node.start();
    waiting_for(&registry, &address, "The registry was lost").await;
    let seen = published(&registry, &format!("{address}/members_seen")).await;
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    assert_eq!((&seen["count"], &seen["view"]), (&3.into(), &9.into()));
    assert_eq!(seen["uuids"].as_array().unwrap().len(), 3);
    // With a founder key, its last view shows that two members are missing.
    let history = founder(&address, &format!("\"{HISTORY}\""));
    let key = "/galera/lab/founder";
    registry.put(key, history, None).await.unwrap();
    waiting_for(
        &registry,
        &address,
        "its last view had 3 members, but only 1",
    )
    .await;
    assert_eq!(node.stop().await, 0);
    assert_eq!(
        value(&registry, &format!("{address}/waiting_for")).await,
        None
    );
}

#[tokio::test]
async fn i40_fewer_empty_nodes_than_expected_do_not_found() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let node = || {
        let address = loopback_address().to_string();
        let node =
            AgentNode::new(&address, &etcd.address(0)).with_variable("EXPECTED_MEMBERS", "3");
        (address, node)
    };
    let ((one, mut first), (two, mut second)) = (node(), node());
    first.start();
    second.start();
    for address in [&one, &two] {
        let reason = waiting_for(&registry, address, "2 so far").await;
        assert!(reason.contains("EXPECTED_MEMBERS"), "{reason}");
    }
    assert_eq!(value(&registry, "founder").await, None);
    // The third one completes them: exactly one claims the founder key.
    let (_, mut third) = node();
    third.start();
    published(&registry, "founder").await;
    for node in [&mut first, &mut second, &mut third] {
        node.kill();
    }
}
