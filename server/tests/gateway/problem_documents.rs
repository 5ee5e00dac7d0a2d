//! A problem document of each status: codes and texts are a contract with external clients.

use galera::access::Role;
use http::Method;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::action_fixture::{ActionFixture, action_request, request_action};
use crate::client::{TestClient, TestResponse};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::redaction::stable_body;
use crate::test_console::{PASSWORD, TestConsole};

async fn console() -> (TestConsole, TestClient) {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    (console, client)
}

/// The document, after the checks that every problem document passes.
fn document(response: &TestResponse, status: u16) -> Value {
    response.problem();
    stable_body(response, status)
}

#[tokio::test]
async fn bad_request_400() {
    let (console, _) = console().await;
    let client = console.anonymous();
    let answer = client.post("/api/v1/session", "application/json", "{}");
    assert_json_snapshot!(document(&answer.await, 400));
}

#[tokio::test]
async fn unauthorized_401() {
    let (console, _) = console().await;
    let answer = console.anonymous().get("/api/v1/clusters").await;
    assert_json_snapshot!(document(&answer, 401));
}

#[tokio::test]
async fn forbidden_403() {
    let (_console, client) = console().await;
    let answer = client.get("/api/v1/notifications/targets").await;
    assert_json_snapshot!(document(&answer, 403));
}

#[tokio::test]
async fn not_found_404() {
    let (_console, client) = console().await;
    let answer = client.get("/api/v1/clusters/nowhere").await;
    assert_json_snapshot!(document(&answer, 404));
}

#[tokio::test]
async fn conflict_409() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let mut body = action_request(&fixture.plan().await);
    body["plan_digest"] = "00".into();
    let answer = request_action(&fixture.operator, &body).await;
    assert_json_snapshot!(document(&answer, 409));
}

#[tokio::test]
async fn unprocessable_422() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let request = fixture
        .operator
        .request(Method::PUT, "/api/v1/recovery")
        .header("content-type", "application/json")
        .body(json!({"enabled": false}).to_string().into());
    let answer = fixture.operator.send(request.unwrap()).await;
    assert_json_snapshot!(document(&answer, 422));
}

#[tokio::test]
async fn too_many_requests_429() {
    let (console, _) = console().await;
    for _ in 0..11 {
        console.anonymous().sign_in("dora", "wrong").await;
    }
    let answer = console.anonymous().sign_in("dora", PASSWORD).await;
    assert_json_snapshot!(document(&answer, 429));
}

#[tokio::test]
async fn service_unavailable_503() {
    let mut etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    console.add_user("dora", &[Role::Viewer]).await;
    etcd.kill();
    eventually("an etcd error is reported", async || {
        console.state.authenticator.cache().etcd_error().is_some()
    })
    .await;
    let answer = console.anonymous().sign_in("dora", PASSWORD).await;
    assert_json_snapshot!(document(&answer, 503));
}
