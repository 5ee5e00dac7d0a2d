//! What passes by itself does not end an approved action: a node in the midst of something, and a replica that has not
//! watched for long enough.

use galera::recover::action::State;
use galera::recover::plan::CheckCode;
use serde_json::json;

use crate::etcd::{Etcd, eventually};
use crate::recovery::{Desk, act, ask, post, refused, wanted};
use crate::world::{Nodes3, Stop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_a_node_that_looks_for_others_for_a_moment_is_waited_for() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    // A plan that is asked for says that the moment passes.
    let plan = desk.plan().await;
    nodes.gathers(u32::MAX);
    let problem = refused(
        &ask(&desk.operator, &wanted(&desk.plan().await)).await,
        422,
        "plan_not_executable",
    );
    assert!(
        problem.detail.contains("GATHER") && problem.detail.contains("look again in a moment"),
        "{}",
        problem.detail
    );
    nodes.gathers(0);
    assert_eq!(desk.plan().await.digest, plan.digest);
    // At execution, before it begins …
    let id = desk.request(&desk.operator).await.action.id;
    nodes.gathers(3);
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    let done = desk.becomes(&id, State::Succeeded).await.action;
    assert_eq!(nodes.sent(), 1, "{:?}", done.journal);
}

/// … and before the statement, where a successor plans again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_the_moment_is_waited_for_before_the_statement_too() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let doomed = Desk::open(&etcd, &nodes).await;
    let id = doomed.request(&doomed.operator).await.action.id;
    nodes.kill_at(Stop::Opening);
    assert_eq!(act(&doomed.approver, &id, "approve").await.status, 200);
    nodes.killed().await;
    nodes.gathers(3);
    drop(doomed);
    let successor = Desk::replica(&etcd, &nodes).await;
    successor.becomes(&id, State::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_i16_a_moment_that_lasts_supersedes_and_so_does_any_change_beside_it() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    for moves in [false, true] {
        let id = desk.request(&desk.operator).await.action.id;
        nodes.gathers(u32::MAX);
        if moves {
            nodes.moves_on();
        }
        assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
        desk.becomes(&id, State::Superseded).await;
        nodes.gathers(0);
    }
    assert_eq!(nodes.sent(), 0);
}

/// A replica that has only begun to watch cannot tell for how long views have lasted. It plans the same as soon as it can,
/// and until then it neither begins an approved action nor ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_i16_a_fresh_replica_executes_what_was_approved_when_it_has_watched_long_enough() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let doomed = Desk::open(&etcd, &nodes).await;
    let approved = doomed.request(&doomed.operator).await.action;
    nodes.kill_at(Stop::Planning);
    let answer = act(&doomed.approver, &approved.id, "approve").await;
    assert_eq!(answer.status, 200);
    nodes.killed().await;
    drop(doomed);
    let fresh = Desk::fresh(&etcd, &nodes).await;
    let path = "/api/v1/clusters/lab/plans/bootstrap";
    let attested = json!({ "attestations": wanted(&approved.plan)["attestations"] });
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
        let answer = act(&fresh.operator, &approved.id, "execute").await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        answer.problem().code == "not_watched_enough"
    })
    .await;
    let done = fresh.becomes(&approved.id, State::Succeeded).await.action;
    assert_eq!((done.plan.digest, nodes.sent()), (approved.plan.digest, 1));
    assert_eq!(done.execution.unwrap().replica, "r2");
}
