//! Actions through HTTP: the life of one, everything that is refused, and races.

use galera::publish::api::{ActionList, ActionView};
use galera::recover::action::State;
use galera::recover::plan::Plan;
use http::Method;
use serde_json::json;

use crate::etcd::{Etcd, eventually};
use crate::recovery::{Desk, act, ask, post, refused, wanted};
use crate::world::{Nodes3, Says};

#[tokio::test]
async fn one_asks_another_approves_and_it_is_done_once() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let action = desk.request(&desk.both).await.action;
    assert_eq!((action.state, action.approvals_needed), (State::Pending, 1));
    refused(
        &act(&desk.both, &action.id, "approve").await,
        403,
        "own_request",
    );
    refused(
        &act(&desk.operator, &action.id, "approve").await,
        403,
        "missing_role",
    );
    refused(
        &act(&desk.approver, &action.id, "execute").await,
        409,
        "wrong_state",
    );
    assert_eq!(nodes.sent(), 0);
    let waiting = r#"galera_console_open_actions{cluster="lab",state="pending"} 1"#;
    assert!(desk.viewer.get("/metrics").await.text().contains(waiting));
    assert_eq!(act(&desk.approver, &action.id, "approve").await.status, 200);
    let done = desk.becomes(&action.id, State::Succeeded).await.action;
    assert_eq!(nodes.sent(), 1);
    let texts: Vec<&str> = done.journal.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts.len(), 6, "{texts:?}");
    for verb in ["approve", "reject", "execute", "cancel"] {
        let who = if verb == "cancel" {
            &desk.both
        } else {
            &desk.approver
        };
        refused(&act(who, &action.id, verb).await, 409, "action_final");
    }
    // It is Primary now: the next plan has nothing to recover.
    assert!(!desk.plan().await.executable);
    let list: ActionList = desk
        .viewer
        .get("/api/v1/actions?state=succeeded&cluster=lab")
        .await
        .json();
    assert_eq!(list.actions.len(), 1);
    let open: ActionList = desk.viewer.get("/api/v1/actions?state=open").await.json();
    assert!(open.actions.is_empty() && open.next_before.is_none());
}

#[tokio::test]
async fn every_wrong_request_is_told_apart_and_leaves_nothing() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let plan = desk.plan().await;
    let with = |name: &str, value: serde_json::Value| {
        let mut body = wanted(&plan);
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
        refused(&ask(&desk.operator, &body).await, status, code);
    }
    // A node that answers is not stopped, whoever says so.
    let body = json!({"attestations": [{"node": "n1", "statement": "stopped"}]});
    let path = "/api/v1/clusters/lab/plans/bootstrap";
    let lie: Plan = post(&desk.operator, path, &body).await.json();
    assert!(!lie.executable);
    let mut request = wanted(&lie);
    request["attestations"] = body["attestations"].clone();
    refused(
        &ask(&desk.operator, &request).await,
        422,
        "plan_not_executable",
    );
    let huge = with("reason", json!("x".repeat(1_000_000)));
    refused(&ask(&desk.operator, &huge).await, 413, "body_too_large");
    refused(
        &ask(&desk.viewer, &wanted(&plan)).await,
        403,
        "missing_role",
    );
    refused(&ask(&desk.admin, &wanted(&plan)).await, 403, "missing_role");
    let elsewhere = "/api/v1/clusters/nowhere/actions";
    refused(
        &post(&desk.operator, elsewhere, &wanted(&plan)).await,
        404,
        "unknown_cluster",
    );
    let list: ActionList = desk.viewer.get("/api/v1/actions").await.json();
    assert!(list.actions.is_empty());
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn an_open_action_takes_comments_and_decisions_by_the_rules() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let action = desk.request(&desk.operator).await.action;
    let comment = format!("/api/v1/actions/{}/comment", action.id);
    let say =
        async |text: String| post(&desk.approver, &comment, &json!({ "comment": text })).await;
    assert_eq!(
        say("the power is back in an hour".to_owned()).await.status,
        200
    );
    refused(&say("x".repeat(1_000_000)).await, 413, "body_too_large");
    refused(&say("x".repeat(3_000)).await, 422, "too_long");
    refused(&say(" ".to_owned()).await, 422, "no_reason");
    refused(
        &act(&desk.viewer, &action.id, "comment").await,
        403,
        "missing_role",
    );
    refused(
        &act(&desk.both, &action.id, "cancel").await,
        403,
        "not_yours",
    );
    refused(
        &act(&desk.operator, &action.id, "undo").await,
        409,
        "not_undoable",
    );
    refused(
        &act(&desk.operator, &action.id, "forget").await,
        404,
        "unknown_path",
    );
    refused(
        &act(&desk.approver, "0-0", "approve").await,
        404,
        "unknown_action",
    );
    refused(
        &desk.viewer.get("/api/v1/actions/..%2Fusers").await,
        404,
        "unknown_action",
    );
    let stale = json!({"plan_digest": "00"});
    let approve = format!("/api/v1/actions/{}/approve", action.id);
    refused(
        &post(&desk.approver, &approve, &stale).await,
        409,
        "plan_changed",
    );
    // One open action of a cluster at a time; a plan says so itself.
    refused(
        &ask(&desk.operator, &wanted(&action.plan)).await,
        409,
        "plan_changed",
    );
    assert_eq!(act(&desk.approver, &action.id, "reject").await.status, 200);
    let rejected = desk.get(&action.id).await.action;
    assert_eq!(
        (rejected.state, rejected.comments.len()),
        (State::Rejected, 1)
    );
    // The way is free again.
    let again = desk.request(&desk.operator).await.action;
    assert_eq!(act(&desk.operator, &again.id, "cancel").await.status, 200);
    let admin = desk.request(&desk.operator).await.action;
    assert_eq!(act(&desk.admin, &admin.id, "cancel").await.status, 200);
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn of_two_requests_in_the_same_moment_one_becomes_an_action() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let one = Desk::open(&etcd, &nodes).await;
    let other = Desk::replica(&etcd, &nodes).await;
    let body = wanted(&one.plan().await);
    let (first, second) = tokio::join!(ask(&one.operator, &body), ask(&other.both, &body));
    let mut codes = [first.status.as_u16(), second.status.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [201, 409], "{} {}", first.text(), second.text());
    let list: ActionList = one.viewer.get("/api/v1/actions").await.json();
    assert_eq!(list.actions.len(), 1);
}

#[tokio::test]
async fn two_approvals_need_two_people_and_act_once() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let one = Desk::with(&etcd, &nodes, |options| options.limits.approvals = 2).await;
    let other = Desk::replica(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    assert_eq!(act(&one.approver, &id, "approve").await.status, 200);
    refused(
        &act(&other.approver, &id, "approve").await,
        409,
        "already_approved",
    );
    assert_eq!(one.get(&id).await.action.state, State::Pending);
    let (first, second) = tokio::join!(
        act(&one.second, &id, "approve"),
        act(&other.both, &id, "approve")
    );
    assert!(first.status == 200 || second.status == 200);
    one.becomes(&id, State::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test]
async fn of_two_executions_in_the_same_moment_one_begins() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let one = Desk::with(&etcd, &nodes, |options| options.limits.approvals = 0).await;
    let other = Desk::replica(&etcd, &nodes).await;
    let id = one.request(&one.operator).await.action.id;
    assert_eq!(one.get(&id).await.action.state, State::Approved);
    let (first, second, third) = tokio::join!(
        act(&one.operator, &id, "execute"),
        act(&other.operator, &id, "execute"),
        act(&one.approver, &id, "execute"),
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
    one.becomes(&id, State::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}

#[tokio::test]
async fn what_nobody_decides_expires() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::with(&etcd, &nodes, |options| {
        options.limits.pending = std::time::Duration::from_secs(1);
    })
    .await;
    let id = desk.request(&desk.operator).await.action.id;
    desk.becomes(&id, State::Expired).await;
    refused(
        &act(&desk.approver, &id, "approve").await,
        409,
        "action_final",
    );
    desk.request(&desk.operator).await;
}

#[tokio::test]
async fn what_changed_since_the_approval_supersedes_it() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let id = desk.request(&desk.operator).await.action.id;
    nodes.moves_on();
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    desk.becomes(&id, State::Superseded).await;
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn what_the_node_says_decides_how_it_ends() {
    for (says, state, words) in [
        (Says::Super, State::Failed, "1227"),
        (Says::Hangs, State::Succeeded, "Primary"),
        (Says::Ignored, State::Unverified, "not proven in time"),
    ] {
        let etcd = Etcd::start().await;
        let nodes = Nodes3::two_lost(etcd.registry());
        let desk = Desk::open(&etcd, &nodes).await;
        nodes.says(says);
        let id = desk.request(&desk.operator).await.action.id;
        assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
        let ended = desk.becomes(&id, state).await.action;
        let outcome = ended.outcome.unwrap();
        assert!(outcome.contains(words), "{says:?}: {outcome}");
        assert_eq!(nodes.sent(), 1, "{says:?}");
    }
}

#[tokio::test]
async fn the_switch_stops_everything_and_names_who_turned_it() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let id = desk.request(&desk.operator).await.action.id;
    let put = async |who: &crate::client::Client, path: &str, body: serde_json::Value| {
        let request = who
            .request(Method::PUT, path)
            .header("content-type", "application/json");
        who.send(request.body(body.to_string().into()).unwrap())
            .await
    };
    let (global, lab) = ("/api/v1/recovery", "/api/v1/clusters/lab/recovery");
    let off = json!({"enabled": false, "reason": "maintenance"});
    refused(
        &put(&desk.operator, global, json!({"enabled": false})).await,
        422,
        "no_reason",
    );
    refused(
        &put(&desk.viewer, global, off.clone()).await,
        403,
        "missing_role",
    );
    for path in [lab, global] {
        assert_eq!(put(&desk.operator, path, off.clone()).await.status, 200);
        let seen: serde_json::Value = desk.viewer.get(path).await.json();
        assert_eq!(seen["enabled"], false);
        assert_eq!(seen["off"]["by"], "olga");
        assert!(!desk.plan().await.executable);
        let on = json!({"enabled": true});
        refused(
            &put(&desk.operator, path, on.clone()).await,
            403,
            "missing_role",
        );
        if path == lab {
            assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
            // The console itself tries as well, for a moment.
            eventually("the switch to be named", async || {
                let answer = act(&desk.approver, &id, "execute").await;
                assert_eq!(answer.status, 409, "{}", answer.text());
                answer.problem().code == "recovery_off"
            })
            .await;
            assert_eq!(act(&desk.operator, &id, "cancel").await.status, 200);
        }
        assert_eq!(put(&desk.admin, path, on).await.status, 200);
    }
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn break_glass_names_what_fails_and_still_needs_somebody_else() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::two_lost(etcd.registry());
    let desk = Desk::with(&etcd, &nodes, |options| options.limits.approvals = 0).await;
    let path = "/api/v1/clusters/lab/plans/bootstrap";
    let plan: Plan = desk.admin.get(path).await.json();
    let failing: Vec<&str> = plan.failing().map(|check| check.code.word()).collect();
    assert_eq!(failing, ["members_accounted"]);
    let mut body = wanted(&plan);
    body["attestations"] = json!([]);
    refused(
        &ask(&desk.operator, &body).await,
        422,
        "plan_not_executable",
    );
    body["break_glass"] = json!({"overrides": []});
    refused(&ask(&desk.admin, &body).await, 422, "overrides_differ");
    body["break_glass"] = json!({ "overrides": failing });
    refused(&ask(&desk.both, &body).await, 403, "missing_role");
    let answer = ask(&desk.admin, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let action: ActionView = answer.json();
    // Nobody decides alone with an override, even where no approval is needed otherwise.
    assert_eq!(action.action.approvals_needed, 1);
    let id = action.action.id;
    refused(&act(&desk.admin, &id, "approve").await, 403, "missing_role");
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    desk.becomes(&id, State::Succeeded).await;
    assert_eq!(nodes.sent(), 1);
}
