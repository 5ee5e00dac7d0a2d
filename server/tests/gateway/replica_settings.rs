//! Replicas on one etcd with different settings: which one carries out what the other one approved.

use galera::publish::api::ClusterRecovery;
use galera::recover::action::ActionState;
use galera::recover::plan::ActionKind;

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

fn two_approvals(options: &mut ConsoleOptions) {
    options.cluster_approvals = vec!["lab=2".parse().unwrap()];
}

fn no_approval(options: &mut ConsoleOptions) {
    options.limits.approvals_needed = 0;
}

/// Waits until pages of `fixture` show that its approval settings differ from those of the replica `other`.
async fn difference_shown(fixture: &ActionFixture, other: &str) {
    eventually("the difference is shown", async || {
        let overview = fixture.operator.get("/api/v1/clusters").await;
        let text = format!("The approval settings of {other} differ");
        overview.status == 200 && overview.text().contains(&text)
    })
    .await;
}

#[tokio::test]
async fn what_the_strictest_replica_requires_counts_on_all_of_them() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let strict = ActionFixture::start_with(&etcd, &nodes, two_approvals).await;
    let lax = ActionFixture::replica_with(&etcd, &nodes, no_approval).await;
    difference_shown(&lax, "r1").await;
    let action = lax.request(&lax.operator).await.action;
    assert_eq!(
        (action.state, action.approvals_needed),
        (ActionState::Pending, 2)
    );
    let path = "/api/v1/clusters/lab/recovery";
    let recovery: ClusterRecovery = lax.operator.get(path).await.json();
    assert_eq!(recovery.approvals[&ActionKind::Bootstrap], 2);
    let approve = async |client| apply_verb(client, &action.id, "approve").await;
    assert_eq!(approve(&lax.approver).await.status, 200);
    assert_eq!(lax.get(&action.id).await.action.state, ActionState::Pending);
    assert_eq!(nodes.sent(), 0);
    assert_eq!(approve(&lax.second_approver).await.status, 200);
    strict
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await;
}

#[tokio::test]
async fn a_stricter_replica_that_starts_after_the_approval_counts_at_the_execution() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let lax = ActionFixture::start_with(&etcd, &nodes, no_approval).await;
    let id = lax.request(&lax.operator).await.action.id;
    assert_eq!(lax.get(&id).await.action.state, ActionState::Approved);
    let _strict = ActionFixture::replica_with(&etcd, &nodes, two_approvals).await;
    difference_shown(&lax, "r2").await;
    let _ = apply_verb(&lax.operator, &id, "execute").await;
    let ended = lax.wait_for_state(&id, ActionState::Cancelled).await;
    let outcome = ended.action.outcome.unwrap();
    assert!(outcome.contains("0 of 2 approvals"), "{outcome}");
    assert_eq!(nodes.sent(), 0);
}
