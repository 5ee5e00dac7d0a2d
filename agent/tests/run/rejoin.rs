//! A node whose data a later fork continued without gives them up only by a signed order, and keeps them (I35).

use std::fs;
use std::time::Duration;

use galera::observe::registration::{BootstrapOrder, HeldData, OrderSignature, RejoinOrder};
use order_signature::OrderSigningKey;
use registry::Registry;
use testing::etcd::{EtcdCluster, loopback_address};

use crate::node::AgentNode;
use crate::until;
use crate::waiting::{HISTORY, founder, saved_state, stopped_node, value};

const KEY: &str = "/galera/lab/rejoin";
const MINUTE: Duration = Duration::from_secs(60);

/// A cluster whose member 10.0.0.9 is Primary since fork 1 at 12, and passed 17, where a node waits.
struct ContinuedCluster {
    etcd: EtcdCluster,
    registry: Registry,
    address: String,
    console: OrderSigningKey,
}

impl ContinuedCluster {
    async fn new() -> Self {
        let etcd = EtcdCluster::single().await;
        let registry = etcd.registry();
        let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
        let fork = format!(r#"{{"state_uuid":"{HISTORY}","seqno":12,"members":["10.0.0.9"]}}"#);
        for (key, value) in [("founder", history), ("forks/1", fork)] {
            let key = format!("/galera/lab/{key}");
            registry.put(key, value, None).await.unwrap();
        }
        let lease = registry.grant_without_keep_alive(5 * MINUTE).await.unwrap();
        for (field, status) in [
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_cluster_state_uuid", HISTORY),
            ("wsrep_last_committed", "40"),
            ("fork_epoch", "1"),
        ] {
            let key = format!("/galera/lab/10.0.0.9/{field}");
            registry.put(key, status, Some(lease)).await.unwrap();
        }
        Self {
            etcd,
            registry,
            address: loopback_address().to_string(),
            console: OrderSigningKey::generate().unwrap(),
        }
    }

    /// A node at position 17 that trusts the console.
    fn node(&self) -> AgentNode {
        stopped_node(&self.address, &self.etcd, "17")
            .with_file("ibdata1", "what only this node has")
            .with_order_keys(&[&self.console])
    }

    async fn published(&self, field: &str) -> String {
        let key = format!("{}/{field}", self.address);
        until(field, async || value(&self.registry, &key).await).await
    }

    async fn order(&self, action: &str) -> RejoinOrder {
        let now = galera_agent::clock::now();
        RejoinOrder {
            order: BootstrapOrder {
                node: self.address.parse().unwrap(),
                position: format!("{HISTORY}:17"),
                action_id: Some(action.to_owned()),
                data_id: Some(self.published("data_id").await),
                signed: Some(Box::new(OrderSignature {
                    registry: "/galera/".to_owned(),
                    cluster: "lab".to_owned(),
                    not_before: now.minus(2 * MINUTE),
                    expires_at: now.plus(5 * MINUTE),
                    fork_epoch: 0,
                    key_id: self.console.public().id().to_owned(),
                    signature: String::new(),
                })),
            },
            ahead_of: 1,
        }
    }

    async fn put_signed(&self, mut rejoin: RejoinOrder) {
        let signature = self.console.sign(&rejoin.claims().unwrap());
        rejoin.order.signed.as_mut().unwrap().signature = signature;
        self.put(&rejoin).await;
    }

    async fn put(&self, rejoin: &RejoinOrder) {
        let granted = self.registry.grant_without_keep_alive(MINUTE).await;
        let put = self.registry.put(KEY, rejoin.to_value(), granted.ok());
        put.await.unwrap();
    }
}

/// The files of the one kept directory beside the data.
fn kept(node: &AgentNode) -> std::path::PathBuf {
    let kept: Vec<_> = fs::read_dir(node.path("data.kept"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0].path()
}

#[tokio::test]
async fn i35_a_node_that_is_held_back_keeps_its_data_and_joins_empty() {
    let cluster = ContinuedCluster::new().await;
    let mut node = cluster.node();
    node.start();
    node.wait_for_log("Transactions 13 to 17 of").await;
    let held = HeldData::parse(&cluster.published("held").await).unwrap();
    assert_eq!(
        (held.range.fork, held.range.first, held.range.last),
        (1, Some(13), 17)
    );
    assert_eq!(held.obstacle, None);
    let before = cluster.published("data_id").await;

    // Unsigned, changed, or for another fork: nothing is moved.
    let genuine = cluster.order("a1").await;
    let mut unsigned = genuine.clone();
    unsigned.order.signed = None;
    cluster.put(&unsigned).await;
    node.wait_for_log("it is not signed").await;
    cluster.put(&genuine).await;
    node.wait_for_log("its signature is not valid").await;
    let mut other = genuine.clone();
    other.ahead_of = 2;
    cluster.put_signed(other).await;
    node.wait_for_log("what holds this node's data back is fork 1")
        .await;
    assert_eq!(node.files()["ibdata1"], "what only this node has");

    cluster.put_signed(genuine.clone()).await;
    node.wait_for_log("are kept in").await;
    node.wait_for_log("Joining 10.0.0.9").await;
    let kept = kept(&node);
    let read = |name: &str| fs::read_to_string(kept.join(name)).unwrap();
    assert_eq!(read("ibdata1"), "what only this node has");
    assert_eq!(read("grastate.dat"), saved_state("17"));
    assert!(read(".galera-agent.json").contains(&before));
    // The new data have another identity, which is registered: nothing waits for the old ones.
    let registered = format!("{}/registered", cluster.address);
    until("the new registration", async || {
        let registered = value(&cluster.registry, &registered).await?;
        (!registered.contains(&before)).then_some(())
    })
    .await;
    node.stop().await;

    // The old order finds other data, which just join.
    cluster.put_signed(genuine).await;
    node.start();
    node.wait_for_log("Joining 10.0.0.9").await;
    assert!(!node.log().contains("are kept in"), "{}", node.log());
    node.stop().await;
}

#[tokio::test]
async fn i35_without_room_for_both_nothing_is_moved_and_the_remedy_is_published() {
    let cluster = ContinuedCluster::new().await;
    let mut node = cluster.node();
    for number in 0..3 {
        fs::create_dir_all(node.path(&format!("data.kept/{number}"))).unwrap();
    }
    node.start();
    node.wait_for_log("Transactions 13 to 17 of").await;
    let held = HeldData::parse(&cluster.published("held").await).unwrap();
    let obstacle = held.obstacle.unwrap();
    assert!(
        obstacle.contains("remove those that are no longer needed"),
        "{obstacle}"
    );
    let genuine = cluster.order("a1").await;
    cluster.put_signed(genuine).await;
    node.wait_for_log("3 earlier directories are kept already")
        .await;
    assert_eq!(node.files()["ibdata1"], "what only this node has");
    assert_eq!(node.stop().await, 0);
}
