//! etcd becomes unreachable during an action: nothing is sent during the outage, and an approved action is executed once or not at
//! all, and its outcome says which (I17, I18).

use std::time::Duration;

use console_core::clock::now;
use galera::ReplicaId;
use galera::recover::action::{Action, ActionState, StepState};

use crate::action_fixture::{ActionFixture, apply_verb, unproven_soon};
use crate::cut_proxy::{CutProxy, CutSide};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::{CrashPoint, FakeCluster};

/// Text in the record of an action whose statement is about to be sent.
const INTENTION_TEXT: &[u8] = b"step 1 is about to be executed";

/// Kills etcd while the executor is at `crash_point` and holds its lock; restarts it once `noticed` reports that the
/// executor continued without it. Returns the ended action, the time of the restart, and the number of statements sent.
async fn run_without_etcd(
    crash_point: CrashPoint,
    expected: ActionState,
    alter: impl FnOnce(&mut crate::test_console::ConsoleOptions),
    noticed: impl Fn(&FakeCluster) -> bool,
) -> (Action, galera::Timestamp, u32) {
    let mut etcd = TestEtcd::process().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(&etcd, &nodes, alter).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.hold_at(crash_point);
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    nodes.wait_until_killed().await;
    etcd.kill();
    nodes.release();
    eventually("the executor to continue", async || noticed(&nodes)).await;
    assert_eq!(nodes.sent(), 0, "nothing is sent without etcd");
    let restarted_at = now();
    etcd.restart().await;
    let ended = fixture.wait_for_state(&id, expected).await.action;
    (ended, restarted_at, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_i18_an_etcd_outage_between_lock_and_statement_delays_it_and_repeats_nothing() {
    let (planning, opening) = tokio::join!(
        // The lock is held, nothing is written: it begins automatically once etcd is restarted_at.
        run_without_etcd(
            CrashPoint::BeforePlanning,
            ActionState::Succeeded,
            |_| {},
            |nodes| nodes.reads_without_etcd() > 0
        ),
        // Begun; the connection is closed again, because the intention cannot be written.
        run_without_etcd(
            CrashPoint::BeforeOpening,
            ActionState::Succeeded,
            |_| {},
            |nodes| nodes.unused_connections() > 0
        ),
    );
    for (action, restarted_at, sent) in [planning, opening] {
        assert_eq!(sent, 1, "{:?}", action.journal);
        let intended = action.steps[0].intended_at;
        assert!(
            intended.is_some_and(|at| at >= restarted_at),
            "{intended:?} {restarted_at:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_i18_an_action_outlasted_by_an_etcd_outage_ends_with_the_true_outcome() {
    let (begun, approved) = tokio::join!(
        // The outage outlasts verification: nothing was sent, and nothing is sent afterwards.
        run_without_etcd(
            CrashPoint::BeforeOpening,
            ActionState::Failed,
            |options| options.limits.verify_timeout = Duration::from_secs(1),
            |nodes| nodes.unused_connections() > 0,
        ),
        // The outage outlasts the approval.
        run_without_etcd(
            CrashPoint::BeforePlanning,
            ActionState::Expired,
            |options| options.limits.approved_timeout = Duration::from_secs(1),
            |nodes| nodes.reads_without_etcd() > 0,
        ),
    );
    for (action, _, sent) in [&begun, &approved] {
        assert_eq!(*sent, 0, "{:?}", action.journal);
        assert_eq!(action.steps[0].state, StepState::Waiting);
    }
    let outcome = begun.0.outcome.unwrap();
    assert!(outcome.contains("nothing was sent"), "{outcome}");
}

/// The connection to etcd breaks at the intention itself; the executor survives, another replica finishes the action.
async fn run_with_lost_intention(side: CutSide, expected: ActionState) -> (Action, u32) {
    let etcd = TestEtcd::process().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let cut = CutProxy::on_bytes(INTENTION_TEXT.to_vec(), side, &etcd.url()).await;
    let endpoint = cut.endpoint.clone();
    let one = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.endpoint = Some(endpoint);
        if expected == ActionState::Unverified {
            unproven_soon(options);
        }
    })
    .await;
    let other = ActionFixture::replica(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    assert_eq!(apply_verb(&one.approver, &id, "approve").await.status, 200);
    cut.wait_until_cut().await;
    let ended = other.wait_for_state(&id, expected).await.action;
    (ended, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_an_unconfirmed_intention_is_not_repeated_and_an_unwritten_one_is() {
    let (before, after) = tokio::join!(
        run_with_lost_intention(CutSide::Before, ActionState::Succeeded),
        run_with_lost_intention(CutSide::After, ActionState::Unverified),
    );
    let (action, sent) = before;
    assert_eq!(sent, 1, "{:?}", action.journal);
    assert_eq!(
        action.steps[0].replica.as_ref().map(ReplicaId::as_str),
        Some("r2")
    );
    // Intended, and only the sender knows that nothing was sent: no other replica ever sends it.
    let (action, sent) = after;
    assert_eq!(sent, 0, "{:?}", action.journal);
    assert_eq!(
        action.steps[0].replica.as_ref().map(ReplicaId::as_str),
        Some("r1")
    );
}

/// An approved action begins once the cluster's lock is released.
#[tokio::test]
async fn i17_an_action_waits_for_a_held_lock_and_begins_automatically() {
    let etcd = TestEtcd::process().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    let registry = etcd.registry();
    // Longer than it takes the reconciler to retry an approved action.
    let lease = registry
        .grant_without_keep_alive(Duration::from_secs(7))
        .await;
    let lock = registry.create("/state/locks/lab", "other 1", Some(lease.unwrap()));
    assert!(matches!(
        lock.await.unwrap(),
        registry::CreateOutcome::Created { .. }
    ));
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}
