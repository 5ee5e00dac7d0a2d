//! Labels of clusters that a reload of the settings replaces, and clusters that are selected by label and text.

use galera::access::{ClusterScope, Role, RoleGrant};
use galera::recover::action::ActionState;
use galera::recover::plan::ActionKind;
use http::Method;
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::api_tokens::{create, token_request};
use crate::client::TestClient;
use crate::cluster_labels::labels;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::live_messages::LiveConnection;
use crate::test_console::{ConsoleOptions, TestConsole};

fn options(rules: &[&str]) -> ConsoleOptions {
    ConsoleOptions {
        more_clusters: vec!["shop", "stock"],
        labels: labels(rules),
        ..ConsoleOptions::default()
    }
}

async fn names(client: &TestClient, query: &str) -> Vec<String> {
    let answer = client.get(&format!("/api/v1/clusters{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let list: Value = answer.json();
    let clusters = list["clusters"].as_array().unwrap().iter();
    let mut names: Vec<String> = clusters
        .map(|cluster| cluster["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    names
}

async fn published(client: &TestClient, expected: &[&str]) {
    eventually("the clusters are published", async || {
        names(client, "").await == expected
    })
    .await;
}

#[tokio::test]
async fn clusters_are_selected_by_label_and_text() {
    let etcd = TestEtcd::in_memory();
    let rules = ["s*:env=test,team=web", "stock:team=db"];
    let console = TestConsole::start_with(&etcd, options(&rules)).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let vera = console.sign_in("vera").await;
    published(&vera, &["lab", "shop", "stock"]).await;
    for (query, expected) in [
        ("?label=env=test", &["shop", "stock"][..]),
        ("?label=env=test&q=STO", &["stock"]),
        ("?label=env=test&q=lab", &[]),
        ("?label=env=test,team=web&q=o", &["shop"]),
        ("?q=team%3Dd", &["stock"]),
        ("?q=la&verdict=healthy", &[]),
        ("?q=", &["lab", "shop", "stock"]),
    ] {
        assert_eq!(names(&vera, query).await, expected, "{query}");
    }
    let long = format!("/api/v1/clusters?q={}", "x".repeat(101));
    for (path, code) in [
        (long.as_str(), "invalid_query"),
        ("/api/v1/clusters?label=env", "invalid_query"),
    ] {
        let answer = vera.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json::<Value>()["code"], code, "{path}");
    }
    // A page has the same selection, and every link of it keeps the rest.
    let page = vera
        .get("/?label=env%3Dtest&q=sto&sort=name&group=team")
        .await
        .text();
    for expected in [
        "href=\"/?q=sto&amp;label=team%3Ddb&amp;sort=name&amp;group=team\"",
        "href=\"/?q=sto&amp;label=env%3Dtest&amp;verdict=",
        "href=\"/?q=sto&amp;sort=name&amp;group=team\"",
        "type=\"hidden\" name=\"label\" value=\"env=test\"",
        "type=\"hidden\" name=\"group\" value=\"team\"",
        "id=\"row-stock\"",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    for absent in ["id=\"row-shop\"", "id=\"row-lab\""] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
}

/// Replaces the labels as SIGHUP does, and waits until views have them.
async fn reload(console: &TestConsole, admin: &TestClient, rules: &[&str], shop: Value) {
    console.state.replace_labels(&labels(rules));
    eventually("views have the labels", async || {
        let view: Value = admin.get("/api/v1/clusters/shop").await.json();
        view["labels"] == shop
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_replaces_labels_in_views_roles_and_tokens() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, options(&["shop:env=test"])).await;
    console.add_user("root", &[Role::Admin]).await;
    let admin = console.sign_in("root").await;
    published(&admin, &["lab", "shop", "stock"]).await;
    let test = ClusterScope::new(vec!["env=test".parse().unwrap()]);
    let grants = vec![RoleGrant::of(vec![Role::Viewer, Role::Operator], test)];
    let roles = [Role::Viewer, Role::Operator];
    console.add_user_with_grants("olga", &roles, grants).await;
    let olga = console.sign_in("olga").await;
    console.add_user("vera", &[Role::Viewer]).await;
    let vera = console.sign_in("vera").await;
    let request = token_request("tv", &[Role::Viewer], &["env=test"]);
    let token = console.with_bearer(&create(&vera, &request).await.secret);
    let steps = [
        (vec!["shop:env=test"], json!({"env": "test"}), &["shop"][..]),
        // Added.
        (
            vec!["shop:env=test,team=web", "lab:env=test"],
            json!({"env": "test", "team": "web"}),
            &["lab", "shop"],
        ),
        // Changed.
        (
            vec!["shop:env=production", "lab:env=test"],
            json!({"env": "production"}),
            &["lab"],
        ),
        // Removed.
        (vec![], Value::Null, &[]),
        (
            vec!["s*:env=test"],
            json!({"env": "test"}),
            &["shop", "stock"],
        ),
    ];
    for (rules, shop, expected) in steps {
        reload(&console, &admin, &rules, shop).await;
        for client in [&olga, &token] {
            assert_eq!(names(client, "").await, expected, "{rules:?}");
            let shop_seen = client.get("/api/v1/clusters/shop").await.status == 200;
            assert_eq!(shop_seen, expected.contains(&"shop"), "{rules:?}");
        }
        let off = json!({"enabled": false, "reason": "work"});
        let path = "/api/v1/clusters/lab/recovery";
        let answer = olga.send_json(Method::PUT, path, &off).await;
        assert_eq!(answer.status == 200, expected.contains(&"lab"), "{rules:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_ends_the_connections_of_credentials_with_other_clusters() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start_with(&etcd, options(&["shop:env=test"])).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let vera = console.sign_in("vera").await;
    published(&vera, &["lab", "shop", "stock"]).await;
    let test = ClusterScope::new(vec!["env=test".parse().unwrap()]);
    let grants = vec![RoleGrant::of(vec![Role::Viewer], test)];
    console
        .add_user_with_grants("nina", &[Role::Viewer], grants)
        .await;
    let nina = console.sign_in("nina").await;
    let request = token_request("tv", &[Role::Viewer], &["env=test"]);
    let token = console.with_bearer(&create(&vera, &request).await.secret);
    let mut limited = Vec::new();
    for client in [&nina, &token] {
        let mut live = LiveConnection::open(client).await;
        let overview = live.first_of("overview", "overview").await;
        assert!(overview.to_string().contains("shop"), "{overview}");
        limited.push(live);
    }
    let mut everywhere = LiveConnection::open(&vera).await;
    everywhere.first_of("overview", "overview").await;
    // The same labels end nothing.
    console.state.replace_labels(&labels(&["shop:env=test"]));
    for live in &mut limited {
        live.first_of("cluster/shop", "cluster").await;
    }
    console.state.replace_labels(&labels(&["stock:env=test"]));
    for mut live in limited {
        live.wait_closed().await;
    }
    for client in [&nina, &token] {
        let mut live = LiveConnection::open(client).await;
        let overview = live.first_of("overview", "overview").await.to_string();
        assert!(
            overview.contains("stock") && !overview.contains("shop"),
            "{overview}"
        );
    }
    everywhere.first_of("cluster/lab", "cluster").await;
}

#[tokio::test]
async fn a_reload_that_brings_a_cluster_under_a_policy_counts_for_open_actions() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.cluster_approvals = vec!["env=production=2".parse().unwrap()];
    })
    .await;
    let recovery = async || {
        let recovery = fixture.viewer.get("/api/v1/clusters/lab/recovery").await;
        let recovery: galera::publish::api::ClusterRecovery = recovery.json();
        recovery.approvals[&ActionKind::Bootstrap]
    };
    assert_eq!(recovery().await, 1);
    let id = fixture.request(&fixture.operator).await.action.id;
    let path = "/api/v1/clusters/lab/recovery";
    let paused = |enabled: bool| json!({"enabled": enabled, "reason": "work"});
    let off = paused(false);
    let off = fixture.operator.send_json(Method::PUT, path, &off).await;
    assert_eq!(off.status, 200);
    let approved = apply_verb(&fixture.approver, &id, "approve").await;
    assert_eq!(approved.status, 200);
    assert_eq!(fixture.get(&id).await.action.state, ActionState::Approved);
    let state = &fixture.console.state;
    state.replace_labels(&labels(&["lab:env=production"]));
    assert_eq!(recovery().await, 2);
    let on = paused(true);
    let on = fixture.admin.send_json(Method::PUT, path, &on).await;
    assert_eq!(on.status, 200);
    let _ = apply_verb(&fixture.operator, &id, "execute").await;
    let ended = fixture.wait_for_state(&id, ActionState::Cancelled).await;
    let outcome = ended.action.outcome.unwrap();
    assert!(outcome.contains("1 of 2 approvals"), "{outcome}");
    assert_eq!(nodes.sent(), 0);
}
