//! etcd goes away while an action is carried out: nothing is sent meanwhile, and what was approved is done once or not at
//! all, and says which (I17, I18).

use std::time::Duration;

use console_core::clock::now;
use galera::recover::action::{Action, State, StepState};

use crate::cut::{Cut, Side};
use crate::etcd::{Etcd, eventually};
use crate::recovery::{Desk, act};
use crate::world::{Nodes3, Stop};

/// The words of a record whose statement is about to be sent.
const INTENTION: &[u8] = b"step 1 is about to be done";

/// Kills etcd while the executor is at `stop`, holding its lock, and starts it again when `noticed` says that the executor
/// went on without it. Tells how the action ended, when etcd came back, and how many statements were sent.
async fn without_etcd(
    stop: Stop,
    expected: State,
    alter: impl FnOnce(&mut crate::client::Options),
    noticed: impl Fn(&Nodes3) -> bool,
) -> (Action, galera::Timestamp, u32) {
    let mut etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::with(&etcd, &nodes, alter).await;
    let id = desk.request(&desk.operator).await.action.id;
    nodes.hold_at(stop);
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    nodes.killed().await;
    etcd.kill();
    nodes.release();
    eventually("the executor to go on", async || noticed(&nodes)).await;
    assert_eq!(nodes.sent(), 0, "nothing is sent without etcd");
    let back = now();
    etcd.resume().await;
    let ended = desk.becomes(&id, expected).await.action;
    (ended, back, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_i18_etcd_lost_between_lock_and_statement_delays_it_and_doubles_nothing() {
    let patient = |options: &mut crate::client::Options| {
        options.limits.verify = Duration::from_secs(60);
    };
    let (planning, opening) = tokio::join!(
        // The lock is held, nothing is written: it begins by itself when etcd is back.
        without_etcd(Stop::Planning, State::Succeeded, patient, |nodes| nodes
            .blind()
            > 0),
        // Begun; the connection for the statement is closed again, because its intention cannot be written.
        without_etcd(Stop::Opening, State::Succeeded, patient, |nodes| nodes
            .unused()
            > 0),
    );
    for (action, back, sent) in [planning, opening] {
        assert_eq!(sent, 1, "{:?}", action.journal);
        let intended = action.steps[0].intended_at;
        assert!(
            intended.is_some_and(|at| at >= back),
            "{intended:?} {back:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_i18_what_etcd_outlasts_ends_truthfully() {
    let (begun, approved) = tokio::join!(
        // Longer away than outcomes are watched for: nothing was sent, and nothing is any more.
        without_etcd(
            Stop::Opening,
            State::Failed,
            |options| options.limits.verify = Duration::from_secs(1),
            |nodes| nodes.unused() > 0,
        ),
        // Longer away than an approval lasts.
        without_etcd(
            Stop::Planning,
            State::Expired,
            |options| options.limits.approved = Duration::from_secs(1),
            |nodes| nodes.blind() > 0,
        ),
    );
    for (action, _, sent) in [&begun, &approved] {
        assert_eq!(*sent, 0, "{:?}", action.journal);
        assert_eq!(action.steps[0].state, StepState::Waiting);
    }
    let outcome = begun.0.outcome.unwrap();
    assert!(outcome.contains("nothing was sent"), "{outcome}");
}

/// The way to etcd is lost at the intention itself; the executor lives on, another replica sees to the action.
async fn intention_lost(side: Side, expected: State) -> (Action, u32) {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let cut = Cut::saying(INTENTION.to_vec(), side, &etcd.url()).await;
    let endpoint = cut.endpoint.clone();
    let one = Desk::with(&etcd, &nodes, |options| options.endpoint = Some(endpoint)).await;
    let other = Desk::replica(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    assert_eq!(act(&one.approver, &id, "approve").await.status, 200);
    cut.sprung().await;
    let ended = other.becomes(&id, expected).await.action;
    (ended, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_an_intention_that_nobody_confirmed_is_not_repeated_and_one_that_never_arrived_is() {
    let (before, after) = tokio::join!(
        intention_lost(Side::Before, State::Succeeded),
        intention_lost(Side::After, State::Unverified),
    );
    let (action, sent) = before;
    assert_eq!(sent, 1, "{:?}", action.journal);
    assert_eq!(action.steps[0].replica.as_deref(), Some("r2"));
    // Intended, and only the sender knows that nothing was sent: nobody else ever sends it.
    let (action, sent) = after;
    assert_eq!(sent, 0, "{:?}", action.journal);
    assert_eq!(action.steps[0].replica.as_deref(), Some("r1"));
}

/// Whoever holds the lock of a cluster has it for a while; an approved action begins when it is free.
#[tokio::test]
async fn i17_an_action_waits_for_a_busy_lock_and_begins_by_itself() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let id = desk.request(&desk.operator).await.action.id;
    let registry = etcd.registry();
    // Longer than it takes until the sweep looks at what an approval did not begin.
    let lease = registry.grant_unattended(Duration::from_secs(7)).await;
    let lock = registry.create("/state/locks/lab", "other 1", Some(lease.unwrap()));
    assert!(matches!(lock.await.unwrap(), registry::Created::Won { .. }));
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    desk.becomes(&id, State::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}
