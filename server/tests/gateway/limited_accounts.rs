//! Accounts with a password, and service accounts, whose roles count on some clusters only.

use galera::access::{ClusterScope, Role, RoleGrant};
use galera::publish::accounts::AccountView;
use galera::publish::api::SessionView;
use http::Method;
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, action_request, apply_verb, assert_refused};
use crate::action_fixture::{post, request_action};
use crate::api_tokens::{create, token_request};
use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::live_messages::LiveConnection;
use crate::test_console::{ConsoleOptions, PASSWORD, TestConsole};

async fn console() -> (TestConsole, TestClient) {
    let options = ConsoleOptions {
        more_clusters: vec!["shop"],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    console.add_user("root", &[Role::Admin]).await;
    let admin = console.sign_in("root").await;
    eventually("both clusters are published", async || {
        let list: Value = admin.get("/api/v1/clusters").await.json();
        list["clusters"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    })
    .await;
    (console, admin)
}

pub(crate) fn scope(patterns: &[&str]) -> ClusterScope {
    ClusterScope::new(patterns.iter().map(|text| text.parse().unwrap()).collect())
}

async fn patch(client: &TestClient, name: &str, body: &Value) -> TestResponse {
    let path = format!("/api/v1/accounts/{name}");
    client.send_json(Method::PATCH, &path, body).await
}

/// Switches the recovery of `cluster` off: needs the role operator, approver or admin there.
async fn pause(client: &TestClient, path: &str) -> u16 {
    let off = json!({"enabled": false, "reason": "work"});
    let answer = client.send_json(Method::PUT, path, &off).await;
    answer.status.as_u16()
}

/// Adds `olga`: operator on `sh*`, viewer everywhere.
async fn add_olga(admin: &TestClient) -> AccountView {
    let body = json!({"name": "olga", "password": PASSWORD, "roles": ["viewer"],
        "grants": [{"roles": ["operator"], "clusters": ["sh*"]}]});
    let added = post(admin, "/api/v1/accounts", &body).await;
    assert_eq!(added.status, 201, "{}", added.text());
    added.json()
}

#[tokio::test]
async fn a_role_counts_on_its_clusters_only() {
    let (console, admin) = console().await;
    let account = add_olga(&admin).await;
    assert_eq!(account.roles, [Role::Viewer, Role::Operator]);
    let grants = [
        RoleGrant::of(vec![Role::Viewer], ClusterScope::all()),
        RoleGrant::of(vec![Role::Operator], scope(&["sh*"])),
    ];
    assert_eq!(account.grants, grants);
    let olga = console.sign_in("olga").await;
    let request = token_request("deploy", &[Role::Operator, Role::Viewer], &[]);
    let token = console.with_bearer(&create(&olga, &request).await.secret);
    for (what, client) in [("session", &olga), ("token", &token)] {
        assert_eq!(client.get("/api/v1/clusters/lab").await.status, 200);
        for (path, expected) in [
            ("/api/v1/clusters/lab/recovery", 403),
            ("/api/v1/clusters/shop/recovery", 200),
            ("/api/v1/recovery", 403),
        ] {
            assert_eq!(pause(client, path).await, expected, "{what} {path}");
        }
        for (cluster, expected) in [
            ("lab", vec![Role::Viewer]),
            ("shop", vec![Role::Viewer, Role::Operator]),
        ] {
            let path = format!("/api/v1/session?cluster={cluster}");
            let session: SessionView = client.get(&path).await.json();
            assert_eq!(session.roles, expected, "{what} {cluster}");
        }
    }
    let me: Value = olga.get("/api/v1/me").await.json();
    let expected = ["viewer on all clusters and the console", "operator on sh*"];
    assert_eq!(me["grants"], json!(expected));
    let page = olga.get("/fragments/account").await.text();
    assert!(page.contains("operator on sh*"), "{page}");
    let audit = admin.get("/api/v1/audit?limit=100").await.text();
    assert!(audit.contains("viewer; operator on sh*"), "{audit}");
}

#[tokio::test]
async fn a_token_is_limited_by_its_account_and_by_itself() {
    let (console, admin) = console().await;
    let body = json!({"name": "ci", "kind": "service", "roles": ["operator"], "clusters": ["lab"]});
    let added = post(&admin, "/api/v1/accounts", &body).await;
    assert_eq!(added.status, 201, "{}", added.text());
    for (name, clusters, lab) in [("all", vec![], 200), ("shop", vec!["shop"], 404)] {
        let mut request = token_request(name, &[Role::Operator], &clusters);
        request["account"] = "ci".into();
        let token = console.with_bearer(&create(&admin, &request).await.secret);
        assert_eq!(
            token.get("/api/v1/clusters/lab").await.status,
            lab,
            "{name}"
        );
        let shop = token.get("/api/v1/clusters/shop").await;
        assert_eq!(shop.problem().code, "unknown_cluster", "{name}");
        let list = token.get("/api/v1/clusters").await;
        let expected = ["lab"].iter().filter(|_| lab == 200).count();
        let list: Value = list.json();
        assert_eq!(list["clusters"].as_array().unwrap().len(), expected);
        let path = "/api/v1/session?cluster=shop";
        let session: SessionView = token.get(path).await.json();
        assert!(session.roles.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_limit_stays_unless_another_one_is_stated() {
    let (console, admin) = console().await;
    let body =
        json!({"name": "dora", "password": PASSWORD, "roles": ["viewer"], "clusters": ["lab"]});
    assert_eq!(post(&admin, "/api/v1/accounts", &body).await.status, 201);
    let dora = console.sign_in("dora").await;
    let changed = patch(&admin, "dora", &json!({"roles": ["operator"]})).await;
    let account: AccountView = changed.json();
    let operator = RoleGrant::of(vec![Role::Operator], scope(&["lab"]));
    assert_eq!(account.grants, [operator]);
    add_olga(&admin).await;
    let refused = patch(&admin, "olga", &json!({"roles": ["viewer"]})).await;
    let problem = assert_refused(&refused, 422, "clusters_not_stated");
    assert!(problem.detail.contains("operator on sh*"), "{problem:?}");
    for (body, code) in [
        (json!({"clusters": ["lab"]}), "no_role"),
        (
            json!({"grants": [{"roles": [], "clusters": ["lab"]}]}),
            "no_role",
        ),
        (
            json!({"roles": ["viewer"], "clusters": (0..51).map(|n| format!("c{n}")).collect::<Vec<_>>()}),
            "too_many_clusters",
        ),
    ] {
        assert_refused(&patch(&admin, "olga", &body).await, 422, code);
    }
    let invalid = json!({"roles": ["viewer"], "clusters": ["a b"]});
    let invalid = patch(&admin, "olga", &invalid).await;
    assert!(invalid.status.is_client_error(), "{}", invalid.text());
    assert!(invalid.text().contains("prod-*"), "{}", invalid.text());
    let wide = patch(
        &admin,
        "dora",
        &json!({"roles": ["operator"], "clusters": []}),
    )
    .await;
    assert_eq!(wide.json::<AccountView>().grants, []);
    eventually("the session has all clusters", async || {
        pause(&dora, "/api/v1/clusters/shop/recovery").await == 200
    })
    .await;
}

#[tokio::test]
async fn an_administrator_of_some_clusters_is_not_the_last_one() {
    let (console, admin) = console().await;
    let body = json!({"name": "ada", "password": PASSWORD, "roles": ["admin"], "clusters": ["*"]});
    assert_eq!(post(&admin, "/api/v1/accounts", &body).await.status, 201);
    let ada = console.sign_in("ada").await;
    let list = ada.get("/api/v1/accounts").await;
    assert_refused(&list, 403, "limited_to_clusters");
    for body in [
        json!({"disabled": true}),
        json!({"roles": ["admin"], "clusters": ["*"]}),
    ] {
        assert_refused(&patch(&admin, "root", &body).await, 409, "last_admin");
    }
    assert_refused(
        &admin.delete("/api/v1/accounts/root").await,
        409,
        "last_admin",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_when_the_clusters_of_the_account_change() {
    let (console, admin) = console().await;
    add_olga(&admin).await;
    let olga = console.sign_in("olga").await;
    let request = token_request("tv", &[Role::Viewer, Role::Operator], &[]);
    let token = console.with_bearer(&create(&olga, &request).await.secret);
    let mut connections = Vec::new();
    for client in [&olga, &token] {
        let mut live = LiveConnection::open(client).await;
        live.send(json!({"subscribe": ["cluster/lab"]}).to_string())
            .await;
        live.next("cluster").await;
        connections.push(live);
    }
    let limited = json!({"roles": ["operator"], "clusters": ["shop"]});
    assert_eq!(patch(&admin, "olga", &limited).await.status, 200);
    for mut live in connections {
        live.wait_closed().await;
    }
    for client in [&olga, &token] {
        assert_eq!(client.get("/api/v1/clusters/lab").await.status, 404);
        assert_eq!(client.get("/api/v1/clusters/shop").await.status, 200);
        LiveConnection::open(client).await;
    }
}

/// `i41_an_approver_who_is_no_longer_the_same_stops_it` has what changes between the approval and the statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_count_on_their_clusters_only() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| {
        options.more_clusters = vec!["shop"];
    })
    .await;
    let console = &fixture.console;
    for (name, role, clusters) in [
        ("ines", Role::Approver, "la*"),
        ("paul", Role::Approver, "shop"),
        ("otis", Role::Operator, "shop"),
    ] {
        let grants = vec![RoleGrant::of(vec![role], scope(&[clusters]))];
        let everywhere = RoleGrant::of(vec![Role::Viewer], ClusterScope::all());
        let grants = [grants, vec![everywhere]].concat();
        console.add_user_with_grants(name, &[role], grants).await;
    }
    let otis = console.sign_in("otis").await;
    let refused = request_action(&otis, &action_request(&fixture.plan().await)).await;
    assert_refused(&refused, 403, "missing_role");
    let id = fixture.request(&fixture.operator).await.action.id;
    let paul = console.sign_in("paul").await;
    let refused = apply_verb(&paul, &id, "approve").await;
    assert_refused(&refused, 403, "missing_role");
    let ines = console.sign_in("ines").await;
    let approved = apply_verb(&ines, &id, "approve").await;
    assert_eq!(approved.status, 200, "{}", approved.text());
}

/// What a console without limits of accounts reads of such a record is less, not more.
#[tokio::test]
async fn an_earlier_version_sees_only_the_roles_that_count_everywhere() {
    let (console, admin) = console().await;
    add_olga(&admin).await;
    let body = json!({"name": "ci", "kind": "service", "roles": ["admin"], "clusters": ["lab"]});
    assert_eq!(post(&admin, "/api/v1/accounts", &body).await.status, 201);
    for (name, expected) in [("olga", json!(["viewer"])), ("ci", json!([]))] {
        let name = name.parse().unwrap();
        let record = console.store.get(&name).await.unwrap();
        let stored: Value = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(stored["roles"], expected);
        let read: accounts::UserRecord = serde_json::from_value(stored).unwrap();
        assert_eq!(read, record);
    }
    // A record of an earlier version has its roles everywhere.
    let root = console.store.get(&"root".parse().unwrap()).await.unwrap();
    assert_eq!((root.roles, root.grants), (vec![Role::Admin], vec![]));
}
