//! Status pages: access, headers, formats, and changes through the API.

mod bad_input;
mod labels;
mod links;
mod pages;
mod updates;

use galera::access::Role;
use galera::publish::api::AuditPage;
use galera::record::audit::AuditEvent;
use http::Method;
use serde_json::Value;

use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::test_console::TestConsole;

/// A console with an administrator and an operator.
struct StatusPageFixture {
    etcd: TestEtcd,
    console: TestConsole,
    admin: TestClient,
    operator: TestClient,
}

impl StatusPageFixture {
    async fn start() -> Self {
        let etcd = TestEtcd::in_memory();
        let console = TestConsole::start(&etcd).await;
        console.add_user("ada", &[Role::Admin]).await;
        console.add_user("olga", &[Role::Operator]).await;
        Self {
            admin: console.sign_in("ada").await,
            operator: console.sign_in("olga").await,
            etcd,
            console,
        }
    }

    /// Creates a page of the cluster `lab` under the name `Orders`, and waits until it is served.
    async fn create_page(&self, slug: &str, visibility: &str, more: &str) -> Value {
        let body = format!(
            r#"{{"slug":"{slug}","title":"Shop","clusters":[{{"cluster":"lab","name":"Orders"}}],
                "visibility":"{visibility}"{more}}}"#
        );
        let answer = send(&self.admin, Method::POST, "/api/v1/status/pages", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let path = format!("/status/{slug}");
        eventually("the page is served", async || {
            self.admin.get(&path).await.status == 200
        })
        .await;
        answer.json()
    }

    /// Waits until the page at `path` contains `text` without signing in.
    async fn wait_for_text(&self, path: &str, text: &str) {
        let anonymous = self.console.anonymous();
        eventually(&format!("{path} contains {text}"), async || {
            anonymous.get(path).await.text().contains(text)
        })
        .await;
    }

    /// Event names of the audit trail, oldest first.
    async fn audit_events(&self) -> Vec<AuditEvent> {
        let page: AuditPage = self.admin.get("/api/v1/audit?limit=200").await.json();
        let entries = page.entries.into_iter().rev();
        entries.map(|entry| entry.record.event).collect()
    }
}

async fn send(client: &TestClient, method: Method, path: &str, body: &str) -> TestResponse {
    let request = client
        .request(method, path)
        .header("content-type", "application/json")
        .body(body.to_owned().into())
        .unwrap();
    client.send(request).await
}

async fn post(client: &TestClient, path: &str, body: &str) -> TestResponse {
    send(client, Method::POST, path, body).await
}

/// Asserts that two responses have the same status, headers and body.
fn assert_same(one: &TestResponse, other: &TestResponse, what: &str) {
    assert_eq!(one.status, other.status, "{what}");
    assert_eq!(one.headers, other.headers, "{what}");
    assert_eq!(one.body, other.body, "{what}");
}
