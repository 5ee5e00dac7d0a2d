//! Credentials that are limited to clusters: what lists, exports and live topics show them of others.

use std::time::Duration;

use accounts::NewToken;
use console_core::clock::now;
use galera::access::{ClusterScope, Role, RoleGrant};
use galera_console::http::{access_table, openapi_document};
use http::Method;
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, post};
use crate::api_tokens::{issue, new_token};
use crate::client::TestClient;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::live_messages::LiveConnection;
use crate::redaction::stable;
use crate::test_console::{ConsoleOptions, TestConsole};

const OTHER: &str = "shop";

/// A token of `account` that is limited to `shop`.
async fn token_for_shop(console: &TestConsole, account: &str, roles: &[Role]) -> TestClient {
    let new = NewToken {
        clusters: ClusterScope::new(vec![OTHER.parse().unwrap()]),
        ..new_token("shop-only", roles, now().plus(Duration::from_secs(3600)))
    };
    console.with_bearer(&issue(console, account, new, now()).await)
}

/// Everything that is limited to `shop`: a token of `account`, the session of an account whose `roles` count there, and tokens of that
/// account, with a wider limit and without one.
async fn holders_for_shop(
    console: &TestConsole,
    account: &str,
    roles: &[Role],
) -> Vec<(&'static str, TestClient)> {
    let limited = format!("{account}-shop");
    let shop = ClusterScope::new(vec![OTHER.parse().unwrap()]);
    let grants = vec![RoleGrant::of(roles.to_vec(), shop)];
    console.add_user_with_grants(&limited, roles, grants).await;
    let end = now().plus(Duration::from_secs(3600));
    let unlimited = issue(console, &limited, new_token("all", roles, end), now()).await;
    let wider = NewToken {
        clusters: ClusterScope::new(vec!["lab".parse().unwrap(), "s*".parse().unwrap()]),
        ..new_token("wider", roles, end)
    };
    let wider = issue(console, &limited, wider, now()).await;
    vec![
        ("token", token_for_shop(console, account, roles).await),
        ("session", console.sign_in(&limited).await),
        ("token of the account", console.with_bearer(&unlimited)),
        ("wider token of the account", console.with_bearer(&wider)),
    ]
}

async fn fixture() -> ActionFixture {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let alter = |options: &mut ConsoleOptions| options.more_clusters = vec![OTHER];
    ActionFixture::start_with(&etcd, &nodes, alter).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_exports_leave_other_clusters_out() {
    let fixture = fixture().await;
    fixture.request(&fixture.operator).await;
    let reason = json!({"enabled": false, "reason": "maintenance of lab"});
    let path = "/api/v1/clusters/lab/recovery";
    let answer = fixture.admin.send_json(Method::PUT, path, &reason).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (title, clusters) in [
        ("of lab", json!(["lab"])),
        ("of both", json!(["lab", OTHER])),
    ] {
        let incident = json!({"clusters": clusters, "title": title, "text": "t"});
        let answer = post(&fixture.admin, "/api/v1/status/incidents", &incident).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let work = json!({"clusters": clusters, "title": title, "text": "t",
            "until": now().plus(Duration::from_secs(7200))});
        let answer = post(&fixture.admin, "/api/v1/status/maintenance", &work).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let page = json!({"slug": "lab-page", "title": "Lab page", "clusters": [{"cluster": "lab"}]});
    let answer = post(&fixture.admin, "/api/v1/status/pages", &page).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let roles = [Role::Admin];
    let holders = holders_for_shop(&fixture.console, "root", &roles).await;
    let incidents: Value = fixture.admin.get("/api/v1/status/incidents").await.json();
    let incident = incidents["incidents"][0]["id"].as_str().unwrap().to_owned();
    let lists = [
        "/api/v1/clusters",
        "/api/v1/clusters?verdict=healthy,degraded,no_primary,down,unknown,split_brain,diverged",
        "/api/v1/actions",
        "/api/v1/actions?cluster=lab",
        "/api/v1/audit?limit=1000",
        "/api/v1/audit?cluster=lab",
        "/api/v1/audit?format=csv&limit=1000",
        "/api/v1/status/incidents",
        "/api/v1/status/incidents?cluster=lab",
        "/api/v1/status/maintenance",
        "/api/v1/status/pages",
    ];
    for path in lists {
        let all = fixture.admin.get(path).await.text();
        assert!(all.contains("lab"), "{path}: {all}");
        for (what, holder) in &holders {
            let answer = holder.get(path).await;
            assert_eq!(answer.status, 200, "{what} {path}: {}", answer.text());
            let text = answer.text();
            assert!(!text.contains("lab"), "{what} {path}: {text}");
        }
    }
    for (what, holder) in &holders {
        nothing_of_lab(&fixture, what, holder, &incident).await;
    }
}

/// What names an item of `lab` is refused as if it did not exist.
async fn nothing_of_lab(fixture: &ActionFixture, what: &str, program: &TestClient, incident: &str) {
    let overview = program.get("/api/v1/clusters").await.text();
    assert!(overview.contains(OTHER), "{what}: {overview}");
    for path in [
        format!("/api/v1/status/incidents/{incident}"),
        "/api/v1/status/pages/lab-page".to_owned(),
    ] {
        assert_eq!(fixture.admin.get(&path).await.status, 200, "{path}");
        let answer = program.get(&path).await;
        assert_eq!(answer.problem().code, "unknown_item", "{what} {path}");
    }
    let update = json!({"state": "resolved", "text": "t"});
    let path = format!("/api/v1/status/incidents/{incident}/updates");
    assert_eq!(
        post(program, &path, &update).await.problem().code,
        "unknown_item"
    );
    let incident = json!({"clusters": ["lab"], "title": "t", "text": "t"});
    let answer = post(program, "/api/v1/status/incidents", &incident).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let unknown = json!({"clusters": ["nowhere"], "title": "t", "text": "t"});
    let of_unknown = post(program, "/api/v1/status/incidents", &unknown).await;
    assert_eq!(answer.problem().code, of_unknown.problem().code);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_of_another_cluster_does_not_exist() {
    let fixture = fixture().await;
    let id = fixture.request(&fixture.operator).await.action.id;
    let roles = [Role::Operator];
    for (what, program) in holders_for_shop(&fixture.console, "olga", &roles).await {
        for path in [
            format!("/api/v1/actions/{id}"),
            format!("/api/v1/actions/{id}/plan"),
        ] {
            assert_eq!(fixture.viewer.get(&path).await.status, 200, "{path}");
            let answer = program.get(&path).await;
            assert_eq!(answer.problem().code, "unknown_action", "{what} {path}");
        }
        for verb in ["cancel", "execute", "comment", "undo"] {
            let answer = crate::action_fixture::apply_verb(&program, &id, verb).await;
            assert_eq!(answer.problem().code, "unknown_action", "{what} {verb}");
        }
    }
}

/// Whatever a connection gets until both of its last topics have answered.
async fn received(connection: &mut LiveConnection, last: &str, errors: usize) -> Vec<Value> {
    let mut messages = Vec::new();
    let (mut got_last, mut got_errors) = (false, 0);
    while !got_last || got_errors < errors {
        let message = connection.next_of_any().await;
        got_last |=
            message["type"] == last && message["topic"].as_str().is_none_or(|t| t != "actions");
        got_errors += usize::from(message["type"] == "error");
        messages.push(message);
    }
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_topics_leave_other_clusters_out() {
    let fixture = fixture().await;
    fixture.request(&fixture.operator).await;
    let holders = holders_for_shop(&fixture.console, "vera", &[Role::Viewer]).await;
    eventually("the other cluster is published", async || {
        fixture.viewer.get("/api/v1/clusters/shop").await.status == 200
    })
    .await;
    for (what, holder) in &holders {
        topics_leave_lab_out(what, holder).await;
    }
    // With all clusters, the same topics have it.
    let mut connection = LiveConnection::open(&fixture.viewer).await;
    let overview = connection.first_of("overview", "overview").await;
    assert!(overview.to_string().contains("lab"), "{overview}");
}

async fn topics_leave_lab_out(what: &str, program: &TestClient) {
    for (subscription, last) in [
        (
            json!({"subscribe": ["overview", "cluster/lab", "actions"]}),
            "overview",
        ),
        (
            json!({"version": 2, "subscribe": ["head", "overview", "cluster/lab", "actions"]}),
            "full",
        ),
    ] {
        let mut connection = LiveConnection::open(program).await;
        connection.send(subscription.to_string()).await;
        let mut messages = received(&mut connection, last, 1).await;
        // What may follow: a window in which an action would have come.
        connection
            .send(json!({"subscribe": ["overview"]}).to_string())
            .await;
        messages.push(connection.next("overview").await);
        for message in &messages {
            match message["type"].as_str().unwrap() {
                "error" => assert_eq!(message["code"], "unknown_cluster", "{what} {message}"),
                "action" => panic!("{what} {message}"),
                _ => assert!(!message.to_string().contains("lab"), "{what} {message}"),
            }
        }
        assert!(
            messages.iter().any(|m| m.to_string().contains(OTHER)),
            "{messages:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let dora = console.sign_in("dora").await;
    let request = crate::api_tokens::token_request("tv", &[Role::Viewer], &[]);
    let created = crate::api_tokens::create(&dora, &request).await;
    let mut connection = LiveConnection::open(&console.with_bearer(&created.secret)).await;
    connection.next("hello").await;
    let path = format!("/api/v1/tokens/{}", created.token.id);
    assert_eq!(dora.delete(&path).await.status, 204);
    assert_eq!(connection.close_code().await, Some(4401));
}

/// `path` with parameters that name something of `cluster`, or of none.
fn filled(path: &str, cluster: &str, action: &str, page: &str) -> String {
    let id = if path.contains("/actions/") {
        action
    } else {
        "x"
    };
    path.replace("{cluster}", cluster)
        .replace("{node}", "127.0.0.1")
        .replace("{id}", id)
        .replace("{slug}", page)
        .replace("{name}", "vera")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_shows_more_of_another_cluster_than_of_one_that_does_not_exist() {
    const NONE: &str = "nonesuch";
    const NO_ACTION: &str = "01a1ee565e01-00000000";
    let fixture = fixture().await;
    let action = fixture.request(&fixture.operator).await.action.id;
    let page = json!({"slug": "lab-page", "title": "Lab page", "clusters": [{"cluster": "lab"}]});
    let answer = post(&fixture.admin, "/api/v1/status/pages", &page).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let roles = [Role::Admin, Role::Operator, Role::Approver];
    fixture.console.add_user("carl", &roles).await;
    let holders = holders_for_shop(&fixture.console, "carl", &roles).await;
    let document = serde_json::to_value(openapi_document()).unwrap();
    let (mut compared, mut asked, mut differing) = (0, 0, 0);
    let routes = access_table()
        .iter()
        .filter(|access| access.method == "GET");
    for access in routes {
        // A WebSocket, and what every client gets.
        if ["/api/v1/live", "/api/v1/openapi.json"].contains(&access.path) {
            continue;
        }
        let described = &document["paths"][access.path]["get"]["parameters"];
        let has = |name: &str| {
            let mut parameters = described.as_array().into_iter().flatten();
            parameters.any(|given| given["in"] == "query" && given["name"] == name)
        };
        let mut queries = vec![""];
        if has("cluster") {
            queries.push("?cluster=");
            asked += 1;
        }
        if has("nodes") {
            queries.push("?nodes=127.0.0.1");
        }
        for query in queries {
            // An unlimited session, of which the comparison must see more.
            let control = ("unlimited", &fixture.admin);
            let limited = holders.iter().map(|(what, program)| (*what, program));
            for (what, program) in limited.chain([control]) {
                let mut texts = Vec::new();
                for (cluster, action, page) in [
                    ("lab", action.as_str(), "lab-page"),
                    (NONE, NO_ACTION, "no-page"),
                ] {
                    let path = filled(access.path, cluster, action, page);
                    let query = match query.is_empty() {
                        false if query.ends_with("cluster=") => format!("{query}{cluster}"),
                        _ => query.to_owned(),
                    };
                    let answer = program.get(&format!("{path}{query}")).await;
                    let text = match serde_json::from_slice::<Value>(&answer.body) {
                        Ok(document) => stable(document).to_string(),
                        Err(_) => answer.text(),
                    };
                    let text = text.replace(page, "PAGE").replace(action, "ACTION");
                    let text = text.replace(NONE, "CLUSTER").replace("lab", "CLUSTER");
                    texts.push((answer.status, text));
                }
                if what == "unlimited" {
                    differing += usize::from(texts[0] != texts[1]);
                } else {
                    assert_eq!(texts[0], texts[1], "{what}: {}{query}", access.path);
                    compared += 1;
                }
            }
        }
    }
    assert!(differing > 10, "{differing}");
    assert!(compared > 150 && asked > 3, "{compared} {asked}");
}

#[tokio::test]
async fn a_session_has_no_roles_on_clusters_that_its_token_is_not_for() {
    let fixture = fixture().await;
    let roles = [Role::Operator];
    for (what, program) in holders_for_shop(&fixture.console, "olga", &roles).await {
        let roles_on = async |query: &str| {
            let session: Value = program.get(&format!("/api/v1/session{query}")).await.json();
            session["roles"].clone()
        };
        assert_eq!(
            roles_on("?cluster=shop").await,
            json!(["operator"]),
            "{what}"
        );
        assert_eq!(roles_on("?cluster=lab").await, json!([]), "{what}");
        assert_eq!(roles_on("?cluster=nonesuch").await, json!([]), "{what}");
    }
}
