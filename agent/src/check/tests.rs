use galera::Timestamp;
use galera::observe::registration::AgentPhase;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixSocket};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::*;
use crate::health::{self, HealthListeners, HealthPolicy};
use crate::liveness_socket::LivenessSocket;
use crate::observation::{OfflineStatus, ServerState};

/// An agent whose response line is `message`.
struct HealthFixture {
    dir: TempDir,
    endpoint: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl HealthFixture {
    /// Without `socket` it is like an agent of an earlier version.
    async fn start(message: &str, socket: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        let socket = match socket {
            true => Some(
                LivenessSocket::bind(&dir.path().join("socket"))
                    .await
                    .unwrap(),
            ),
            false => None,
        };
        let listeners = HealthListeners {
            endpoint: Some(listener),
            socket,
            ..HealthListeners::default()
        };
        let state = ServerState::Offline(Box::new(OfflineStatus {
            phase: AgentPhase::Waiting,
            recovered_position: None,
            members_seen: None,
            held: None,
            state_comment: None,
            message: message.to_owned(),
            since: Timestamp::from_unix_millis(0),
        }));
        let server = watch::channel(state).1;
        let serving = TaskTracker::new().spawn(async move {
            health::serve(listeners, server, HealthPolicy::default()).await;
        });
        Self {
            dir,
            endpoint,
            serving,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn place(&self) -> HealthPlace {
        HealthPlace::SocketOrEndpoint(self.socket(), self.endpoint)
    }
}

impl Drop for HealthFixture {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn each_agent_answers_on_its_socket() {
    let first = HealthFixture::start("first", true).await;
    let second = HealthFixture::start("second", true).await;
    for (agent, name) in [(&first, "first"), (&second, "second")] {
        let socket = HealthPlace::Socket(agent.socket());
        let (healthy, line) = query_health(&socket, false).await.unwrap();
        assert!(!healthy && line.starts_with(name), "{line}");
        assert!(query_health(&socket, true).await.unwrap().0);
    }
    // The socket is preferred.
    let place = HealthPlace::SocketOrEndpoint(first.socket(), second.endpoint);
    let (_, line) = query_health(&place, true).await.unwrap();
    assert!(line.starts_with("first"), "{line}");
}

#[tokio::test]
async fn an_agent_without_socket_answers_on_its_endpoint() {
    let agent = HealthFixture::start("first", false).await;
    assert!(query_health(&agent.place(), true).await.unwrap().0);
    // The socket of an agent that was killed.
    drop(std::os::unix::net::UnixListener::bind(agent.socket()).unwrap());
    let (healthy, line) = query_health(&agent.place(), false).await.unwrap();
    assert!(!healthy && line.starts_with("first"), "{line}");

    let error = query_health(&HealthPlace::Socket(agent.socket()), true).await;
    let error = error.unwrap_err();
    assert_eq!(error.error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(error.place, agent.socket().display().to_string());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_listens_and_does_not_respond_is_not_alive() {
    let agent = HealthFixture::start("first", false).await;
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(agent.socket()).unwrap();
    let _hung = socket.listen(0).unwrap();
    let error = query_health(&agent.place(), true).await.unwrap_err();
    assert_eq!(error.error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.place, agent.socket().display().to_string());
    // Until the backlog is full.
    let mut waiting = Vec::new();
    while let Ok(stream) = UnixStream::connect(agent.socket()).await {
        waiting.push(stream);
    }
    let error = query_health(&agent.place(), true).await.unwrap_err();
    assert_eq!(error.place, agent.socket().display().to_string());
}
