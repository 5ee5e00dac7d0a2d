//! What passes by itself does not end an approved action: a node in the midst of something, and a replica that has not
//! watched for long enough.

use galera::recover::action::ActionState;
use galera::recover::plan::CheckCode;
use serde_json::json;

use crate::action_fixture::{
    ActionFixture, action_request, apply_verb, assert_refused, post, request_action,
};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::{CrashPoint, FakeCluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_execution_waits_for_a_node_that_is_briefly_in_gather() {
    let etcd = TestEtcd::start().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let desk = ActionFixture::start(&etcd, &nodes).await;
    // A plan that is asked for says that the moment passes.
    let plan = desk.plan().await;
    nodes.set_gathering(u32::MAX);
    let problem = assert_refused(
        &request_action(&desk.operator, &action_request(&desk.plan().await)).await,
        422,
        "plan_not_executable",
    );
    assert!(
        problem.detail.contains("GATHER") && problem.detail.contains("may resolve within seconds"),
        "{}",
        problem.detail
    );
    nodes.set_gathering(0);
    assert_eq!(desk.plan().await.digest, plan.digest);
    // At execution, before it begins …
    let id = desk.request(&desk.operator).await.action.id;
    nodes.set_gathering(3);
    assert_eq!(apply_verb(&desk.approver, &id, "approve").await.status, 200);
    let done = desk
        .wait_for_state(&id, ActionState::Succeeded)
        .await
        .action;
    assert_eq!(nodes.sent(), 1, "{:?}", done.journal);
}

/// … and before the statement, where a successor plans again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_a_successor_also_waits_before_the_statement() {
    let etcd = TestEtcd::start().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let doomed = ActionFixture::start(&etcd, &nodes).await;
    let id = doomed.request(&doomed.operator).await.action.id;
    nodes.kill_at(CrashPoint::BeforeOpening);
    assert_eq!(
        apply_verb(&doomed.approver, &id, "approve").await.status,
        200
    );
    nodes.wait_until_killed().await;
    nodes.set_gathering(3);
    drop(doomed);
    let successor = ActionFixture::replica(&etcd, &nodes).await;
    successor.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_i16_a_lasting_transient_state_or_any_other_change_supersedes() {
    let etcd = TestEtcd::start().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let desk = ActionFixture::start(&etcd, &nodes).await;
    for moves in [false, true] {
        let id = desk.request(&desk.operator).await.action.id;
        nodes.set_gathering(u32::MAX);
        if moves {
            nodes.advance_position();
        }
        assert_eq!(apply_verb(&desk.approver, &id, "approve").await.status, 200);
        desk.wait_for_state(&id, ActionState::Superseded).await;
        nodes.set_gathering(0);
    }
    assert_eq!(nodes.sent(), 0);
}

/// A replica that has only begun to watch cannot tell for how long views have lasted. It plans the same as soon as it can,
/// and until then it neither begins an approved action nor ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_i16_a_new_replica_executes_an_approved_action_once_it_has_watched_long_enough() {
    let etcd = TestEtcd::start().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let doomed = ActionFixture::start(&etcd, &nodes).await;
    let approved = doomed.request(&doomed.operator).await.action;
    nodes.kill_at(CrashPoint::BeforePlanning);
    let answer = apply_verb(&doomed.approver, &approved.id, "approve").await;
    assert_eq!(answer.status, 200);
    nodes.wait_until_killed().await;
    drop(doomed);
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
    eventually("a person to be told to wait", async || {
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
    assert_eq!(done.execution.unwrap().replica, "r2");
}
