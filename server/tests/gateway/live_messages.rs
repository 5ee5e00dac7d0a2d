//! Messages of the WebSocket: names, words and types are a contract with external clients.

use futures::{SinkExt, StreamExt};
use galera::access::{Role, RoleAssignment};
use galera_console::config::LimitsConfig;
use http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::task::TaskTracker;

use crate::action_fixture::ActionFixture;
use crate::client::TestClient;
use crate::etcd::{TIMEOUT, TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::json_contract::wait_until_down;
use crate::openapi;
use crate::redaction::stable;
use crate::test_console::{ConsoleOptions, TestConsole};

/// A connection to a console on a free port.
pub(crate) struct LiveConnection(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl LiveConnection {
    pub(crate) async fn open(client: &TestClient) -> Self {
        Self::try_open(client).await.unwrap()
    }

    async fn try_open(client: &TestClient) -> Result<Self, Box<Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = axum::serve(listener, client.router.clone());
        TaskTracker::new().spawn(async move { served.await });
        let url = format!("ws://{address}/api/v1/live");
        let mut request = url.into_client_request().unwrap();
        let origin = format!("http://{address}");
        let headers = match (&client.bearer, &client.cookie) {
            (Some(token), _) => vec![(AUTHORIZATION, format!("Bearer {token}"))],
            (None, cookie) => vec![(COOKIE, cookie.clone().unwrap()), (ORIGIN, origin)],
        };
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (stream, _) = connect_async(request).await.map_err(Box::new)?;
        Ok(Self(stream))
    }

    pub(crate) async fn send(&mut self, text: String) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Reads until the console closes the connection.
    pub(crate) async fn wait_closed(&mut self) {
        let closed = async { while let Some(Ok(_)) = self.0.next().await {} };
        timeout(TIMEOUT, closed).await.expect("the end in time");
    }

    /// The next message of this type, without what differs between two runs.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        loop {
            let frame = timeout(TIMEOUT, self.0.next()).await;
            let frame = frame
                .expect("a message in time")
                .expect("an open connection");
            if let Message::Text(text) = frame.unwrap() {
                let message: Value = serde_json::from_str(&text).unwrap();
                // Those of protocol 2 have a topic and another schema.
                if message.get("topic").is_none() {
                    openapi::check_part("/components/schemas/LiveMessage", &message);
                }
                if message["type"] == kind {
                    return stable(message);
                }
            }
        }
    }

    /// The next message.
    pub(crate) async fn next_of_any(&mut self) -> Value {
        loop {
            let frame = timeout(TIMEOUT, self.0.next()).await;
            if let Message::Text(text) = frame.unwrap().unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The code with which the server closes the connection.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            let frame = timeout(TIMEOUT, self.0.next()).await;
            if let Message::Close(frame) = frame.unwrap().unwrap().unwrap() {
                return frame.map(|frame| u16::from(frame.code));
            }
        }
    }

    /// The current value of a topic.
    pub(crate) async fn first_of(&mut self, topic: &str, kind: &str) -> Value {
        self.send(json!({"subscribe": [topic]}).to_string()).await;
        self.next(kind).await
    }
}

/// A console whose cluster is down, and a connection to it.
async fn connected() -> (TestConsole, LiveConnection) {
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    wait_until_down(&client).await;
    let connection = LiveConnection::open(&client).await;
    (console, connection)
}

#[tokio::test]
async fn hello() {
    let (_console, mut connection) = connected().await;
    assert_json_snapshot!(connection.next("hello").await);
}

#[tokio::test]
async fn overview() {
    let (_console, mut connection) = connected().await;
    assert_json_snapshot!(connection.first_of("overview", "overview").await);
}

#[tokio::test]
async fn cluster() {
    let (_console, mut connection) = connected().await;
    assert_json_snapshot!(connection.first_of("cluster/lab", "cluster").await);
}

#[tokio::test]
async fn action() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    fixture.request(&fixture.operator).await;
    let mut connection = LiveConnection::open(&fixture.viewer).await;
    let mut message = connection.first_of("actions", "action").await;
    // Plans have separate snapshots.
    message["action"]["plan"] = "[plan]".into();
    assert_json_snapshot!(message);
}

#[tokio::test]
async fn documents() {
    let (_console, mut connection) = connected().await;
    let mut full = Vec::new();
    for topic in ["head", "overview?count=1", "cluster/lab", "actions"] {
        let message = json!({"version": 2, "subscribe": [topic]});
        connection.send(message.to_string()).await;
        loop {
            let frame = connection.next("full").await;
            // Of the subscription before, one may still have been on its way.
            if frame["topic"] == topic {
                full.push(frame);
                break;
            }
        }
    }
    assert_json_snapshot!(full);
}

#[tokio::test]
async fn errors_of_version_2() {
    let (_console, mut connection) = connected().await;
    let mut errors = Vec::new();
    for sent in [
        json!({"version": 3, "subscribe": []}),
        json!({"version": 2, "subscribe": ["secrets"]}),
        json!({"version": 2, "subscribe": ["overview?count=50000"]}),
        json!({"version": 2, "subscribe": ["overview?colour=red"]}),
        json!({"version": 2, "subscribe": ["cluster/nowhere"]}),
        json!({"version": 2, "subscribe": [], "encoding": "br"}),
    ] {
        connection.send(sent.to_string()).await;
        errors.push(connection.next("error").await);
    }
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn errors() {
    let (_console, mut connection) = connected().await;
    let many = json!({"subscribe": vec!["overview"; 33]}).to_string();
    let mut errors = Vec::new();
    for sent in [
        "{",
        r#"{"unsubscribe":[]}"#,
        r#"{"subscribe":["secrets"]}"#,
        r#"{"subscribe":["cluster/<b>"]}"#,
        r#"{"subscribe":["cluster/nowhere"]}"#,
        &many,
    ] {
        connection.send(sent.to_owned()).await;
        errors.push(connection.next("error").await);
    }
    assert_json_snapshot!(errors);
}

#[tokio::test]
async fn an_account_at_its_limit_gets_no_further_connection() {
    let etcd = TestEtcd::in_memory();
    let options = ConsoleOptions {
        limits_of_clients: LimitsConfig {
            live_per_account: 1,
            ..LimitsConfig::default()
        },
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    for name in ["dora", "emil"] {
        console.add_user(name, &[Role::Viewer]).await;
    }
    let (dora, emil) = (console.sign_in("dora").await, console.sign_in("emil").await);
    let first = LiveConnection::open(&dora).await;
    let Err(error) = LiveConnection::try_open(&dora).await else {
        panic!("a second connection of the account");
    };
    assert!(
        matches!(&*error, Error::Http(response) if response.status() == 429),
        "{error}"
    );
    LiveConnection::open(&emil).await;
    drop(first);
    eventually("the first connection to end", async || {
        LiveConnection::try_open(&dora).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_when_its_account_must_enrol_a_second_factor() {
    let etcd = TestEtcd::in_memory();
    let options = ConsoleOptions {
        second_factor_roles: vec![Role::Approver],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    let mut connection = LiveConnection::open(&client).await;
    connection.next("hello").await;
    let change = accounts::store::AccountChange {
        roles: Some(RoleAssignment::everywhere(vec![
            Role::Viewer,
            Role::Approver,
        ])),
        ..Default::default()
    };
    let now = console_core::clock::now();
    let name = "dora".parse().unwrap();
    console.store.change(&name, &change, now).await.unwrap();
    let code = loop {
        let frame = timeout(TIMEOUT, connection.0.next()).await.unwrap();
        if let Message::Close(frame) = frame.unwrap().unwrap() {
            break frame.map(|frame| u16::from(frame.code));
        }
    };
    assert_eq!(code, Some(1008));
    let Err(error) = LiveConnection::try_open(&client).await else {
        panic!("a connection without a second factor");
    };
    assert!(
        matches!(&*error, Error::Http(response) if response.status() == 403),
        "{error}"
    );
}
