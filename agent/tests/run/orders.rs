//! Attacks by a client with write access to all of etcd. Without the private key of a console that the agent trusts, no
//! order starts a server.

use std::time::Duration;

use galera::Timestamp;
use galera::observe::registration::{BootstrapOrder, OrderSignature};
use order_signature::OrderSigningKey;
use registry::Registry;
use testing::etcd::{EtcdCluster, loopback_address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::AgentNode;
use crate::until;
use crate::waiting::{HISTORY, founder, saved_state, stopped_node, value};

const ORDER_KEY: &str = "/galera/lab/bootstrap";
const STARTED: &str = "Server started";
const MINUTE: Duration = Duration::from_secs(60);

/// A stopped cluster of which one agent waits.
struct StoppedCluster {
    etcd: EtcdCluster,
    registry: Registry,
    address: String,
    console: OrderSigningKey,
}

impl StoppedCluster {
    async fn new() -> Self {
        let etcd = EtcdCluster::single().await;
        let registry = etcd.registry();
        let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
        let key = "/galera/lab/founder";
        registry.put(key, history, None).await.unwrap();
        Self {
            etcd,
            registry,
            address: loopback_address().to_string(),
            console: OrderSigningKey::generate().unwrap(),
        }
    }

    /// A node at position 17 that trusts the console.
    fn node(&self) -> AgentNode {
        stopped_node(&self.address, &self.etcd, "17").with_order_keys(&[&self.console])
    }

    async fn published(&self, field: &str) -> String {
        let key = format!("{}/{field}", self.address);
        until(field, async || value(&self.registry, &key).await).await
    }

    /// The order that the node obeys, not yet signed.
    async fn order(&self, action: &str) -> BootstrapOrder {
        let now = galera_agent::clock::now();
        BootstrapOrder {
            node: self.address.parse().unwrap(),
            position: format!("{HISTORY}:17"),
            action_id: Some(action.to_owned()),
            data_id: Some(self.published("data_id").await),
            signed: Some(Box::new(OrderSignature {
                registry: "/galera/".to_owned(),
                cluster: "lab".to_owned(),
                not_before: now.minus(2 * MINUTE),
                expires_at: now.plus(5 * MINUTE),
                fork_epoch: self.published("fork_epoch").await.parse().unwrap(),
                key_id: String::new(),
                signature: String::new(),
            })),
        }
    }

    async fn lease(&self) -> i64 {
        let granted = self.registry.grant_without_keep_alive(MINUTE).await;
        granted.unwrap()
    }

    async fn put_order(&self, order: &BootstrapOrder) {
        let lease = self.lease().await;
        let put = self.registry.put(ORDER_KEY, order.to_value(), Some(lease));
        put.await.unwrap();
    }
}

fn sign(key: &OrderSigningKey, mut order: BootstrapOrder) -> BootstrapOrder {
    if let Some(signed) = &mut order.signed {
        key.public().id().clone_into(&mut signed.key_id);
    }
    let signature = key.sign(&order.claims().unwrap());
    signature_of(&mut order).signature = signature;
    order
}

fn signature_of(order: &mut BootstrapOrder) -> &mut OrderSignature {
    order.signed.as_mut().unwrap()
}

#[tokio::test]
async fn a_forged_order_is_not_obeyed() {
    let cluster = StoppedCluster::new().await;
    let mut node = cluster.node();
    let before = node.files();
    node.start();
    node.wait_for_log("for an approved bootstrap order").await;
    let (console, foreign) = (&cluster.console, OrderSigningKey::generate().unwrap());
    assert_eq!(cluster.published("order_keys").await, console.public().id());
    let genuine = cluster.order("a1").await;
    let altered = |change: fn(&mut BootstrapOrder)| {
        let mut order = genuine.clone();
        change(&mut order);
        sign(console, order)
    };
    let tampered = |change: fn(&mut BootstrapOrder)| {
        let mut order = sign(console, genuine.clone());
        change(&mut order);
        order
    };
    let forged = [
        (tampered(|order| order.signed = None), "it is not signed"),
        (sign(&foreign, genuine.clone()), foreign.public().id()),
        (
            tampered(|order| order.action_id = Some("a2".to_owned())),
            "its signature is not valid",
        ),
        (
            altered(|order| signature_of(order).cluster = "prod".to_owned()),
            "it is for the cluster /galera/prod",
        ),
        (
            altered(|order| order.node = "10.0.0.9".parse().unwrap()),
            "10.0.0.9 is ordered",
        ),
        (
            altered(|order| order.data_id = Some("d7".to_owned())),
            "it is for other data (d7)",
        ),
        (
            altered(|order| order.position = order.position.replace(":17", ":16")),
            "it names position",
        ),
        (
            altered(|order| signature_of(order).expires_at = Timestamp::from_unix_millis(1_000)),
            "it expired at 1970-01-01T00:00:01Z, and the clock of this node showed",
        ),
        (
            altered(|order| {
                let signed = signature_of(order);
                signed.not_before = signed.expires_at;
            }),
            "it is not valid before",
        ),
        (
            altered(|order| order.action_id = None),
            "it names no action",
        ),
    ];
    for (order, words) in &forged {
        cluster.put_order(order).await;
        node.wait_for_log(words).await;
    }
    // Without a lease no running action stands behind it.
    let order = sign(console, genuine).to_value();
    cluster.registry.put(ORDER_KEY, order, None).await.unwrap();
    node.wait_for_log("its key has no lease").await;
    assert!(!node.log().contains(STARTED), "{}", node.log());
    assert_eq!(node.stop().await, 0);
    let mut after = node.files();
    after.remove(".galera-agent.json");
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_order_that_was_obeyed_is_not_obeyed_again() {
    let cluster = StoppedCluster::new().await;
    let mut node = cluster.node();
    node.start();
    let order = sign(&cluster.console, cluster.order("a1").await);
    cluster.put_order(&order).await;
    node.wait_for_log("Server started as the first member")
        .await;
    // The bootstrap is recorded before it happens, and the data know that they are part of it.
    let fork = value(&cluster.registry, "forks/1").await.unwrap();
    let fork: serde_json::Value = serde_json::from_str(&fork).unwrap();
    assert_eq!(fork["state_uuid"], HISTORY);
    assert_eq!((&fork["seqno"], &fork["parent"]), (&17.into(), &0.into()));
    assert_eq!(fork["action_id"], "a1");
    assert_eq!(fork["members"], serde_json::json!([cluster.address]));
    // The directory has nothing that a server could start from.
    assert_ne!(node.wait().await, 0);
    // As if the server had stopped again at the same position.
    let mut node = node.with_file("grastate.dat", &saved_state("17"));
    node.start();
    node.wait_for_log("it was followed before").await;
    cluster.put_order(&order).await;
    let mut stale = cluster.order("a2").await;
    assert_eq!(signature_of(&mut stale).fork_epoch, 1);
    signature_of(&mut stale).fork_epoch = 0;
    cluster.put_order(&sign(&cluster.console, stale)).await;
    node.wait_for_log("it is for data of fork 0").await;
    let other = sign(&cluster.console, cluster.order("a2").await);
    cluster.put_order(&other).await;
    node.wait_for_log("Action a2 orders").await;
    assert_ne!(node.wait().await, 0);
}

#[tokio::test]
async fn without_a_key_no_order_is_obeyed_and_the_health_endpoint_says_so() {
    let cluster = StoppedCluster::new().await;
    let endpoint = format!("{}:9200", cluster.address);
    let mut node = cluster
        .node()
        .with_variable("ORDER_PUBLIC_KEY_FILE", "")
        .with_variable("HEALTH_LISTEN", &endpoint);
    node.start();
    node.wait_for_log("for an approved bootstrap order (ORDER_PUBLIC_KEY_FILE is not set")
        .await;
    assert_eq!(cluster.published("order_keys").await, "none");
    let order = cluster.order("a1").await;
    let unsigned = BootstrapOrder {
        signed: None,
        ..order.clone()
    };
    for order in [unsigned, sign(&cluster.console, order)] {
        cluster.put_order(&order).await;
        let words =
            "Ignoring the bootstrap order of action \"a1\": ORDER_PUBLIC_KEY_FILE is not set";
        node.wait_for_log(words).await;
    }
    let health = until("the health endpoint", async || {
        let answer = get(&endpoint).await;
        answer.contains("Ignoring").then_some(answer)
    })
    .await;
    assert!(health.starts_with("HTTP/1.1 503"), "{health}");
    assert!(health.contains("galera-console order-key show"), "{health}");
    assert!(!node.log().contains(STARTED), "{}", node.log());
    assert_eq!(node.stop().await, 0);
}

async fn get(endpoint: &str) -> String {
    let mut stream = TcpStream::connect(endpoint).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn either_of_two_keys_is_obeyed_during_rotation() {
    let cluster = StoppedCluster::new().await;
    let new = OrderSigningKey::generate().unwrap();
    let mut node = cluster.node().with_order_keys(&[&cluster.console, &new]);
    for (key, action) in [(&cluster.console, "a1"), (&new, "a2")] {
        node.start();
        node.wait_for_log("Published phase waiting").await;
        cluster
            .put_order(&sign(key, cluster.order(action).await))
            .await;
        node.wait_for_log("Server started as the first member")
            .await;
        assert_ne!(node.wait().await, 0);
        node = node.with_file("grastate.dat", &saved_state("17"));
    }
}

#[tokio::test]
async fn a_clock_an_hour_off_refuses_and_names_both_times() {
    let cluster = StoppedCluster::new().await;
    for (clock, words) in [("+1h", "it expired at"), ("-1h", "it is not valid before")] {
        let mut node = cluster.node().with_clock_offset(clock);
        node.start();
        node.wait_for_log("Published phase waiting").await;
        let order = sign(&cluster.console, cluster.order(clock).await);
        cluster.put_order(&order).await;
        let line = node.wait_for_log(words).await;
        let signed = order.signed.unwrap();
        let console = [signed.not_before, signed.expires_at].map(|time| time.to_string());
        assert!(console.iter().any(|time| line.contains(time)), "{line}");
        assert!(line.contains("the clock of this node showed"), "{line}");
        assert!(!node.log().contains(STARTED), "{}", node.log());
        assert_eq!(node.stop().await, 0);
    }
}

#[tokio::test]
async fn a_forged_self_order_is_not_obeyed() {
    let cluster = StoppedCluster::new().await;
    let other = "/galera/lab/10.0.0.9/registered";
    cluster.registry.put(other, "{}", None).await.unwrap();
    let mut node = cluster
        .node()
        .with_variable("AUTO_BOOTSTRAP", "all-reported");
    node.start();
    node.wait_for_log("Waiting for 10.0.0.9").await;
    let forged = BootstrapOrder {
        data_id: Some(cluster.published("data_id").await),
        ..BootstrapOrder::automatic(
            &cluster.address.parse().unwrap(),
            &format!("{HISTORY}:17").parse().unwrap(),
            "forged",
        )
    };
    cluster.put_order(&forged).await;
    node.wait_for_log("it is not signed").await;
    // Under the agent's own lease, whose id is no secret.
    let phase = format!("/galera/lab/{}/phase", cluster.address);
    let phase = cluster.registry.get(phase).await.unwrap().unwrap();
    let put = cluster
        .registry
        .put(ORDER_KEY, forged.to_value(), Some(phase.lease));
    put.await.unwrap();
    node.wait_for_log("Removing the order \"auto-forged\"")
        .await;
    until("its removal", async || {
        let order = value(&cluster.registry, "bootstrap").await;
        order.is_none().then_some(())
    })
    .await;
    assert!(!node.log().contains(STARTED), "{}", node.log());
    // The agent's own order, once every member has reported, needs no console.
    let registered = cluster.registry.get(other).await.unwrap().unwrap();
    let deleted = cluster.registry.delete_if(other, registered.mod_revision);
    deleted.await.unwrap();
    node.wait_for_log("wrote its own order").await;
    node.wait_for_log("Server started as the first member")
        .await;
    assert_ne!(node.wait().await, 0);
}

#[tokio::test]
async fn a_forged_founder_key_makes_no_node_found() {
    let cluster = StoppedCluster::new().await;
    let (registry, address) = (&cluster.registry, &cluster.address);
    let forge = async |started: bool| {
        let data = cluster.published("data_id").await;
        let value = format!(
            r#"{{"node":"{address}","id":"{data}","started":{started},"state_uuid":null}}"#
        );
        registry
            .put("/galera/lab/founder", value, None)
            .await
            .unwrap();
    };
    for started in [false, true] {
        let mut empty = AgentNode::new(address, &cluster.etcd.address(0));
        empty.start();
        empty.wait_for_log("cluster lab has no Primary").await;
        forge(started).await;
        empty
            .wait_for_log("this agent did not create the key")
            .await;
        assert_eq!(empty.stop().await, 0);
        assert_eq!(empty.files().len(), 1, "{:?}", empty.files());
        let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
        registry
            .put("/galera/lab/founder", history, None)
            .await
            .unwrap();
    }
    // Data that founded this cluster long ago, and every other registration removed.
    let mut node = cluster.node();
    node.start();
    node.wait_for_log("for an approved bootstrap order").await;
    forge(true).await;
    node.wait_for_log("which never recorded its history").await;
    assert!(!node.log().contains(STARTED), "{}", node.log());
    assert_eq!(node.stop().await, 0);
}
