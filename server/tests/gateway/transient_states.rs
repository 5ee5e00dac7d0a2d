//! Transient conditions do not end an approved action: a node in a transient state, and a replica that has not observed
//! the nodes long enough.

use console_core::keyspace::ActionKeys;
use galera::recover::action::ActionState;
use galera::recover::plan::CheckCode;
use serde_json::json;

use crate::action_fixture::{
    ActionFixture, action_request, apply_verb, assert_refused, post, request_action,
};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::{CrashPoint, FakeCluster};
use crate::test_console::STATE_PREFIX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_execution_waits_for_a_node_that_is_briefly_in_gather() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    // A plan reports that the state is transient.
    let plan = fixture.plan().await;
    nodes.set_gathering(u32::MAX);
    let problem = assert_refused(
        &request_action(&fixture.operator, &action_request(&fixture.plan().await)).await,
        422,
        "plan_not_executable",
    );
    assert!(
        problem.detail.contains("GATHER") && problem.detail.contains("may resolve within seconds"),
        "{}",
        problem.detail
    );
    nodes.set_gathering(0);
    assert_eq!(fixture.plan().await.digest, plan.digest);
    // At execution, before it begins …
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.set_gathering(3);
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    let done = fixture
        .wait_for_state(&id, ActionState::Succeeded)
        .await
        .action;
    assert_eq!(nodes.sent(), 1, "{:?}", done.journal);
}

/// … and before the statement, where a successor replans.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_a_successor_also_waits_before_the_statement() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let first = ActionFixture::start(&etcd, &nodes).await;
    let id = first.request(&first.operator).await.action.id;
    nodes.kill_at(CrashPoint::BeforeOpening);
    assert_eq!(
        apply_verb(&first.approver, &id, "approve").await.status,
        200
    );
    nodes.wait_until_killed().await;
    nodes.set_gathering(3);
    drop(first);
    let successor = ActionFixture::replica(&etcd, &nodes).await;
    successor.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_i16_a_lasting_transient_state_or_any_other_change_supersedes() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    for advances in [false, true] {
        let id = fixture.request(&fixture.operator).await.action.id;
        nodes.set_gathering(u32::MAX);
        if advances {
            nodes.advance_position();
        }
        assert_eq!(
            apply_verb(&fixture.approver, &id, "approve").await.status,
            200
        );
        fixture.wait_for_state(&id, ActionState::Superseded).await;
        nodes.set_gathering(0);
    }
    assert_eq!(nodes.sent(), 0);
}

/// A replica that has just started cannot tell how long views have lasted. Until it can, and computes the same plan, it
/// neither begins nor ends an approved action.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_i16_a_new_replica_executes_an_approved_action_once_it_has_watched_long_enough() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let first = ActionFixture::start(&etcd, &nodes).await;
    let approved = first.request(&first.operator).await.action;
    nodes.kill_at(CrashPoint::BeforePlanning);
    let answer = apply_verb(&first.approver, &approved.id, "approve").await;
    assert_eq!(answer.status, 200);
    nodes.wait_until_killed().await;
    drop(first);
    let fresh = ActionFixture::new_replica(&etcd, &nodes).await;
    let path = "/api/v1/clusters/lab/plans/bootstrap";
    let attested = json!({ "attestations": action_request(&approved.plan)["attestations"] });
    let early: galera::recover::plan::Plan = post(&fresh.operator, path, &attested).await.json();
    let settled = early.check(&CheckCode::SETTLED).unwrap();
    assert!(
        !settled.status.permits() && settled.message.contains("has watched"),
        "{}",
        settled.message
    );
    let registry = etcd.registry();
    eventually("the user to be asked to wait", async || {
        if registry.get("/state/locks/lab").await.unwrap().is_some() {
            return false;
        }
        let answer = apply_verb(&fresh.operator, &approved.id, "execute").await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        answer.problem().code == "not_watched_enough"
    })
    .await;
    let done = fresh
        .wait_for_state(&approved.id, ActionState::Succeeded)
        .await
        .action;
    assert_eq!((done.plan.digest, nodes.sent()), (approved.plan.digest, 1));
    assert_eq!(done.execution.unwrap().replica.as_str(), "r2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_action_says_what_it_waits_for() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    let waits_for = async |code: &str| {
        eventually(&format!("the action to wait: {code}"), async || {
            let view = fixture.get(&id).await;
            view.waiting.is_some_and(|wait| wait.code == code)
        })
        .await;
        fixture.get(&id).await
    };

    let lock = ActionKeys::new(STATE_PREFIX).lock(&"lab".parse().unwrap());
    let registry = etcd.registry();
    let revision = registry.put(lock.as_str(), "r9 1f", None).await.unwrap();
    let approved = apply_verb(&fixture.approver, &id, "approve").await;
    assert_eq!(approved.status, 200);
    let locked = waits_for("locked").await;
    assert_eq!(locked.action.state, ActionState::Approved);
    let wait = locked.waiting.unwrap();
    assert!(wait.message.contains("Replica r9"), "{}", wait.message);
    let page = fixture
        .viewer
        .get(&format!("/fragments/actions/{id}"))
        .await;
    assert!(page.text().contains("Replica r9"), "{}", page.text());

    nodes.set_gathering(1_000_000);
    etcd.registry().delete_if(lock, revision).await.unwrap();
    let gathering = waits_for("node_not_ready").await;
    assert_eq!(gathering.action.state, ActionState::Approved);
    nodes.set_gathering(0);
    let done = fixture.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(done.waiting, None);
}
