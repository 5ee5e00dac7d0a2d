//! The API that manages accounts.

use galera::access::Role;
use galera::publish::accounts::{AccountList, AccountView};
use http::Method;
use serde_json::{Value, json};

use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::{PASSWORD, TestConsole};

async fn console() -> (TestConsole, TestClient) {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("root", &[Role::Admin]).await;
    let admin = console.sign_in("root").await;
    (console, admin)
}

async fn patch(client: &TestClient, name: &str, body: &Value) -> TestResponse {
    let path = format!("/api/v1/accounts/{name}");
    client.send_json(Method::PATCH, &path, body).await
}

fn refusal(response: &TestResponse) -> (u16, String) {
    (response.status.as_u16(), response.problem().code)
}

#[tokio::test]
async fn accounts_are_added_listed_changed_and_removed() {
    let (console, admin) = console().await;
    let body = json!({"name": "Dora", "password": PASSWORD, "roles": ["viewer"], "email": "dora@example.org"});
    let added = admin
        .send_json(Method::POST, "/api/v1/accounts", &body)
        .await;
    assert_eq!(added.status, 201, "{}", added.text());
    let account: AccountView = added.json();
    assert_eq!((account.name.as_str(), account.disabled), ("dora", false));
    let again = admin
        .send_json(Method::POST, "/api/v1/accounts", &body)
        .await;
    assert_eq!(refusal(&again), (409, "account_exists".to_owned()));
    let list: AccountList = admin.get("/api/v1/accounts").await.json();
    let names: Vec<&str> = list
        .accounts
        .iter()
        .map(|account| account.name.as_str())
        .collect();
    assert_eq!(names, ["dora", "root"]);
    let dora = console.sign_in("dora").await;
    let changed = patch(
        &admin,
        "dora",
        &json!({"roles": ["operator", "viewer"], "email": null}),
    )
    .await;
    let account: AccountView = changed.json();
    assert_eq!(account.roles, [Role::Viewer, Role::Operator]);
    assert_eq!(account.email, None);
    eventually("the session has the new roles", async || {
        let session: Value = dora.get("/api/v1/session").await.json();
        session["roles"] == json!(["viewer", "operator"])
    })
    .await;
    assert_eq!(
        patch(&admin, "dora", &json!({"disabled": true}))
            .await
            .status,
        200
    );
    eventually("the sessions end", async || {
        dora.get("/api/v1/session").await.status == 401
    })
    .await;
    assert_eq!(
        patch(&admin, "dora", &json!({"disabled": false}))
            .await
            .status,
        200
    );
    let dora = console.sign_in("dora").await;
    assert_eq!(
        admin.delete("/api/v1/accounts/dora/sessions").await.status,
        204
    );
    eventually("the sessions end", async || {
        dora.get("/api/v1/session").await.status == 401
    })
    .await;
    assert_eq!(admin.delete("/api/v1/accounts/dora").await.status, 204);
    assert_eq!(
        refusal(&admin.get("/api/v1/accounts/dora").await),
        (404, "unknown_account".to_owned())
    );
    let trail = admin.get("/api/v1/audit").await.text();
    for event in [
        "account_added",
        "account_roles_changed",
        "account_email_changed",
        "account_disabled",
        "account_enabled",
        "sessions_ended",
        "account_removed",
    ] {
        assert!(trail.contains(event), "{event} in {trail}");
    }
    assert!(trail.contains("\"actor\":\"root\"") && !trail.contains(PASSWORD));
    assert!(
        !admin
            .get("/api/v1/accounts")
            .await
            .text()
            .contains("argon2")
    );
}

#[tokio::test]
async fn wrong_input_is_named_and_changes_nothing() {
    let (_console, admin) = console().await;
    let account = |name: &str, password: &str, roles: Value| json!({"name": name, "password": password, "roles": roles});
    let long = "a".repeat(65);
    for (body, status, code) in [
        (
            account("a b", PASSWORD, json!(["viewer"])),
            422,
            "invalid_account_name",
        ),
        (
            account(&long, PASSWORD, json!(["viewer"])),
            422,
            "invalid_account_name",
        ),
        (
            account("dora", "password1234", json!(["viewer"])),
            422,
            "weak_password",
        ),
        (
            account("dora", "dora-galera-1", json!(["viewer"])),
            422,
            "weak_password",
        ),
        (account("dora", PASSWORD, json!([])), 422, "no_role"),
        (
            account("dora", PASSWORD, json!(["king"])),
            400,
            "invalid_body",
        ),
        (
            json!({"name": "dora", "password": PASSWORD, "roles": ["viewer"], "email": "nowhere"}),
            422,
            "invalid_email",
        ),
        (
            json!({"name": "dora", "password": PASSWORD, "roles": ["viewer"], "admin": true}),
            400,
            "invalid_body",
        ),
    ] {
        let refused = admin
            .send_json(Method::POST, "/api/v1/accounts", &body)
            .await;
        assert_eq!(refusal(&refused), (status, code.to_owned()), "{body}");
    }
    let weak = admin
        .send_json(
            Method::POST,
            "/api/v1/accounts",
            &account("dora", "password1234", json!(["viewer"])),
        )
        .await;
    assert!(
        weak.problem().detail.contains("very common password"),
        "{}",
        weak.text()
    );
    let before: AccountView = admin.get("/api/v1/accounts/root").await.json();
    let unchanged: AccountView = patch(&admin, "root", &json!({})).await.json();
    assert_eq!(unchanged, before, "nothing to change");
    for name in ["dora", "..%2Froot", "%00"] {
        assert_eq!(
            patch(&admin, name, &json!({"disabled": true})).await.status,
            404,
            "{name}"
        );
    }
    let list: AccountList = admin.get("/api/v1/accounts").await.json();
    assert_eq!(list.accounts.len(), 1);
}

#[tokio::test]
async fn the_last_administrator_cannot_be_removed_disabled_or_demoted() {
    let (console, admin) = console().await;
    console.add_user("dora", &[Role::Viewer]).await;
    let refused = [
        admin.delete("/api/v1/accounts/root").await,
        patch(&admin, "root", &json!({"disabled": true})).await,
        patch(&admin, "root", &json!({"roles": ["viewer"]})).await,
    ];
    for response in &refused {
        assert_eq!(refusal(response), (409, "last_admin".to_owned()));
        assert!(
            response
                .problem()
                .detail
                .contains("grant another account that role first")
        );
    }
    assert_eq!(
        patch(&admin, "dora", &json!({"roles": ["admin"]}))
            .await
            .status,
        200
    );
    assert_eq!(
        patch(&admin, "root", &json!({"roles": ["viewer"]}))
            .await
            .status,
        200
    );
    eventually(
        "the former administrator may not change accounts",
        async || {
            patch(&admin, "dora", &json!({"disabled": true}))
                .await
                .status
                == 403
        },
    )
    .await;
}

#[tokio::test]
async fn two_administrators_cannot_demote_each_other_at_once() {
    let (console, root) = console().await;
    console.add_user("ada", &[Role::Admin]).await;
    let ada = console.sign_in("ada").await;
    for _ in 0..5 {
        let viewer = json!({"roles": ["viewer"]});
        let (a, b) = tokio::join!(patch(&root, "ada", &viewer), patch(&ada, "root", &viewer));
        assert!(
            (a.status == 200) != (b.status == 200),
            "{} {}",
            a.text(),
            b.text()
        );
        let (by, name) = if a.status == 200 {
            (&root, "ada")
        } else {
            (&ada, "root")
        };
        assert_eq!(
            patch(by, name, &json!({"roles": ["admin"]})).await.status,
            200
        );
        eventually("both to be administrators", async || {
            root.get("/api/v1/accounts").await.status == 200
                && ada.get("/api/v1/accounts").await.status == 200
        })
        .await;
    }
}
