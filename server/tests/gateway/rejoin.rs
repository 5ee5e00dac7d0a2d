//! The order to rejoin, from the request to the proof (I35).

use std::sync::Arc;

use galera::observe::registration::{OrderVerifier, RejoinOrder, SignatureCheck};
use galera::publish::api::ActionView;
use galera::recover::action::ActionState;
use galera::recover::plan::{CheckCode, Plan};
use order_signature::{OrderSigningKey, TrustedKeys};
use serde_json::json;

use crate::action_fixture::{
    ActionFixture, action_request, apply_verb, assert_refused, request_action,
};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
const PLAN: &str = "/api/v1/clusters/lab/plans/rejoin";
const KEY: &str = "/galera/lab/rejoin";

/// n2 and n3 are Primary since fork 1 at 66; the agent of n1, which trusts `key`, is held back at 90.
async fn held_back(etcd: &TestEtcd, key: &OrderSigningKey) -> Arc<FakeCluster> {
    let registry = etcd.registry();
    let fork = json!({ "state_uuid": HISTORY, "seqno": 66, "members": ["n2"], "action_id": "a0" });
    let put = registry.put("/galera/lab/forks/1", fork.to_string(), None);
    put.await.unwrap();
    let nodes = FakeCluster::one_outside(registry);
    for node in ["n2", "n3"] {
        nodes.register(node, &[("phase", "running"), ("fork_epoch", "1")]);
    }
    nodes.register(
        "n1",
        &[
            ("phase", "waiting"),
            ("recovered_position", &format!("{HISTORY}:90")),
            ("registered", r#"{"id":"d1"}"#),
            ("data_id", "d1"),
            ("fork_epoch", "0"),
            ("order_keys", key.public().id()),
            ("held", r#"{"fork":1,"first":67,"last":90}"#),
        ],
    );
    nodes
}

async fn plan(fixture: &ActionFixture) -> Plan {
    let answer = fixture.operator.get(PLAN).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_a_member_that_is_held_back_rejoins_after_two_people_agreed() {
    let etcd = TestEtcd::in_memory();
    let key = Arc::new(OrderSigningKey::generate().unwrap());
    let nodes = held_back(&etcd, &key).await;
    let with_key = Arc::clone(&key);
    let fixture =
        ActionFixture::start_with(&etcd, &nodes, |options| options.order_key = Some(with_key))
            .await;
    let planned = plan(&fixture).await;
    let failing: Vec<_> = planned.failing().map(|check| &check.message).collect();
    assert!(planned.executable, "{failing:?}");
    assert_eq!(planned.loss.transactions, Some(24));
    let requested = request_action(&fixture.operator, &action_request(&planned)).await;
    assert_eq!(requested.status, 201, "{}", requested.text());
    let id = requested.json::<ActionView>().action.id;
    let own = apply_verb(&fixture.operator, &id, "approve").await;
    assert!(!own.status.is_success(), "{}", own.text());
    assert_eq!(etcd.registry().get(KEY).await.unwrap(), None);
    let approved = apply_verb(&fixture.approver, &id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    eventually("the order", async || {
        etcd.registry().get(KEY).await.unwrap().is_some()
    })
    .await;

    let entry = etcd.registry().get(KEY).await.unwrap().unwrap();
    assert_ne!(entry.lease, 0);
    let order: RejoinOrder = serde_json::from_slice(&entry.value).unwrap();
    let signed = order.order.signed.clone().unwrap();
    let trusted = TrustedKeys::from_pem(key.public().to_pem().as_bytes()).unwrap();
    let check = |bytes: Vec<u8>| trusted.verify(&signed.key_id, &bytes, &signed.signature);
    let claims = order.claims().unwrap();
    assert_eq!(check(claims.to_signed_bytes()), SignatureCheck::Valid);
    // It is not the signature of a bootstrap order for the same state.
    let bootstrap = order.order.claims().unwrap();
    assert_eq!(check(bootstrap.to_signed_bytes()), SignatureCheck::Invalid);
    assert_eq!(
        (order.ahead_of, order.order.node.to_string().as_str()),
        (1, "n1")
    );
    assert_eq!(order.order.data_id.as_deref(), Some("d1"));
    assert_eq!(order.order.position, format!("{HISTORY}:90"));
    assert_eq!(order.order.action_id.as_deref(), Some(id.as_str()));
    // The order ends long before the state transfer must.
    let execution = fixture.get(&id).await.action.execution.unwrap();
    assert!(signed.expires_at < execution.deadline);

    // Its agent obeys: the new data are registered, and the node is Synced.
    nodes.register(
        "n1",
        &[
            ("phase", "running"),
            ("registered", r#"{"id":"d9"}"#),
            ("data_id", "d9"),
            ("fork_epoch", "1"),
        ],
    );
    nodes.join("n1");
    let ended = fixture.wait_for_state(&id, ActionState::Succeeded).await;
    let outcome = ended.action.outcome.unwrap();
    assert!(outcome.contains("kept aside on that node"), "{outcome}");
    assert_eq!(etcd.registry().get(KEY).await.unwrap(), None);
    // What was approved is not requested again.
    let again = plan(&fixture).await;
    assert!(again.target.is_none(), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i16_a_node_that_changed_since_the_request_gets_no_order() {
    let etcd = TestEtcd::in_memory();
    let key = Arc::new(OrderSigningKey::generate().unwrap());
    let nodes = held_back(&etcd, &key).await;
    let with_key = Arc::clone(&key);
    let fixture =
        ActionFixture::start_with(&etcd, &nodes, |options| options.order_key = Some(with_key))
            .await;
    let planned = plan(&fixture).await;
    let requested = request_action(&fixture.operator, &action_request(&planned)).await;
    let id = requested.json::<ActionView>().action.id;
    // Other data wait under the same address by now.
    nodes.register(
        "n1",
        &[
            ("phase", "waiting"),
            ("recovered_position", &format!("{HISTORY}:91")),
            ("registered", r#"{"id":"d2"}"#),
            ("data_id", "d2"),
            ("fork_epoch", "0"),
            ("order_keys", key.public().id()),
            ("held", r#"{"fork":1,"first":67,"last":91}"#),
        ],
    );
    let approved = apply_verb(&fixture.approver, &id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    fixture.wait_for_state(&id, ActionState::Superseded).await;
    assert_eq!(etcd.registry().get(KEY).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_order_key_no_rejoin_can_be_requested() {
    let etcd = TestEtcd::in_memory();
    let key = OrderSigningKey::generate().unwrap();
    let nodes = held_back(&etcd, &key).await;
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let planned = plan(&fixture).await;
    let accepted = planned.check(&CheckCode::ORDER_ACCEPTED).unwrap();
    assert!(
        accepted.message.contains("--order-key-file"),
        "{accepted:?}"
    );
    let requested = request_action(&fixture.operator, &action_request(&planned)).await;
    assert_refused(&requested, 422, "plan_not_executable");
}
