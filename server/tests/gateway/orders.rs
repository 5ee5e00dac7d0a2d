//! The order to a stopped cluster, from the approval to what an agent verifies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use galera::ReplicaId;
use galera::access::Role;
use galera::observe::registration::{BootstrapOrder, OrderVerifier, SignatureCheck};
use galera::publish::api::ActionView;
use galera::recover::plan::{CheckCode, Mechanism, Plan};
use order_signature::{OrderSigningKey, TrustedKeys};
use registry::Registry;
use serde_json::json;

use crate::action_fixture::{apply_verb, post};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually, free_ports};
use crate::test_console::{ConsoleOptions, TestConsole};

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

/// A stopped cluster of one node, whose agent waits.
struct StoppedNode {
    etcd: TestEtcd,
    registry: Registry,
    id: String,
    lease: i64,
}

impl StoppedNode {
    async fn start(trusted: &str) -> Self {
        let etcd = TestEtcd::in_memory();
        let registry = etcd.registry();
        let [port] = free_ports();
        let lease = registry
            .grant_without_keep_alive(Duration::from_secs(60))
            .await
            .unwrap();
        let node = Self {
            etcd,
            registry,
            id: format!("127.0.0.1:{port}"),
            lease,
        };
        let founder = format!(r#"{{"node":"{}","state_uuid":"{HISTORY}"}}"#, node.id);
        let put = node.registry.put("/galera/lab/founder", founder, None);
        put.await.unwrap();
        node.publish("registered", r#"{"id":"d1"}"#).await;
        node.publish("data_id", "d1").await;
        node.publish("fork_epoch", "2").await;
        node.publish("order_keys", trusted).await;
        let position = format!("{HISTORY}:17");
        node.publish("recovered_position", &position).await;
        node.publish("phase", "waiting").await;
        node
    }

    async fn publish(&self, field: &str, value: &str) {
        let key = format!("/galera/lab/{}/{field}", self.id);
        let lease = (field != "registered").then_some(self.lease);
        self.registry.put(key, value, lease).await.unwrap();
    }

    async fn replica(&self, name: &str, key: Option<&Arc<OrderSigningKey>>) -> TestConsole {
        let options = ConsoleOptions {
            replica: ReplicaId::new(name),
            members: vec![self.id.clone()],
            approvals: BTreeMap::new(),
            order_key: key.cloned(),
            ..ConsoleOptions::default()
        };
        TestConsole::start_with(&self.etcd, options).await
    }

    async fn console(&self, key: Option<&Arc<OrderSigningKey>>) -> (TestConsole, TestClient) {
        let console = self.replica("r1", key).await;
        console.add_user("olga", &[Role::Operator]).await;
        console.add_user("adam", &[Role::Approver]).await;
        let operator = console.sign_in("olga").await;
        (console, operator)
    }
}

/// The plan once `wanted` holds.
async fn plan_when(operator: &TestClient, wanted: impl Fn(&Plan) -> bool) -> Plan {
    let read = async || {
        let path = "/api/v1/clusters/lab/plans/bootstrap";
        operator.get(path).await.json::<Plan>()
    };
    eventually("the plan", async || wanted(&read().await)).await;
    read().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_is_signed_for_the_node_its_data_and_the_action() {
    let key = Arc::new(OrderSigningKey::generate().unwrap());
    let node = StoppedNode::start(key.public().id()).await;
    let (console, operator) = node.console(Some(&key)).await;
    let plan = plan_when(&operator, |plan| plan.executable).await;
    let body = json!({
        "kind": "bootstrap", "plan_digest": plan.digest, "confirm": "lab", "reason": "power loss", "attestations": [],
    });
    let requested = post(&operator, "/api/v1/clusters/lab/actions", &body).await;
    assert_eq!(requested.status, 201, "{}", requested.text());
    let action = requested.json::<ActionView>().action;
    let approved = apply_verb(&console.sign_in("adam").await, &action.id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    eventually("the order", async || {
        let order = node.registry.get("/galera/lab/bootstrap").await.unwrap();
        order.is_some_and(|order| order.lease != 0)
    })
    .await;
    let entry = node.registry.get("/galera/lab/bootstrap").await.unwrap();
    let entry = entry.unwrap();
    let order: BootstrapOrder = serde_json::from_slice(&entry.value).unwrap();
    let claims = order.claims().unwrap();
    let signed = order.signed.unwrap();
    let trusted = TrustedKeys::from_pem(key.public().to_pem().as_bytes()).unwrap();
    let verified = trusted.verify(&signed.key_id, &claims.to_signed_bytes(), &signed.signature);
    assert_eq!(verified, SignatureCheck::Valid);
    assert_eq!(order.node.to_string(), node.id);
    assert_eq!(order.position, format!("{HISTORY}:17"));
    assert_eq!(order.action_id.as_deref(), Some(action.id.as_str()));
    assert_eq!(order.data_id.as_deref(), Some("d1"));
    assert_eq!(claims.fork_epoch, 2);
    assert_eq!(
        (claims.registry.as_str(), claims.cluster.as_str()),
        ("/galera/", "lab")
    );
    let now = console_core::clock::now();
    assert!(signed.not_before < now && now < signed.expires_at);
    let seen = operator
        .get(&format!("/api/v1/actions/{}", action.id))
        .await;
    let execution = seen.json::<ActionView>().action.execution.unwrap();
    assert_eq!(signed.expires_at, execution.deadline);
}

/// A replica without the order key, or with one that the agent does not trust, takes the approval: another one signs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_sign_leaves_the_order_to_another_one() {
    let key = Arc::new(OrderSigningKey::generate().unwrap());
    let foreign = Arc::new(OrderSigningKey::generate().unwrap());
    for other_key in [None, Some(&foreign)] {
        let node = StoppedNode::start(key.public().id()).await;
        let (_console, operator) = node.console(Some(&key)).await;
        let other = node.replica("r2", other_key).await;
        let approver = other.sign_in("adam").await;
        let refused = |plan: &Plan| {
            let mut failing = plan.failing();
            failing.any(|check| check.code == CheckCode::ORDER_ACCEPTED)
        };
        plan_when(&approver, refused).await;
        let plan = plan_when(&operator, |plan| plan.executable).await;
        let body = json!({
            "kind": "bootstrap", "plan_digest": plan.digest, "confirm": "lab", "reason": "power loss", "attestations": [],
        });
        let requested = post(&operator, "/api/v1/clusters/lab/actions", &body).await;
        let action = requested.json::<ActionView>().action;
        let approved = apply_verb(&approver, &action.id, "approve").await;
        assert_eq!(approved.status, 200, "{}", approved.text());
        eventually("the order", async || {
            let path = format!("/api/v1/actions/{}", action.id);
            let seen = operator.get(&path).await.json::<ActionView>().action;
            assert!(!seen.state.is_final(), "{:?}", seen.journal);
            let order = node.registry.get("/galera/lab/bootstrap").await.unwrap();
            order.is_some_and(|order| order.lease != 0)
        })
        .await;
        let entry = node.registry.get("/galera/lab/bootstrap").await.unwrap();
        let order: BootstrapOrder = serde_json::from_slice(&entry.unwrap().value).unwrap();
        assert_eq!(order.signed.unwrap().key_id, key.public().id());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_whose_orders_the_agent_refuses_plans_none() {
    let key = Arc::new(OrderSigningKey::generate().unwrap());
    let node = StoppedNode::start("0123456789abcdef").await;
    let (_console, operator) = node.console(Some(&key)).await;
    let failing = |plan: &Plan| {
        let mut failing = plan.failing();
        failing.any(|check| check.code == CheckCode::ORDER_ACCEPTED)
    };
    let plan = plan_when(&operator, failing).await;
    assert!(plan.steps.is_empty());
    assert_eq!(plan.target.unwrap().mechanism, Mechanism::ByHand);
}
