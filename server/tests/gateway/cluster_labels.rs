//! Labels of clusters: shown, and selecting clusters in roles, tokens and approval policies.

use accounts::store::AccountChange;
use galera::access::{ClusterLabels, ClusterScope, LabelRule, Role, RoleGrant};
use galera::publish::api::{ClusterRecovery, SessionView};
use galera::recover::action::ActionState;
use galera::recover::plan::ActionKind;
use http::Method;
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, action_request, apply_verb, assert_refused};
use crate::action_fixture::{post, request_action};
use crate::api_tokens::{create, token_request};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::test_console::{ConsoleOptions, NOW, TestConsole};

pub(crate) fn labels(texts: &[&str]) -> ClusterLabels {
    let rules = texts.iter().map(|text| LabelRule::parse_all(text).unwrap());
    ClusterLabels::new(rules.flatten().collect()).unwrap()
}

fn options(rules: &[&str]) -> ConsoleOptions {
    ConsoleOptions {
        more_clusters: vec!["shop"],
        labels: labels(rules),
        ..ConsoleOptions::default()
    }
}

fn scope(selectors: &[&str]) -> ClusterScope {
    ClusterScope::new(selectors.iter().map(|text| text.parse().unwrap()).collect())
}

async fn published(client: &TestClient, count: usize) -> Value {
    let path = "/api/v1/clusters";
    eventually("the clusters are published", async || {
        let list: Value = client.get(path).await.json();
        list["clusters"].as_array().unwrap().len() == count
    })
    .await;
    client.get(path).await.json()
}

/// Adds `olga`: viewer everywhere, operator on `env=test`.
async fn add_olga(console: &TestConsole) {
    let grants = vec![
        RoleGrant::of(vec![Role::Viewer], ClusterScope::all()),
        RoleGrant::of(vec![Role::Operator], scope(&["env=test"])),
    ];
    let roles = [Role::Viewer, Role::Operator];
    console.add_user_with_grants("olga", &roles, grants).await;
}

async fn roles_on(client: &TestClient, cluster: &str) -> Vec<Role> {
    let path = format!("/api/v1/session?cluster={cluster}");
    let session: SessionView = client.get(&path).await.json();
    session.roles
}

#[tokio::test]
async fn labels_are_shown_and_come_from_settings_only() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, options(&["s*:env=test,team=web"])).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let vera = console.sign_in("vera").await;
    // A writer of etcd names a label like a node, and as a key of the cluster.
    let registry = etcd.registry();
    for key in [
        "/galera/lab/labels",
        "/galera/lab/n1/labels",
        "/galera/lab/env=test",
    ] {
        registry.put(key, b"env=test".to_vec(), None).await.unwrap();
    }
    let list = published(&vera, 2).await;
    let shown = |name: &str| {
        let mut all = list["clusters"].as_array().unwrap().iter();
        let cluster = all.find(|cluster| cluster["name"] == name).unwrap();
        cluster["labels"].clone()
    };
    assert_eq!(shown("shop"), json!({"env": "test", "team": "web"}));
    assert_eq!(shown("lab"), Value::Null);
    let view: Value = vera.get("/api/v1/clusters/shop").await.json();
    assert_eq!(view["labels"], json!({"env": "test", "team": "web"}));
    let view: Value = vera.get("/api/v1/clusters/lab").await.json();
    assert_eq!(view["labels"], Value::Null);
}

#[tokio::test]
async fn a_role_counts_on_clusters_with_the_label() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, options(&["shop:env=test"])).await;
    add_olga(&console).await;
    let olga = console.sign_in("olga").await;
    published(&olga, 2).await;
    let off = json!({"enabled": false, "reason": "work"});
    for (cluster, expected) in [("lab", 403), ("shop", 200)] {
        let path = format!("/api/v1/clusters/{cluster}/recovery");
        let answer = olga.send_json(Method::PUT, &path, &off).await;
        assert_eq!(answer.status, expected, "{cluster}: {}", answer.text());
    }
    assert_eq!(roles_on(&olga, "lab").await, [Role::Viewer]);
    assert_eq!(
        roles_on(&olga, "shop").await,
        [Role::Viewer, Role::Operator]
    );
    // No cluster of this name has labels, whatever is asked for.
    assert_eq!(roles_on(&olga, "unheard").await, [Role::Viewer]);
}

#[tokio::test]
async fn a_live_session_has_the_roles_of_the_labels_that_apply() {
    let etcd = TestEtcd::in_memory();
    let before = TestConsole::start_with(&etcd, options(&["shop:env=test"])).await;
    add_olga(&before).await;
    let signed_in = before
        .anonymous()
        .sign_in("olga", crate::test_console::PASSWORD)
        .await;
    let olga = before.with_token(signed_in.token());
    assert_eq!(
        roles_on(&olga, "shop").await,
        [Role::Viewer, Role::Operator]
    );
    // The same session on a console whose settings changed.
    for (rules, expected) in [
        (vec!["shop:env=production"], vec![Role::Viewer]),
        (vec![], vec![Role::Viewer]),
        (
            vec!["*:env=test", "shop:env=production"],
            vec![Role::Viewer],
        ),
        (
            vec!["shop:env=production", "*:env=test"],
            vec![Role::Viewer, Role::Operator],
        ),
    ] {
        let after = TestConsole::start_with(&etcd, options(&rules)).await;
        let olga = after.with_token(signed_in.token());
        eventually("the session is known", async || {
            olga.get("/api/v1/session").await.status == 200
        })
        .await;
        assert_eq!(roles_on(&olga, "shop").await, expected, "{rules:?}");
    }
}

#[tokio::test]
async fn a_token_is_limited_by_label() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, options(&["shop:env=test", "lab:env=x"])).await;
    console.add_user("root", &[Role::Admin]).await;
    let admin = console.sign_in("root").await;
    let body = json!({"name": "ci", "kind": "service", "roles": ["operator"], "clusters": ["env=test", "lab"]});
    let added = post(&admin, "/api/v1/accounts", &body).await;
    assert_eq!(added.status, 201, "{}", added.text());
    for (name, clusters, lab, shop) in [
        ("all", vec![], 200, 200),
        ("label", vec!["env=test"], 404, 200),
        ("both", vec!["env=x", "env=none"], 200, 404),
    ] {
        let mut request = token_request(name, &[Role::Operator], &clusters);
        request["account"] = "ci".into();
        let token = console.with_bearer(&create(&admin, &request).await.secret);
        let expected = [("lab", lab), ("shop", shop)];
        eventually("the clusters are published", async || {
            let list: Value = token.get("/api/v1/clusters").await.json();
            let count = expected.iter().filter(|(_, status)| *status == 200).count();
            list["clusters"].as_array().unwrap().len() == count
        })
        .await;
        for (cluster, status) in expected {
            let answer = token.get(&format!("/api/v1/clusters/{cluster}")).await;
            assert_eq!(answer.status, status, "{name} {cluster}");
        }
    }
    let wrong = json!({"name": "x", "kind": "service", "roles": ["viewer"], "clusters": ["env="]});
    let refused = post(&admin, "/api/v1/accounts", &wrong).await;
    assert!(refused.status.is_client_error(), "{}", refused.text());
}

/// Nodes, and a console on which `lab` is production and needs a member of each group.
async fn grouped(etcd: &TestEtcd, groups: &[(&str, &str)]) -> ActionFixture {
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(etcd, &nodes, |options| {
        options.labels = labels(&["la*:env=production"]);
        options.cluster_approvals = vec![
            "env=production=2:dba+sre".parse().unwrap(),
            "env=test=3".parse().unwrap(),
        ];
    })
    .await;
    for (name, groups) in groups {
        set_groups(&fixture, name, groups).await;
    }
    fixture
}

async fn set_groups(fixture: &ActionFixture, name: &str, groups: &str) {
    let groups: Vec<&str> = groups
        .split(' ')
        .filter(|group| !group.is_empty())
        .collect();
    let path = format!("/api/v1/accounts/{name}");
    let body = json!({ "groups": groups });
    let answer = fixture.admin.send_json(Method::PATCH, &path, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let client = fixture.console.sign_in(name).await;
    eventually("sessions have the groups", async || {
        let session: Value = client.get("/api/v1/session").await.json();
        let known = session["groups"].as_array().map_or(0, Vec::len);
        known == groups.len()
    })
    .await;
}

#[tokio::test]
async fn a_policy_needs_two_people_of_two_groups() {
    let etcd = TestEtcd::in_memory();
    let groups = [
        ("adam", "dba"),
        ("bea", "dba sre"),
        ("ada", "sre"),
        ("olga", "sre"),
    ];
    let fixture = grouped(&etcd, &groups).await;
    let recovery = fixture.viewer.get("/api/v1/clusters/lab/recovery").await;
    let recovery: ClusterRecovery = recovery.json();
    assert_eq!(recovery.approvals[&ActionKind::Bootstrap], 2);
    let names: Vec<&str> = recovery
        .approver_groups
        .iter()
        .map(|one| one.as_str())
        .collect();
    assert_eq!(names, ["dba", "sre"]);
    let id = fixture.request(&fixture.operator).await.action.id;
    let approve = async |client| apply_verb(client, &id, "approve").await;
    assert_eq!(approve(&fixture.approver).await.status, 200);
    let refused = approve(&fixture.approver).await;
    assert_refused(&refused, 409, "already_approved");
    let waiting = fixture.get(&id).await.action;
    assert_eq!(waiting.state, ActionState::Pending);
    assert_eq!(waiting.missing_group().unwrap().as_str(), "sre");
    assert_eq!(approve(&fixture.second_approver).await.status, 200);
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
}

#[tokio::test]
async fn enough_people_of_one_group_do_not_suffice() {
    let etcd = TestEtcd::in_memory();
    let groups = [("adam", "dba"), ("ada", "dba"), ("bea", "sre")];
    let fixture = grouped(&etcd, &groups).await;
    let id = fixture.request(&fixture.operator).await.action.id;
    for client in [&fixture.approver, &fixture.second_approver] {
        assert_eq!(apply_verb(client, &id, "approve").await.status, 200);
    }
    let waiting = fixture.get(&id).await.action;
    assert_eq!(
        (waiting.state, waiting.approvals.len()),
        (ActionState::Pending, 2)
    );
    let page = fixture
        .viewer
        .get(&format!("/fragments/actions/{id}"))
        .await;
    assert!(page.text().contains("group sre"), "{}", page.text());
    let execute = apply_verb(&fixture.operator, &id, "execute").await;
    assert_refused(&execute, 409, "wrong_state");
    let third = apply_verb(&fixture.operator_approver, &id, "approve").await;
    assert_eq!(third.status, 200, "{}", third.text());
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
}

#[tokio::test]
async fn a_group_without_an_approver_is_named_and_refused() {
    let etcd = TestEtcd::in_memory();
    // The requester and a viewer are in the second group, and one person in both.
    let groups = [("bea", "dba sre"), ("olga", "sre"), ("vera", "sre")];
    let fixture = grouped(&etcd, &groups).await;
    let request = async |client| {
        let body = action_request(&fixture.plan().await);
        request_action(client, &body).await
    };
    let refused = request(&fixture.operator).await;
    let problem = assert_refused(&refused, 409, "no_approver_in_group");
    assert!(problem.detail.contains("group sre"), "{}", problem.detail);
    // An account that is disabled, or limited to other clusters, is no approver either.
    set_groups(&fixture, "ada", "sre").await;
    let ada = "ada".parse().unwrap();
    let disabled = |disabled| AccountChange {
        disabled: Some(disabled),
        ..AccountChange::default()
    };
    let store = &fixture.console.store;
    store.change(&ada, &disabled(true), NOW).await.unwrap();
    let refused = request(&fixture.operator).await;
    assert_refused(&refused, 409, "no_approver_in_group");
    let grants = vec![RoleGrant::of(vec![Role::Approver], scope(&["env=test"]))];
    fixture
        .console
        .add_user_with_grants("nina", &[Role::Approver], grants)
        .await;
    set_groups(&fixture, "nina", "sre").await;
    let refused = request(&fixture.operator).await;
    assert_refused(&refused, 409, "no_approver_in_group");
    store.change(&ada, &disabled(false), NOW).await.unwrap();
    assert_eq!(request(&fixture.operator).await.status, 201);
}

#[tokio::test]
async fn who_left_the_group_before_execution_does_not_count() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.cluster_approvals = vec!["lab=1:dba".parse().unwrap()];
    })
    .await;
    set_groups(&fixture, "adam", "dba").await;
    let id = fixture.request(&fixture.operator).await.action.id;
    // Nothing begins while recovery is paused.
    let paused = |enabled: bool| json!({"enabled": enabled, "reason": "work"});
    let path = "/api/v1/clusters/lab/recovery";
    let off = fixture
        .operator
        .send_json(Method::PUT, path, &paused(false))
        .await;
    assert_eq!(off.status, 200, "{}", off.text());
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    assert_eq!(fixture.get(&id).await.action.state, ActionState::Approved);
    set_groups(&fixture, "adam", "").await;
    let on = fixture
        .admin
        .send_json(Method::PUT, path, &paused(true))
        .await;
    assert_eq!(on.status, 200, "{}", on.text());
    let _ = apply_verb(&fixture.operator, &id, "execute").await;
    let ended = fixture.wait_for_state(&id, ActionState::Cancelled).await;
    let outcome = ended.action.outcome.unwrap();
    assert!(outcome.contains("group dba"), "{outcome}");
    assert_eq!(nodes.sent(), 0);
}

#[tokio::test]
async fn a_bootstrap_approved_before_the_policy_was_raised_needs_what_is_required_now() {
    for (rule, expected) in [
        ("lab=2", "1 of 2 approvals are given"),
        ("lab=1:dba", "group dba"),
        ("env=production=2", "1 of 2 approvals are given"),
    ] {
        let etcd = TestEtcd::in_memory();
        let nodes = FakeCluster::two_lost(etcd.registry());
        let before = ActionFixture::start(&etcd, &nodes).await;
        let id = before.request(&before.operator).await.action.id;
        let path = "/api/v1/clusters/lab/recovery";
        let paused = |enabled: bool| json!({"enabled": enabled, "reason": "work"});
        let off = before
            .operator
            .send_json(Method::PUT, path, &paused(false))
            .await;
        assert_eq!(off.status, 200, "{}", off.text());
        assert_eq!(
            apply_verb(&before.approver, &id, "approve").await.status,
            200
        );
        let approved = before.get(&id).await.action;
        assert_eq!(
            (approved.state, approved.approvals_needed),
            (ActionState::Approved, 1)
        );
        let before_console = before.console;
        drop(before_console);
        let after = ActionFixture::replica_with(&etcd, &nodes, |options| {
            options.labels = labels(&["lab:env=production"]);
            options.cluster_approvals = vec![rule.parse().unwrap()];
        })
        .await;
        let on = after
            .admin
            .send_json(Method::PUT, path, &paused(true))
            .await;
        assert_eq!(on.status, 200, "{}", on.text());
        let _ = apply_verb(&after.operator, &id, "execute").await;
        let ended = after.wait_for_state(&id, ActionState::Cancelled).await;
        let outcome = ended.action.outcome.unwrap();
        assert!(outcome.contains(expected), "{rule}: {outcome}");
        assert_eq!(nodes.sent(), 0, "{rule}");
    }
}
