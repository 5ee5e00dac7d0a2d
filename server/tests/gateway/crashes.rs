//! The executing replica crashes at every step; another one finishes by observing, and nothing is executed twice (I17).

use galera::ReplicaId;
use galera::recover::action::{ActionState, StepState};

use crate::action_fixture::{ActionFixture, apply_verb, unproven_soon};
use crate::etcd::TestEtcd;
use crate::fake_cluster::{CrashPoint, FakeCluster};

/// Kills the executor at `crash_point` and lets another replica finish. Returns the ended action and the number of
/// statements sent.
async fn run_killed_at(crash_point: CrashPoint) -> (galera::recover::action::Action, u32) {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let first = ActionFixture::start_with(&etcd, &nodes, |options| {
        if crash_point == CrashPoint::BeforeSending {
            unproven_soon(options);
        }
    })
    .await;
    let id = first.request(&first.operator).await.action.id;
    nodes.kill_at(crash_point);
    assert_eq!(
        apply_verb(&first.approver, &id, "approve").await.status,
        200
    );
    nodes.wait_until_killed().await;
    drop(first);
    let successor = ActionFixture::replica(&etcd, &nodes).await;
    let expected = if crash_point == CrashPoint::BeforeSending {
        ActionState::Unverified
    } else {
        ActionState::Succeeded
    };
    let ended = successor.wait_for_state(&id, expected).await.action;
    (ended, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_another_replica_finishes_after_a_crash_at_every_step_and_nothing_runs_twice() {
    let (planning, opening, before, after, observing) = tokio::join!(
        run_killed_at(CrashPoint::BeforePlanning),
        run_killed_at(CrashPoint::BeforeOpening),
        run_killed_at(CrashPoint::BeforeSending),
        run_killed_at(CrashPoint::AfterSending),
        run_killed_at(CrashPoint::BeforeObserving),
    );
    // Nothing was intended yet: the successor executes it.
    for (action, sent) in [planning, opening] {
        assert_eq!(
            (action.state, sent),
            (ActionState::Succeeded, 1),
            "{:?}",
            action.journal
        );
        assert_eq!(
            action.steps[0].replica.as_ref().map(ReplicaId::as_str),
            Some("r2")
        );
    }
    // Intended, and it is unknown whether it was sent: never sent again.
    let (action, sent) = before;
    assert_eq!(
        (action.state, sent),
        (ActionState::Unverified, 0),
        "{:?}",
        action.journal
    );
    assert_eq!(
        action.steps[0].replica.as_ref().map(ReplicaId::as_str),
        Some("r1")
    );
    // It took effect: the successor observes and records that.
    for (action, sent) in [after, observing] {
        assert_eq!(
            (action.state, sent),
            (ActionState::Succeeded, 1),
            "{:?}",
            action.journal
        );
        assert_eq!(
            action.steps[0].replica.as_ref().map(ReplicaId::as_str),
            Some("r1")
        );
        assert_ne!(action.steps[0].state, StepState::Waiting);
        assert_eq!(action.execution.unwrap().replica.as_str(), "r2");
    }
}

/// A replica that is slow rather than dead finds its fence stale and writes nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_a_replica_that_lost_its_lock_stops_writing() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let one = ActionFixture::start(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    nodes.kill_at(CrashPoint::AfterSending);
    assert_eq!(apply_verb(&one.approver, &id, "approve").await.status, 200);
    nodes.wait_until_killed().await;
    // It hangs while holding the lock; revoke the lock.
    let locks = one.console.registry.list("/state/locks/").await.unwrap();
    assert_eq!(locks.entries.len(), 1);
    one.console
        .registry
        .revoke(locks.entries[0].lease)
        .await
        .unwrap();
    let other = ActionFixture::replica(&etcd, &nodes).await;
    let ended = other
        .wait_for_state(&id, ActionState::Succeeded)
        .await
        .action;
    assert_eq!(ended.execution.unwrap().replica.as_str(), "r2");
    assert_eq!(nodes.sent(), 1);
}
