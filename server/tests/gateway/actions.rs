//! Actions through HTTP: the life of one, everything that is refused, and races.

use galera::publish::api::{ActionList, ActionView, ClusterRecovery};
use galera::recover::action::{ActionState, ClusterApprovals};
use galera::recover::plan::{ActionKind, Plan};
use http::Method;
use serde_json::json;

use crate::action_fixture::{
    ActionFixture, action_request, apply_verb, assert_refused, post, request_action, unproven_soon,
};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::{FakeCluster, StatementReply};
use crate::test_console::ConsoleOptions;

#[tokio::test]
async fn an_approved_action_is_executed_once() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let action = fixture.request(&fixture.operator_approver).await.action;
    assert_eq!(
        (action.state, action.approvals_needed),
        (ActionState::Pending, 1)
    );
    assert_refused(
        &apply_verb(&fixture.operator_approver, &action.id, "approve").await,
        403,
        "own_request",
    );
    assert_refused(
        &apply_verb(&fixture.operator, &action.id, "approve").await,
        403,
        "missing_role",
    );
    assert_refused(
        &apply_verb(&fixture.approver, &action.id, "execute").await,
        409,
        "wrong_state",
    );
    assert_eq!(nodes.sent(), 0);
    let metric = r#"galera_console_open_actions{cluster="lab",state="pending"} 1"#;
    assert!(fixture.viewer.get("/metrics").await.text().contains(metric));
    assert_eq!(
        apply_verb(&fixture.approver, &action.id, "approve")
            .await
            .status,
        200
    );
    let done = fixture
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await
        .action;
    assert_eq!(nodes.sent(), 1);
    // I35: members that were left out find where the history was continued without them.
    let fork = etcd.registry().get("/galera/lab/forks/1").await.unwrap();
    let fork: serde_json::Value = serde_json::from_slice(&fork.unwrap().value).unwrap();
    let position = done
        .plan
        .target
        .as_ref()
        .unwrap()
        .position
        .as_ref()
        .unwrap();
    assert_eq!(fork["action_id"], done.id.as_str());
    assert_eq!(fork["seqno"], position.seqno);
    assert_eq!(fork["state_uuid"], position.uuid.to_string());
    let texts: Vec<&str> = done.journal.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts.len(), 6, "{texts:?}");
    for verb in ["approve", "reject", "execute", "cancel"] {
        let who = if verb == "cancel" {
            &fixture.operator_approver
        } else {
            &fixture.approver
        };
        assert_refused(
            &apply_verb(who, &action.id, verb).await,
            409,
            "action_final",
        );
    }
    // It is Primary now: the next plan has nothing to recover.
    assert!(!fixture.plan().await.executable);
    let list: ActionList = fixture
        .viewer
        .get("/api/v1/actions?state=succeeded&cluster=lab")
        .await
        .json();
    assert_eq!(list.actions.len(), 1);
    let open: ActionList = fixture
        .viewer
        .get("/api/v1/actions?state=open")
        .await
        .json();
    assert!(open.actions.is_empty() && open.next_before.is_none());
}

#[tokio::test]
async fn every_invalid_request_has_its_own_code_and_no_effect() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let plan = fixture.plan().await;
    let with = |name: &str, value: serde_json::Value| {
        let mut body = action_request(&plan);
        body[name] = value;
        body
    };
    for (body, status, code) in [
        (with("confirm", json!("LAB")), 422, "not_confirmed"),
        (with("confirm", json!("lab ")), 422, "not_confirmed"),
        (with("reason", json!("  ")), 422, "no_reason"),
        (with("reason", json!("x".repeat(2_001))), 422, "too_long"),
        (with("plan_digest", json!("00")), 409, "plan_changed"),
        (with("kind", json!("upgrade")), 400, "invalid_body"),
        (with("more", json!(1)), 400, "invalid_body"),
        (with("attestations", json!([])), 409, "plan_changed"),
        (
            with(
                "attestations",
                json!([{"node": "n2", "statement": "asleep"}]),
            ),
            400,
            "invalid_body",
        ),
        (
            with("break_glass", json!({"overrides": []})),
            403,
            "missing_role",
        ),
    ] {
        assert_refused(
            &request_action(&fixture.operator, &body).await,
            status,
            code,
        );
    }
    // A node that responds is not stopped, whatever is attested.
    let body = json!({"attestations": [{"node": "n1", "statement": "stopped"}]});
    let path = "/api/v1/clusters/lab/plans/bootstrap";
    let contradicted: Plan = post(&fixture.operator, path, &body).await.json();
    assert!(!contradicted.executable);
    let mut request = action_request(&contradicted);
    request["attestations"] = body["attestations"].clone();
    assert_refused(
        &request_action(&fixture.operator, &request).await,
        422,
        "plan_not_executable",
    );
    let huge = with("reason", json!("x".repeat(1_000_000)));
    assert_refused(
        &request_action(&fixture.operator, &huge).await,
        413,
        "body_too_large",
    );
    assert_refused(
        &request_action(&fixture.viewer, &action_request(&plan)).await,
        403,
        "missing_role",
    );
    assert_refused(
        &request_action(&fixture.admin, &action_request(&plan)).await,
        403,
        "missing_role",
    );
    let elsewhere = "/api/v1/clusters/nowhere/actions";
    assert_refused(
        &post(&fixture.operator, elsewhere, &action_request(&plan)).await,
        404,
        "unknown_cluster",
    );
    let list: ActionList = fixture.viewer.get("/api/v1/actions").await.json();
    assert!(list.actions.is_empty());
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn an_open_action_accepts_comments_and_decisions_by_role() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let action = fixture.request(&fixture.operator).await.action;
    let comment = format!("/api/v1/actions/{}/comment", action.id);
    let comment_with =
        async |text: String| post(&fixture.approver, &comment, &json!({ "comment": text })).await;
    assert_eq!(
        comment_with("the power is back in an hour".to_owned())
            .await
            .status,
        200
    );
    assert_refused(
        &comment_with("x".repeat(1_000_000)).await,
        413,
        "body_too_large",
    );
    assert_refused(&comment_with("x".repeat(3_000)).await, 422, "too_long");
    assert_refused(&comment_with(" ".to_owned()).await, 422, "no_reason");
    let id = action.id.as_str();
    for (client, id, verb, status, code) in [
        (&fixture.viewer, id, "comment", 403, "missing_role"),
        (&fixture.operator_approver, id, "cancel", 403, "not_yours"),
        (&fixture.operator, id, "undo", 409, "not_undoable"),
        (&fixture.operator, id, "forget", 404, "unknown_path"),
        (&fixture.approver, "0-0", "approve", 404, "unknown_action"),
    ] {
        assert_refused(&apply_verb(client, id, verb).await, status, code);
    }
    assert_refused(
        &fixture.viewer.get("/api/v1/actions/..%2Fusers").await,
        404,
        "unknown_action",
    );
    let stale = json!({"plan_digest": "00"});
    let approve = format!("/api/v1/actions/{}/approve", action.id);
    assert_refused(
        &post(&fixture.approver, &approve, &stale).await,
        409,
        "plan_changed",
    );
    // A cluster has at most one open action, which is part of the plan.
    assert_refused(
        &request_action(&fixture.operator, &action_request(&action.plan)).await,
        409,
        "plan_changed",
    );
    assert_eq!(
        apply_verb(&fixture.approver, &action.id, "reject")
            .await
            .status,
        200
    );
    let rejected = fixture.get(&action.id).await.action;
    assert_eq!(
        (rejected.state, rejected.comments.len()),
        (ActionState::Rejected, 1)
    );
    // Another action can be requested now.
    let again = fixture.request(&fixture.operator).await.action;
    assert_eq!(
        apply_verb(&fixture.operator, &again.id, "cancel")
            .await
            .status,
        200
    );
    let admin = fixture.request(&fixture.operator).await.action;
    assert_eq!(
        apply_verb(&fixture.admin, &admin.id, "cancel").await.status,
        200
    );
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn only_one_of_two_concurrent_requests_creates_an_action() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let one = ActionFixture::start(&etcd, &nodes).await;
    let other = ActionFixture::replica(&etcd, &nodes).await;
    let body = action_request(&one.plan().await);
    let (first, second) = tokio::join!(
        request_action(&one.operator, &body),
        request_action(&other.operator_approver, &body)
    );
    let mut codes = [first.status.as_u16(), second.status.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [201, 409], "{} {}", first.text(), second.text());
    let list: ActionList = one.viewer.get("/api/v1/actions").await.json();
    assert_eq!(list.actions.len(), 1);
}

#[tokio::test]
async fn two_approvals_need_two_people_and_execute_once() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let one =
        ActionFixture::start_with(&etcd, &nodes, |options| options.limits.approvals_needed = 2)
            .await;
    let other = ActionFixture::replica(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    assert_eq!(apply_verb(&one.approver, &id, "approve").await.status, 200);
    assert_refused(
        &apply_verb(&other.approver, &id, "approve").await,
        409,
        "already_approved",
    );
    assert_eq!(one.get(&id).await.action.state, ActionState::Pending);
    let (first, second) = tokio::join!(
        apply_verb(&one.second_approver, &id, "approve"),
        apply_verb(&other.operator_approver, &id, "approve")
    );
    assert!(first.status == 200 || second.status == 200);
    one.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

/// The rules that `--cluster-approvals` has.
fn cluster_approvals(rules: &[&str]) -> Vec<ClusterApprovals> {
    rules.iter().map(|rule| rule.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_cluster_may_need_more_approvals() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let rules = cluster_approvals(&["la*=2", "shop=3", "*=1"]);
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.cluster_approvals = rules;
    })
    .await;
    let recovery = fixture.viewer.get("/api/v1/clusters/lab/recovery").await;
    let recovery: ClusterRecovery = recovery.json();
    let needed: Vec<u32> = recovery.approvals.into_values().collect();
    assert_eq!(needed, [2; ActionKind::ALL.len()]);
    let page = fixture.viewer.get("/fragments/clusters/lab/recovery").await;
    let page = page.text();
    assert!(page.contains("2 other people must approve this"), "{page}");
    let action = fixture.request(&fixture.operator_approver).await.action;
    assert_eq!(action.approvals_needed, 2);
    let approve = async |client| apply_verb(client, &action.id, "approve").await;
    assert_eq!(approve(&fixture.approver).await.status, 200);
    assert_refused(
        &approve(&fixture.operator_approver).await,
        403,
        "own_request",
    );
    let waiting = fixture.get(&action.id).await.action;
    assert_eq!(waiting.state, ActionState::Pending);
    assert_eq!(nodes.sent(), 0);
    assert_eq!(approve(&fixture.second_approver).await.status, 200);
    fixture
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await;
}

#[tokio::test]
async fn a_rule_that_is_stricter_since_the_request_counts() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let before = ActionFixture::start(&etcd, &nodes).await;
    let action = before.request(&before.operator).await.action;
    assert_eq!(action.approvals_needed, 1);
    let after = ActionFixture::replica_with(&etcd, &nodes, |options| {
        options.cluster_approvals = cluster_approvals(&["lab=2"]);
    })
    .await;
    let approve = async |client| apply_verb(client, &action.id, "approve").await;
    assert_eq!(approve(&after.approver).await.status, 200);
    eventually("the stricter number is recorded", async || {
        let waiting = before.get(&action.id).await.action;
        (waiting.state, waiting.approvals_needed) == (ActionState::Pending, 2)
    })
    .await;
    // A replica with the former settings keeps the stricter number.
    assert_eq!(approve(&before.second_approver).await.status, 200);
    let done = after
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await;
    let done = done.action;
    assert_eq!((done.approvals.len(), done.approvals_needed), (2, 2));
}

#[tokio::test]
async fn only_one_of_several_concurrent_executions_begins() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let alone = |options: &mut ConsoleOptions| options.limits.approvals_needed = 0;
    let one = ActionFixture::start_with(&etcd, &nodes, alone).await;
    let other = ActionFixture::replica_with(&etcd, &nodes, alone).await;
    let id = one.request(&one.operator).await.action.id;
    assert_eq!(one.get(&id).await.action.state, ActionState::Approved);
    let (first, second, third) = tokio::join!(
        apply_verb(&one.operator, &id, "execute"),
        apply_verb(&other.operator, &id, "execute"),
        apply_verb(&one.approver, &id, "execute"),
    );
    let begun = [&first, &second, &third]
        .into_iter()
        .filter(|answer| answer.status == 200)
        .count();
    assert_eq!(
        begun,
        1,
        "{} {} {}",
        first.text(),
        second.text(),
        third.text()
    );
    one.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test]
async fn an_undecided_action_expires() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.limits.pending_timeout = std::time::Duration::from_secs(1);
    })
    .await;
    let id = fixture.request(&fixture.operator).await.action.id;
    fixture.wait_for_state(&id, ActionState::Expired).await;
    assert_refused(
        &apply_verb(&fixture.approver, &id, "approve").await,
        409,
        "action_final",
    );
    fixture.request(&fixture.operator).await;
}

#[tokio::test]
async fn a_change_after_the_request_supersedes_the_action() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    nodes.advance_position();
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Superseded).await;
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn the_outcome_follows_the_node_not_its_reply() {
    for (reply, state, text) in [
        (
            StatementReply::MissingPrivilege,
            ActionState::Failed,
            "1227",
        ),
        (StatementReply::Timeout, ActionState::Succeeded, "Primary"),
        (
            StatementReply::Ignored,
            ActionState::Unverified,
            "not proven in time",
        ),
    ] {
        let etcd = TestEtcd::in_memory();
        let nodes = FakeCluster::two_lost(etcd.registry());
        let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
            if state == ActionState::Unverified {
                unproven_soon(options);
            }
        })
        .await;
        nodes.set_reply(reply);
        let id = fixture.request(&fixture.operator).await.action.id;
        assert_eq!(
            apply_verb(&fixture.approver, &id, "approve").await.status,
            200
        );
        let ended = fixture.wait_for_state(&id, state).await.action;
        let outcome = ended.outcome.unwrap();
        assert!(outcome.contains(text), "{reply:?}: {outcome}");
        assert_eq!(nodes.sent(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn paused_recovery_blocks_actions_and_names_who_paused_it() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    let put = async |who: &crate::client::TestClient, path: &str, body: serde_json::Value| {
        let request = who
            .request(Method::PUT, path)
            .header("content-type", "application/json");
        who.send(request.body(body.to_string().into()).unwrap())
            .await
    };
    let (global, lab) = ("/api/v1/recovery", "/api/v1/clusters/lab/recovery");
    let off = json!({"enabled": false, "reason": "maintenance"});
    assert_refused(
        &put(&fixture.operator, global, json!({"enabled": false})).await,
        422,
        "no_reason",
    );
    assert_refused(
        &put(&fixture.viewer, global, off.clone()).await,
        403,
        "missing_role",
    );
    for path in [lab, global] {
        assert_eq!(put(&fixture.operator, path, off.clone()).await.status, 200);
        let seen: serde_json::Value = fixture.viewer.get(path).await.json();
        assert_eq!(seen["enabled"], false);
        assert_eq!(seen["off"]["by"], "olga");
        assert!(!fixture.plan().await.executable);
        let on = json!({"enabled": true});
        assert_refused(
            &put(&fixture.operator, path, on.clone()).await,
            403,
            "missing_role",
        );
        if path == lab {
            assert_eq!(
                apply_verb(&fixture.approver, &id, "approve").await.status,
                200
            );
            // The console retries for a moment too.
            eventually("the pause to be reported", async || {
                let answer = apply_verb(&fixture.approver, &id, "execute").await;
                assert_eq!(answer.status, 409, "{}", answer.text());
                answer.problem().code == "recovery_off"
            })
            .await;
            assert_eq!(
                apply_verb(&fixture.operator, &id, "cancel").await.status,
                200
            );
        }
        assert_eq!(put(&fixture.admin, path, on).await.status, 200);
    }
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn break_glass_lists_failed_checks_and_needs_an_approver() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture =
        ActionFixture::start_with(&etcd, &nodes, |options| options.limits.approvals_needed = 0)
            .await;
    let path = "/api/v1/clusters/lab/plans/bootstrap";
    let plan: Plan = fixture.admin.get(path).await.json();
    let failing: Vec<&str> = plan.failing().map(|check| check.code.as_str()).collect();
    assert_eq!(failing, ["members_accounted"]);
    let mut body = action_request(&plan);
    body["attestations"] = json!([]);
    assert_refused(
        &request_action(&fixture.operator, &body).await,
        422,
        "plan_not_executable",
    );
    body["break_glass"] = json!({"overrides": []});
    assert_refused(
        &request_action(&fixture.admin, &body).await,
        422,
        "overrides_differ",
    );
    body["break_glass"] = json!({ "overrides": failing });
    assert_refused(
        &request_action(&fixture.operator_approver, &body).await,
        403,
        "missing_role",
    );
    let answer = request_action(&fixture.admin, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let action: ActionView = answer.json();
    // An override always needs an approver, even if approvals are otherwise disabled.
    assert_eq!(action.action.approvals_needed, 1);
    let id = action.action.id;
    assert_refused(
        &apply_verb(&fixture.admin, &id, "approve").await,
        403,
        "missing_role",
    );
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

/// The action itself is not another one that is open: an approver who reads that everything changed does not approve.
#[tokio::test]
async fn the_present_plan_of_an_action_that_waits_is_the_requested_one() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let action = fixture.request(&fixture.operator).await.action;
    let path = format!("/api/v1/actions/{}/plan", action.id);
    let present: Plan = fixture.approver.get(&path).await.json();
    assert_eq!(present.digest, action.plan.digest);
    let page = fixture
        .approver
        .get(&format!("/actions/{}", action.id))
        .await
        .text();
    assert!(
        page.contains("Nothing that the plan rests on has changed"),
        "{page}"
    );
    nodes.advance_position();
    let present: Plan = fixture.approver.get(&path).await.json();
    assert_ne!(present.digest, action.plan.digest);
}
