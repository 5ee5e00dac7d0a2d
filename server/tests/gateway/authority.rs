//! An executor rests on the people behind an action as they are now (I41), and on the plan that it computed itself.

use console_core::clock::now;
use console_core::keyspace::ActionKeys;
use galera::access::Role;
use galera::recover::action::{Action, ActionState, Approval};
use galera::recover::plan::PlanStep;
use http::Method;
use registry::{Transaction, WriteOp};
use serde_json::json;

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::etcd::TestEtcd;
use crate::fake_cluster::{CrashPoint, FakeCluster};
use crate::test_console::STATE_PREFIX;

/// Approves a bootstrap, stops the executor at `point`, applies `change` to the accounts, and lets it continue. Returns the
/// ended action and the number of statements sent.
async fn approve_and_change(
    point: CrashPoint,
    change: impl AsyncFnOnce(&ActionFixture),
) -> (Action, u32) {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.hold_at(point);
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    nodes.wait_until_killed().await;
    change(&fixture).await;
    nodes.release();
    let ended = fixture.wait_for_state(&id, ActionState::Cancelled).await;
    (ended.action, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i41_an_approver_disabled_before_the_statement_stops_it() {
    for point in [CrashPoint::BeforePlanning, CrashPoint::BeforeOpening] {
        let (action, sent) = approve_and_change(point, async |fixture| {
            let adam = "adam".parse().unwrap();
            let store = &fixture.console.store;
            store.set_disabled(&adam, true, false, now()).await.unwrap();
        })
        .await;
        assert_eq!(sent, 0, "{:?}", action.journal);
        let outcome = action.outcome.unwrap();
        assert!(outcome.contains("adam, who approved this"), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i41_a_requester_with_another_password_or_removed_stops_it() {
    let (action, sent) = approve_and_change(CrashPoint::BeforeOpening, async |fixture| {
        let olga = "olga".parse().unwrap();
        let store = &fixture.console.store;
        store.remove(&olga, false).await.unwrap();
        fixture.console.add_user("olga", &[Role::Operator]).await;
    })
    .await;
    assert_eq!(sent, 0, "{:?}", action.journal);
    let outcome = action.outcome.unwrap();
    assert!(outcome.contains("olga, who requested this"), "{outcome}");
}

/// Every change of an approver between the approval and the statement, at each point where it is looked at again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i41_an_approver_who_is_no_longer_the_same_stops_it() {
    for point in [CrashPoint::BeforePlanning, CrashPoint::BeforeOpening] {
        for change in [
            "demoted",
            "for another cluster",
            "removed",
            "made again",
            "another password",
        ] {
            let (action, sent) = approve_and_change(point, async |fixture| {
                let adam = "adam".parse().unwrap();
                let store = &fixture.console.store;
                match change {
                    "demoted" | "for another cluster" => {
                        let patch = match change {
                            "demoted" => json!({"roles": ["viewer"]}),
                            _ => json!({"roles": ["approver"], "clusters": ["shop"]}),
                        };
                        let path = "/api/v1/accounts/adam";
                        let answer = fixture.admin.send_json(Method::PATCH, path, &patch).await;
                        assert_eq!(answer.status, 200, "{}", answer.text());
                    }
                    "another password" => {
                        let password = "staple of correct horses";
                        store.set_password(&adam, password, now()).await.unwrap();
                    }
                    _ => store.remove(&adam, false).await.unwrap(),
                }
                if change == "made again" {
                    fixture.console.add_user("adam", &[Role::Approver]).await;
                }
            })
            .await;
            assert_eq!(sent, 0, "{change} {point:?}: {:?}", action.journal);
            let outcome = action.outcome.unwrap();
            assert!(
                outcome.contains("adam, who approved this"),
                "{change} {point:?}: {outcome}"
            );
        }
    }
}

/// Puts an approved record that no person approved into etcd, altered by `forge`, and waits for its end.
async fn execute_forged(forge: impl FnOnce(&mut Action)) -> (Action, u32) {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let mut action = fixture.request(&fixture.operator).await.action;
    action.state = ActionState::Approved;
    action.approvals.push(Approval {
        groups: Vec::new(),
        notification_target: None,
        by: "adam".to_owned(),
        credential: None,
        at: action.requested_at,
        comment: None,
    });
    forge(&mut action);
    let key = ActionKeys::new(STATE_PREFIX).action(&action.id);
    let value = serde_json::to_vec(&action).unwrap();
    let write = Transaction::new().then([WriteOp::put(key, value, None)]);
    etcd.registry().transact(&write).await.unwrap();
    let ended = fixture
        .wait_for_state(&action.id, ActionState::Failed)
        .await;
    (ended.action, nodes.sent())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_statement_under_a_current_digest_is_never_sent() {
    let (action, sent) = execute_forged(|action| {
        let PlanStep::Statement { statement, .. } = &mut action.plan.steps[0] else {
            panic!("{:?}", action.plan.steps);
        };
        "CREATE USER mallory IDENTIFIED BY 'x'".clone_into(statement);
    })
    .await;
    assert_eq!(sent, 0, "{:?}", action.journal);
    let outcome = action.outcome.unwrap();
    assert!(outcome.contains("altered outside the console"), "{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_writes_to_etcd_are_never_made() {
    let (action, sent) = execute_forged(|action| {
        action.plan.steps = vec![PlanStep::Key {
            key: format!("{STATE_PREFIX}/users/mallory"),
            mod_revision: 0,
            value: Some("{}".to_owned()),
        }];
    })
    .await;
    assert_eq!(sent, 0, "{:?}", action.journal);
    assert!(!action.may_have_acted());
}
