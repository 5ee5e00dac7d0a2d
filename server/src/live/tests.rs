//! The protocol over real connections to a real server in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use console_core::clock::now;
use console_core::session::Principal;
use futures::{SinkExt, StreamExt};
use galera::Timestamp;
use galera::access::CredentialTag;
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::Evidence;
use galera::publish::api::LiveMessage;
use galera::view::{ClusterView, RegistryHealth};
use monitor::{ClusterPublisher, ViewPublisher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::task::TaskTracker;

use super::*;

mod documents;
mod schema;

const PATIENCE: Duration = Duration::from_secs(10);

type WebSocketClient = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct LiveFixture {
    publisher: Arc<ViewPublisher>,
    topics: SharedTopics,
    address: SocketAddr,
    session: watch::Sender<bool>,
    view: watch::Sender<bool>,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl LiveFixture {
    async fn start() -> Self {
        Self::start_with(
            ConnectionTiming::default(),
            now().plus(Duration::from_secs(3600)),
        )
        .await
    }

    async fn start_with(timing: ConnectionTiming, expires_at: Timestamp) -> Self {
        let publisher = Arc::new(ViewPublisher::new());
        let tracker = TaskTracker::new();
        let monitor = Monitor::for_publisher(Arc::clone(&publisher), tracker.clone());
        let topics = SharedTopics::new(monitor.clone(), None);
        let sources = LiveSources {
            monitor,
            actions: None,
            topics: topics.clone(),
            metrics: Arc::default(),
        };
        let (session, ended) = watch::channel(false);
        let (view, may_view) = watch::channel(true);
        let shutdown = CancellationToken::new();
        let guard = SessionGuard {
            id: uuid::Uuid::nil(),
            principal: Principal {
                username: "ann".into(),
                roles: Vec::new(),
                credential: CredentialTag::new("c1"),
                must_enrol: false,
                token: None,
                clusters: galera::access::ClusterScope::all(),
                grants: Arc::default(),
                groups: Arc::default(),
                is_external: false,
            },
            ended,
            may_view,
            last_proof: now(),
            expires_at,
        };
        let stop = shutdown.clone();
        let route = any(move |ws: WebSocketUpgrade| async move {
            upgrade_with_timing(timing, ws, sources, guard, stop, ())
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = axum::serve(listener, Router::new().route("/live", route));
        TaskTracker::new().spawn(async move { server.await });
        Self {
            publisher,
            topics,
            address,
            session,
            view,
            shutdown,
            tracker,
        }
    }

    /// A viewer that has received its hello.
    async fn connect(&self) -> WebSocketClient {
        let (mut client, _) = connect_async(format!("ws://{}/live", self.address))
            .await
            .unwrap();
        let hello = next_message(&mut client).await;
        assert!(
            matches!(hello, LiveMessage::Hello { version: 1, .. }),
            "{hello:?}"
        );
        client
    }

    fn publisher(&self, name: &str) -> ClusterPublisher {
        let mut publisher = self.publisher.cluster_publisher(name.parse().unwrap());
        publisher.publish(view(name));
        publisher
    }
}

fn view(name: &str) -> ClusterView {
    let health = RegistryHealth {
        reachable: true,
        since: now(),
        error: None,
    };
    fold(
        &Evidence::new(name.parse().unwrap(), health),
        now(),
        &FoldSettings::default(),
        None,
    )
}

async fn subscribe(client: &mut WebSocketClient, topics: &[&str]) {
    let text = serde_json::json!({ "subscribe": topics }).to_string();
    client.send(Message::text(text)).await.unwrap();
}

async fn next_frame(client: &mut WebSocketClient) -> Message {
    timeout(PATIENCE, client.next())
        .await
        .expect("a message in time")
        .expect("an open connection")
        .unwrap()
}

async fn next_message(client: &mut WebSocketClient) -> LiveMessage {
    loop {
        if let Message::Text(text) = next_frame(client).await {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn close_code(client: &mut WebSocketClient) -> u16 {
    loop {
        if let Message::Close(reason) = next_frame(client).await {
            return reason.map_or(0, |reason| u16::from(reason.code));
        }
    }
}

async fn error_code(client: &mut WebSocketClient) -> String {
    match next_message(client).await {
        LiveMessage::Error { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_viewer_gets_the_current_value_and_then_every_newer_one() {
    let console = LiveFixture::start().await;
    let mut lab = console.publisher("lab");
    let mut client = console.connect().await;
    subscribe(&mut client, &["cluster/lab"]).await;
    for expected in 1..4 {
        let LiveMessage::Cluster { revision, cluster } = next_message(&mut client).await else {
            panic!()
        };
        assert_eq!((revision, cluster.revision), (expected, expected));
        lab.publish(view("lab"));
    }
}

#[tokio::test]
async fn a_new_subscription_replaces_the_previous_one() {
    let console = LiveFixture::start().await;
    let mut lab = console.publisher("lab");
    let mut client = console.connect().await;
    subscribe(&mut client, &["cluster/lab"]).await;
    assert!(matches!(
        next_message(&mut client).await,
        LiveMessage::Cluster { .. }
    ));
    subscribe(&mut client, &["overview"]).await;
    assert!(matches!(
        next_message(&mut client).await,
        LiveMessage::Overview { .. }
    ));
    lab.publish(view("lab"));
    console.publisher.publish_overview();
    let next = next_message(&mut client).await;
    assert!(matches!(next, LiveMessage::Overview { .. }), "{next:?}");
}

#[tokio::test]
async fn an_unknown_cluster_is_reported_and_served_once_it_appears() {
    let console = LiveFixture::start().await;
    let mut client = console.connect().await;
    subscribe(&mut client, &["cluster/later"]).await;
    assert_eq!(error_code(&mut client).await, "unknown_cluster");
    let later = console.publisher("later");
    assert!(matches!(
        next_message(&mut client).await,
        LiveMessage::Cluster { revision: 1, .. }
    ));
    drop(later);
    assert_eq!(error_code(&mut client).await, "unknown_cluster");
    let _again = console.publisher("later");
    assert!(matches!(
        next_message(&mut client).await,
        LiveMessage::Cluster { revision: 1, .. }
    ));
}

#[tokio::test]
async fn invalid_messages_are_answered_and_affect_nothing_else() {
    let console = LiveFixture::start().await;
    let _lab = console.publisher("lab");
    let mut client = console.connect().await;
    for (text, code) in [
        ("{", "malformed_message"),
        (r#"{"subscribe":["cluster/<script>"]}"#, "unknown_topic"),
        (r#"{"subscribe":["secrets"]}"#, "unknown_topic"),
        (r#"{"unsubscribe":[]}"#, "malformed_message"),
    ] {
        client.send(Message::text(text)).await.unwrap();
        assert_eq!(error_code(&mut client).await, code, "{text}");
    }
    subscribe(&mut client, &["nonsense", "cluster/lab"]).await;
    assert_eq!(error_code(&mut client).await, "unknown_topic");
    assert!(matches!(
        next_message(&mut client).await,
        LiveMessage::Cluster { .. }
    ));
}

#[tokio::test]
async fn unsupported_messages_close_with_their_code() {
    let console = LiveFixture::start().await;
    for (sent, code) in [
        (Message::binary(vec![1, 2, 3]), CloseCode::Unsupported),
        (Message::text("x".repeat(MESSAGE_MAX + 1)), CloseCode::Size),
    ] {
        let mut client = console.connect().await;
        client.send(sent).await.unwrap();
        assert_eq!(close_code(&mut client).await, u16::from(code));
    }
    let mut flooding = console.connect().await;
    for _ in 0..=MESSAGES_MAX {
        flooding
            .send(Message::text(r#"{"subscribe":[]}"#))
            .await
            .unwrap();
    }
    assert_eq!(
        close_code(&mut flooding).await,
        u16::from(CloseCode::Policy)
    );
}

#[tokio::test]
async fn the_end_of_the_session_closes_with_4401() {
    let console = LiveFixture::start().await;
    let mut client = console.connect().await;
    console.session.send_replace(true);
    assert_eq!(close_code(&mut client).await, 4401);
}

#[tokio::test]
async fn the_loss_of_every_role_closes_with_1008() {
    let console = LiveFixture::start().await;
    let mut client = console.connect().await;
    console.view.send_replace(false);
    assert_eq!(close_code(&mut client).await, u16::from(CloseCode::Policy));
}

#[tokio::test]
async fn an_expired_session_closes_with_4401() {
    let console = LiveFixture::start_with(
        ConnectionTiming::default(),
        now().plus(Duration::from_millis(300)),
    )
    .await;
    let mut client = console.connect().await;
    assert_eq!(close_code(&mut client).await, 4401);
}

#[tokio::test]
async fn shutdown_closes_connections_and_waits_for_them() {
    let console = LiveFixture::start().await;
    let mut client = console.connect().await;
    console.shutdown.cancel();
    assert_eq!(close_code(&mut client).await, u16::from(CloseCode::Away));
    drop(client);
    console.tracker.close();
    timeout(PATIENCE, console.tracker.wait())
        .await
        .expect("every viewer has disconnected");
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_value_without_a_queue() {
    const PUBLISHED: u64 = 400;
    let console = LiveFixture::start().await;
    let mut client = console.connect().await;
    subscribe(&mut client, &["overview"]).await;
    assert!(matches!(
        next_message(&mut client).await,
        LiveMessage::Overview { .. }
    ));
    // Nothing reads while frames of 100 kB are published: only the socket buffers may hold any.
    let large = "x".repeat(100_000);
    for number in 0..PUBLISHED {
        console
            .publisher
            .set_notices("test", vec![format!("{number} {large}")]);
        console.publisher.publish_overview();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let last = console.publisher.overview().borrow().revision;
    let mut received = 0;
    loop {
        received += 1;
        if let LiveMessage::Overview { revision, .. } = next_message(&mut client).await
            && revision == last
        {
            break;
        }
    }
    assert!(
        received < PUBLISHED / 2,
        "{received} of {PUBLISHED} were queued"
    );
}

#[tokio::test]
async fn an_unresponsive_viewer_is_dropped() {
    let timing = ConnectionTiming {
        ping_interval: Duration::from_millis(50),
        close_timeout: Duration::from_millis(50),
    };
    let console = LiveFixture::start_with(timing, now().plus(Duration::from_secs(3600))).await;
    // Never polled again, so its library answers no ping.
    let unresponsive = console.connect().await;
    let mut responsive = console.connect().await;
    console.tracker.close();
    let served = async {
        while console.tracker.len() > 1 {
            next_frame(&mut responsive).await;
        }
    };
    timeout(PATIENCE, served)
        .await
        .expect("the unresponsive viewer is dropped");
    assert_eq!(
        console.tracker.len(),
        1,
        "the responsive one stays connected"
    );
    drop(unresponsive);
}
