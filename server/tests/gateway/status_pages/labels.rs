//! Pages that show clusters by label.

use std::time::Duration;

use accounts::NewToken;
use console_core::clock::now;
use galera::access::{ClusterScope, Role, RoleGrant};
use http::Method;
use serde_json::{Value, json};

use super::send;
use crate::api_tokens::{issue, new_token};
use crate::client::TestClient;
use crate::cluster_labels::labels;
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{ConsoleOptions, TestConsole};

const PAGES: &str = "/api/v1/status/pages";

async fn start(etcd: &TestEtcd) -> TestConsole {
    let options = ConsoleOptions {
        more_clusters: vec!["shop", "stock"],
        labels: labels(&["s*:env=prod", "lab:env=test"]),
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(etcd, options).await;
    console.add_user("ada", &[Role::Admin]).await;
    console
}

/// A public page with the clusters `listed` and by label.
fn page(listed: &[&str], labels: &[&str]) -> Value {
    let clusters = listed
        .iter()
        .map(|name| json!({"cluster": name, "name": format!("Our {name}")}));
    json!({"slug": "prod", "title": "Databases", "visibility": "public", "labels": labels,
        "clusters": clusters.collect::<Vec<_>>(), "automatic": {"after_secs": 0}})
}

async fn create(client: &TestClient, page: &Value) -> (u16, Value) {
    let answer = send(client, Method::POST, PAGES, &page.to_string()).await;
    (answer.status.as_u16(), answer.json())
}

/// The names that the page shows the public, in its order.
async fn shown(console: &TestConsole) -> Vec<String> {
    let summary = console.anonymous().get("/status/prod/summary.json").await;
    if summary.status != 200 {
        return Vec::new();
    }
    let summary: Value = summary.json();
    let components = summary["components"].as_array().unwrap().iter();
    let names = components.map(|component| component["name"].as_str().unwrap().to_owned());
    names.collect()
}

async fn until_shown(console: &TestConsole, expected: &[&str]) {
    eventually(&format!("the page shows {expected:?}"), async || {
        shown(console).await == expected
    })
    .await;
}

#[tokio::test]
async fn a_page_shows_the_clusters_of_its_labels_and_follows_a_reload() {
    let etcd = TestEtcd::in_memory();
    let console = start(&etcd).await;
    let admin = console.sign_in("ada").await;
    let (status, created) = create(&admin, &page(&["stock"], &["env=prod"])).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(created["labels"], json!(["env=prod"]));
    until_shown(&console, &["Our stock", "shop"]).await;
    let view: Value = admin.get("/api/v1/status/pages/prod").await.json();
    assert_eq!(view["selected"], json!(["shop"]));
    // Incidents and maintenance of a cluster that only a label selects, under its name there, and none of another one.
    for (title, cluster) in [("Slow writes", "shop"), ("Secret of the lab", "lab")] {
        let incident = json!({"clusters": [cluster], "title": title, "text": "t"});
        let path = "/api/v1/status/incidents";
        let answer = send(&admin, Method::POST, path, &incident.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let work = json!({"clusters": ["shop", "lab"], "title": "Upgrade", "text": "t",
        "until": now().plus(Duration::from_secs(7_200))});
    let path = "/api/v1/status/maintenance";
    let answer = send(&admin, Method::POST, path, &work.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let public = async || console.anonymous().get("/status/prod").await.text();
    eventually("the incident is shown", async || {
        let text = public().await;
        text.contains("Slow writes") && text.contains("Upgrade")
    })
    .await;
    let text = public().await;
    assert!(
        !text.contains("Secret of the lab") && !text.contains(">lab<"),
        "{text}"
    );
    // A reload counts immediately, for the page and for the incidents on it.
    console.state.0.replace_labels(&labels(&["lab:env=prod"]));
    until_shown(&console, &["Our stock", "lab"]).await;
    eventually("the incidents are those of the page", async || {
        let text = public().await;
        !text.contains("Slow writes") && text.contains("Secret of the lab")
    })
    .await;
    console.state.0.replace_labels(&labels(&[]));
    until_shown(&console, &["Our stock"]).await;
}

#[tokio::test]
async fn incidents_open_automatically_for_clusters_of_a_label() {
    let etcd = TestEtcd::in_memory();
    let console = start(&etcd).await;
    let admin = console.sign_in("ada").await;
    let (status, created) = create(&admin, &page(&[], &["env=prod"])).await;
    assert_eq!(status, 201, "{created}");
    let opened = async || -> Vec<Value> {
        let list: Value = admin.get("/api/v1/status/incidents").await.json();
        let incidents = list["incidents"].as_array().unwrap().iter();
        incidents
            .map(|incident| incident["clusters"].clone())
            .collect()
    };
    eventually("both have an incident", async || {
        let opened = opened().await;
        opened.contains(&json!(["shop"])) && opened.contains(&json!(["stock"]))
    })
    .await;
    assert!(!opened().await.contains(&json!(["lab"])));
}

#[tokio::test]
async fn only_a_credential_for_all_clusters_publishes_by_label() {
    let etcd = TestEtcd::in_memory();
    let console = start(&etcd).await;
    let admin = console.sign_in("ada").await;
    let (status, _) = create(&admin, &page(&[], &["env=prod"])).await;
    assert_eq!(status, 201);
    let scope = |selectors: &[&str]| {
        ClusterScope::new(selectors.iter().map(|text| text.parse().unwrap()).collect())
    };
    let roles = [Role::Admin];
    for limit in ["shop", "s*", "*", "env=prod"] {
        let name = format!("limited-{}", limit.len());
        let grants = vec![RoleGrant::of(roles.to_vec(), scope(&[limit]))];
        console.add_user_with_grants(&name, &roles, grants).await;
        let token = NewToken {
            clusters: scope(&[limit]),
            ..new_token(&name, &roles, now().plus(Duration::from_secs(3_600)))
        };
        let token = console.with_bearer(&issue(&console, "ada", token, now()).await);
        let session = console.sign_in(&name).await;
        for (client, code) in [
            (&session, "limited_to_clusters"),
            (&token, "token_limited_to_clusters"),
        ] {
            let wanted = page(&[], &["env=prod"]);
            let (status, problem) = create(client, &wanted).await;
            assert_eq!((status, &problem["code"]), (403, &json!(code)), "{limit}");
            let path = "/api/v1/status/pages/prod";
            let answer = send(client, Method::PUT, path, &wanted.to_string()).await;
            assert_eq!(answer.problem().code, code, "{limit}");
            // It is seen where the credential is for all that it shows.
            let expected = if limit == "shop" { 404 } else { 200 };
            assert_eq!(client.get(path).await.status, expected, "{limit}");
        }
    }
    console.state.0.replace_labels(&labels(&["shop:env=prod"]));
    let shop = console.sign_in("limited-4").await;
    let list: Value = shop.get(PAGES).await.json();
    assert_eq!(list["pages"][0]["selected"], json!(["shop"]));
    // One that shows none now will show others.
    console.state.0.replace_labels(&labels(&[]));
    let list: Value = shop.get(PAGES).await.json();
    assert_eq!(list["pages"], json!([]));
}

#[tokio::test]
async fn a_members_page_is_shown_to_viewers_of_all_of_its_clusters() {
    let etcd = TestEtcd::in_memory();
    let console = start(&etcd).await;
    let admin = console.sign_in("ada").await;
    let mut members = page(&["lab"], &["env=prod"]);
    members["visibility"] = json!("members");
    assert_eq!(create(&admin, &members).await.0, 201);
    for (name, limits, expected) in [
        ("all", &["*"][..], 200),
        ("each", &["lab", "env=prod"], 200),
        ("listed", &["lab"], 404),
        ("labelled", &["env=prod"], 404),
    ] {
        let scope = ClusterScope::new(limits.iter().map(|text| text.parse().unwrap()).collect());
        let grants = vec![RoleGrant::of(vec![Role::Viewer], scope)];
        console
            .add_user_with_grants(name, &[Role::Viewer], grants)
            .await;
        let viewer = console.sign_in(name).await;
        for part in ["", "/summary.json", "/feed.atom", "/badge.svg"] {
            let path = format!("/status/prod{part}");
            eventually(&format!("{expected} for {name} at {path}"), async || {
                viewer.get(&path).await.status == expected
            })
            .await;
        }
    }
    // A reload that selects another cluster counts for an open session too.
    let each = console.sign_in("each").await;
    console
        .state
        .0
        .replace_labels(&labels(&["s*:env=test", "lab:env=test"]));
    eventually("only the listed cluster is left", async || {
        each.get("/status/prod").await.status == 200
            && console
                .sign_in("listed")
                .await
                .get("/status/prod")
                .await
                .status
                == 200
    })
    .await;
}

#[tokio::test]
async fn what_selects_nothing_or_is_no_label_is_refused() {
    let etcd = TestEtcd::in_memory();
    let console = start(&etcd).await;
    let admin = console.sign_in("ada").await;
    let many: Vec<String> = (0..11).map(|number| format!("k=v{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (labels, status, code) in [
        (&[][..], 422, "invalid_clusters"),
        (&["prod-*"][..], 422, "invalid_label"),
        (&["env="][..], 422, "invalid_label"),
        (&["=x"][..], 422, "invalid_label"),
        (&["a=b=c"][..], 422, "invalid_label"),
        (&["env=<b>"][..], 422, "invalid_label"),
        (&many[..], 409, "too_many"),
    ] {
        let (answered, problem) = create(&admin, &page(&[], labels)).await;
        assert_eq!(
            (answered, &problem["code"]),
            (status, &json!(code)),
            "{labels:?}"
        );
    }
    // A label that no cluster has is accepted: a reload may give it.
    let (status, _) = create(&admin, &page(&[], &["env=future"])).await;
    assert_eq!(status, 201);
    eventually("the page is served", async || {
        let answer = console.anonymous().get("/status/prod").await;
        answer.status == 200 && answer.text().contains("No database is shown")
    })
    .await;
}
