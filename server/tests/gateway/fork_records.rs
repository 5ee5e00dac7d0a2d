//! The fork that a statement makes is in etcd before the statement is sent, and stays unless it certainly had no effect
//! (I35).

use std::time::Duration;

use galera::ActionId;
use galera::observe::fork::ForkRecord;
use galera::recover::action::{Action, ActionState};

use crate::action_fixture::{ActionFixture, apply_verb, unproven_soon};
use crate::etcd::TestEtcd;
use crate::fake_cluster::{CrashPoint, FakeCluster, StatementReply};

const FORKS: &str = "/galera/lab/forks/";

/// The recorded forks with their keys.
async fn forks(etcd: &TestEtcd) -> Vec<(String, Option<ForkRecord>)> {
    let listed = etcd.registry().list(FORKS).await.unwrap().entries;
    let entries = listed.into_iter().map(|entry| {
        let key = String::from_utf8(entry.key).unwrap();
        (key, ForkRecord::parse(&entry.value))
    });
    entries.collect()
}

async fn approve(fixture: &ActionFixture, id: &ActionId) {
    let approved = apply_verb(&fixture.approver, id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
}

async fn assert_recorded(etcd: &TestEtcd, epoch: u64, action: &Action) {
    let forks = forks(etcd).await;
    let own: Vec<_> = forks
        .iter()
        .filter(|(_, record)| {
            record
                .as_ref()
                .is_some_and(|record| record.action_id == action.id.as_str())
        })
        .collect();
    let [(key, Some(record))] = own.as_slice() else {
        panic!("one fork of {}: {forks:?}", action.id);
    };
    assert_eq!(*key, format!("{FORKS}{epoch}"));
    let target = action.plan.target.as_ref().unwrap();
    assert_eq!(
        Some(record.seqno),
        target.position.as_ref().map(|at| at.seqno)
    );
    assert_eq!(record.members, [target.node.clone().unwrap()].into());
}

/// Kills the executor at `crash_point`, so that nothing observes the outcome.
async fn action_killed_at(etcd: &TestEtcd, crash_point: CrashPoint) -> Action {
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.kill_at(crash_point);
    approve(&fixture, &id).await;
    nodes.wait_until_killed().await;
    fixture.get(&id).await.action
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_the_fork_is_recorded_before_the_statement_is_sent() {
    for (crash_point, recorded) in [
        (CrashPoint::BeforeOpening, false),
        (CrashPoint::BeforeSending, true),
        (CrashPoint::AfterSending, true),
    ] {
        let etcd = TestEtcd::in_memory();
        let action = action_killed_at(&etcd, crash_point).await;
        match recorded {
            true => assert_recorded(&etcd, 1, &action).await,
            false => assert!(forks(&etcd).await.is_empty(), "{crash_point:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_the_fork_of_a_statement_without_proven_outcome_stays() {
    for reply in [StatementReply::Ignored, StatementReply::Timeout] {
        let etcd = TestEtcd::in_memory();
        let nodes = FakeCluster::two_lost(etcd.registry());
        nodes.set_reply(reply);
        let fixture = ActionFixture::start_with(&etcd, &nodes, unproven_soon).await;
        let id = fixture.request(&fixture.operator).await.action.id;
        approve(&fixture, &id).await;
        let state = match reply {
            StatementReply::Ignored => ActionState::Unverified,
            _ => ActionState::Succeeded,
        };
        let ended = fixture.wait_for_state(&id, state).await.action;
        assert_recorded(&etcd, 1, &ended).await;
    }
}

/// Members that continued without it would be held back as if they were on another branch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_the_fork_of_a_statement_that_never_arrived_is_removed_once_that_is_proven() {
    let etcd = TestEtcd::process().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    nodes.set_reply(StatementReply::Lost);
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.hold_at(CrashPoint::AfterSending);
    approve(&fixture, &id).await;
    nodes.wait_until_killed().await;
    assert_recorded(&etcd, 1, &fixture.get(&id).await.action).await;
    nodes.release();
    let ended = fixture.wait_for_state(&id, ActionState::Failed).await;
    let outcome = ended.action.outcome.unwrap_or_default();
    assert!(outcome.contains("had no effect"), "{outcome}");
    assert!(forks(&etcd).await.is_empty());
    assert_eq!(nodes.sent(), 1);
    // What the outcome names as the remedy.
    nodes.set_reply(StatementReply::Success);
    let again = fixture.request(&fixture.operator).await.action.id;
    approve(&fixture, &again).await;
    let done = fixture.wait_for_state(&again, ActionState::Succeeded).await;
    assert_recorded(&etcd, 1, &done.action).await;
}

/// The replica that continues the action proves it from what it observes itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_another_replica_removes_the_fork_of_a_statement_that_never_arrived() {
    let etcd = TestEtcd::process().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    nodes.set_reply(StatementReply::Lost);
    let one = ActionFixture::start(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    nodes.kill_at(CrashPoint::AfterSending);
    approve(&one, &id).await;
    nodes.wait_until_killed().await;
    let other = ActionFixture::replica(&etcd, &nodes).await;
    assert_recorded(&etcd, 1, &other.get(&id).await.action).await;
    drop(one);
    other.wait_for_state(&id, ActionState::Failed).await;
    assert!(forks(&etcd).await.is_empty());
    assert_eq!(nodes.sent(), 1);
}

/// The process that may have executed it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_the_fork_of_a_statement_to_a_server_that_was_restarted_stays() {
    let etcd = TestEtcd::process().await;
    let nodes = FakeCluster::two_lost(etcd.registry());
    nodes.set_reply(StatementReply::Restarted);
    let longer_than_a_proof = |options: &mut crate::test_console::ConsoleOptions| {
        options.limits.verify_timeout = Duration::from_secs(20);
    };
    let fixture = ActionFixture::start_with(&etcd, &nodes, longer_than_a_proof).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    approve(&fixture, &id).await;
    let ended = fixture.wait_for_state(&id, ActionState::Unverified).await;
    assert_recorded(&etcd, 1, &ended.action).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_the_fork_of_a_refused_statement_is_removed_with_its_result() {
    let etcd = TestEtcd::in_memory();
    let other =
        r#"{"state_uuid":"6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b","seqno":7,"action_id":"observed"}"#;
    let key = format!("{FORKS}4");
    etcd.registry().put(key.clone(), other, None).await.unwrap();
    let nodes = FakeCluster::two_lost(etcd.registry());
    nodes.set_reply(StatementReply::MissingPrivilege);
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.hold_at(CrashPoint::BeforeSending);
    approve(&fixture, &id).await;
    nodes.wait_until_killed().await;
    assert_recorded(&etcd, 5, &fixture.get(&id).await.action).await;
    nodes.release();
    fixture.wait_for_state(&id, ActionState::Failed).await;
    let left: Vec<String> = forks(&etcd).await.into_iter().map(|fork| fork.0).collect();
    assert_eq!(left, [key]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_a_fork_that_is_removed_before_the_outcome_is_recorded_again() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.hold_at(CrashPoint::BeforeObserving);
    approve(&fixture, &id).await;
    nodes.wait_until_killed().await;
    let key = format!("{FORKS}1");
    let recorded = etcd.registry().get(key.as_str()).await.unwrap().unwrap();
    etcd.registry()
        .delete_if(key, recorded.mod_revision)
        .await
        .unwrap();
    nodes.release();
    let done = fixture
        .wait_for_state(&id, ActionState::Succeeded)
        .await
        .action;
    assert_recorded(&etcd, 1, &done).await;
}

/// Another writer takes every epoch first, as long as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_a_statement_whose_fork_cannot_be_recorded_is_not_sent() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.hold_at(CrashPoint::BeforeOpening);
    approve(&fixture, &id).await;
    nodes.wait_until_killed().await;
    let last = format!("{FORKS}{}", u64::MAX);
    etcd.registry().put(last.clone(), "{}", None).await.unwrap();
    nodes.release();
    let ended = fixture
        .wait_for_state(&id, ActionState::Failed)
        .await
        .action;
    assert_eq!(nodes.sent(), 0);
    let outcome = ended.outcome.unwrap_or_default();
    assert!(outcome.contains("fork"), "{outcome}");
    assert_eq!(forks(&etcd).await.len(), 1);
}

/// Whoever can write the registry may try to prevent the record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i35_a_forged_record_with_the_id_of_the_action_does_not_replace_its_fork() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    let forged = format!(
        r#"{{"state_uuid":"6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b","seqno":9000,"members":["n3"],"action_id":"{id}"}}"#
    );
    let key = format!("{FORKS}3");
    etcd.registry().put(key, forged, None).await.unwrap();
    approve(&fixture, &id).await;
    let done = fixture
        .wait_for_state(&id, ActionState::Succeeded)
        .await
        .action;
    let target = done.plan.target.unwrap();
    let seqno = target.position.map(|position| position.seqno);
    let recorded = forks(&etcd).await;
    let own = recorded.iter().find(|(key, _)| *key == format!("{FORKS}4"));
    let own = own.and_then(|(_, record)| record.as_ref());
    assert_eq!(own.map(|record| record.seqno), seqno, "{recorded:?}");
}
