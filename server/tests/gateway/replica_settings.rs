//! Replicas on one etcd with different settings: which one carries out what the other one approved.

use galera::recover::action::ActionState;

use crate::action_fixture::{ActionFixture, apply_verb, assert_refused};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::test_console::ConsoleOptions;

fn without_recovery(options: &mut ConsoleOptions) {
    options.recovery = false;
}

/// The approval arrives at the replica that cannot act: the other one does, once, and the action is not superseded.
#[tokio::test]
async fn a_replica_without_the_recovery_account_leaves_the_statement_to_another_one() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let able = ActionFixture::start(&etcd, &nodes).await;
    let unable = ActionFixture::replica_with(&etcd, &nodes, without_recovery).await;
    let id = able.request(&able.operator).await.action.id;
    let approved = apply_verb(&unable.approver, &id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    let done = able.wait_for_state(&id, ActionState::Succeeded).await;
    let execution = done.action.execution.unwrap();
    assert_eq!(execution.replica.as_str(), "r1");
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test]
async fn what_no_replica_can_carry_out_waits_and_is_named() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let able = ActionFixture::start(&etcd, &nodes).await;
    let unable = ActionFixture::replica_with(&etcd, &nodes, without_recovery).await;
    let id = able.request(&able.operator).await.action.id;
    drop(able);
    assert_eq!(
        apply_verb(&unable.approver, &id, "approve").await.status,
        200
    );
    eventually("the action waits", async || {
        let view = unable.get(&id).await;
        assert_eq!(
            view.action.state,
            ActionState::Approved,
            "{:?}",
            view.action.journal
        );
        let waiting = view.waiting;
        waiting.is_some_and(|wait| {
            wait.code == "other_settings" && wait.message.contains("--recovery-user")
        })
    })
    .await;
    let executed = apply_verb(&unable.operator, &id, "execute").await;
    assert_refused(&executed, 409, "other_settings");
    assert_eq!(nodes.sent(), 0);
    // Once a replica has the account again, it begins.
    let able = ActionFixture::replica_with(&etcd, &nodes, |options| {
        options.replica = galera::ReplicaId::new("r3");
    })
    .await;
    able.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}
