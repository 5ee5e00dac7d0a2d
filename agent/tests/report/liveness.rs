//! `galera-agent check` beside a running agent, whatever the clients of its health endpoint do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::agent::{AgentProcess, BINARY};

/// An agent without etcd and without a server.
fn start(socket: &str) -> AgentProcess {
    AgentProcess::start(&[
        ("CLUSTER_NAME", "lab"),
        ("DISCOVERY_SERVICE", "127.0.0.1:1"),
        ("MYSQL_PORT", "1"),
        ("HEALTH_LISTEN", "127.0.0.1:0"),
        ("LIVENESS_SOCKET", socket),
    ])
}

/// Exit code and output of `galera-agent check`.
async fn check(arguments: &[&str], health: &str, socket: &str) -> (i32, String) {
    let mut command = Command::new(BINARY);
    command
        .arg("check")
        .args(arguments)
        .env_clear()
        .env("HEALTH_LISTEN", health)
        .env("LIVENESS_SOCKET", socket);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

fn socket_in(dir: &Path) -> String {
    dir.join("socket").to_str().unwrap().to_owned()
}

/// Opens connections without end and keeps the last 300: idle ones, incomplete requests, unread responses.
async fn flood(address: SocketAddr) {
    let mut open = VecDeque::new();
    for request in ["", "GET /live HTTP/1.1\r\n", "GET / HTTP/1.0\r\n\r\n"]
        .iter()
        .cycle()
    {
        // Both fail when the agent closes the connection early.
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(request.as_bytes()).await;
            open.push_back(stream);
        }
        if open.len() > 300 {
            open.pop_front();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_flood_of_connections_does_not_make_a_check_fail() {
    let dir = tempfile::tempdir().unwrap();
    let socket = socket_in(dir.path());
    let agent = start(&socket);
    let health = agent.endpoint().await;
    let checks = async {
        agent.wait_for_log("connections closed over a limit").await;
        for _ in 0..3 {
            let (code, text) = check(&["--live"], "off", &socket).await;
            assert_eq!(code, 0, "{text}");
            let (code, text) = check(&[], "off", &socket).await;
            assert_eq!(code, 1, "{text}");
            assert!(!text.contains("no response"), "{text}");
        }
    };
    tokio::select! {
        () = flood(health) => {}
        () = checks => {}
    }
    let lines = agent.log();
    let lines = lines.lines().filter(|line| line.contains("over a limit"));
    let limits = lines.map(|line| {
        let limit = line.split(" limit=").nth(1).unwrap();
        limit.split(' ').next().unwrap().to_owned()
    });
    let limits: Vec<_> = limits.collect();
    let mut unique = limits.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), limits.len(), "one line each: {limits:?}");
}

#[tokio::test]
async fn check_works_with_an_agent_without_socket() {
    let agent = start("off");
    let health = agent.endpoint().await.to_string();
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = check(&["--live"], &health, &socket_in(dir.path())).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = check(&["--live"], "off", &socket_in(dir.path())).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&socket_in(dir.path())), "{text}");
    let (code, text) = check(&["--live"], "off", "off").await;
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("LIVENESS_SOCKET"), "{text}");
}

#[tokio::test]
async fn the_socket_of_a_living_agent_is_refused_and_of_a_killed_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let socket = socket_in(dir.path());
    let mut first = start(&socket);
    first.wait_for_log("Local checks listening on").await;
    let mut second = start(&socket);
    assert_eq!(second.wait().await, 64, "{}", second.log());
    let log = second.log();
    let reason = log.lines().last().unwrap();
    assert!(
        reason.contains("LIVENESS_SOCKET") && reason.contains("another process"),
        "{reason}"
    );
    assert_eq!(check(&["--live"], "off", &socket).await.0, 0);

    first.kill();
    assert!(Path::new(&socket).exists());
    assert_eq!(check(&["--live"], "off", &socket).await.0, 1);
    let mut third = start(&socket);
    third.wait_for_log("Local checks listening on").await;
    assert_eq!(check(&["--live"], "off", &socket).await.0, 0);
    assert_eq!(third.stop("-TERM").await, 0);
    assert!(!Path::new(&socket).exists());
}

#[tokio::test]
async fn an_agent_that_cannot_listen_on_its_socket_logs_it_and_uses_the_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let socket = socket_in(&dir.path().join("missing"));
    let agent = start(&socket);
    let line = agent.wait_for_log("Local checks cannot listen on").await;
    assert!(
        line.contains(&socket) && line.contains("uses the health endpoint"),
        "{line}"
    );
    let health = agent.endpoint().await.to_string();
    let (code, text) = check(&["--live"], &health, &socket).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn a_hangup_does_not_end_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut agent = start(socket.to_str().unwrap());
    agent.endpoint().await;
    agent.signal("-HUP");
    agent.wait_for_log("restart the agent to change them").await;
    assert_eq!(agent.stop("-TERM").await, 0);
}
