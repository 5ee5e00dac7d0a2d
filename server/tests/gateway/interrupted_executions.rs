//! Executions whose client disconnects, or that panic.

use galera::recover::action::ActionState;

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::{CrashPoint, FakeCluster};
use crate::test_console::ConsoleOptions;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_interrupts_no_execution() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let alone = |options: &mut ConsoleOptions| options.limits.approvals_needed = 0;
    let fixture = ActionFixture::start_with(&etcd, &nodes, alone).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    // Before the answer: it comes once the action has begun.
    nodes.hold_at(CrashPoint::BeforePlanning);
    tokio::select! {
        answer = apply_verb(&fixture.operator, &id, "execute") => {
            panic!("answered before it began: {}", answer.text())
        }
        // The request is dropped then.
        () = nodes.wait_until_killed() => {}
    }
    nodes.release();
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_panics_is_named_and_continues_from_its_record() {
    for (point, state) in [
        (CrashPoint::BeforePlanning, ActionState::Approved),
        (CrashPoint::BeforeOpening, ActionState::Executing),
    ] {
        let etcd = TestEtcd::in_memory();
        let nodes = FakeCluster::two_lost(etcd.registry());
        let fixture = ActionFixture::start(&etcd, &nodes).await;
        let id = fixture.request(&fixture.operator).await.action.id;
        nodes.panic_at(point);
        let approved = apply_verb(&fixture.approver, &id, "approve").await;
        assert_eq!(approved.status, 200, "{}", approved.text());
        eventually("the failure is shown", async || {
            let view = fixture.get(&id).await;
            let named = view
                .waiting
                .is_some_and(|wait| wait.code == "internal_error" && wait.message.contains("r1"));
            named && view.action.state == state
        })
        .await;
        fixture.wait_for_state(&id, ActionState::Succeeded).await;
        assert_eq!(nodes.sent(), 1, "{point:?}");
    }
}
