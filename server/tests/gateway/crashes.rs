//! The executing replica is killed at every step; another one finishes by observing, and nothing is done twice (I17).

use galera::recover::action::{State, StepState};

use crate::etcd::Etcd;
use crate::recovery::{Desk, act};
use crate::world::{Nodes3, Stop};

/// Kills the executor at `stop`, lets another replica finish, and tells how the action ended and how often a node was
/// sent the statement.
async fn killed_at(stop: Stop) -> (galera::recover::action::Action, u32) {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let doomed = Desk::open(&etcd, &nodes).await;
    let id = doomed.request(&doomed.operator).await.action.id;
    nodes.kill_at(stop);
    assert_eq!(act(&doomed.approver, &id, "approve").await.status, 200);
    nodes.killed().await;
    drop(doomed);
    let successor = Desk::replica(&etcd, &nodes).await;
    let expected = if stop == Stop::BeforeSending {
        State::Unverified
    } else {
        State::Succeeded
    };
    let ended = successor.becomes(&id, expected).await.action;
    (ended, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_another_replica_finishes_from_every_step_and_nothing_is_done_twice() {
    let (planning, opening, before, after, observing) = tokio::join!(
        killed_at(Stop::Planning),
        killed_at(Stop::Opening),
        killed_at(Stop::BeforeSending),
        killed_at(Stop::AfterSending),
        killed_at(Stop::Observing),
    );
    // Nothing was intended yet: the successor does it.
    for (action, sent) in [planning, opening] {
        assert_eq!(
            (action.state, sent),
            (State::Succeeded, 1),
            "{:?}",
            action.journal
        );
        assert_eq!(action.steps[0].replica.as_deref(), Some("r2"));
    }
    // Intended, and nobody knows whether it was sent: never again, whatever comes of it.
    let (action, sent) = before;
    assert_eq!(
        (action.state, sent),
        (State::Unverified, 0),
        "{:?}",
        action.journal
    );
    assert_eq!(action.steps[0].replica.as_deref(), Some("r1"));
    // It took effect: the successor sees that and says so.
    for (action, sent) in [after, observing] {
        assert_eq!(
            (action.state, sent),
            (State::Succeeded, 1),
            "{:?}",
            action.journal
        );
        assert_eq!(action.steps[0].replica.as_deref(), Some("r1"));
        assert_ne!(action.steps[0].state, StepState::Waiting);
        assert_eq!(action.execution.unwrap().replica, "r2");
    }
}

/// A replica that is only slow, not dead, finds its fence stale and writes nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_a_replica_that_lost_its_lock_writes_nothing_more() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let one = Desk::open(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    nodes.kill_at(Stop::AfterSending);
    assert_eq!(act(&one.approver, &id, "approve").await.status, 200);
    nodes.killed().await;
    // It hangs and still holds the lock; somebody takes that away.
    let locks = one.console.registry.list("/state/locks/").await.unwrap();
    assert_eq!(locks.entries.len(), 1);
    one.console
        .registry
        .revoke(locks.entries[0].lease)
        .await
        .unwrap();
    let other = Desk::replica(&etcd, &nodes).await;
    let ended = other.becomes(&id, State::Succeeded).await.action;
    assert_eq!(ended.execution.unwrap().replica, "r2");
    assert_eq!(nodes.sent(), 1);
}
